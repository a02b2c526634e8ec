# Measure speed and energy of the variants on the same queue of questions.  No other job may run meanwhile.


rule latency:
    input:
        unpack(answers.needed),
        # the server's weights are compared with those behind the answers; new answers trigger no new measurement
        answered=ancient("results/{study}/answers/{variant}/machine.json"),
    output:
        "results/{study}/latency/{variant}.csv",
    log:
        job="results/{study}/logs/latency/{variant}.log",
        server="results/{study}/logs/latency/{variant}.server.log",
    conda:
        serving_environment
    threads: workflow.cores or 1
    resources:
        **server_resources,
    params:
        checkpoints=answers.checkpoints,
        revisions=answers.revisions,
        latency=study.content["latency"],
        benchmark=benchmarks[study.content["latency"]["benchmark"]],
        dataset=answers.timed_dataset,
        serving=answers.served,
    message:
        "Measure the latency of {wildcards.variant}"
    script:
        "../scripts/latency.py"


rule latencies:
    input:
        collect("results/{{study}}/latency/{variant}.csv", variant=run.timed),
    output:
        report(
            "results/{study}/latency.csv",
            caption="../report/latency.rst",
            category="Tables",
            labels={"table": "Speed and energy"},
        ),
    log:
        "results/{study}/logs/latencies.log",
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        disk_mb=100,
        runtime=minutes(10),
    message:
        "Join the speed and energy of all variants"
    script:
        "../scripts/latencies.py"
