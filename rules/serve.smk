# One job serves one variant with vLLM, puts every question to it, and stops the server.

serving = study.content["serving"]
# what answers may depend on; the rest are resources, which can be changed without asking anything again
served = {"options": serving["options"], "environment": serving.get("environment", {})}


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
        "../envs/serving.yaml"
    threads: serving["threads"]
    resources:
        mem_mb=serving["mem_mb"],
        gpu=serving["gpus"],
        connections=serving["connections"],
        restarts=serving.get("restarts", 2),
        runtime=720,
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
