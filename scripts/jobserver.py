"""The server that a rule's job asks, as its input, params and resources say."""

from aoe.node import Wanted, check, served_in_fp8
from aoe.serving import Server


def server_of(job, name, options=None):
    """An aoe.serving.Server, not started yet, for what is called ``name``; job: the script's ``snakemake`` object;
    options: of vLLM, which go before those of the study's section ``serving``.

    Raises AoeError if the node cannot serve, before anything is read.
    """
    serving, resources = job.params.serving, job.resources
    options = serving["options"] | (options or {})
    nodes = resources.get("nodes", 1)
    check(
        Wanted(
            flavour=resources.flavour,
            gpus=resources.get("gpu", 0),
            options=options,
            environment=serving["environment"],
            nodes=nodes,
            mem_mb=resources.mem_mb,
            gpu_model=resources.get("gpu_model"),
            fp8=served_in_fp8(next(iter(job.params.checkpoints.values())), options),
        )
    )
    return Server(
        name=name,
        checkpoints=job.params.checkpoints,
        plan=job.input.get("plan"),
        log=job.log.server,
        options=options,
        environment=serving["environment"],
        nodes=nodes,
        threads=job.threads,
        patience=60 * resources.start_minutes,
    )
