"""How fast one variant answers the study's queue of questions, and with how much energy: alone on its machine."""

import shutil
import statistics
import time
from datetime import datetime
from pathlib import Path

import pandas as pd
from inspect_ai.log import read_eval_log
from aoe.energy import Meter
from aoe.serving import Server
from benchmarks.answering import answers_of
from benchmarks.asking import ask
from benchmarks.catalog import task_of
from joblog import logged

IDLE_SECONDS = 3  # in which the power of a server that is asked nothing is measured


def seconds_between(first, last):
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


with logged(snakemake.log.job):
    variant, settings, serving = snakemake.wildcards.variant, snakemake.params.latency, snakemake.params.serving
    folder, meter, rows = Path(snakemake.output[0]).with_suffix(""), Meter(), []
    shutil.rmtree(folder, ignore_errors=True)
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
            # one queue more than is counted: the first one finds cold caches
            for repeat in range(settings["repeats"] + 1):
                benchmark = snakemake.params.benchmark | {"questions": queue["questions"]}
                task = task_of(settings["benchmark"], benchmark, snakemake.params.dataset)
                logs = folder / f"{queue['at_once']}-{repeat}"
                idle, before, began = meter.watts(IDLE_SECONDS), meter.joules(), time.perf_counter()
                found = ask([task], variant, server.url, server.key, queue["at_once"], logs)
                passed = time.perf_counter() - began
                used = None if before is None else meter.joules() - before
                samples = read_eval_log(found[settings["benchmark"]]).samples
                if repeat == 0:
                    continue
                answers = [answer for sample in samples for answer in answers_of(sample)]
                tokens = sum(len(answer["token_ids"]) for answer in answers)
                start, end = min(s.started_at for s in samples), max(s.completed_at for s in samples)
                wall = seconds_between(start, end)
                busy = [answer["seconds"] for answer in answers]
                first = [answer["seconds_to_first"] for answer in answers]
                rows.append(
                    {
                        "variant": variant,
                        "at_once": queue["at_once"],
                        "repeat": repeat,
                        "answers": len(answers),
                        "tokens": tokens,
                        "seconds": wall,
                        "seconds_to_first": statistics.median(first),
                        "seconds_an_answer": statistics.median(busy),
                        "tokens_per_second_of_an_answer": tokens / sum(busy),
                        "answers_per_second": len(answers) / wall,
                        "tokens_per_second": tokens / wall,
                        "idle_watts": idle,
                        # while it was answered, without what was used before the first question and after the last
                        "joules_an_answer": None if used is None else (used - idle * (passed - wall)) / len(answers),
                    }
                )
    shutil.rmtree(folder)
    table = pd.DataFrame(rows).round(6)
    table.to_csv(snakemake.output[0], index=False)
    print(table.to_string())
