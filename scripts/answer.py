"""Serve one variant with vLLM, put every benchmark question to it, and keep the raw answers as Inspect logs."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoe import AoeError
from aoe.nodes.machine import commit, hardware, software
from aoe.serving.loaded import check_same
from aoe.serving.sampling import NEUTRAL_OPTIONS, end_ids, sampled_with, with_ends
from aoe.serving.servable import check_template
from aoe.serving.templates import template_of
from benchmarks.catalog import task_of
from benchmarks.prompts import Renderer, look
from benchmarks.runner import ask
from job.code import record_code
from job.logging import logged
from job.server import server_of, settings_of

if TYPE_CHECKING:
    from snakemake.iocontainers import Snakemake, snakemake


def digest(job: "Snakemake") -> str:
    """Of all that the answers depend on: what is left of another job's is not taken for this one's."""
    recipes = [
        Path(job.input.get(kind)).read_text(encoding="utf-8") for kind in ("plan", "merged") if job.input.get(kind)
    ]
    settings = [job.params.benchmarks, job.params.datasets, job.params.revisions, job.params.serving, NEUTRAL_OPTIONS]
    return hashlib.sha256(json.dumps([recipes, settings], sort_keys=True).encode()).hexdigest()[:16]


def check_unchanged(loaded: list[dict[str, Any]], note: Path) -> None:
    """Compare what a server was given, and holds, with what an earlier one of these answers did, as noted in a file."""
    if note.exists():
        check_same(json.loads(note.read_text(encoding="utf-8")), loaded)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(loaded), encoding="utf-8")


with logged(snakemake.log.job):
    variant, datasets = snakemake.wildcards.variant, snakemake.params.datasets
    folder = Path(snakemake.output[0]).parent
    unfinished = folder / "unfinished" / digest(snakemake)
    record_code(snakemake, resumed=unfinished.exists())
    for restarts_left in reversed(range(snakemake.resources.restarts + 1)):
        server = server_of(snakemake, variant)
        options = server.settings["options"]
        ends = end_ids(snakemake.params.serving.get("ends", []), server.model)
        benchmarks = {name: with_ends(settings, ends) for name, settings in snakemake.params.benchmarks.items()}
        check_template(variant, server.model, options, benchmarks)
        template = template_of(server.model, options)
        tasks = [
            task_of(name, settings, datasets.get(settings.get("dataset"))) for name, settings in benchmarks.items()
        ]
        with server:
            print(f"{variant} is served on {server.url}")
            loaded, backends = server.loaded(), server.backends()
            check_unchanged(loaded, unfinished.parent / f"{unfinished.name}.loaded.json")
            prompts = look(variant, tasks, benchmarks, Renderer(server.url, server.key, variant), template)
            try:
                logs = ask(tasks, variant, server.url, server.key, snakemake.resources.connections, unfinished)
                break
            except AoeError as error:
                if not (restarts_left and server.has_ended()):
                    raise AoeError(f"{error}; {server.tail()}") from error
                print(f"{error}\nThe server has died; the next one goes on with what is not answered.")
    for name, log in logs.items():
        Path(log).rename(folder / f"{name}.eval")
    ran_on: dict[str, Any] = {"machine": hardware(), "software": software(), "commit": commit(), "backends": backends}
    ran_on |= {"settings": settings_of(server), "loaded": loaded}
    ran_on |= {"sampling": {name: sampled_with(name, settings, options) for name, settings in benchmarks.items()}}
    ran_on |= {"prompts": prompts}
    Path(snakemake.output[0]).write_text(json.dumps(ran_on, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(unfinished.parent)
