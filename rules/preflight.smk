# Check what the study will need, in minutes, on the machine or cluster itself, before anything is fetched:
# `snakemake --profile slurm preflight`.  launcher.preflight.flight runs these jobs and writes a page of their results.


# Exits with status 0 if everything is ready.
rule preflight:
    log:
        trials.file("preflight.log"),
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    run:
        from snakemake.exceptions import WorkflowError

        raise WorkflowError("`preflight` is a target of its own; call it without others.")


localrules:
    preflight,


for environment, scripts in scripts_of(workflow).items():

    rule:
        name:
            f"preflight_{environment}"
        output:
            trials.file(f"{environment}.json"),
        log:
            trials.file(f"{environment}.log"),
        conda:
            f"../envs/{environment}.yaml"
        threads: 1
        resources:
            mem_mb=memory(2000),
            disk_mb=100,
            runtime=minutes(15),
        params:
            title=title_of(environment),
            file=f"envs/{environment}.yaml",
            scripts=scripts,
        message:
            f"Import the modules that scripts need from {environment}"
        script:
            "../scripts/preflight_environment.py"


rule preflight_node:
    output:
        trials.file("node.json"),
    log:
        trials.file("node.log"),
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        disk_mb=100,
        runtime=minutes(15),
    params:
        title=title_of("node"),
        plan=trials.file("plan.json"),
        folders=trials.folders(),
        checkpoints=trials.parents(),
    message:
        "Read, write and merge in a job"
    script:
        "../scripts/preflight_node.py"


if config["network"] == "launcher":

    localrules:
        preflight_network,


rule preflight_network:
    output:
        trials.file("network.json"),
    log:
        trials.file("network.log"),
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(15),
    params:
        title=title_of("network"),
        inputs=trials.inputs,
        judge=None,
    message:
        "Query every repository of the study"
    script:
        "../scripts/preflight_network.py"


if trials.judge_elsewhere():

    use rule preflight_network as preflight_judge with:
        output:
            trials.file("judge.json"),
        log:
            trials.file("judge.log"),
        params:
            title=title_of("judge"),
            inputs={},
            judge=trials.judge_elsewhere(),
        message:
            "Query the external judge"

    if config["network"] == "launcher":

        localrules:
            preflight_judge,


if study.asks:

    rule preflight_server:
        output:
            trials.file("server.json"),
        log:
            job=trials.file("server.log"),
            server=trials.file("vllm.log"),
        conda:
            serving_environment
        threads: serving["threads"]
        resources:
            **server_resources | {"runtime": minutes(60, serving["gpus"]), "start_minutes": 45},
        params:
            title=title_of("server"),
            checkpoints=trials.parents(),
            serving=answers.server,
        message:
            "Merge while loading, serve, and answer"
        script:
            "../scripts/preflight_server.py"


if run.sandboxed:

    rule preflight_sandbox:
        output:
            trials.file("sandbox.json"),
        log:
            trials.file("sandbox.log"),
        conda:
            "../envs/benchmarks.yaml"
        threads: 1
        resources:
            mem_mb=memory(sandbox_mem_mb),
            disk_mb=100,
            runtime=minutes(15),
        params:
            title=title_of("sandbox"),
            sandbox=sandbox,
        message:
            "Run a program in the sandbox"
        script:
            "../scripts/preflight_sandbox.py"
