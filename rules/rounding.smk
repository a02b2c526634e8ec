# What rounding makes of λ: simulated parents, and whether the λ that models have explain what they do.

if document.families:

    rule simulated:
        output:
            "results/{study}/simulated.csv",
        log:
            "results/{study}/logs/simulated.log",
        conda:
            "../envs/tensors.yaml"
        threads: 1
        resources:
            mem_mb=memory(1000),
            disk_mb=100,
            runtime=minutes(10),
        params:
            differences=[1.5, 2, 3],
        message:
            "Simulate the realized λ of parents that are as far apart as the paper's δ"
        script:
            "../scripts/simulated.py"


if document.compares_roundings:

    rule explained:
        input:
            scores="results/{study}/scores.parquet",
            realized="results/{study}/realized.parquet",
        output:
            report(
                "results/{study}/explained.csv",
                caption="../report/explained.rst",
                category="Tables",
                labels={"table": "Asked and realized λ2"},
            ),
        log:
            "results/{study}/logs/explained.log",
        conda:
            "../envs/analysis.yaml"
        threads: 1
        resources:
            mem_mb=memory(1000),
            disk_mb=100,
            runtime=minutes(30),
        params:
            families=document.families,
            scores=study.content["scores"],
        message:
            "Test whether the realized λ2 explains the closing tag"
        script:
            "../scripts/explained.py"
