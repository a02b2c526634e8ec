# The figures of the paper, one rule each; every figure has its data beside it.

figures = study.content["figures"]


def figure_files(name, caption, title):
    """The outputs of a figure's rule; the SVG is the one that the report shows."""
    path = f"results/{{study}}/figures/{name}"
    shown = report(f"{path}.svg", caption=f"../report/{caption}.rst", category="Figures", labels={"figure": title})
    return [shown, f"{path}.pdf", f"{path}.png", f"{path}.csv"]


rule figure2:
    input:
        "results/{study}/differences.parquet",
    output:
        figure_files("figure2", "figure2", "2: differences by layer and kind"),
    log:
        "results/{study}/logs/figure2.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    params:
        base=figures["base"],
        other=figures["other"],
        space=figures["space"],
    message:
        "Figure 2: differences by layer and kind"
    script:
        "../scripts/figure2.py"


rule figure3:
    input:
        "results/{study}/differences.parquet",
    output:
        figure_files("figure3", "figure3", "3: distribution of differences"),
    log:
        "results/{study}/logs/figure3.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    params:
        base=figures["base"],
        other=figures["other"],
        space=figures["space"],
        published=document.paper_values("figure3"),
    message:
        "Figure 3: distribution of the differences"
    script:
        "../scripts/figure3.py"


rule figure4:
    input:
        summary="results/{study}/summary.csv",
    output:
        figure_files("figure4", "figure4", "4: intelligence against cost"),
    log:
        "results/{study}/logs/figure4.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    params:
        named=study.named,
        sweeps=study.positions(),
        reference=study.reference,
        reference_label=document.reference_label,
        published=document.paper_values("figure4"),
    message:
        "Figure 4: intelligence against inference cost"
    script:
        "../scripts/figure4.py"


rule figure5:
    input:
        summary="results/{study}/summary.csv",
        transitions="results/{study}/transitions.csv",
        curves="results/{study}/transition_curves.csv",
    output:
        figure_files("figure5", "figure5", "5: cost over λ2"),
    log:
        "results/{study}/logs/figure5.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    params:
        measure="cost",
        sweeps=study.positions(over_lambda2=True),
        reference_label=document.reference_label,
        published=document.paper_values("figure5"),
    message:
        "Figure 5: inference cost over λ2"
    script:
        "../scripts/figure_sweep.py"


use rule figure5 as figure6 with:
    output:
        figure_files("figure6", "figure6", "6: </think> over λ2"),
    log:
        "results/{study}/logs/figure6.log",
    params:
        measure="closing",
        sweeps=study.positions(over_lambda2=True),
        reference_label=document.reference_label,
        published=document.paper_values("figure6"),
    message:
        "Figure 6: the closing tag over λ2"


if "threshold" in figures:

    rule figure7a:
        input:
            summary="results/{study}/summary.csv",
        output:
            figure_files("figure7a", "figure7a", "7a: intelligence over δ"),
        log:
            "results/{study}/logs/figure7a.log",
        conda:
            "../envs/analysis.yaml"
        threads: 1
        resources:
            mem_mb=memory(1000),
            disk_mb=100,
            runtime=minutes(10),
        params:
            measure="intelligence",
            points=study.positions()[figures["threshold"]],
            base=figures["base"],
            space=study.content["sweeps"][figures["threshold"]]["space"],
            reference_label=document.reference_label,
            published=document.paper_values("figure7a"),
        message:
            "Figure 7a: intelligence over δ"
        script:
            "../scripts/figure_threshold.py"

    use rule figure7a as figure7b with:
        output:
            figure_files("figure7b", "figure7b", "7b: cost over δ"),
        log:
            "results/{study}/logs/figure7b.log",
        params:
            measure="cost",
            points=study.positions()[figures["threshold"]],
            base=figures["base"],
            space=study.content["sweeps"][figures["threshold"]]["space"],
            reference_label=document.reference_label,
            published=document.paper_values("figure7b"),
        message:
            "Figure 7b: inference cost over δ"


if "assembled" in figures:

    rule figure8:
        input:
            summary="results/{study}/summary.csv",
        output:
            figure_files("figure8", "figure8", "8: the assembled model and its parents"),
        log:
            "results/{study}/logs/figure8.log",
        conda:
            "../envs/analysis.yaml"
        threads: 1
        resources:
            mem_mb=memory(1000),
            disk_mb=100,
            runtime=minutes(10),
        params:
            variants=[figures["base"], figures["assembled"], figures["other"]],
            benchmarks=list(benchmarks),
            reference_label=document.reference_label,
            published=document.paper_values("figure8"),
        message:
            "Figure 8: the assembled model and its parents"
        script:
            "../scripts/figure8.py"
