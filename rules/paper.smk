# Write the claims, the document and the entry page from the results.  No rule here needs a model or a GPU.


rule claims:
    input:
        unpack(document.claimed_results),
        claims="config/claims.yaml",
        architecture="resources/deepseek-v3/config.json",
        measured="docs/benchmarks.json",
    output:
        claims=report(
            "results/{study}/claims.csv",
            caption="../report/claims.rst",
            category="Tables",
            labels={"table": "Published claims"},
        ),
        norms=report(
            "results/{study}/norms.csv",
            caption="../report/norms.rst",
            category="Tables",
            labels={"table": "Norms and thresholds"},
        ),
    log:
        "results/{study}/logs/claims.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    params:
        evidence=document.evidence,
        deltas=[1.5, 2.5, 3],
    message:
        "Compare the published claims with the results"
    script:
        "../scripts/claims.py"


rule facts:
    input:
        collect("results/{{study}}/figures/{figure}.csv", figure=targets.figures),
        document.figure_tables,
        document.explained,
        unpack(document.claimed_results),
        claims="config/claims.yaml",
        tables=["results/{study}/claims.csv", "results/{study}/norms.csv"],
        realized=document.realized,
        machines=collect("results/{{study}}/answers/{variant}/machine.json", variant=targets.asked),
    output:
        "results/{study}/paper.json",
    log:
        "results/{study}/logs/facts.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    params:
        study=document.study_facts,
        figures=document.figure_settings,
        settings=document.settings,
        benchmarks=benchmarks,
        audits=study.audits,
        labels=document.labels,
        families=document.families,
    message:
        "Collect the numbers of the document"
    script:
        "../scripts/facts.py"


rule paper:
    input:
        collect("results/{{study}}/figures/{figure}.{ending}", figure=targets.figures, ending=["pdf", "svg"]),
        facts="results/{study}/paper.json",
        template="report/paper.typ",
        style="report/page.css",
    output:
        pdf=report(
            "results/{study}/paper.pdf",
            caption="../report/paper.rst",
            category="Document",
            labels={"document": "The paper, as PDF"},
        ),
        html=report(
            "results/{study}/paper.html",
            caption="../report/paper.rst",
            category="Document",
            labels={"document": "The paper, as a page"},
        ),
    log:
        "results/{study}/logs/paper.log",
    conda:
        "../envs/paper.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    message:
        "Write the paper"
    script:
        "../scripts/paper.py"


rule index:
    input:
        facts="results/{study}/paper.json",
        template="report/index.html.j2",
        style="report/page.css",
    output:
        "results/{study}/index.html",
    log:
        "results/{study}/logs/index.log",
    conda:
        "../envs/paper.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    message:
        "Write the entry page"
    script:
        "../scripts/index.py"
