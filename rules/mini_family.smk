# Train the mini family: `snakemake mini_family`, about eight minutes on one GPU.
# The studies read the family in resources/mini, which is no rule's output, so they never start a training.  To ship
# a new family, copy results/mini_family/{parent} there and lock it.

from launcher.run import read_strictly

MINI_FAMILY = read_strictly(workflow.source_path("../config/mini_family.yaml"))


rule mini_family:
    input:
        expand("results/mini_family/{parent}", parent=MINI_FAMILY["parents"]),


rule mini_base:
    output:
        "results/mini_family/base.safetensors",
    log:
        "results/mini_family/logs/base.log",
    benchmark:
        "results/mini_family/benchmarks/base.tsv"
    conda:
        "../envs/mini_family.yaml"
    threads: 13
    resources:
        **gpus(1),
        mem_mb=memory(32000, gpus=1),
        disk_mb=1000,
        runtime=minutes(20, gpus=1),
    params:
        seed=MINI_FAMILY["seed"],
        architecture=MINI_FAMILY["architecture"],
        recipe=MINI_FAMILY["base"],
    message:
        "Train the base model of the mini family"
    script:
        "../scripts/mini_base.py"


rule mini_parent:
    input:
        base="results/mini_family/base.safetensors",
    output:
        directory("results/mini_family/{parent}"),
    log:
        "results/mini_family/logs/{parent}.log",
    benchmark:
        "results/mini_family/benchmarks/{parent}.tsv"
    wildcard_constraints:
        parent="|".join(MINI_FAMILY["parents"]),
    conda:
        "../envs/mini_family.yaml"
    threads: 13
    resources:
        **gpus(1),
        mem_mb=memory(32000, gpus=1),
        disk_mb=1000,
        runtime=minutes(20, gpus=1),
    params:
        seed=MINI_FAMILY["seed"],
        architecture=MINI_FAMILY["architecture"],
        recipe=lambda wildcards: MINI_FAMILY["parents"][wildcards.parent],
    message:
        "Train {wildcards.parent} of the mini family"
    script:
        "../scripts/mini_parent.py"
