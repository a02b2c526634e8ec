# One job serves one variant with vLLM, puts every question to it, and stops the server.

serving = study.content["serving"]
serving_environment = f"../envs/serving_{serving['flavour']}.yaml"
# what answers may depend on; the rest are resources, which can be changed without asking anything again
served = {"options": serving["options"], "environment": serving.get("environment", {})}
# what a server needs of a cluster; where it takes several nodes, the job starts its own tasks, one on each
server_nodes = serving.get("nodes", 1)
server_resources = {
    "mem_mb": memory(serving["mem_mb"]),
    "disk_mb": 10_000,
    "gpu": serving["gpus"],
    "flavour": serving["flavour"],
    "runtime": minutes(serving.get("minutes", 720)),
    "nodes": server_nodes,
    "start_minutes": serving.get("start_minutes", 60),
}
if serving["gpus"]:
    gpu_model = serving.get("gpu_model", config.get("gpu_model"))
    if gpu_model:
        server_resources["gpu_model"] = gpu_model
    if "gpu_partition" in config:
        server_resources["slurm_partition"] = config["gpu_partition"]
    if server_nodes > 1:
        # of every node as many, which a total would not say
        kind = ":".join(filter(None, ("gpu", server_resources.pop("gpu_model", None))))
        server_resources |= {"gpu": 0, "gres": f"{kind}:{serving['gpus'] // server_nodes}", "tasks_per_gpu": 0}
if server_nodes > 1:
    server_resources |= {"tasks": server_nodes, "mpi": "srun"}


rule answer:
    input:
        unpack(needed_to_answer),
    output:
        "results/{study}/answers/{variant}/machine.json",
        collect("results/{{study}}/answers/{{variant}}/{benchmark}.eval", benchmark=BENCHMARKS),
    log:
        job="results/{study}/logs/answer/{variant}.log",
        server="results/{study}/logs/answer/{variant}.server.log",
    benchmark:
        "results/{study}/benchmarks/answer/{variant}.tsv"
    conda:
        serving_environment
    threads: serving["threads"]
    resources:
        **server_resources,
        connections=serving["connections"],
        restarts=serving.get("restarts", 2),
    params:
        checkpoints=served_checkpoints,
        revisions=served_revisions,
        benchmarks=BENCHMARKS,
        datasets=asked_datasets,
        serving=served,
    message:
        "Serve {wildcards.variant} and answer all questions"
    script:
        "../scripts/answer.py"
