"""A mergekit configuration as the content of a study file."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.studies.mergekit.configuration import (
    Settings,
    Tensor,
    filters_of,
    models_of,
    parameters_of,
    read_configuration,
    slices_of,
    tensors_of,
)
from aoe.studies.mergekit.methods import Mixture, method_of
from aoe.studies.mergekit.models import Outline, entry_of, read_outline, short_names
from aoe.studies.mergekit.overrides import Subset, grouped

DIGITS = 12  # after the point, of λ; float32 has fewer


def convert(
    path: Path | str, study: str, outline: Callable[[str], Outline] = read_outline
) -> tuple[dict[str, Any], list[str]]:
    """Return (a study's content, sentences on what is different here) of the mergekit configuration in a file.

    study: its name, which the variant has, too; outline: a function of a model as the configuration names it, which is
    called only where parameters differ between tensors.  Raises AoeError for what a recipe cannot state.
    """
    config = read_configuration(path)
    method_of(config["merge_method"])
    parts, unused = _parts(config, outline)
    models = models_of(config, slices_of(config))
    names, base = short_names(models, study), models[0]
    used = [base, *(model for _, mixture in parts for model in mixture if model != base)]
    used = [model for model in models if model in used]
    recipe = _recipe(config, parts, names, base) | _tokenizer(config, names, base, used)
    content = {
        "title": f"{study}, from a mergekit configuration",
        "lock": f"config/studies/{study}.lock.json",
        "models": {names[model]: entry_of(model) for model in used},
        "variants": {study: recipe | {"publish": True}},
        "audits": {study: {"model": study, "parents": [names[model] for model in used], "claim": study}},
    }
    return content, [*_notes(config), *unused]


def _parts(config: Settings, outline: Callable[[str], Outline]) -> tuple[list[tuple[Subset, Mixture]], list[str]]:
    """([(subset, {model: weight})], of which the first that has a tensor counts; sentences on filters)"""
    slices, method = slices_of(config), method_of(config["merge_method"])
    parameters = list(parameters_of(config, slices))
    if config.get("models") and not any(isinstance(value, list | Mapping) for value in parameters):
        return [({}, _rounded(method(Tensor("", slices[0], config.get("parameters") or {}))))], []
    found = list(tensors_of(config, slices, outline(models_of(config, slices)[0])))
    mixtures = {tensor.name: _rounded(method(tensor)) for tensor, _ in found}
    filters = filters_of(parameters)
    unused = {text: None for texts in filters for text in texts if not any(text in name for name in mixtures)}
    told = [f"The filter {text!r} matches the name of no tensor of the base." for text in unused]
    return list(grouped(mixtures, {tensor.name: layer for tensor, layer in found}, filters)), told


def _rounded(mixture: Mixture) -> Mixture:
    """A mixture without zeros, of no more digits than count.  Raises AoeError if nothing is left."""
    mixture = {model: round(weight, DIGITS) for model, weight in mixture.items()}
    if not any(mixture.values()):
        raise AoeError("Some tensors have no weight but 0, of which no recipe can be made.")
    return {model: weight for model, weight in mixture.items() if weight}


def _recipe(config, parts, names, base):
    """A recipe as a study writes it; its own weights are those of the last part, which has what the others leave."""
    parts = [(subset, {names[model]: weight for model, weight in mixture.items()}) for subset, mixture in parts]
    _, weights = parts.pop()
    while parts and parts[-1][1] == weights:
        parts.pop()
    recipe: dict[str, Any] = {"base": names[base], "weights": weights}
    if parts:
        recipe["overrides"] = [{"subset": subset, "weights": mixture} for subset, mixture in parts]
    mixtures = [weights, *(mixture for _, mixture in parts)]
    if any(min(m.values()) < 0 or abs(math.fsum(m.values()) - 1) > 1e-9 for m in mixtures):
        recipe["convex"] = False
    if config["merge_method"] == "slerp":
        recipe["interpolation"] = "slerp_fused"  # one angle for what mergekit's transformers fuses
    if config["merge_method"] == "task_arithmetic" and config.get("dtype") in (None, "bfloat16"):
        recipe["arithmetic"] = "deltas"
    return recipe


def _tokenizer(config, names, base, used):
    """What a recipe says of the tokenizer.  Raises AoeError for one that is no model's."""
    given = config.get("tokenizer") or {}
    source = given.get("source") or config.get("tokenizer_source")
    if given.get("tokens"):
        raise AoeError("`tokenizer.tokens` makes the embeddings of single tokens, which no recipe can state.")
    if source == "union":
        raise AoeError(
            "The tokenizer `union` has a vocabulary that no parent has; name the model whose tokenizer it is."
        )
    if source in (None, "base", base):
        return {}
    if source not in used:
        raise AoeError(f"The tokenizer is to be that of {source}, which gives the result no weights.")
    return {"tokenizer_from": names[source]}


def _notes(config: Settings) -> Iterator[str]:
    settings, method = config.get("parameters") or {}, config["merge_method"]
    dtypes = [config[key] for key in ("out_dtype", "dtype") if config.get(key)]
    if dtypes and dtypes[0] != "bfloat16":
        yield f"The result is stored as its base is, and not in {dtypes[0]}."
    if config.get("chat_template"):
        yield "`chat_template` is left out: the result has the template that comes with its tokenizer."
    if method == "task_arithmetic" and (settings.get("normalize") or settings.get("lambda", 1) != 1):
        yield "`lambda` and `normalize` are part of the weights here; mergekit rounds after each of them."
