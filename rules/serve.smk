# One job serves one variant with vLLM, puts every question to it, and stops the server.

serving = study.content["serving"]


def needed_to_serve(wildcards):
    """Models are served as they are, published variants from their files, all others by their plan."""
    variant = wildcards.variant
    if variant in study.models:
        return {"verified": receipts([variant])}
    if study.published(variant):
        return {"merged": f"results/{study.name}/merged/{variant}/recipe.json"}
    return {"plan": f"results/{study.name}/plans/{variant}.json"}


def served_checkpoints(wildcards):
    if study.published(wildcards.variant):
        return {wildcards.variant: f"results/{study.name}/merged/{wildcards.variant}"}
    return parents_of(wildcards.variant)


rule answer:
    input:
        unpack(needed_to_serve),
    output:
        collect("results/{{study}}/answers/{{variant}}/{benchmark}.eval", benchmark=study.content["benchmarks"]),
    log:
        job="results/{study}/logs/answer/{variant}.log",
        server="results/{study}/logs/answer/{variant}.server.log",
    benchmark:
        "results/{study}/benchmarks/answer/{variant}.tsv"
    params:
        checkpoints=served_checkpoints,
        benchmarks=study.content["benchmarks"],
        serving=serving,
    threads: serving["threads"]
    resources:
        mem_mb=serving["mem_mb"],
        gpu=serving["gpus"],
        runtime=720,
    conda:
        "../envs/serving.yaml"
    message:
        "Serve {wildcards.variant} and answer all questions"
    script:
        "../scripts/answer.py"
