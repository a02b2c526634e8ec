# Measure the differences of the parents, tensor by tensor.


rule diff:
    input:
        inputs.pair_verified,
    output:
        "results/{study}/differences/{base}/{other}/{shard}.parquet",
    log:
        "results/{study}/logs/diff/{base}/{other}/{shard}.log",
    benchmark:
        "results/{study}/benchmarks/diff/{base}/{other}/{shard}.tsv"
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        disk_mb=100,
        runtime=minutes(20),
    params:
        base=inputs.pair_directory("base"),
        other=inputs.pair_directory("other"),
        revisions=inputs.pair_revisions,
        file="{shard}",
    message:
        "Measure the difference of {wildcards.other} from {wildcards.base}, {wildcards.shard}"
    script:
        "../scripts/diff.py"


rule differences:
    input:
        inputs.difference_tables,
    output:
        "results/{study}/differences.parquet",
    log:
        "results/{study}/logs/differences.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=1000,
        runtime=minutes(10),
    message:
        "Join the differences of all shards"
    script:
        "../scripts/differences.py"
