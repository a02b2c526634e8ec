# Everything that the study will need, tried in minutes on the machine or cluster itself, before anything is fetched:
# `snakemake --profile slurm preflight`.  launcher.preflight has these jobs run, and makes a page of them.

# job -> environments that it cannot do without
PREFLIGHT_JOBS = {name: [name] for name in scripts_of(workflow)}
PREFLIGHT_JOBS |= {"node": ["tensors"], "network": ["download"]}
if study.asks:
    PREFLIGHT_JOBS |= {"server": [f"serving_{study.content['serving']['flavour']}"]}
if SANDBOXED:
    PREFLIGHT_JOBS |= {"sandbox": ["benchmarks"]}
if judge_elsewhere():
    PREFLIGHT_JOBS |= {"judge": ["download"]}


# Ready or not, as its status says: 0 if everything is.
rule preflight:
    log:
        preflight_file("preflight.log"),
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    run:
        raise WorkflowError("`preflight` is a target of its own; call it without others.")


localrules:
    preflight,


for environment, scripts in scripts_of(workflow).items():

    rule:
        name:
            f"preflight_{environment}"
        output:
            preflight_file(f"{environment}.json"),
        log:
            preflight_file(f"{environment}.log"),
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
            f"Import what scripts want of {environment}"
        script:
            "../scripts/preflight_environment.py"


rule preflight_node:
    output:
        preflight_file("node.json"),
    log:
        preflight_file("node.log"),
    conda:
        "../envs/tensors.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        disk_mb=100,
        runtime=minutes(15),
    params:
        title=title_of("node"),
        plan=preflight_file("plan.json"),
        folders=preflight_folders(),
        checkpoints=preflight_parents(),
    message:
        "Read, write and merge in a job"
    script:
        "../scripts/preflight_node.py"


if config["network"] == "launcher":

    localrules:
        preflight_network,


rule preflight_network:
    output:
        preflight_file("network.json"),
    log:
        preflight_file("network.log"),
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(15),
    params:
        title=title_of("network"),
        inputs=preflight_inputs(),
        judge=None,
    message:
        "Ask for every repository of the study"
    script:
        "../scripts/preflight_network.py"


if judge_elsewhere():

    use rule preflight_network as preflight_judge with:
        output:
            preflight_file("judge.json"),
        log:
            preflight_file("judge.log"),
        params:
            title=title_of("judge"),
            inputs={},
            judge=judge_elsewhere(),
        message:
            "Ask for the judge elsewhere"

    if config["network"] == "launcher":

        localrules:
            preflight_judge,


if study.asks:

    rule preflight_server:
        output:
            preflight_file("server.json"),
        log:
            job=preflight_file("server.log"),
            server=preflight_file("vllm.log"),
        conda:
            serving_environment
        threads: serving["threads"]
        resources:
            **server_resources | {"runtime": minutes(60, serving["gpus"]), "start_minutes": 45},
        params:
            title=title_of("server"),
            checkpoints=preflight_parents(),
            serving=served,
        message:
            "Merge while loading, serve, and answer"
        script:
            "../scripts/preflight_server.py"


if SANDBOXED:

    rule preflight_sandbox:
        output:
            preflight_file("sandbox.json"),
        log:
            preflight_file("sandbox.log"),
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
