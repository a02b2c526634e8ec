"""Ask a judge, an OpenAI-compatible endpoint, for verdicts, and keep them by the hash of what was asked."""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from openai import APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError
from aoe import AoeError
from aoe.files.replacing import replace_text
from benchmarks.reading import plain, undressed
from benchmarks.registry import Messages, Scale

SCORE = r"\s*(?:rating\s*:\s*)?(\d+(?:\.\d*)?)\s*(?:(?:/|out of)\s*10\s*)?"
MARKED = re.compile(rf"\brating\s*(?:is|of|:|=)*\s*[\"']?\[\[?{SCORE}\]?\]", re.IGNORECASE)  # FastChat takes [8], too
BRACKETED = re.compile(rf"\[\[{SCORE}\]\](?!\()", re.IGNORECASE)  # with a bracket behind it, it is a link
ONLY = re.compile(  # a line that is nothing but a rating; [^\w[] are marks around it
    rf"[^\w[]*+(?:(?:the\s+|my\s+)?(?:final\s+|overall\s+)?(?:rating|score)[^\w[]*+)?\[?\[{SCORE}\]\]?\W*",
    re.IGNORECASE,
)
QUOTED = re.compile(r"\"[^\"\n]*\"|(`+)[^`\n]+\1")
THINKING = re.compile(r"(?s)\A.*</think(?:ing)?>|<think(?:ing)?>.*\Z")
FENCED = re.compile(r"(?s)(`{3,}|~{3,}).*?\1")
MARKS = re.compile(r"[*`$_]+")
OF_TEN = re.compile(r"\s*/\s*\[\[10\]\]")
CUT_OFF = "length"  # OpenAI's finish reason of an answer that reached its token limit
TEN_POINTS = Scale()
TOO_LONG = (400, 413, 422)  # HTTP statuses of a question that the judge cannot take


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

    def identity(self) -> dict[str, object]:
        """Return what a verdict depends on beside the question; the address is not part of it."""
        kept = asdict(self)
        for name in ("url", "retries", "connections"):
            del kept[name]
        return kept


@dataclass(frozen=True)
class Verdict:
    """What a judge said of an answer.

    rating: on the judge's Scale, or None if it gave none in ``attempts``; text: what it said last, or, where the
    endpoint ``refused`` the question (it may be too long for the judge), why; finish: why it stopped.
    """

    rating: float | None
    text: str
    attempts: int
    refused: bool = False
    finish: str = "stop"


def rating_of(text: str, finish: str = "stop", lowest: float = 1, highest: float = 10) -> float | None:
    """Return the rating that a judge's answer concludes with, from ``lowest`` to ``highest``, or None.

    A conclusion is the last ``Rating: [[8]]``, else the last ``[[8]]``.  What the judge thought, quoted or cited is no
    conclusion.  Several ratings at once are none, and a judge that was cut off (``length``) gave none.
    """
    lines = [] if finish == CUT_OFF else _own_words(text)
    for pattern in (MARKED, BRACKETED):
        for line in reversed(lines):
            if first := pattern.search(line):
                ratings = [match[1] for match in BRACKETED.finditer(line, first.start())] or [first[1]]
                rating = float(first[1])
                return rating if len(set(map(float, ratings))) == 1 and lowest <= rating <= highest else None
    found = next((float(match[1]) for line in reversed(lines) if (match := ONLY.fullmatch(line))), None)
    return found if found is not None and lowest <= found <= highest else None


def _own_words(text):
    """The lines that a judge says itself: no reasoning, code, or quotation, and nothing of how it is set.

    A quotation that is all of its line is the judge's way to set its rating.
    """
    text = plain(FENCED.sub(" ", THINKING.sub("", text)))
    lines = [line.strip().replace("\\[", "[").replace("\\]", "]") for line in _outside_fences(text)]
    own = [line if ONLY.fullmatch(_bare(line)) else QUOTED.sub(" ", line) for line in lines]
    return [_bare(line) for line in own if not line.startswith(">")]


def _outside_fences(text):
    """The lines of a Markdown text that stand in no fence; one that is never closed ends with the text."""
    lines = text.split("\n")
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "fence" and token.map:
            start, stop = token.map
            lines[start:stop] = [""] * (stop - start)
    return lines


def _bare(line):
    return OF_TEN.sub("/10", MARKS.sub("", undressed(line)))


def judge_all(
    judge: Judge, key: str, questions: Sequence[Messages], cache: Path | str, scale: Scale = TEN_POINTS
) -> list[Verdict]:
    """Return a Verdict for each of several lists of messages, those in the folder ``cache`` without asking again.

    key: the endpoint's, or ""; scale: the Scale of its ratings.  Raises AoeError if the judge cannot be reached, or
    refuses; the verdicts that it has given are kept.
    """
    return asyncio.run(_judge_all(judge, key, questions, Path(cache), scale))


def unjudged(judge: Judge, questions: Iterable[Messages], cache: Path | str, scale: Scale = TEN_POINTS) -> int:
    """Return how many of several lists of messages the judge has given no verdict on."""
    return sum(_kept(judge, messages, Path(cache), scale) is None for messages in questions)


async def _judge_all(judge, key, questions, cache, scale):
    cache.mkdir(parents=True, exist_ok=True)
    slots = asyncio.Semaphore(judge.connections)
    # a proxy is for what is elsewhere
    http = DefaultAsyncHttpxClient(trust_env=urlsplit(judge.url).hostname not in ("127.0.0.1", "localhost"))
    async with AsyncOpenAI(base_url=judge.url, api_key=key or "none", max_retries=5, http_client=http) as client:

        async def one(messages):
            if kept := _kept(judge, messages, cache, scale):
                return kept
            async with slots:
                verdict = await _ask(client, judge, messages, scale)
            if verdict.refused:
                return verdict
            kept = {"judge": judge.identity(), "messages": messages, "verdict": asdict(verdict)}
            replace_text(_path(judge, messages, cache), json.dumps(kept))
            return verdict

        outcomes = await asyncio.gather(*(one(messages) for messages in questions), return_exceptions=True)
    verdicts = []
    for verdict in outcomes:
        if isinstance(verdict, (OpenAIError, json.JSONDecodeError)):
            reason = type(verdict).__name__ + (f", HTTP {s}" if (s := getattr(verdict, "status_code", None)) else "")
            raise AoeError(f"The judge {judge.model} did not answer ({reason}); what it has judged is kept.")
        if isinstance(verdict, BaseException):
            raise verdict
        verdicts.append(verdict)
    if verdicts and all(verdict.refused for verdict in verdicts):
        raise AoeError(f"The judge {judge.model} refuses every question: {verdicts[0].text}")
    return verdicts


async def _ask(client, judge, messages, scale):
    text = finish = ""
    for attempt in range(1, judge.retries + 2):
        try:
            completion = await client.chat.completions.create(
                model=judge.model,
                messages=messages,
                temperature=judge.temperature,
                max_tokens=judge.max_tokens,
                seed=attempt,
            )
        except APIStatusError as error:
            if error.status_code not in TOO_LONG:
                raise
            return Verdict(None, str(error), attempt, refused=True)
        try:
            choice = completion.choices[0]
            text, finish = str(choice.message.content or ""), str(choice.finish_reason or "stop")
        except (AttributeError, IndexError, TypeError):
            raise AoeError(f"The judge {judge.model} does not answer as OpenAI's protocol says.") from None
        if (rating := scale.rating(text, finish)) is not None:
            return Verdict(rating, text, attempt, finish=finish)
    return Verdict(None, text, judge.retries + 1, finish=finish)


def _path(judge, messages, cache):
    asked = json.dumps([judge.identity(), messages], sort_keys=True)
    return cache / f"{hashlib.sha256(asked.encode()).hexdigest()}.json"


def _kept(judge, messages, cache, scale):
    """The Verdict that was kept; None if there is none, it is damaged, or the judge may now be asked more often."""
    try:
        kept = json.loads(_path(judge, messages, cache).read_text(encoding="utf-8"))
        verdict = Verdict(**kept["verdict"])
        same = kept["judge"] == judge.identity() and kept["messages"] == messages
    except (OSError, ValueError, KeyError, TypeError):
        return None
    rating = verdict.rating
    if rating is not None and not (isinstance(rating, float) and scale.lowest <= rating <= scale.highest):
        return None
    # the judge's words count: a rating that was read out of them in another way is read again
    verdict = replace(verdict, rating=scale.rating(verdict.text, verdict.finish))
    return verdict if same and (verdict.rating is not None or verdict.attempts > judge.retries) else None
