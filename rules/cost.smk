# Estimate the resources of a study before it is submitted: `snakemake --profile slurm cost`.


localrules:
    cost,


# Runs in the launcher's own environment, because it queries Snakemake.
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
