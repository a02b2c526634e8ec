"""Ask a judge, an OpenAI-compatible endpoint, for verdicts, and keep them by the hash of what was asked."""

import asyncio
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from openai import AsyncOpenAI, BadRequestError, OpenAIError
from aoe import AoeError

RATING = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))  # the published one, and its fallback
LOWEST, HIGHEST = 1, 10


@dataclass(frozen=True)
class Judge:
    """Who judges: ``model`` at ``url``, ``revision`` (of its weights, or the date in its name), how it is sampled, and
    how often it is asked again for a verdict that has none."""

    model: str
    url: str
    revision: str
    temperature: float = 0.0
    max_tokens: int = 2048
    retries: int = 2
    connections: int = 32

    def identity(self):
        """What a verdict depends on beside the question; the address is not part of it."""
        kept = asdict(self)
        for name in ("url", "retries", "connections"):
            del kept[name]
        return kept


@dataclass(frozen=True)
class Verdict:
    """``rating`` from 1 to 10, or None if the judge gave none in ``attempts``; ``text`` is what it said last, or, where
    the endpoint ``refused`` the question (it may be too long for the judge), why."""

    rating: float | None
    text: str
    attempts: int
    refused: bool = False


def rating_of(text):
    """The rating in a judge's answer, or None if there is none, or one that is no rating."""
    for pattern in RATING:
        if found := pattern.search(text):
            rating = float(found[1])
            return rating if LOWEST <= rating <= HIGHEST else None
    return None


def judge_all(judge, key, questions, cache):
    """A Verdict for each of several lists of messages, those in the folder ``cache`` without asking again.

    key: the endpoint's, or "".  Raises AoeError if the judge cannot be reached, or refuses; the verdicts that it has
    given are kept.
    """
    return asyncio.run(_judge_all(judge, key, questions, Path(cache)))


def unjudged(judge, questions, cache):
    """How many of several lists of messages the judge has given no verdict on."""
    return sum(not (Path(cache) / f"{_hash(judge, messages)}.json").exists() for messages in questions)


async def _judge_all(judge, key, questions, cache):
    cache.mkdir(parents=True, exist_ok=True)
    slots = asyncio.Semaphore(judge.connections)
    async with AsyncOpenAI(base_url=judge.url, api_key=key or "none", max_retries=5) as client:

        async def one(messages):
            path = cache / f"{_hash(judge, messages)}.json"
            if path.exists():
                return Verdict(**json.loads(path.read_text())["verdict"])
            async with slots:
                verdict = await _ask(client, judge, messages)
            if verdict.refused:
                return verdict
            partial = path.with_suffix(".partial")
            kept = {"judge": judge.identity(), "messages": messages, "verdict": asdict(verdict)}
            partial.write_text(json.dumps(kept))
            partial.replace(path)
            return verdict

        verdicts = await asyncio.gather(*(one(messages) for messages in questions), return_exceptions=True)
    for verdict in verdicts:
        if isinstance(verdict, OpenAIError):
            reason = type(verdict).__name__ + (f", HTTP {s}" if (s := getattr(verdict, "status_code", None)) else "")
            raise AoeError(f"The judge {judge.model} did not answer ({reason}); what it has judged is kept.")
        if isinstance(verdict, BaseException):
            raise verdict
    if verdicts and all(verdict.refused for verdict in verdicts):
        raise AoeError(f"The judge {judge.model} refuses every question: {verdicts[0].text}")
    return verdicts


async def _ask(client, judge, messages):
    text = ""
    for attempt in range(1, judge.retries + 2):
        try:
            completion = await client.chat.completions.create(
                model=judge.model,
                messages=messages,
                temperature=judge.temperature,
                max_tokens=judge.max_tokens,
                seed=attempt,
            )
        except BadRequestError as error:
            return Verdict(None, str(error), attempt, refused=True)
        text = completion.choices[0].message.content or ""
        if (rating := rating_of(text)) is not None:
            return Verdict(rating, text, attempt)
    return Verdict(None, text, judge.retries + 1)


def _hash(judge, messages):
    asked = json.dumps([judge.identity(), messages], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(asked.encode()).hexdigest()
