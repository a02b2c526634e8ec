# Turn recipes into plans.  Exported variants are written as files; the others are merged while vLLM loads them.


rule plan:
    input:
        verified=inputs.parents_verified,
        differences=inputs.differences_for_delta,
    output:
        "results/{study}/plans/{variant}.json",
    log:
        "results/{study}/logs/plan/{variant}.log",
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    params:
        recipe=inputs.recipe,
        checkpoints=inputs.parent_directories,
        revisions=inputs.parent_revisions,
    message:
        "Plan {wildcards.variant}"
    script:
        "../scripts/plan.py"


rule merge:
    input:
        plan="results/{study}/plans/{variant}.json",
        verified=inputs.parents_verified,
    output:
        "results/{study}/merged/{variant}/{shard}",
    log:
        "results/{study}/logs/merge/{variant}/{shard}.log",
    benchmark:
        "results/{study}/benchmarks/merge/{variant}/{shard}.tsv"
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        disk_mb=inputs.shard_disk,
        runtime=minutes(20),
    params:
        checkpoints=inputs.parent_directories,
        file="{shard}",
    message:
        "Merge {wildcards.variant}, {wildcards.shard}"
    script:
        "../scripts/merge.py"


rule complete:
    input:
        plan="results/{study}/plans/{variant}.json",
        shards=inputs.merged_shards,
    output:
        "results/{study}/merged/{variant}/recipe.json",
    log:
        "results/{study}/logs/complete/{variant}.log",
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    params:
        recipe=inputs.recipe,
        base=inputs.base_directory,
        folders=inputs.parent_directories,
        parents=inputs.parent_provenance,
    message:
        "Complete the checkpoint of {wildcards.variant}"
    script:
        "../scripts/complete.py"
