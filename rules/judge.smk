# MT-Bench's answers are graded by a judge: a model of the study, served in this job, or an endpoint elsewhere.
# Verdicts are kept by the hash of what was asked, so only new answers are judged.

judge = study.content.get("judge", {})


rule judge:
    input:
        unpack(needed_to_judge),
        answers=collect("results/{{study}}/answers/{variant}/mt_bench.eval", variant=study.variants),
    output:
        "results/{study}/judgements.parquet",
    log:
        job="results/{study}/logs/judge.log",
        server="results/{study}/logs/judge.server.log",
    conda:
        "../envs/serving.yaml"
    threads: serving["threads"]
    resources:
        mem_mb=serving["mem_mb"],
        gpu=0 if "endpoint" in judge else serving["gpus"],
        runtime=720,
    params:
        judge=judge,
        checkpoints=judge_checkpoints,
        dataset=asked_datasets,
        benchmark=study.content["benchmarks"].get("mt_bench"),
        serving=serving,
        verdicts="results/{study}/verdicts",
    message:
        "Judge the answers to MT-Bench"
    script:
        "../scripts/judge.py"
