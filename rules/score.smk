# From raw answers to scores: no rule here needs a GPU, or a model.


def end_think_id(wildcards):
    """The token id of </think>, which all models of a study share."""
    tokenizer = Path(study.models[study.reference]["path"]) / "tokenizer.json"
    tokens = json.loads(tokenizer.read_text())["added_tokens"]
    return next(token["id"] for token in tokens if token["content"] == "</think>")


rule score:
    input:
        answers=collect("results/{{study}}/answers/{{variant}}/{benchmark}.eval", benchmark=study.content["benchmarks"]),
    output:
        "results/{study}/scores/{variant}.parquet",
    log:
        "results/{study}/logs/score/{variant}.log",
    params:
        end_think_id=end_think_id,
    resources:
        mem_mb=1500,
        runtime=30,
    conda:
        "../envs/benchmarks.yaml"
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
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../envs/analysis.yaml"
    message:
        "Join the scores of all variants"
    script:
        "../scripts/join.py"


def variant_table(wildcards):
    """What the summary says of each variant besides its scores: label, recipe, and its places in the sweeps."""
    rows = []
    for variant, recipe in study.variants.items():
        rows.append({"variant": variant, "label": study.label(variant), **describe(recipe)})
    return rows


def describe(recipe):
    subset = " ".join(recipe.subset.groups) or "all"
    weights = " + ".join(f"{weight:.3g} {parent}" for parent, weight in recipe.weights.items() if weight)
    return {"weights": weights, "subset": subset, "delta": recipe.threshold.delta}


def sweep_points(wildcards):
    return {sweep: [vars(point) for point in points] for sweep, points in study.sweeps.items()}


rule summary:
    input:
        "results/{study}/scores.parquet",
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
    log:
        "results/{study}/logs/summary.log",
    params:
        variants=variant_table,
        sweeps=sweep_points,
        scores=study.content["scores"],
    resources:
        mem_mb=1000,
        runtime=30,
    conda:
        "../envs/analysis.yaml"
    message:
        "Summarize all variants and fit the transitions"
    script:
        "../scripts/summary.py"
