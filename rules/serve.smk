# One job serves one variant with vLLM, puts every question to it, and stops the server.

serving = study.content["serving"]
serving_environment = f"../envs/serving_{serving['flavour']}.yaml"
# what answers may depend on; the rest are resources, which can be changed without asking anything again
served = {"options": serving["options"], "environment": serving.get("environment", {})}
# what a server needs of a cluster; where it takes several nodes, the job starts its own tasks, one on each
server_nodes = serving.get("nodes", 1)
server_resources = {
    "mem_mb": memory(serving["mem_mb"], serving["gpus"]),
    "disk_mb": 10_000,
    "flavour": serving["flavour"],
    "runtime": minutes(serving.get("minutes", 720), serving["gpus"]),
    "nodes": server_nodes,
    "start_minutes": serving.get("start_minutes", 60),
    "check_weights": int(serving.get("check_weights", serving["gpus"] > 0)),
    **gpus(serving["gpus"], server_nodes, serving.get("gpu_model", config.get("gpu_model"))),
}
if server_nodes > 1:
    server_resources |= {"tasks": server_nodes, "mpi": "srun"}


# Before the first server starts: can every benchmark, and whoever grades it, read its dataset?
rule questions:
    input:
        receipts(DATASETS),
    output:
        "results/{study}/questions.json",
    log:
        "results/{study}/logs/questions.log",
    priority: 100
    conda:
        "../envs/benchmarks.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        disk_mb=100,
        runtime=minutes(30),
    params:
        benchmarks={name: settings for name, settings in BENCHMARKS.items() if "dataset" in settings},
        datasets=asked_datasets,
        revisions=dataset_revisions,
    message:
        "Read the questions of every dataset"
    script:
        "../scripts/questions.py"


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
        serving=served_to_answer,
    message:
        "Serve {wildcards.variant} and answer all questions"
    script:
        "../scripts/answer.py"
