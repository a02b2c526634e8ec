# Compare every file with the lock.  No other rule reads a model before.


rule verify_input:
    input:
        inputs.records,
    output:
        # `update` keeps the file while the job runs: a failed job must not rebuild everything that depends on it
        update("results/{study}/verified/{name}.json"),
    log:
        "results/{study}/logs/verify/{name}.log",
    # before all other ready jobs: a bad file should end the run before a server starts
    priority: 100
    conda:
        "../envs/tensors.yaml"
    threads: 2
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(240),
    params:
        directory=inputs.directory,
        files=inputs.needed_entries,
        receipts="results/{study}/receipts/{name}",
        doubtful=inputs.doubtful,
        audited=inputs.is_audited,
    message:
        "Verify sizes, digests and shard headers of {wildcards.name}"
    script:
        "../scripts/verify_input.py"


# Verify only the shards of a parent that a recipe needs, in a run that needs no others.
use rule verify_input as verify_part with:
    output:
        update("results/{study}/verified_for/{variant}/{name}.json"),
    log:
        "results/{study}/logs/verify/{variant}/{name}.log",
    message:
        "Verify the files of {wildcards.name} that {wildcards.variant} needs"


rule verify:
    input:
        inputs.all_records,
        inputs.all_verified,
