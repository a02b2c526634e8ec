# One job serves one variant with vLLM, puts every question to it, and stops the server.

serving = study.content["serving"]
serving_environment = f"../envs/serving_{serving['flavour']}.yaml"
# what answers may depend on; the rest are resources, which can be changed without asking anything again
served = {"options": serving["options"], "environment": serving.get("environment", {})}
# what a server needs of a cluster; where it takes several nodes, the job starts its own tasks, one on each
server_resources = {
    "mem_mb": growing(serving["mem_mb"]),
    "disk_mb": 10_000,
    "gpu": serving["gpus"],
    "runtime": growing(serving.get("minutes", 720)),
}
if "gpu_model" in serving:
    server_resources["gpu_model"] = serving["gpu_model"]
if serving.get("nodes", 1) > 1:
    server_resources |= {"nodes": serving["nodes"], "tasks": serving["nodes"], "tasks_per_gpu": 0, "mpi": "srun"}


rule answer:
    input:
        unpack(needed_to_answer),
    output:
        collect("results/{{study}}/answers/{{variant}}/{benchmark}.eval", benchmark=study.content["benchmarks"]),
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
        benchmarks=study.content["benchmarks"],
        datasets=asked_datasets,
        serving=served,
    message:
        "Serve {wildcards.variant} and answer all questions"
    script:
        "../scripts/answer.py"
