# Measure which λ the variants' weights will have once they are rounded.  No model is written, and no GPU is needed.


rule realized:
    input:
        plans=inputs.mixed_plan_files,
        verified=inputs.mixed_verified,
    output:
        "results/{study}/realized/{base}/{shard}.parquet",
    log:
        "results/{study}/logs/realized/{base}/{shard}.log",
    benchmark:
        "results/{study}/benchmarks/realized/{base}/{shard}.tsv"
    # before servers start: λ that are not as asked may be a reason to stop
    priority: 50
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        disk_mb=100,
        runtime=minutes(20),
    params:
        plans=inputs.mixed_plans,
        checkpoints=inputs.mixed_directories,
        revisions=inputs.mixed_revisions,
        file="{shard}",
    message:
        "Measure the realized λ of the variants of {wildcards.base}, {wildcards.shard}"
    script:
        "../scripts/realized.py"


rule realized_lambda:
    input:
        inputs.realized_sums,
    output:
        "results/{study}/realized.parquet",
    log:
        "results/{study}/logs/realized.log",
    priority: 50
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=1000,
        runtime=minutes(30),
    message:
        "Join the realized λ of all shards"
    script:
        "../scripts/realized_lambda.py"
