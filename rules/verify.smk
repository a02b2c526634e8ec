# Is every file what the lock says?  Nothing else reads a model before its receipt is there.


def locked_files(wildcards):
    return model_files(wildcards.model)


def model_directory(wildcards):
    return study.models[wildcards.model]["path"]


rule verify:
    input:
        files=locked_files,
        lock=study.content["lock"],
    output:
        "results/{study}/verified/{model}.json",
    log:
        "results/{study}/logs/verify/{model}.log",
    params:
        directory=model_directory,
    threads: 2
    resources:
        mem_mb=1000,
        runtime=120,
    conda:
        "../envs/tensors.yaml"
    message:
        "Verify {wildcards.model}: sizes, SHA-256 and shard headers"
    script:
        "../scripts/verify.py"
