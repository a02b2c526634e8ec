"""Chat templates: which ones a model's folder has, what they make of a conversation, and what ends a turn in them."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.checkpoints.tokens.vocabulary import SETTINGS

FILE, FOLDER = "chat_template.jinja", "additional_chat_templates"
OF_PROCESSORS, KEY = "chat_template.json", "chat_template"  # a file, and the key that it and tokenizer_config.json have
TEMPLATE_FILES = ("chat_template*", f"{FOLDER}/*")  # patterns
DEFAULT = "default"  # the name of the template that is used where none is asked for
MARK = "CONTINUED HERE "  # stands behind an opening while it is rendered


@dataclass(frozen=True)
class Template:
    """A chat template: its ``place`` in words, its Jinja ``text`` (empty if there is none) and its ``variables``."""

    place: str
    text: str
    variables: dict[str, Any] = field(default_factory=dict)


def chat_templates(folder: Path | str) -> dict[str, str]:
    """Return {name: Jinja text} of the chat templates of a model's folder; ``default`` is the usual one's name.

    As in transformers, files of their own go before the key in tokenizer_config.json, and that before the file that
    processors had.  Raises AoeError if a file cannot be read.
    """
    folder = Path(folder)
    files = {DEFAULT: folder / FILE} if (folder / FILE).is_file() else {}
    files |= {path.stem: path for path in sorted((folder / FOLDER).glob("*.jinja"))}
    if files:
        return {name: _text(path) for name, path in files.items()}
    for path in (folder / SETTINGS, folder / OF_PROCESSORS):
        if found := _named(read_object(path).get(KEY) if path.is_file() else None):
            return found
    return {}


def _named(stated):
    """{name: text} of what a JSON file has for its chat template: a text, or several with their names."""
    if isinstance(stated, list):
        pairs = [(one.get("name"), one.get("template")) for one in stated if isinstance(one, dict)]
    else:
        pairs = [*(stated if isinstance(stated, dict) else {DEFAULT: stated}).items()]
    return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str) and text}


def _text(path):
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise AoeError(f"{path} cannot be read: {error}.") from error


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.  Raises AoeError if it cannot be read, or holds something else."""
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise AoeError(f"{path} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise AoeError(f"{path} is no JSON object.")
    return content


def rendered(
    template: Template,
    messages: Sequence[Mapping[str, Any]],
    opening: str = "",
    begin: bool = True,
    as_parts: bool = False,
) -> str:
    """Return the text of a prompt, as transformers renders it.

    opening: what the answer begins with; without one, the template begins the answer itself if ``begin``.  as_parts:
    give the contents as lists of parts, which some templates want.  Raises jinja2.TemplateError, or what else the
    template's code may raise, where it refuses.
    """
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message):
        raise jinja2.TemplateError(message)

    extensions = [jinja2.ext.loopcontrols]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = lambda value, **how: json.dumps(value, **{"ensure_ascii": False, **how})
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    asked = list(messages)
    if opening:
        asked.append({"role": "assistant", "content": opening + MARK})
    if as_parts:
        asked = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in asked]
    text = environment.from_string(template.text).render(
        messages=asked, add_generation_prompt=begin and not opening, tools=None, **template.variables
    )
    if not opening:
        return text
    before, mark, after = text.rpartition(MARK.strip())
    if not mark:
        raise jinja2.TemplateError("the forced opening is missing")
    return before if after.startswith(MARK[-1]) else before.rstrip()


def ends_of_turn(template: Template, tokens: Collection[str]) -> list[str]:
    """Return the tokens that may end the assistant's turns in a template: the last turn, and one before another.

    tokens: texts of the tokenizer's added tokens.  Empty if the template cannot be rendered here, for whatever reason,
    or puts no such token behind an answer.
    """
    answer = MARK.strip()
    talk = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": answer}]
    found = []
    for messages in (talk, [*talk, talk[0]]):
        for as_parts in (False, True):
            try:
                text = rendered(template, messages, begin=False, as_parts=as_parts)
            except Exception:  # whatever a template's code raises; or jinja2 is not there
                continue
            before, _, after = text.rpartition(answer)
            if before:
                behind = [token for token in tokens if token.strip() and after.lstrip().startswith(token)]
                found += [max(behind, key=len)] if behind else []
                break
    return list(dict.fromkeys(found))
