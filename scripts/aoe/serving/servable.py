"""What would fail when a study's variants are served or its answers scored, as far as small files tell beforehand."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.acquiring.lock import Locked
from aoe.benchmarks import JUDGE, benchmark, graded_by
from aoe.checkpoints.keys import text_config
from aoe.serving.sampling import defaults_of, settings_in
from aoe.serving.templates import END_THINK, foreseen, opening_of, template_of

TOKENIZER = "tokenizer.json"  # that scoring reads
TOKENIZERS = (TOKENIZER, "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")  # for vLLM
TEMPLATES = ("chat_template.jinja", "chat_template.json", "tekken.json")  # beside tokenizer_config.json
LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
HOTTEST = 2  # the highest temperature that vLLM takes
VERDICT = 2048  # tokens of a judge's verdict, if the study does not say


def end_think_id(tokenizer: Path | str) -> int:
    """Return the token id of ``</think>`` in a tokenizer.json (its path).  Raises AoeError if it has no such token."""
    for token in json.loads(Path(tokenizer).read_text(encoding="utf-8")).get("added_tokens") or []:
        if token["content"] == END_THINK:
            return token["id"]
    raise AoeError(
        f"{tokenizer} has no token {END_THINK}, by which answers are scored; scores.reference names its model."
    )


def servers(study: Any) -> dict[str, dict[str, Any]]:
    """Return {section: vLLM's options of the servers that are started by it}."""
    own = study.content["serving"]["options"]
    measured = study.content.get("latency", {}).get("options")
    return {"serving": own} | ({"latency": own | measured} if measured else {})


def check_settings(study: Any) -> None:
    """Raise AoeError for settings of a study that asks which no server can meet, whatever the models are."""
    for section, options in servers(study).items():
        _check_options(section, options, study)
    benchmarks, serving = study.content["benchmarks"], study.content["serving"]
    for name, settings in benchmarks.items():
        settings = defaults_of(name) | settings
        if (settings["temperature"] or 0) > HOTTEST:
            raise AoeError(f"benchmarks.{name}.temperature: {settings['temperature']:g} is more than vLLM's {HOTTEST}.")
        _check_length(f"benchmarks.{name}.max_tokens", settings["max_tokens"], "serving", serving["options"])
    if "latency" in study.content:
        name = study.content["latency"]["benchmark"]
        wanted = (defaults_of(name) | benchmarks[name])["max_tokens"]
        _check_length(f"benchmarks.{name}.max_tokens", wanted, "latency", servers(study).get("latency", {}))
    judge = study.content.get("judge")
    if judge and graded_by(benchmarks, JUDGE) and "endpoint" not in judge:
        _check_length("judge.max_tokens", judge.get("max_tokens", VERDICT), "serving", serving["options"])
    if serving["flavour"] != "cpu" and not serving["gpus"]:
        raise AoeError(f"serving.gpus: 0 is too few for the flavour {serving['flavour']}, which serves on GPUs.")


def _check_length(key, wanted, section, options):
    most = tokens(options.get("max-model-len"))
    if most and wanted > most:
        raise AoeError(
            f"{key}: {wanted} is beyond {section}.options.max-model-len, {most} tokens of question and answer together."
        )


def _check_options(section, options, study):
    """Raises AoeError for options of vLLM that contradict each other, the workflow or the study."""
    where = f"{section}.options"
    for option, value in options.items():
        if value is None:
            raise AoeError(f"{where}.{option} has no value; give one, or leave it out.")
    if options.get("generation-config") == "auto":
        raise AoeError(
            f"{where}.generation-config: auto would sample each variant as its base's generation_config.json says; "
            "state the keys in benchmarks instead (config/README.md)."
        )
    forced = [name for name, settings in study.content["benchmarks"].items() if opening_of(settings)]
    if options.get("reasoning-parser") and forced:
        raise AoeError(
            f"{where}.reasoning-parser keeps the reasoning apart from the answer, in which {END_THINK} is counted; "
            "leave it out."
        )
    sizes = {kind: options.get(f"{kind}-parallel-size", 1) for kind in ("tensor", "pipeline", "data")}
    for kind, size in sizes.items():
        if not str(size).isdigit() or int(size) < 1:
            raise AoeError(f"{where}.{kind}-parallel-size: {size} is no number of GPUs.")
    ranks, gpus = math.prod(map(int, sizes.values())), study.content["serving"]["gpus"]
    if gpus and ranks > gpus:
        raise AoeError(
            f"{where}: the parallel sizes make {ranks} workers, a GPU each, and serving.gpus is {gpus}; change one."
        )
    batched, requests = tokens(options.get("max-num-batched-tokens")), options.get("max-num-seqs")
    if batched and isinstance(requests, int) and batched < requests:
        raise AoeError(f"{where}.max-num-batched-tokens: {batched} is less than max-num-seqs, {requests}.")


def check_servable(study: Any, locked: Mapping[str, Locked], directories: Mapping[str, Path | str]) -> None:
    """Raise AoeError for a model that cannot be served as the study says, or a reference that cannot score.

    locked: name -> Locked; directories: name -> folder.  Files that are not there yet are looked at when they are.
    """
    if not study.asks:
        return
    check_reference(study, locked, directories)
    for name in dict.fromkeys(recipe.base for recipe in study.variants.values()):
        _check_tokenizer(name, locked[name].files, Path(directories[name]), study.content["serving"]["options"])
        for section, options in servers(study).items():
            _check_config(name, study, section, options, _config(study, name, directories))


def check_reference(study: Any, locked: Mapping[str, Locked], directories: Mapping[str, Path | str]) -> None:
    """Raise AoeError unless the study's reference has what its answers are scored by."""
    name = study.reference
    if TOKENIZER not in locked[name].files:
        raise AoeError(
            f"{name}, which is scores.reference, has no {TOKENIZER}, in which {END_THINK} is looked up; convert its "
            "tokenizer (transformers can save it as one), or name another reference."
        )
    path = Path(directories[name]) / TOKENIZER
    if _json(path) is not None:
        end_think_id(path)


def _check_tokenizer(name, files, folder, options):
    if "tokenizer" not in options and not any(file in files for file in TOKENIZERS):
        raise AoeError(
            f"{name} has no tokenizer that vLLM can load ({', '.join(TOKENIZERS)}) in {folder}; add one, or name a "
            "folder with one in serving.options.tokenizer."
        )


def check_template(
    name: str, folder: Path | str, options: Mapping[str, Any], benchmarks: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raise AoeError if a prompt of a model's chat template is wrong, as far as that can be told from its text.

    folder: the model's; options: vLLM's, of the server; benchmarks: name -> settings.
    """
    folder = Path(folder)
    own = Path(options.get("tokenizer") or folder)
    if _json(own / "tokenizer_config.json") is None or options.get("tokenizer-mode", "auto") not in ("auto", "hf"):
        return
    template = template_of(folder, options)
    if not template.text:
        if "chat-template" not in options and not any((own / file).exists() for file in TEMPLATES):
            raise AoeError(
                f"{name} has no chat template: {template.place} has none (or several, but no `default`), and there is "
                "no chat_template.jinja; name one in serving.options.chat-template."
            )
        return
    turns = 2 if any(benchmark(name).turns > 1 for name in benchmarks) else 1
    openings = dict.fromkeys(opening_of(settings) for settings in benchmarks.values())
    if sentence := foreseen(name, template, openings, turns):
        raise AoeError(sentence)


def _check_config(name, study, section, options, config):
    """Raises AoeError if vLLM would refuse a model's config together with a server's options."""
    heads, ranks = config.get("num_attention_heads"), options.get("tensor-parallel-size", 1)
    if isinstance(heads, int) and isinstance(ranks, int) and ranks > 0 and heads % ranks:
        raise AoeError(
            f"{section}.options.tensor-parallel-size: {ranks} does not divide the {heads} attention heads of {name}."
        )
    most, asked = longest(config), tokens(options.get("max-model-len"))
    allowed = str(study.content["serving"].get("environment", {}).get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0"))
    if most and asked and asked > most and allowed in ("0", "", "false"):
        raise AoeError(
            f"{section}.options.max-model-len: {asked} is beyond the {most:.0f} tokens that {name} can have by its "
            "config.json (max_position_embeddings)."
        )
    for asked_of, settings in study.content["benchmarks"].items():
        wanted = settings.get("max_tokens", defaults_of(asked_of)["max_tokens"])
        if most and not asked and wanted > most:
            raise AoeError(
                f"benchmarks.{asked_of}.max_tokens: {wanted} is beyond the {most:.0f} tokens that {name} can have by "
                "its config.json (max_position_embeddings)."
            )


def longest(config: Mapping[str, Any]) -> float | None:
    """Return the most tokens that vLLM lets a context have by a model's config, or None if that is not clear."""
    lengths = [config[key] for key in LENGTHS if isinstance(config.get(key), int)]
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    factor = scaling.get("factor") if isinstance(scaling, dict) else None
    if not lengths or not isinstance(scaling, dict):
        return None
    original = scaling.get("original_max_position_embeddings")
    stretched = (original or max(lengths)) * (factor or 1)
    return max(*lengths, config.get("model_max_length") or 0, stretched)


def tokens(length: Any) -> int | None:
    """Return a number of tokens as vLLM reads it (``40960``, ``"40k"``, ``"40K"``); None for ``auto`` and the like."""
    text = str(length).strip()
    number, unit = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1)
    try:
        found = int(float(number) * unit)
    except (ValueError, OverflowError):
        return None
    return found if found > 0 else None


def _config(study, name, directories):
    """A model's config as its server sees it, or what the study expects it to be; empty if neither is there."""
    expected = study.models[name].get("expected", {}).get("config")
    found = _json(Path(directories[name]) / "config.json") or (_json(Path(expected)) if expected else None) or {}
    found = found | dict(text_config(found))
    return found | settings_in(study.content["serving"]["options"].get("hf-overrides"))


def _json(path):
    """The JSON object in a file, or None if there is none: what is wrong with files, verification says."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
