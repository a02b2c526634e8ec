# Serve one variant with vLLM, ask it all questions, and stop the server: one job per variant.

serving = answers.serving
serving_environment = f"../envs/serving_{serving['flavour']}.yaml"
server_resources = jobs.server(serving)


# Read every dataset with its benchmark and its grader before the first server starts.
rule questions:
    input:
        inputs.verified(run.datasets),
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
        benchmarks=answers.with_dataset(),
        datasets=answers.datasets,
        revisions=answers.dataset_revisions,
    message:
        "Read the questions of every dataset"
    script:
        "../scripts/questions.py"


rule answer:
    input:
        unpack(answers.needed),
    output:
        "results/{study}/answers/{variant}/machine.json",
        collect("results/{{study}}/answers/{{variant}}/{benchmark}.eval", benchmark=benchmarks),
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
        checkpoints=answers.checkpoints,
        revisions=answers.revisions,
        benchmarks=benchmarks,
        datasets=answers.datasets,
        serving=answers.served,
    message:
        "Serve {wildcards.variant} and answer all questions"
    script:
        "../scripts/answer.py"
