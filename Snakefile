# Assembly of Experts: new language models from the weights of existing ones, reproducibly.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/download.smk"
include: "rules/verify.smk"
include: "rules/diff.smk"
include: "rules/merge.smk"
include: "rules/audit.smk"


if study.asks:

    include: "rules/serve.smk"
    include: "rules/score.smk"
    include: "rules/figures.smk"


if "mt_bench" in BENCHMARKS:

    include: "rules/judge.smk"


if "bigcodebench" in BENCHMARKS:

    include: "rules/programs.smk"


include: "rules/mini_family.smk"
include: "rules/cost.smk"
include: "rules/start.smk"


report: "report/workflow.rst"


# Every file that is kept is a target: a product that an interrupted job took away would otherwise not be missed while
# what was once made from it is still there.
rule all:
    default_target: True
    input:
        all_records,
        receipts(study.inputs),
        difference_tables(),
        DIFFERENCES,
        collect("results/{study}/plans/{variant}.json", study=study.name, variant=PLANNED),
        [file for variant in PUBLISHED for file in merged_files(variant)],
        [file for variant in ASKED for file in answer_files(variant)],
        collect("results/{study}/scores/{variant}.parquet", study=study.name, variant=ASKED),
        collect("results/{study}/{table}", study=study.name, table=TABLES),
        collect("results/{study}/figures/{figure}.{ending}", study=study.name, figure=FIGURES, ending=ENDINGS),
        [file for audit in study.audits for file in audit_files(audit)],
