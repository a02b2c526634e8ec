# A recipe becomes a plan; the plan of a published variant becomes files, the others' are executed while vLLM loads.


def parent_receipts(wildcards):
    return receipts(parents_of(wildcards.variant))


def parent_directories(wildcards):
    return parents_of(wildcards.variant)


def recipe_entry(wildcards):
    return study.entries[wildcards.variant]


def differences_for_delta(wildcards):
    needed = study.variants[wildcards.variant].threshold.delta > 0
    return f"results/{study.name}/differences.parquet" if needed else []


def merged_shards(wildcards):
    base = study.variants[wildcards.variant].base
    return [f"results/{study.name}/merged/{wildcards.variant}/{shard}" for shard in shards(base)]


rule plan:
    input:
        verified=parent_receipts,
        differences=differences_for_delta,
    output:
        "results/{study}/plans/{variant}.json",
    log:
        "results/{study}/logs/plan/{variant}.log",
    params:
        recipe=recipe_entry,
        checkpoints=parent_directories,
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../envs/tensors.yaml"
    message:
        "Plan {wildcards.variant}"
    script:
        "../scripts/plan.py"


rule merge:
    input:
        plan="results/{study}/plans/{variant}.json",
    output:
        "results/{study}/merged/{variant}/{shard}",
    log:
        "results/{study}/logs/merge/{variant}/{shard}.log",
    benchmark:
        "results/{study}/benchmarks/merge/{variant}/{shard}.tsv"
    params:
        checkpoints=parent_directories,
        file="{shard}",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        "../envs/tensors.yaml"
    message:
        "Merge {wildcards.variant}, {wildcards.shard}"
    script:
        "../scripts/merge.py"


rule complete:
    input:
        plan="results/{study}/plans/{variant}.json",
        shards=merged_shards,
        verified=parent_receipts,
    output:
        "results/{study}/merged/{variant}/recipe.json",
    log:
        "results/{study}/logs/complete/{variant}.log",
    params:
        recipe=recipe_entry,
        checkpoints=parent_directories,
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../envs/tensors.yaml"
    message:
        "Complete the checkpoint of {wildcards.variant}"
    script:
        "../scripts/complete.py"
