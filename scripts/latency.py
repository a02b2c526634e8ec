"""How fast one variant answers the study's queues of questions, and with how much energy: alone on its machine."""

from typing import TYPE_CHECKING

import pandas as pd
from aoe.files.tables import write_table
from aoe.nodes.energy import Meter
from aoe.nodes.machine import hardware, in_words
from aoe.serving.sampling import end_ids, with_ends
from benchmarks.catalog import task_of
from benchmarks.throughput import measures, put
from job.code import record_code
from job.logging import logged
from job.server import check_as_answered, server_of

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

IDLE_SECONDS = 3  # in which the power of a server that is asked nothing is measured

with logged(snakemake.log.job):
    record_code(snakemake)
    variant, settings = snakemake.wildcards.variant, snakemake.params.latency
    meter, machine, rows = Meter(), in_words(hardware()), []
    with server_of(snakemake, variant, settings.get("options")) as server:
        check_as_answered(snakemake, server)
        ends = end_ids(snakemake.params.serving.get("ends", []), server.model)
        asked = with_ends(snakemake.params.benchmark, ends)
        for queue in settings["queues"]:
            benchmark = asked | {"questions": queue["questions"]}
            task = task_of(settings["benchmark"], benchmark, snakemake.params.dataset)
            # one queue more than is counted: the first one finds cold caches
            for repeat in range(settings["repeats"] + 1):
                idle, before = meter.watts(IDLE_SECONDS), meter.joules()
                answers, seconds = put(task, benchmark["seed"], variant, server.url, server.key, queue["at_once"])
                after = meter.joules()
                used = None if before is None or after is None else after - before
                row = {"variant": variant, "at_once": queue["at_once"], "repeat": repeat, **measures(answers, seconds)}
                row |= {"idle_watts": idle, "joules_an_answer": None if used is None else used / len(answers)}
                rows += [row | {"machine": machine}] if repeat else []
    table = pd.DataFrame(rows).round(6)
    write_table(table, snakemake.output[0])
    print(table.to_string())
