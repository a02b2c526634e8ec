"""The server that a rule's job asks, as its input, params and resources say."""

import hashlib
import json
from pathlib import Path

from aoe.loaded import check_same
from aoe.node import Wanted, check, served_in_fp8
from aoe.pins import family_of
from aoe.serving import Server


def server_of(job, name, options=None):
    """An aoe.serving.Server, not started yet, for what is called ``name``; job: the script's ``snakemake`` object;
    options: of vLLM, which go before those of the study's section ``serving``.

    Raises AoeError if the node cannot serve, before anything is read.
    """
    serving, resources = job.params.serving, job.resources
    options = serving["options"] | (options or {})
    check(wanted_of(job, options, next(iter(job.params.checkpoints.values()))))
    return Server(
        name=name,
        checkpoints=job.params.checkpoints,
        plan=job.input.get("plan"),
        log=job.log.server,
        options=options,
        environment=serving["environment"],
        nodes=resources.get("nodes", 1),
        threads=job.threads,
        patience=60 * resources.start_minutes,
        check=bool(resources.check_weights),
    )


def wanted_of(job, options, checkpoint):
    """What a server with these options of vLLM asks of its node; checkpoint: the folder whose config it has."""
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


def settings_of(server):
    """A digest of what a server was told, by which another server of the same variant can be compared with it."""
    return hashlib.sha256(json.dumps(server.settings, sort_keys=True).encode()).hexdigest()


def check_as_answered(job, server):
    """Raises AoeError unless a server was given the weights that the study's answers are from, and, if it was told the
    same, computes with the same; job: the script's ``snakemake`` object, whose input ``answered`` is their record."""
    answered = json.loads(Path(job.input.answered).read_text(encoding="utf-8"))
    told_the_same = answered.get("settings") == settings_of(server)
    # with other options there may be other workers, who are given other parts
    if told_the_same or len(answered.get("loaded", [])) == len(server.loaded()):
        check_same(answered["loaded"], server.loaded(), ["handed", "held"] if told_the_same else ["handed"])
