"""Put questions to an endpoint; what was answered before the endpoint, or this process, died is not asked again."""

import gc
import os
from collections.abc import Collection
from contextlib import contextmanager
from pathlib import Path

from inspect_ai import Task, eval_set
from aoe import AoeError
from benchmarks import provider

LONG = 4096  # tokens: an answer that may have as many is written to the disk at once, shorter ones many at a time
TOGETHER = 64


def ask(
    tasks: Collection[Task], model: str, url: str, key: str, connections: int, folder: Path | str
) -> dict[str, str]:
    """Return {task name: path of its Inspect log} once all questions of several tasks are answered.

    model: its name at the endpoint; url ends in /v1; connections: requests under way at once; folder: of nothing but
    this model's logs, in which a call goes on where the one before it was stopped.  Raises AoeError with the reason if
    a question could not be answered.
    """
    os.environ |= {provider.URL: url, provider.KEY: key}  # not as arguments, by which Inspect knows its logs again
    with _few_collections():
        complete, logs = eval_set(
            list(tasks),
            log_dir=str(folder),
            model=f"{provider.NAME}/{model}",
            retry_attempts=0,
            retry_immediate=False,
            log_dir_allow_dirty=True,
            score=False,
            display="plain",
            max_tasks=len(tasks),
            max_connections=connections,
            max_samples=2 * connections,  # so that the next ones are ready to be asked
            log_realtime=False,
            log_buffer=1 if any(task.config.max_tokens >= LONG for task in tasks) else TOGETHER,
        )
    for log in logs:
        if log.status != "success":
            reason = log.error.message if log.error else log.status
            raise AoeError(f"{model} did not finish {log.eval.task}: {reason}")
    if not complete:
        raise AoeError(f"{model} did not answer all questions; the logs in {folder} say why.")
    return {log.eval.task: log.location for log in logs}


@contextmanager
def _few_collections():
    """Python's collector would walk again and again through all that is imported: a third of short answers' time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
