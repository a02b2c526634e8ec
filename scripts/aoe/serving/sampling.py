"""How answers are sampled: what a study states, what holds where it states nothing, and where answers end.

vLLM takes defaults of sampling out of the served model's ``generation_config.json``, which differs between parents.
Servers are told not to (``NEUTRAL_OPTIONS``), so that only the study decides.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.benchmarks import benchmark
from aoe.checkpoints.tokens.vocabulary import Vocabulary

NEUTRAL_OPTIONS = {
    "generation-config": "vllm"
}  # options of vLLM that every server gets unless the study states its own
NEUTRAL = {
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "stop": [],
    "stop_token_ids": [],
}
KEYS = ("temperature", "top_p", "max_tokens", *NEUTRAL)
DEEPSEEK = {"temperature": 0.6, "top_p": 0.95, "max_tokens": 32768}  # as DeepSeek recommends for R1
SMALL = {"temperature": 0.6, "top_p": 1.0, "max_tokens": 256}
BY_CATEGORY = "by category"  # where each question has a temperature of its own


def defaults_of(name: str) -> dict[str, Any]:
    """Return a benchmark's default parameters of sampling: ``temperature`` (None: each question has its own),
    ``top_p`` and ``max_tokens``."""
    return dict(benchmark(name).sampling)


def sampled_with(name: str, settings: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter that a benchmark's answers are sampled with, by the names of vLLM.

    settings: the study's for this benchmark; options: vLLM's, of the server.  A parameter that the study does not state
    has its neutral value, or that of the option ``override-generation-config``.
    """
    stated = defaults_of(name) | {key: value for key, value in settings.items() if key in KEYS}
    overrides = settings_in(options.get("override-generation-config"))
    found = NEUTRAL | {key: value for key, value in overrides.items() if key in NEUTRAL} | stated
    found["temperature"] = BY_CATEGORY if found["temperature"] is None else found["temperature"]
    return {key: found[key] for key in KEYS}


def settings_in(option: Any) -> dict[str, Any]:
    """Return the dict that an option of vLLM holds, written as YAML or as JSON in a text; empty if it holds none."""
    try:
        found = json.loads(option) if isinstance(option, str) else option
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def end_ids(files: Iterable[Path | str], served: Path | str | None = None) -> list[int]:
    """Return the token ids at which any of several models ends an answer, sorted.

    files: of each model, the path of its ``generation_config.json``, or of its ``config.json`` if it has no such file:
    vLLM reads them in this order.  served: the folder of the model that answers, whose ids are meant; a token that it
    has under another number, or lacks, is looked up by its text.  Raises AoeError if a file has something else than ids
    there.
    """
    ids = set()
    for path in map(Path, files):
        try:
            found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
        except (OSError, ValueError, AttributeError) as error:
            raise AoeError(f"{path} cannot be read for the ids that end an answer: {error}.") from error
        found = [] if found is None else found if isinstance(found, list) else [found]
        if not all(type(id_) is int and id_ >= 0 for id_ in found):
            raise AoeError(f"{path} has the eos_token_id {found}; it is a token id, or a list of them.")
        ids |= {*_of_served(found, path.parent, Path(served))} if served else {*found}
    return sorted(ids)


def _of_served(ids, folder, served):
    """The ids that the served model has for the tokens of another model's ids; the same ones if that is not known."""
    one, other = Vocabulary(folder, folder.name), Vocabulary(served, served.name)
    try:
        if not ids or not one.texts or not other.texts:
            return ids
    except AoeError:
        return ids
    places = {text: number for number, text in other.texts.items()}
    same = [number for number in ids if one.texts.get(number) == other.texts.get(number)]
    texts = [one.texts.get(number) for number in ids if number not in same]
    return [*same, *(places[text] for text in texts if text in places)]


def with_ends(settings: dict[str, Any], ids: Collection[int]) -> dict[str, Any]:
    """Return a benchmark's settings whose answers also end at the token ids ``ids``."""
    stated = settings.get("stop_token_ids", [])
    return settings | {"stop_token_ids": sorted({*stated, *ids})} if ids else settings
