"""How fast one variant answers the study's queue of questions, and with how much energy: alone on its machine."""

import statistics

import pandas as pd
from aoe.energy import Meter
from aoe.serving import Server
from benchmarks.catalog import task_of
from benchmarks.queueing import put
from joblog import logged

IDLE_SECONDS = 3  # in which the power of a server that is asked nothing is measured

with logged(snakemake.log.job):
    variant, settings, serving = snakemake.wildcards.variant, snakemake.params.latency, snakemake.params.serving
    meter, rows = Meter(), []
    server = Server(
        name=variant,
        checkpoints=snakemake.params.checkpoints,
        plan=snakemake.input.get("plan"),
        log=snakemake.log.server,
        options=serving["options"],
        environment=serving["environment"],
        nodes=snakemake.resources.get("nodes", 1),
        threads=snakemake.threads,
        patience=60 * snakemake.resources.start_minutes,
    )
    with server:
        for queue in settings["queues"]:
            benchmark = snakemake.params.benchmark | {"questions": queue["questions"]}
            task = task_of(settings["benchmark"], benchmark, snakemake.params.dataset)
            # one queue more than is counted: the first one finds cold caches
            for repeat in range(settings["repeats"] + 1):
                idle, before = meter.watts(IDLE_SECONDS), meter.joules()
                answers, seconds = put(task, benchmark["seed"], variant, server.url, server.key, queue["at_once"])
                used = None if before is None else meter.joules() - before
                tokens = sum(answer.tokens for answer in answers)
                row = {
                    "variant": variant,
                    "at_once": queue["at_once"],
                    "repeat": repeat,
                    "answers": len(answers),
                    "tokens": tokens,
                    "seconds": seconds,
                    "seconds_to_first": statistics.median(answer.seconds_to_first for answer in answers),
                    "seconds_an_answer": statistics.median(answer.seconds for answer in answers),
                    "tokens_per_second_of_an_answer": tokens / sum(answer.seconds for answer in answers),
                    "answers_per_second": len(answers) / seconds,
                    "tokens_per_second": tokens / seconds,
                    "idle_watts": idle,
                    "joules_an_answer": None if used is None else used / len(answers),
                }
                rows += [row] if repeat else []
    table = pd.DataFrame(rows).round(6)
    table.to_csv(snakemake.output[0], index=False)
    print(table.to_string())
