"""Where the seconds go until a server answers, and what compiling is worth for a variant of the mini study."""

import json
import re
import time
from pathlib import Path

from aoe.serving import Server
from aoe.study import read_content
from benchmarks.asking import ask
from benchmarks.catalog import task_of
from performance.measure import row

MODEL = "r1"
# what vLLM says of its own start, in seconds
PHASES = {
    "weights": r"Loading weights took ([\d.]+) seconds",
    "model": r"Model loading took .* and ([\d.]+) seconds",
    "compiling": r"torch\.compile took ([\d.]+) s in total",
    "graphs": r"Graph capturing finished in ([\d.]+) secs",
    "engine": r"init engine .* took ([\d.]+) s",
}


def starts(work, runs, study="mini-gpu"):
    """A server in eager mode beside a compiled one: until it answers, and until it has answered the whole study."""
    content = read_content(study, Path(f"config/studies/{study}.yaml"))
    options, kinds = content["serving"]["options"], ("eager", "compiled")
    ready, done, phases = ({kind: [] for kind in kinds} for _ in range(3))
    for number in range(-1, runs):
        for kind in kinds:
            log = work / f"{kind}-{number}.log"
            chosen = options | {"enforce-eager": kind == "eager"}
            folder = {MODEL: content["models"][MODEL]["path"]}
            environment = content["serving"].get("environment", {})
            began = time.perf_counter()
            with Server(MODEL, folder, None, log, chosen, environment) as server:
                seconds = time.perf_counter() - began
                tasks = [task_of(name, settings) for name, settings in content["benchmarks"].items()]
                ask(tasks, MODEL, server.url, server.key, content["serving"]["connections"], work / f"{kind}-{number}")
                answered = time.perf_counter() - began
            if number >= 0:
                ready[kind].append(seconds)
                done[kind].append(answered)
                phases[kind].append(told(log.read_text()))
    said = "; ".join(f"{kind}: {json.dumps(phases[kind][-1])}" for kind in kinds)
    note = f"{MODEL} of the study {study}, in eager mode; reference: compiled, with captured graphs"
    whole = f"{note}; until all questions are answered"
    return [
        row("start_eager_vs_compiled", ready["eager"], ready["compiled"], "s", f"{note}; vLLM's own seconds: {said}"),
        row("study_eager_vs_compiled", done["eager"], done["compiled"], "s", whole),
    ]


def told(log):
    """{phase: seconds} of what vLLM's log says of its start."""
    return {phase: float(found[-1]) for phase, line in PHASES.items() if (found := re.findall(line, log))}
