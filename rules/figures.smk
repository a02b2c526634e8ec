# The figures of the document, a rule each, out of the registry aoe.document.figures; every figure has its data beside it.

for figure in figures_of(study):

    rule:
        name:
            figure.name
        input:
            document.drawn_from(figure),
        output:
            report(
                f"results/{{study}}/figures/{figure.name}.svg",
                caption="../report/figure.rst",
                category="Figures",
                labels={"figure": f"{figure.number}: {figure.title}"},
            ),
            multiext(f"results/{{study}}/figures/{figure.name}", ".pdf", ".png", ".csv"),
        log:
            f"results/{{study}}/logs/{figure.name}.log",
        conda:
            "../envs/analysis.yaml"
        threads: 1
        resources:
            mem_mb=memory(1000),
            disk_mb=100,
            runtime=minutes(10),
        params:
            **document.figure_params(figure),
        message:
            f"Figure {figure.number}: {figure.title}"
        script:
            "../scripts/figure.py"


# What figure 11 shows beside the study: parents that are as far apart as the thresholds δ of the paper.
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
