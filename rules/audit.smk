# Compare an audited model with its parents and with its claimed recipe, and recover the recipe: `snakemake audit`.


localrules:
    audit,


rule audit_shard:
    input:
        unpack(audits.needed),
    output:
        "results/{study}/audits/{audit}/shards/{shard}.parquet",
    log:
        "results/{study}/logs/audit/{audit}/{shard}.log",
    benchmark:
        "results/{study}/benchmarks/audit/{audit}/{shard}.tsv"
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        disk_mb=100,
        runtime=minutes(60),
    params:
        settings=audits.settings,
        checkpoints=audits.checkpoints,
        revisions=audits.revisions,
    message:
        "Find the parents of the weights of {wildcards.audit}, {wildcards.shard}"
    script:
        "../scripts/audit_shard.py"


rule audit_verdict:
    input:
        unpack(audits.needed),
        shards=audits.shard_tables,
    output:
        audit="results/{study}/audits/{audit}/audit.json",
        recipe="results/{study}/audits/{audit}/recovered.yaml",
        weights="results/{study}/audits/{audit}/weights.parquet",
        lambdas="results/{study}/audits/{audit}/lambdas.csv",
        map="results/{study}/audits/{audit}/map.csv",
        deviations="results/{study}/audits/{audit}/deviations.csv",
    log:
        "results/{study}/logs/audit/{audit}.log",
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        disk_mb=1000,
        runtime=minutes(60),
    params:
        settings=audits.settings,
        checkpoints=audits.checkpoints,
        claim=audits.claim,
        revisions=audits.revisions,
        digests=audits.digests,
    message:
        "Recover the recipe of {wildcards.audit}, and give the verdict"
    script:
        "../scripts/audit_verdict.py"


rule audit_map:
    input:
        "results/{study}/audits/{audit}/map.csv",
    output:
        svg=report(
            "results/{study}/audits/{audit}/map.svg",
            caption="../report/audit_map.rst",
            category="Audits",
            labels={"audit": "{audit}", "what": "Map"},
        ),
        pdf="results/{study}/audits/{audit}/map.pdf",
        png="results/{study}/audits/{audit}/map.png",
    log:
        "results/{study}/logs/audit/{audit}.map.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    params:
        settings=audits.settings,
        labels=audits.labels,
    message:
        "Draw the map of {wildcards.audit}: its parents by layer and group"
    script:
        "../scripts/audit_map.py"


rule audit_page:
    input:
        audit="results/{study}/audits/{audit}/audit.json",
        recipe="results/{study}/audits/{audit}/recovered.yaml",
        lambdas="results/{study}/audits/{audit}/lambdas.csv",
        deviations="results/{study}/audits/{audit}/deviations.csv",
        map="results/{study}/audits/{audit}/map.svg",
        template="report/audit.html.j2",
        style="report/page.css",
    output:
        report(
            "results/{study}/audits/{audit}/audit.html",
            caption="../report/audit.rst",
            category="Audits",
            labels={"audit": "{audit}", "what": "Verdict"},
        ),
    log:
        "results/{study}/logs/audit/{audit}.page.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    params:
        labels=audits.labels,
    message:
        "Write the page of the audit {wildcards.audit}"
    script:
        "../scripts/audit_page.py"


# Fails unless everything is verified, for use in scripts.  The pages are written in any case.
rule audit:
    input:
        audits.files(),
    log:
        results.path("audits", "verdicts.txt"),
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    run:
        show_verdicts(study, log[0])
