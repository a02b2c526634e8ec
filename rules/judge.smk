# A judge grades the answers to some benchmarks: a model of the study, served in this job, or an endpoint elsewhere.
# Verdicts are kept by the hash of what was asked, so only new answers are judged.

judge = study.content["judge"]
judged = " and ".join(run.titles(run.judged))


# An endpoint elsewhere is asked from where the network is, and needs no GPU.
judge_resources = {"mem_mb": memory(2000), "disk_mb": 1000, "runtime": minutes(720)}
if "endpoint" not in judge:
    judge_resources = server_resources
elif config["network"] == "launcher":

    localrules:
        judge,


rule judge:
    input:
        unpack(answers.needed_to_judge),
        answers=collect(
            "results/{{study}}/answers/{variant}/{benchmark}.eval", variant=study.variants, benchmark=run.judged
        ),
    output:
        judgements="results/{study}/judgements.parquet",
        judge=report(
            "results/{study}/judge.csv",
            caption="../report/judge.rst",
            category="Tables",
            labels={"table": f"The judge of {judged}"},
        ),
    log:
        job="results/{study}/logs/judge.log",
        server="results/{study}/logs/judge.server.log",
    conda:
        serving_environment
    threads: serving["threads"]
    resources:
        **judge_resources,
    params:
        judge=judge,
        revisions=answers.judge_revisions,
        checkpoints=answers.judge_checkpoints,
        datasets=answers.datasets,
        benchmarks=answers.settings_of(run.judged),
        serving=answers.server,
        verdicts="results/{study}/verdicts",
    message:
        f"Judge the answers to {judged}"
    script:
        "../scripts/judge.py"
