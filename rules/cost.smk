# What a study takes, before anybody submits it: `snakemake --profile slurm cost`.


localrules:
    cost,


# In the launcher's own environment: it asks Snakemake.
rule cost:
    log:
        results.path("cost.txt"),
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    run:
        show_cost(study, run.locked, config, log[0])
