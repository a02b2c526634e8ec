# Measure which λ the variants' weights will have once they are rounded.  No model is written, and no GPU is needed.


# From a few block rows, in seconds: people should know before servers start.
rule expected_lambda:
    input:
        unpack(inputs.early.needed),
    output:
        "results/{study}/expected_lambda.csv",
    log:
        "results/{study}/logs/expected_lambda.log",
    priority: 90
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(20),
    params:
        plans=inputs.early.plans,
        checkpoints=inputs.early.directories,
        revisions=inputs.early.revisions,
    message:
        "Estimate the realized λ of the planned variants"
    script:
        "../scripts/expected_lambda.py"


rule realized:
    input:
        unpack(inputs.mixed.needed),
    output:
        "results/{study}/realized/{base}/{shard}.parquet",
    log:
        "results/{study}/logs/realized/{base}/{shard}.log",
    benchmark:
        "results/{study}/benchmarks/realized/{base}/{shard}.tsv"
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        disk_mb=100,
        runtime=minutes(20),
    params:
        plans=inputs.mixed.plans,
        checkpoints=inputs.mixed.directories,
        revisions=inputs.mixed.revisions,
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
