# Assembly of Experts: new language models from the weights of existing ones, reproducibly.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/download.smk"
include: "rules/verify.smk"
include: "rules/diff.smk"
include: "rules/merge.smk"
include: "rules/realized.smk"
include: "rules/audit.smk"
include: "rules/prediction.smk"


if study.asks:

    include: "rules/serve.smk"
    include: "rules/score.smk"
    include: "rules/figures.smk"


if run.timed:

    include: "rules/latency.smk"


if run.judged:

    include: "rules/judge.smk"


if run.sandboxed:

    include: "rules/programs.smk"


include: "rules/paper.smk"
include: "rules/crate.smk"
include: "rules/mini_family.smk"
include: "rules/cost.smk"
include: "rules/preflight.smk"


report: "report/workflow.rst"


rule all:
    default_target: True
    input:
        targets.finished,


for every in workflow.rules:
    every.resources["turn"] = jobs.turn

# What every rule's script executes, in the params of the rule.
code.attach()
