# From raw answers to scores: no rule here needs a GPU, or a model.


rule score:
    input:
        answers=collect("results/{{study}}/answers/{{variant}}/{benchmark}.eval", benchmark=benchmarks),
        marks=answers.grade_files,
    output:
        "results/{study}/scores/{variant}.parquet",
    log:
        "results/{study}/logs/score/{variant}.log",
    conda:
        "../envs/benchmarks.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        disk_mb=1000,
        runtime=minutes(60),
    params:
        tokenizer=answers.tokenizer,
        marks=answers.grades,
    message:
        "Score {wildcards.variant}"
    script:
        "../scripts/score.py"


rule scores:
    input:
        collect("results/{{study}}/scores/{variant}.parquet", variant=study.variants),
    output:
        "results/{study}/scores.parquet",
    log:
        "results/{study}/logs/scores.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=1000,
        runtime=minutes(10),
    message:
        "Join the scores of all variants"
    script:
        "../scripts/scores.py"


rule summary:
    input:
        "results/{study}/scores.parquet",
        realized=inputs.realized,
    output:
        summary=report(
            "results/{study}/summary.csv",
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "All variants"},
        ),
        transitions=report(
            "results/{study}/transitions.csv",
            caption="../report/transitions.rst",
            category="Tables",
            labels={"table": "Fitted transitions"},
        ),
        curves="results/{study}/transition_curves.csv",
        comparisons=report(
            "results/{study}/comparisons.csv",
            caption="../report/comparisons.rst",
            category="Tables",
            labels={"table": "Variants on the same questions"},
        ),
        categories=report(
            "results/{study}/categories.csv",
            caption="../report/categories.rst",
            category="Tables",
            labels={"table": "By category and turn"},
        ),
        unreadable=report(
            "results/{study}/unreadable.csv",
            caption="../report/unreadable.rst",
            category="Tables",
            labels={"table": "Answers that could not be read"},
        ),
    log:
        "results/{study}/logs/summary.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(30),
    params:
        variants=study.table(),
        models=list(study.models),
        sweeps=study.positions(over_lambda2=True),
        pairs=study.pairs(),
        scores=study.content["scores"],
    message:
        "Summarize all variants and fit the transitions"
    script:
        "../scripts/summary.py"


# Does the realized λ2 explain what the asked one does not?
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
