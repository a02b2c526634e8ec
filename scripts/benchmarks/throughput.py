"""A queue of questions for a server, so many at a time, with nothing around it that takes time: for measuring speed."""

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from inspect_ai import Task
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig
from benchmarks import provider
from benchmarks.solver import CONTINUE, THINK, answer_seed


@dataclass(frozen=True)
class Answered:
    """One answer: output ``tokens``, ``seconds`` from request to end, ``seconds_to_first`` token."""

    tokens: int
    seconds: float
    seconds_to_first: float


def put(task: Task, seed: int, model: str, url: str, key: str, at_once: int) -> tuple[list[Answered], float]:
    """Return ([Answered], seconds from the first request to the last answer) of the first turns of an Inspect task.

    The requests are those that benchmarks.runner sends: forced opening, seed of its own each, sampling as the task's.
    seed: the benchmark's; url ends in /v1; at_once: requests under way.  Raises what the endpoint's client raises.
    """
    os.environ |= {provider.URL: url, provider.KEY: key}
    return asyncio.run(_put(task, seed, model, at_once))


def measures(answers: Sequence[Answered], seconds: float) -> dict[str, float]:
    """Sum up what ``put`` returned.

    There are means an answer (tokens; seconds from request to end), the median time to the first token in seconds,
    tokens per second as the asker of one question sees them, and answers and tokens per second of all questions
    together.
    """
    tokens, waited = sum(answer.tokens for answer in answers), sum(answer.seconds for answer in answers)
    return {
        "answers": len(answers),
        "tokens_an_answer": tokens / len(answers),
        "seconds_an_answer": waited / len(answers),
        "seconds_to_first": statistics.median(answer.seconds_to_first for answer in answers),
        "tokens_per_second_of_an_answer": tokens / waited,
        "answers_per_second": len(answers) / seconds,
        "tokens_per_second": tokens / seconds,
    }


async def _put(task, seed, model, at_once):
    server, free = provider.VllmEndpoint(model), asyncio.Semaphore(at_once)

    async def answer(sample):
        own = {"seed": answer_seed(seed, sample.id, 0)}
        if task.config.temperature is None:
            own["temperature"] = sample.metadata["temperature"]
        config = task.config.merge(GenerateConfig(**own))
        messages = [ChatMessageUser(content=sample.input)]
        if CONTINUE.items() <= task.config.extra_body.items():  # answers begin with a forced opening
            messages.append(ChatMessageAssistant(content=THINK))
        async with free:
            start = time.perf_counter()
            output = await server.generate(messages, [], "none", config)
            seconds = time.perf_counter() - start
        said = output.choices[0].message.metadata
        return Answered(len(said["token_ids"].split()), seconds, seconds - said["seconds_after_first"])

    start = time.perf_counter()
    try:
        found = await asyncio.gather(*map(answer, task.dataset))
        return found, time.perf_counter() - start
    finally:
        await provider.close_client()
