"""Does a server of small models start as the study's servers will, merge while it loads, and answer?"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from inspect_ai.log import read_eval_log
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.widening import widen
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from aoe.nodes.fitness import described, look
from aoe.nodes.machine import hardware, in_words
from aoe.nodes.readiness import trying
from aoe.nodes.trial import too_narrow, trial_options, world
from aoe.serving.server import Server
from benchmarks.catalog import scored_rows, task_of
from benchmarks.runner import ask
from job.logging import logged
from job.server import wanted_of

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

NAME = "trial"
WEIGHTS = (0.25, 0.75)  # of the base and the other parent: a mixture that answers as well as the other
QUESTIONS = {"questions": 16, "seed": 1}
LEAST_RIGHT = 0.5  # of the answers; the mixture has 0.97, by vLLM on CPUs and on NVIDIA's GPUs


def share_right(server: Server, folder: str) -> float:
    """The share of arithmetic questions that a server answers rightly."""
    task = task_of("arithmetic", QUESTIONS)
    logs = ask([task], NAME, server.url, server.key, QUESTIONS["questions"], folder)
    rows = [row["right"] for log in logs.values() for row in scored_rows(read_eval_log(log), end_think=-1)]
    return sum(rows) / len(rows)


with (
    logged(snakemake.log.job),
    trying(snakemake.params.title, snakemake.output[0], snakemake.log.job) as check,
    tempfile.TemporaryDirectory(dir=Path(snakemake.output[0]).parent) as scratch,  # which all nodes see
):
    serving, checkpoints = snakemake.params.serving, dict(snakemake.params.checkpoints)
    base, other = checkpoints
    options, changes = trial_options(serving["options"])
    with check.phase("node"):
        # what the study's own options ask for, too: its servers are larger
        node, found = look(wanted_of(snakemake, serving["options"], checkpoints[base]))
        print("\n".join(described(node)))
        for finding in found:
            (check.problem if finding.fatal else check.warn)(finding.sentence)
    if not any(finding.fatal for finding in found):
        check.fact(f"{in_words(hardware())}.")
        nodes = snakemake.resources.get("nodes", 1)
        if world(options) % nodes:
            changes.append(f"it is on one node instead of {nodes}")
            nodes = 1
        check.facts += [f"Other than in the study: {change}." for change in changes]
        with check.phase("plan"):
            if too_narrow(options, checkpoints[base]):
                ranks = int(options["tensor-parallel-size"])
                for name, folder in checkpoints.items():
                    checkpoints[name] = f"{scratch}/{name}"
                    widen(folder, checkpoints[name], ranks, bool(options.get("enable-expert-parallel")))
                check.fact(f"The small models' layers were widened, so that {ranks} GPUs can share them.")
            parents = {name: Checkpoint(path, name) for name, path in checkpoints.items()}
            recipe = read_recipe(NAME, {"base": base, "weights": dict(zip(parents, WEIGHTS, strict=True))}, parents)
            plan = Path(scratch) / "plan.json"
            make_plan(recipe, parents).save(plan)
        server = Server(
            name=NAME,
            checkpoints=checkpoints,
            plan=plan,
            log=snakemake.log.server,
            options=options,
            environment=serving["environment"],
            nodes=nodes,
            threads=snakemake.threads,
            patience=60 * snakemake.resources.start_minutes,
            check=bool(snakemake.resources.check_weights),
        )
        with check.phase("start"):
            server.__enter__()
        try:
            server.loaded()  # raises if workers were given different weights
            used = [f"{what}: {', '.join(names)}" for what, names in server.backends().items()]
            check.fact(f"It computes with {'; '.join(used) or 'what its log does not name'}.")
            with check.phase("answers"):
                share = share_right(server, f"{scratch}/answers")
        finally:
            with check.phase("stop"):
                server.__exit__()
        check.fact(f"{share:.0%} of {QUESTIONS['questions']} answers are right.")
        if share < LEAST_RIGHT:
            check.problem(
                f"The server computes something else than the model: {share:.0%} of its answers are right, and "
                f"{LEAST_RIGHT:.0%} are the least; look at the backends in {snakemake.log.server}."
            )
