"""What a chat template makes of a question: looked at by tokens, once a variant, before anything is answered.

A template may show reasoning that is not there, strip the forced opening, or begin the answer twice.  The model would
then be asked something else than the study says, and still answer.
"""

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aoe import AoeError
from benchmarks.answering import CONTINUE, END_THINK, opening_of

EARLIER = "42"  # stands for the answer to a first turn, where the prompt of a second one is rendered
SHOWN = 24  # tokens of a prompt's end that a message quotes
SECONDS = 60  # that the server has to render a prompt
DATE = re.compile(r"""strftime_now\(\s*(['"])(.+?)\1\s*\)""")  # what templates call to insert the present date


@dataclass(frozen=True)
class Template:
    """A chat template: its ``place`` in words, and its ``text`` (Jinja)."""

    place: str
    text: str


def template_of(folder, options):
    """The Template that a server uses for the checkpoint in ``folder``, or None if there is none.

    options: vLLM's, of the server.  A file ``chat_template.jinja`` goes before the key in ``tokenizer_config.json``, as
    in transformers; of several named templates, ``default`` is used.
    """
    if given := options.get("chat-template"):
        path = Path(given)
        inline = "{" in given or not path.is_file()
        return Template("serving.options.chat-template", given if inline else path.read_text(encoding="utf-8"))
    path = Path(folder) / "chat_template.jinja"
    if path.is_file():
        return Template(str(path), path.read_text(encoding="utf-8"))
    path = Path(folder) / "tokenizer_config.json"
    found = json.loads(path.read_text(encoding="utf-8")).get("chat_template") if path.is_file() else None
    if isinstance(found, list):
        found = {entry["name"]: entry["template"] for entry in found}.get("default")
    return Template(str(path), found) if found else None


@dataclass(frozen=True)
class Prompts:
    """The token ids of one question's prompt: as it is asked (``ids``), and its ``context``: the same conversation
    without the beginning of an answer, or None if the template refuses to render that."""

    ids: list
    context: list | None


def fault(prompts, opening, opening_ids, decode):
    """What is wrong with a prompt, as the end of a sentence, or None.

    opening: the text that answers are forced to begin with, or an empty one; opening_ids: its token ids; decode(ids)
    gives their text, special tokens included.
    """
    ids = prompts.ids
    if len(ids) > 1 and ids[0] == ids[1] and decode(ids[:1]).strip():
        return f"begins with {decode(ids[:1])!r} twice"
    forced = opening_length(ids, opening, opening_ids, decode)
    if forced is None:
        return f"ends in {decode(ids[-SHOWN:])!r} instead of the forced {opening!r}"
    if prompts.context is None:
        return None
    begun = ids[_shared(ids, prompts.context) :]  # what the template puts behind the question
    header = begun[: len(begun) - forced]
    if opening and any(tag in decode(header) for tag in (opening.strip(), END_THINK)):
        return f"ends in {decode(begun)!r} instead of the forced {opening!r} alone"
    if decode(header).strip() and prompts.context[-len(header) :] == header:
        return f"ends in {decode([*header, *begun])!r}, which begins the answer twice"
    return None


def opening_length(ids, opening, opening_ids, decode):
    """The number of tokens at the end of ``ids`` that are the opening, or None if they are something else.

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


def dates_in(template, text, now=None):
    """The dates of today that a template writes into a prompt, as texts."""
    now = now or datetime.now()
    written = {now.strftime(form) for _, form in DATE.findall(template.text)}
    return sorted(date for date in written if date in text)


class Renderer:
    """What a vLLM server makes of messages: ``render(messages, forced)`` and ``decode(ids)``; url ends in /v1."""

    def __init__(self, url, key, model):
        self._root, self._key, self._model = url.removesuffix("/v1"), key, model
        self._texts = {}

    def render(self, messages, **flags):
        """The token ids of a prompt.  Raises AoeError with the server's words if the template cannot render it."""
        return self._post("tokenize", {"messages": messages, **flags})["tokens"]

    def encode(self, text):
        """The token ids of a text, without those that begin a prompt."""
        return self._post("tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]

    def decode(self, ids):
        """The text of token ids, special tokens included."""
        if tuple(ids) not in self._texts:
            self._texts[tuple(ids)] = self._post("detokenize", {"tokens": list(ids)})["prompt"] if ids else ""
        return self._texts[tuple(ids)]

    def _post(self, path, content):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        body = json.dumps({"model": self._model, **content}).encode()
        request = urllib.request.Request(f"{self._root}/{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            try:
                said = json.loads(said)["error"]["message"]
            except (ValueError, KeyError, TypeError):
                pass
            raise AoeError(f"{' '.join(str(said).split())[:400]}") from error
        except OSError as error:
            raise AoeError(f"the server cannot be asked ({error})") from error


def look(variant, tasks, forcing, renderer, template):
    """{benchmark: {"question": id, "turns": [{"text", "token_ids"}]}}: the prompts of every benchmark's first question.

    tasks: Inspect's; forcing: benchmark -> whether its answers begin with ``<think>``; renderer: of the variant's
    server; template: the Template that it uses, or None.  The token ids are numbers in a text with spaces between them.
    Raises AoeError that names variant, template and the prompt's end unless each prompt ends in the forced opening, or
    where nothing is forced in the template's own beginning of an answer, once.
    """
    if template is None:
        raise AoeError(
            f"{variant} has no chat template: neither chat_template.jinja nor a default one in tokenizer_config.json; "
            "name one in serving.options.chat-template."
        )
    return {task.name: _look(variant, task, opening_of(forcing[task.name]), renderer, template) for task in tasks}


def _look(variant, task, opening, renderer, template):
    sample, messages, turns = task.dataset[0], [], []
    where = f"{variant}: the prompt that the chat template {template.place} makes of a question of {task.name}"
    opening_ids = renderer.encode(opening) if opening else []
    for question in [sample.input, *(sample.metadata or {}).get("follow_ups", [])]:
        messages.append({"role": "user", "content": question})
        prompts = _rendered(where, messages, opening, renderer)
        text = renderer.decode(prompts.ids)
        if found := fault(prompts, opening, opening_ids, renderer.decode):
            remedy = ", or say `force_think: false`" if opening else ""
            raise AoeError(f"{where} {found}; name another template in serving.options.chat-template{remedy}.")
        if dates := dates_in(template, text):
            raise AoeError(
                f"{where} has today's date {dates[0]!r}, so that answers would depend on the day; fix it in "
                "serving.options.default-chat-template-kwargs (date_string), or name another template in "
                "serving.options.chat-template."
            )
        turns.append({"text": text, "token_ids": " ".join(map(str, prompts.ids))})
        messages.append({"role": "assistant", "content": EARLIER})
    return {"question": str(sample.id), "turns": turns}


def _rendered(where, messages, opening, renderer):
    asked = [*messages, {"role": "assistant", "content": opening}] if opening else messages
    try:
        ids = renderer.render(asked, **(CONTINUE if opening else {"add_generation_prompt": True}))
    except AoeError as error:
        raise AoeError(f"{where} cannot be rendered: {error}") from error
    try:
        context = renderer.render(messages, add_generation_prompt=False)
    except AoeError:  # some templates want an answer behind every question
        context = None
    return Prompts(ids, context)
