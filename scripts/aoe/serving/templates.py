"""Chat templates: what they make of a question, and of the opening that an answer is forced to begin with.

A template may show reasoning that is not there, strip the forced opening, or begin the answer twice.  The model would
then be asked something else than the study says, and still answer.  Texts are looked at while a study is planned, as
far as the files are there; token ids when its server is up (benchmarks.prompts).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from aoe.checkpoints.tokens.chat_templates import Template, read_object, rendered
from aoe.serving.sampling import settings_in

THINK = "<think>\n"
END_THINK = "</think>"
SHOWN = 48  # tokens, or characters, of a prompt's end that a message quotes
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")  # that templates know
DATE = re.compile(r"""strftime_now\(\s*(['"])(.+?)\1\s*\)""")  # what templates call to insert the present date


def opening_of(settings: Mapping[str, Any]) -> str:
    """Return what every answer to a benchmark begins with, by its settings: ``<think>`` and a new line, or nothing."""
    return THINK if settings.get("force_think", True) else ""


def template_of(folder: Path | str, options: Mapping[str, Any]) -> Template:
    """Return the Template that a server uses for the checkpoint in ``folder``.

    options: vLLM's, of the server.  A file ``chat_template.jinja`` goes before the key in ``tokenizer_config.json``, as
    in transformers; of several named templates, ``default`` is used.  Raises AoeError if a file cannot be read.
    """
    folder = Path(options.get("tokenizer") or folder)
    path = folder / "tokenizer_config.json"
    config = read_object(path) if path.is_file() else {}
    named = {name: config.get(name) for name in SPECIAL}
    variables = {name: token.get("content") if isinstance(token, dict) else token for name, token in named.items()}
    variables = {name: token for name, token in variables.items() if token is not None}
    variables |= settings_in(options.get("default-chat-template-kwargs"))
    if given := options.get("chat-template"):
        text = given if "{" in given else Path(given).read_text(encoding="utf-8") if Path(given).is_file() else ""
        return Template("serving.options.chat-template", text, variables)
    own = folder / "chat_template.jinja"
    if own.is_file():
        return Template(str(own), own.read_text(encoding="utf-8"), variables)
    found = config.get("chat_template")
    if isinstance(found, list):
        found = {entry["name"]: entry["template"] for entry in found}.get("default")
    return Template(str(path), found or "", variables)


@dataclass(frozen=True)
class Prompt:
    """One prompt: its tokens as it is asked (``ids``), and its ``context``: the same conversation without the beginning
    of an answer, or None if the template refuses to render that."""

    ids: list[Any]
    context: list[Any] | None


def fault(prompt: Prompt, opening: str, opening_ids: list[Any], decode: Callable[[list[Any]], str]) -> str | None:
    """Return what is wrong with a Prompt, as the end of a sentence, or None.

    opening: the text that answers are forced to begin with, or an empty one; opening_ids: its token ids; decode(ids)
    gives their text, special tokens included.  Of a text, the ids are its characters.
    """
    ids = prompt.ids
    forced = opening_length(ids, opening, opening_ids, decode)
    if forced is None:
        return f"ends in {decode(ids[-SHOWN:])!r} instead of the forced {opening!r}"
    if prompt.context is None:
        return None
    begun = ids[_shared(ids, prompt.context) :]  # what the template puts behind the question
    header = begun[: len(begun) - forced]
    if opening and any(tag in decode(header) for tag in (opening.strip(), END_THINK)):
        return f"ends in {decode(begun)!r} instead of the forced {opening!r} alone"
    if decode(header).strip() and prompt.context[-len(header) :] == header:
        return f"ends in {decode([*header, *begun])!r}, which begins the answer twice"
    return None


def opening_length(
    ids: list[Any], opening: str, opening_ids: list[Any], decode: Callable[[list[Any]], str]
) -> int | None:
    """Return the number of tokens at the end of ``ids`` that are the opening, or None if they are something else.

    Where the tokenizer has no token for the tag, the tokens before it decide how it is split: then its text counts.
    """
    if not opening:
        return 0
    if ids[-len(opening_ids) :] == opening_ids:
        return len(opening_ids)
    if decode(opening_ids[:1]) == opening.strip():
        return None
    lengths = range(1, len(opening) + 1)
    return next((length for length in lengths if decode(ids[-length:]) == opening), None)


def _shared(one, other):
    """How many tokens two prompts have in common, from their beginning on."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def dates_in(template: Template, text: str, now: datetime | None = None) -> list[str]:
    """Return the dates of today, as texts, that a template writes into the prompt ``text``."""
    now = now or datetime.now()
    written = {now.strftime(form) for _, form in DATE.findall(template.text)}
    return sorted(date for date in written if date and date in text)


def refusal(where: str, template: Template, found: str, opening: str) -> str:
    """Return the sentence on a wrong prompt: what is wrong and what to do; where: whose it is; found: a fault."""
    remedy = ", or say `force_think: false`" if opening else ""
    return (
        f"{where}: the prompt that the chat template {template.place} makes {found}; name another template in "
        f"serving.options.chat-template{remedy}."
    )


def dated(where: str, template: Template, date: str) -> str:
    """Return the sentence on a prompt with today's date."""
    return (
        f"{where}: the chat template {template.place} writes today's date {date!r} into the prompt, so that answers "
        "depend on the day; fix it in serving.options.default-chat-template-kwargs (often `date_string`), or "
        "name another template in serving.options.chat-template."
    )


def foreseen(where: str, template: Template, openings: Iterable[str], turns: int = 1) -> str | None:
    """Return the sentence on the first prompt of a template that is wrong as a text, or None.

    where: whose template it is; openings: those that benchmarks force; turns: of the longest conversation.  What cannot
    be rendered here, or is right with contents as lists of parts, is left to the server, whose tokens count.
    """
    roles = ["user", "assistant"] * turns
    for opening in openings:
        for end in range(1, 2 * turns, 2):
            messages = [{"role": role, "content": f"{role} says {n}"} for n, role in enumerate(roles[:end])]
            sentence = _foreseen(where, template, messages, opening, as_parts=False)
            if sentence and _foreseen(where, template, messages, opening, as_parts=True) != "":
                return sentence
    return None


def _foreseen(where, template, messages, opening, as_parts):
    """A sentence on what is wrong with a prompt; an empty text if nothing is; None if it cannot be rendered."""
    try:
        text = rendered(template, messages, opening, as_parts=as_parts)
        context = rendered(template, messages, begin=False, as_parts=as_parts)
    except Exception:  # whatever a template's code raises
        return None
    bos = template.variables.get("bos_token")
    if bos and text.startswith(bos * 2):
        return refusal(where, template, f"begins with {bos!r} twice", opening)
    found = fault(Prompt(list(text), list(context)), opening, list(opening), "".join)
    return refusal(where, template, found, opening) if found else ""
