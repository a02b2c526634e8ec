# Pack a finished study with its provenance into one file, a Workflow Run RO-Crate: `snakemake crate`.
from snakemake import __version__ as snakemake_release


rule crate:
    input:
        targets.finished,
    output:
        results.path("crate.zip"),
    log:
        results.path("logs", "crate.log"),
    conda:
        "../envs/paper.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=10_000,
        runtime=minutes(120),
    params:
        study=study.name,
        snakemake=snakemake_release,
        agent=config.get("agent"),
    message:
        "Pack the study with its provenance"
    script:
        "../scripts/crate.py"
