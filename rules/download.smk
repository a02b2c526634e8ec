# Lock the files and fetch them: the lock once, then the outlines (a few MB), then whole files, several at a time.
# The rule `lock` never overwrites the lock that a study names.  It writes a new one, to be reviewed and copied there.

import time

from aoe.acquiring.transfer import STALL_SECONDS

if config["network"] == "launcher":

    # compute nodes of clusters often have no network
    localrules:
        lock,
        outline,
        download,


if "downloads" not in workflow.global_resources:
    workflow.register_resource("downloads", config["downloads"])


rule lock:
    output:
        results.path("lock.json"),
    log:
        results.path("logs", "lock.log"),
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(240),
    params:
        inputs=inputs.to_lock(),
        unions=study.unions(),
        old=study.content["lock"],
        asked=time.time(),  # differs every time, so that the rule always runs again
    message:
        "Lock the files of all models and datasets"
    script:
        "../scripts/lock.py"


rule outline:
    input:
        inputs.lock_file,
    output:
        "results/{study}/outline.json",
    log:
        "results/{study}/logs/outline.log",
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=1000,
        runtime=minutes(60),
    params:
        models=list(study.models),
        sources=inputs.model_sources(),
        directories=inputs.directories,
        pairs=study.together(),
        aligned=study.aligned(),
        recipes=inputs.recipes_by_names(),
        reference=study.reference if study.asks else None,
        unions=study.unions(),
    message:
        "Fetch configs, indices and shard headers, and check that the models match"
    script:
        "../scripts/outline.py"


rule download:
    input:
        inputs.outline,
    output:
        "results/{study}/downloaded/{name}/{file}.json",
    log:
        "results/{study}/logs/download/{name}/{file}.log",
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        downloads=1,
        mem_mb=memory(500),
        disk_mb=inputs.file_disk,
        stall_seconds=config.get("stall_seconds", STALL_SECONDS),
        runtime=minutes(720),
    params:
        source=inputs.source,
        commit=inputs.commit,
        directory=inputs.directory,
        facts=inputs.file_entry,
        lost=inputs.lost,
    message:
        "Fetch {wildcards.file} of {wildcards.name}"
    script:
        "../scripts/download.py"


# Fetch everything that the study needs, on a machine with network: `snakemake --cores 8 fetch`.
rule fetch:
    input:
        inputs.all_records,
