# How much do the parents differ, tensor by tensor?


def pair_receipts(wildcards):
    return receipts([wildcards.base, wildcards.other])


def pair_directory(role):
    def directory(wildcards):
        return study.models[getattr(wildcards, role)]["path"]

    return directory


def shard_tables(wildcards):
    return [
        f"results/{study.name}/differences/{base}/{other}/{shard}.parquet"
        for base, other in study.compared()
        for shard in shards(base)
    ]


rule diff:
    input:
        pair_receipts,
    output:
        temp("results/{study}/differences/{base}/{other}/{shard}.parquet"),
    log:
        "results/{study}/logs/diff/{base}/{other}/{shard}.log",
    benchmark:
        "results/{study}/benchmarks/diff/{base}/{other}/{shard}.tsv"
    params:
        base=pair_directory("base"),
        other=pair_directory("other"),
        file="{shard}",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    conda:
        "../envs/tensors.yaml"
    message:
        "Difference of {wildcards.other} from {wildcards.base}, {wildcards.shard}"
    script:
        "../scripts/diff.py"


rule differences:
    input:
        shard_tables,
    output:
        "results/{study}/differences.parquet",
    log:
        "results/{study}/logs/differences.log",
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../envs/analysis.yaml"
    message:
        "Join the differences of all shards"
    script:
        "../scripts/join.py"
