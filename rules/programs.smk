# Answers to BigCodeBench are programs that nobody has read: they are run here, in a sandbox, and nowhere else.

sandbox = study.content.get("sandbox", {})


rule programs:
    input:
        "results/{study}/answers/{variant}/bigcodebench.eval",
    output:
        "results/{study}/programs/{variant}.parquet",
    log:
        "results/{study}/logs/programs/{variant}.log",
    conda:
        "../envs/benchmarks.yaml"
    threads: sandbox.get("threads", 1)
    resources:
        mem_mb=1500 + sandbox.get("threads", 1) * sandbox.get("memory_mb", 4096),
        runtime=720,
    params:
        sandbox=sandbox,
    message:
        "Run the programs of {wildcards.variant} in the sandbox"
    script:
        "../scripts/programs.py"
