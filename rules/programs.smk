# Answers to some benchmarks are programs that nobody has read: they are run here, in a sandbox, and nowhere else.

sandbox = study.content.get("sandbox", {})
sandbox_threads = sandbox.get("threads", 1)
sandbox_mem_mb = 1500 + sandbox_threads * sandbox.get("memory_mb", 4096)


# Once for all variants: which tasks can be graded in this sandbox at all.
rule solvable:
    input:
        inputs.verified(run.datasets),
    output:
        "results/{study}/programs/solvable.json",
    log:
        "results/{study}/logs/programs/solvable.log",
    conda:
        "../envs/benchmarks.yaml"
    threads: sandbox_threads
    resources:
        mem_mb=memory(sandbox_mem_mb),
        disk_mb=1000,
        runtime=minutes(720),
    params:
        sandbox=sandbox,
        benchmarks=answers.settings_of(run.sandboxed),
        datasets=answers.programs_datasets,
        revisions=answers.programs_revisions,
    message:
        "Run the tasks' own solutions in the sandbox"
    script:
        "../scripts/solvable.py"


rule programs:
    input:
        answers=collect("results/{{study}}/answers/{{variant}}/{benchmark}.eval", benchmark=run.sandboxed),
        solvable="results/{study}/programs/solvable.json",
    output:
        "results/{study}/programs/{variant}.parquet",
    log:
        "results/{study}/logs/programs/{variant}.log",
    conda:
        "../envs/benchmarks.yaml"
    threads: sandbox_threads
    resources:
        mem_mb=memory(sandbox_mem_mb),
        disk_mb=1000,
        runtime=minutes(720),
    params:
        sandbox=sandbox,
    message:
        "Run the programs of {wildcards.variant} in the sandbox"
    script:
        "../scripts/programs.py"
