# Compare every file with the lock.  Nothing else reads a model before it is verified.


rule verify_input:
    input:
        inputs.records,
    output:
        # kept while the job runs: one that fails must not make everything that was built on the old one be built again
        update("results/{study}/verified/{name}.json"),
    log:
        "results/{study}/logs/verify/{name}.log",
    # before anything else that is ready: a bad file should end the run before a server starts
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
        files=inputs.needed_facts,
        receipts="results/{study}/receipts/{name}",
        doubtful=inputs.doubtful,
        audited=inputs.is_audited,
    message:
        "Verify {wildcards.name}: sizes, digests and shard headers"
    script:
        "../scripts/verify_input.py"


# A parent of which a recipe needs some shards only, by a run that needs no others.
use rule verify_input as verify_part with:
    output:
        update("results/{study}/verified_for/{variant}/{name}.json"),
    log:
        "results/{study}/logs/verify/{variant}/{name}.log",
    message:
        "Verify what {wildcards.variant} needs of {wildcards.name}"


rule verify:
    input:
        inputs.all_records,
        inputs.all_verified,
