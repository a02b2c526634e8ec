"""The server that a rule's job asks, as its input, params and resources say."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.stated import true_config
from aoe.merging.plan import Plan
from aoe.merging.publishing import lay_beside
from aoe.nodes.fitness import Wanted, check, served_in_fp8
from aoe.serving.loaded import check_same
from aoe.serving.pins import family_of
from aoe.serving.server import Server

if TYPE_CHECKING:
    from snakemake.iocontainers import Snakemake


def server_of(job: Snakemake, name: str, options: Mapping[str, Any] | None = None) -> Server:
    """Return a Server, not started yet, for the variant or model ``name``; job: the script's ``snakemake``
    object; options: of vLLM, which go before those of the study's section ``serving``.

    Raises AoeError if the node cannot serve, before anything is read.
    """
    serving, resources = job.params.serving, job.resources
    options = serving["options"] | (options or {})
    plan = job.input.get("plan")
    model = served_folder(job.params.checkpoints, plan, Path(f"{job.log.server}.model"))
    check(wanted_of(job, options, model))
    return Server(
        name=name,
        checkpoints=job.params.checkpoints,
        plan=plan,
        log=job.log.server,
        options=options,
        environment=serving["environment"],
        nodes=resources.get("nodes", 1),
        threads=job.threads,
        patience=60 * resources.start_minutes,
        check=bool(resources.check_weights),
        model=model,
    )


def served_folder(checkpoints: Mapping[str, str], plan: Path | str | None, folder: Path) -> str:
    """Return the folder whose config and tokenizer a server uses: the first checkpoint's, if these are the model's.

    checkpoints: name -> folder; plan: path of a Plan, or None; folder: where another config, or tokenizer, is put,
    beside links to all else.
    """
    name, first = next(iter(checkpoints.items()))
    base = Checkpoint(first, name)
    beside = dict(Plan.load(plan).beside if plan else {"config": true_config(base, base.config)})
    if "quantization_config" not in base.config and "config" in beside:
        # the loader dequantizes for a server that was not told of FP8, which not every processor computes with
        beside["config"] = {key: value for key, value in beside["config"].items() if key != "quantization_config"}
    if beside.get("config") == base.config:
        del beside["config"]
    if not beside:
        return first
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lay_beside(first, folder, lambda source, target: target.symlink_to(source.resolve()), beside, checkpoints)
    return str(folder.absolute())


def wanted_of(job: Snakemake, options: Mapping[str, Any], checkpoint: Path | str) -> Wanted:
    """Return what a server with these options of vLLM asks of its node; checkpoint: the folder with its config."""
    environment, resources = job.params.serving["environment"], job.resources
    return Wanted(
        flavour=family_of(resources.flavour),
        gpus=resources.get("gpu", 0),
        options=options,
        environment=environment,
        nodes=resources.get("nodes", 1),
        mem_mb=resources.mem_mb,
        gpu_model=resources.get("gpu_model"),
        fp8=served_in_fp8(checkpoint, options),
    )


def settings_of(server: Server) -> str:
    """Return a digest of a server's settings, by which another server of the same variant is compared with it."""
    return hashlib.sha256(json.dumps(server.settings, sort_keys=True).encode()).hexdigest()


def check_as_answered(job: Snakemake, server: Server) -> None:
    """Raise AoeError unless a server was given the weights that the study's answers are from, and, if it was told the
    same, computes with the same; job: the script's ``snakemake`` object, whose input ``answered`` is their record."""
    answered = json.loads(Path(job.input.answered).read_text(encoding="utf-8"))
    told_the_same = answered.get("settings") == settings_of(server)
    # with other options there may be other workers, who are given other parts
    if told_the_same or len(answered.get("loaded", [])) == len(server.loaded()):
        check_same(answered["loaded"], server.loaded(), ["handed", "held"] if told_the_same else ["handed"])
