"""Check the prompts that a variant's server makes of questions, token by token, before anything is answered."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aoe import AoeError
from aoe.serving.templates import Prompt, Template, dated, dates_in, fault, opening_of, refusal
from benchmarks.solver import CONTINUE

if TYPE_CHECKING:
    from inspect_ai import Task

FIRST_ANSWER = "42"  # stands for the answer to a first turn in the prompt of the second
RENDER_TIMEOUT_SECONDS = 60
ERROR_CHARACTERS = 400  # of the server's message that an error quotes


class Renderer:
    """Renders messages and texts to token ids with a vLLM server; url ends in /v1, model: its name there."""

    def __init__(self, url: str, key: str, model: str) -> None:
        self._root, self._key, self._model = url.removesuffix("/v1"), key, model
        self._texts: dict[tuple[int, ...], str] = {}

    def render(self, messages: Sequence[Mapping[str, str]], **flags: Any) -> list[int]:
        """Return the token ids of a chat completion's prompt.  Raises AoeError with the server's message."""
        return self._post("tokenize", {"messages": messages, **flags})["tokens"]

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without those that begin a prompt."""
        return self._post("tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""
        if ids and tuple(ids) not in self._texts:
            self._texts[tuple(ids)] = self._post("detokenize", {"tokens": list(ids)})["prompt"]
        return self._texts[tuple(ids)] if ids else ""

    def _post(self, path, content):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        body = json.dumps({"model": self._model, **content}).encode()
        request = urllib.request.Request(f"{self._root}/{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=RENDER_TIMEOUT_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            said = " ".join(error.read().decode(errors="replace").split())[:ERROR_CHARACTERS]
            raise AoeError(f"the server said, with HTTP status {error.code}: {said}") from error
        except OSError as error:
            raise AoeError(f"the server cannot be asked ({error})") from error


def look(
    variant: str,
    tasks: "Iterable[Task]",
    benchmarks: Mapping[str, Mapping[str, Any]],
    renderer: Renderer,
    template: Template,
) -> dict[str, dict[str, Any]]:
    """Render the first question of every benchmark: {benchmark: {"question": id, "turns": [{"text", "token_ids"}]}}.

    tasks: Inspect's; benchmarks: name -> its settings; renderer: of the variant's server; template: the Template that
    this uses.  The token ids are numbers in a text with spaces between them.  Raises AoeError that names variant,
    template and the prompt's end, unless each prompt ends in the forced opening, and in nothing else, or, where nothing
    is forced, in the template's own beginning of an answer, once.
    """
    return {task.name: _look(variant, task, opening_of(benchmarks[task.name]), renderer, template) for task in tasks}


def _look(variant, task, opening, renderer, template):
    sample, messages, turns = task.dataset[0], [], []
    where = f"{variant}, {task.name}"
    for question in [sample.input, *(sample.metadata or {}).get("follow_ups", [])]:
        messages.append({"role": "user", "content": question})
        prompt = _prompt(where, messages, opening, renderer, template)
        text = renderer.decode(prompt.ids)
        if found := _begun_twice(prompt.ids, renderer) or _fault(prompt, opening, renderer):
            raise AoeError(refusal(where, template, found, opening))
        if dates := dates_in(template, text):
            print(f"Warning: {dated(where, template, dates[0])}")
        turns.append({"text": text, "token_ids": " ".join(map(str, prompt.ids))})
        messages.append({"role": "assistant", "content": FIRST_ANSWER})
    return {"question": str(sample.id), "turns": turns}


def _prompt(where, messages, opening, renderer, template):
    asked = [*messages, {"role": "assistant", "content": opening}] if opening else messages
    try:
        ids = renderer.render(asked, **(CONTINUE if opening else {"add_generation_prompt": True}))
    except AoeError as error:
        forced = f", which is to end in {opening!r}" if opening else ""
        raise AoeError(
            f"{where}: the chat template {template.place} does not give a prompt{forced}: {error}"
        ) from error
    try:
        return Prompt(ids, renderer.render(messages, add_generation_prompt=False))
    except AoeError:  # some templates want an answer behind every question
        return Prompt(ids, None)


def _fault(prompt, opening, renderer):
    return fault(prompt, opening, renderer.encode(opening) if opening else [], renderer.decode)


def _begun_twice(ids, renderer):
    first = renderer.decode(ids[:1])
    return f"begins with {first!r} twice" if ids[:1] == ids[1:2] and first.strip() else None
