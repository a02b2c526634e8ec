"""The server that a rule's job asks, as its input, params and resources say."""

from aoe.serving import Server


def server_of(job, name, options=None):
    """An aoe.serving.Server, not started yet, for what is called ``name``; job: the script's ``snakemake`` object;
    options: of vLLM, which go before those of the study's section ``serving``."""
    serving = job.params.serving
    return Server(
        name=name,
        checkpoints=job.params.checkpoints,
        plan=job.input.get("plan"),
        log=job.log.server,
        options=serving["options"] | (options or {}),
        environment=serving["environment"],
        nodes=job.resources.get("nodes", 1),
        threads=job.threads,
        patience=60 * job.resources.start_minutes,
    )
