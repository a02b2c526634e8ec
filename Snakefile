# Assembly of Experts: new language models from the weights of existing ones, reproducibly.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/verify.smk"
include: "rules/diff.smk"
include: "rules/merge.smk"
include: "rules/serve.smk"
include: "rules/score.smk"
include: "rules/figures.smk"
include: "rules/mini_family.smk"


report: "report/workflow.rst"


rule all:
    default_target: True
    input:
        collect("results/{study}/summary.csv", study=study.name),
        collect("results/{study}/figures/{figure}.svg", study=study.name, figure=FIGURES),
        collect("results/{study}/merged/{variant}/recipe.json", study=study.name, variant=PUBLISHED),


rule verify_all:
    input:
        collect("results/{study}/verified/{model}.json", study=study.name, model=study.models),
