"""How every benchmark asks: one or more turns, each answer begun with a forced opening such as ``<think>``.

The paper enforces a leading ``<think>`` and counts the closing tags [paper, section 3.3].  Here the opening is the
start of an assistant message that the server continues, and tags are counted by token id, not by text.
"""

import zlib
from collections.abc import Sequence
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalSample
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig
from inspect_ai.solver import Solver, solver
from tenacity import RetryError
from aoe import AoeError
from aoe.serving.templates import END_THINK, THINK

RETRIES = 3  # of a request: enough for a hiccup, few enough to notice soon that the server is dead
CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}


def make_task(
    name: str,
    samples: Sequence[Sample],
    *,
    seed: int,
    temperature: float | None,
    top_p: float,
    max_tokens: int,
    force_think: bool = True,
    answers: int = 1,
    **sampling: Any,
) -> Task:
    """Return the Inspect task of a benchmark.

    samples: its questions; temperature: None if each sample's metadata says its own; force_think: begin every answer
    with ``<think>``; answers: how often each question is asked, every time with a seed of its own; max_tokens: of an
    answer; sampling: further parameters by the names of vLLM, such as ``top_k`` (see aoe.serving.sampling.NEUTRAL).
    The task only asks: its answers are graded afterwards, from the log.
    """
    opening = THINK if force_think else ""
    return Task(
        name=name,
        dataset=MemoryDataset(samples),
        solver=answer_turns(opening, seed, by_question=temperature is None),
        epochs=answers,
        config=GenerateConfig(
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            max_retries=RETRIES,
            extra_body=(CONTINUE if opening else {}) | sampling,
        ),
    )


@solver
def answer_turns(opening: str, seed: int, by_question: bool = False) -> Solver:
    """Ask the sample's input and then its metadata's ``follow_ups``.

    The conversation is kept as a reader sees it, and with every answer, as its message's metadata, what was measured.

    Each answer is sampled with its own seed, made from ``seed``, the sample's id, the turn and, from the second time
    that a question is asked, the epoch, so that it depends neither on the order of the requests nor on other questions.
    by_question: sample at the temperature of the sample's metadata.
    """

    async def solve(state, generate):
        for turn, question in enumerate([None, *state.metadata.get("follow_ups", [])]):
            if question is not None:
                state.messages.append(ChatMessageUser(content=question))
            if opening:
                state.messages.append(ChatMessageAssistant(content=opening))
            own = {"temperature": state.metadata["temperature"]} if by_question else {}
            own["seed"] = answer_seed(seed, state.sample_id, turn, state.epoch)
            try:
                state = await generate(state, **own)
            except RetryError as error:  # what was wrong at last, rather than that it was tried again
                raise AoeError(f"asked {RETRIES + 1} times, last: {error.last_attempt.exception()}") from None
            choice, seconds = state.output.choices[0], state.output.time
            text = opening + choice.message.text
            measured = {
                "text": text,
                "opening": opening,
                "token_ids": choice.message.metadata["token_ids"],
                "finish": choice.stop_reason,
                "seconds": seconds,
                "seconds_to_first": seconds - choice.message.metadata["seconds_after_first"],
            }
            # the conversation goes on with what a reader was shown, not with the reasoning before it
            del state.messages[-2 if opening else -1 :]
            state.messages.append(ChatMessageAssistant(content=visible(text, opening), metadata=measured))
        return state

    return solve


def answers_of(sample: EvalSample) -> list[dict[str, Any]]:
    """Return what was measured of every answer in a sample of an Inspect log.

    It is ``text`` (whole, with the ``opening`` that was forced), ``token_ids`` (a list), ``finish`` (Inspect's stop
    reason), ``seconds`` and ``seconds_to_first``.
    """
    found = [message.metadata for message in sample.messages if message.role == "assistant"]
    return [answer | {"token_ids": [int(id_) for id_ in answer["token_ids"].split()]} for answer in found]


def answer_seed(seed: int, sample: str | int, turn: int, epoch: int = 1) -> int:
    """Return the seed of one answer, 0 to 2³¹ - 1."""
    place = f"{seed}/{sample}/{turn}" + (f"/{epoch}" if epoch > 1 else "")
    return zlib.crc32(place.encode()) & 0x7FFFFFFF


def visible(text: str, opening: str = "") -> str:
    """Return what a reader is shown of an answer: the text after the last closing tag, else all but the opening."""
    return text.rsplit(END_THINK, 1)[-1].removeprefix(opening).strip()
