# Predict from two parents alone what rounding makes of the sweeps: `snakemake prediction`.  One pass over both, or over
# some shards of each (`--config prediction_shards=2`), on CPUs; no model is merged or served.


if prediction.applies:

    # Verify only the shards that a prediction reads, if these are not all.
    use rule verify_input as verify_sample with:
        input:
            prediction.records,
        output:
            update("results/{study}/verified_for_prediction/{name}.json"),
        log:
            "results/{study}/logs/verify/prediction/{name}.log",
        params:
            directory=inputs.directory,
            files=prediction.needed,
            receipts="results/{study}/receipts/{name}",
            doubtful=prediction.doubtful,
            audited=inputs.is_audited,
            whole=False,
        message:
            "Verify the files of {wildcards.name} that the prediction reads"

    rule prediction_shard:
        input:
            prediction.verified,
        output:
            realized="results/{study}/prediction/shards/{shard}.realized.parquet",
            codes="results/{study}/prediction/shards/{shard}.codes.parquet",
        log:
            "results/{study}/logs/prediction/{shard}.log",
        benchmark:
            "results/{study}/benchmarks/prediction/{shard}.tsv"
        conda:
            "../envs/tensors.yaml"
        threads: 1
        resources:
            mem_mb=memory(2000),
            disk_mb=100,
            runtime=minutes(60),
        params:
            sweeps=prediction.sweeps,
            checkpoints=prediction.directories,
            revisions=prediction.revisions,
            files=prediction.chosen,
            file="{shard}",
        message:
            "Predict the realized λ of the sweeps, {wildcards.shard}"
        script:
            "../scripts/prediction_shard.py"

    rule prediction_tables:
        input:
            realized=prediction.tables("realized"),
            codes=prediction.tables("codes"),
        output:
            realized="results/{study}/prediction.csv",
            steps="results/{study}/prediction/steps.csv",
            codes="results/{study}/prediction/codes.csv",
            threshold="results/{study}/prediction/threshold.csv",
        log:
            "results/{study}/logs/prediction.log",
        conda:
            "../envs/analysis.yaml"
        threads: 1
        resources:
            mem_mb=memory(1000),
            disk_mb=100,
            runtime=minutes(10),
        message:
            "Join the predictions of all shards"
        script:
            "../scripts/prediction_tables.py"

    rule prediction_page:
        input:
            realized="results/{study}/prediction.csv",
            steps="results/{study}/prediction/steps.csv",
            codes="results/{study}/prediction/codes.csv",
            threshold="results/{study}/prediction/threshold.csv",
            template="report/prediction.html.j2",
            style="report/page.css",
        output:
            multiext("results/{study}/prediction/figure", ".svg", ".pdf", ".png", ".csv"),
            page="results/{study}/prediction.html",
        log:
            "results/{study}/logs/prediction.page.log",
        conda:
            "../envs/analysis.yaml"
        threads: 1
        resources:
            mem_mb=memory(1000),
            disk_mb=100,
            runtime=minutes(10),
        params:
            labels=prediction.labels,
            revisions=prediction.revisions,
            files=prediction.chosen,
            total=prediction.total,
        message:
            "Say what figures 5, 6 and 7 must look like if rounding decides"
        script:
            "../scripts/prediction_page.py"

    rule prediction:
        input:
            results.path("prediction.csv"),
            results.path("prediction.html"),
