# Is every file what the lock says?  Nothing else reads a model before its receipt is there.
# The rule `lock` never overwrites the lock that a study names: it writes a new one, to be looked at and copied there.


localrules:
    lock,


rule lock:
    output:
        "results/{study}/lock.json".format(study=study.name),
    log:
        "results/{study}/logs/lock.log".format(study=study.name),
    conda:
        "../envs/tensors.yaml"
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        directories={model: entry["path"] for model, entry in study.models.items()},
    message:
        "Lock the files of all models"
    script:
        "../scripts/lock.py"


rule verify:
    input:
        files=model_files,
        lock=study.content["lock"],
    output:
        "results/{study}/verified/{model}.json",
    log:
        "results/{study}/logs/verify/{model}.log",
    # before anything else that is ready: a bad file should end the run before a server starts
    priority: 100
    conda:
        "../envs/tensors.yaml"
    threads: 2
    resources:
        mem_mb=1000,
        runtime=120,
    params:
        directory=model_directory,
    message:
        "Verify {wildcards.model}: sizes, SHA-256 and shard headers"
    script:
        "../scripts/verify.py"
