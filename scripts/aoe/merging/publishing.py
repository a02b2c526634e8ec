"""What makes a model of merged shards: the base's index, config and tokenizer, and the word of where it comes from.

``recipe.json`` says that to programs, with every parent's SHA-256 sums; ``README.md`` is the model card for people.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from aoe import AoeError, __version__
from aoe.acquiring.lock import belonging, names_beside
from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from aoe.checkpoints.tokens.beside import chosen
from aoe.checkpoints.tokens.chat_templates import KEY, TEMPLATE_FILES, read_object
from aoe.checkpoints.tokens.vocabulary import FILES, GENERATION, SETTINGS
from aoe.files.replacing import replace_text
from aoe.numerics.kernels import FP8


def complete_checkpoint(
    base: Checkpoint,
    directory: Path | str,
    provenance: Mapping[str, Any],
    beside: Mapping[str, Any] | None = None,
    parents: Mapping[str, Path | str] | None = None,
    unrounded: bool = False,
) -> None:
    """Put everything but the shards into a merged checkpoint's directory; ``recipe.json`` comes last.

    base: the Checkpoint whose names and format the output has.  beside: of aoe.merging.plan.beside; parents: name ->
    folder of those that it names.  provenance: {"variant", "recipe": the study's entry
    (base, weights λ, subset S, threshold δ), "parents": {name: {"revision", "files": {file: {"size", "sha256"}}}},
    "plan": lines}.  unrounded: whether FP8 weights have become BF16.  Raises AoeError if the base has several shards,
    but no index.
    """
    directory = Path(directory)
    if not (base.directory / INDEX).exists() and len(base.shard_names) > 1:
        raise AoeError(f"{base.name} has several shards, but no {INDEX}.")
    lay_beside(base.directory, directory, shutil.copyfile, beside, parents)
    if unrounded:
        _index_without_scales(base, directory)
    provenance = {"tool": f"Assembly of Experts workflow {__version__}", **provenance}
    (directory / "README.md").write_text(model_card(provenance), encoding="utf-8")
    replace_text(directory / "recipe.json", json.dumps(provenance, indent=2, ensure_ascii=False) + "\n")


def _index_without_scales(base, directory):
    """Write the index of a model whose FP8 weights have become BF16, if it has one."""
    if not (directory / INDEX).exists():
        return
    files = {tensor: file for tensor, file in base.files.items() if not base.is_scale(tensor)}
    stored = [base.stored(tensor) for tensor in files]
    size = sum(2 * one.elements if one.dtype == FP8 else one.size for one in stored)
    content = {"metadata": {"total_size": size}, "weight_map": files}
    (directory / INDEX).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def lay_beside(
    base: Path | str,
    directory: Path,
    put: Callable[[Path, Path], object],
    beside: Mapping[str, Any] | None = None,
    parents: Mapping[str, Path | str] | None = None,
) -> None:
    """Put what belongs to a model beside its shards into a directory.

    base: the folder of the model that it is from; put: copies or links a file to a path; beside, parents: as for
    complete_checkpoint.
    """
    beside, parents, files = beside or {}, parents or {}, _files_beside(Path(base))
    if "tokenizer" in beside:
        other = _files_beside(Path(parents[beside["tokenizer"]]))
        files = {name: path for name, path in files.items() if not _is_of_tokenizer(name)}
        files |= {name: path for name, path in other.items() if _is_of_tokenizer(name)}
    if "template" in beside:
        _lay_template(Path(parents[beside["template"]]), directory, files)
    if "generation" in beside:
        files.pop(GENERATION, None)
        source = Path(parents[beside["generation"]]) / GENERATION
        files |= {GENERATION: source} if source.is_file() else {}
    if "config" in beside:
        files.pop("config.json", None)
        text = json.dumps(beside["config"], indent=2, ensure_ascii=False) + "\n"
        (directory / "config.json").write_text(text, encoding="utf-8")
    for name, source in sorted(files.items()):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        put(source, directory / name)


def _lay_template(source, directory, files):
    """Put the chat template of a folder into a directory; files: of what else is put there, changed accordingly."""
    theirs = _files_beside(source)
    kept = [name for name in files if not _is_of(name, TEMPLATE_FILES)]
    others = {name: path for name, path in theirs.items() if _is_of(name, TEMPLATE_FILES)}
    settings = {key: value for key, value in _settings(files).items() if key != KEY}
    settings |= {key: value for key, value in _settings(theirs).items() if key == KEY}
    found = {name: files[name] for name in kept if name != SETTINGS} | others
    files.clear()
    files |= found
    if settings:
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        (directory / SETTINGS).write_text(text, encoding="utf-8")


def _settings(files):
    return read_object(files[SETTINGS]) if SETTINGS in files else {}


def _files_beside(folder):
    """{name: path} of what belongs to a checkpoint beside its shards, its index included."""
    names = belonging(names_beside(folder)) - {"recipe.json"}
    indices = {name for name in names if name.endswith(".index.json") and name != INDEX}
    return {name: folder / name for name in names - indices if (folder / name).is_file()}


def _is_of_tokenizer(name):
    return _is_of(name, (*FILES, *TEMPLATE_FILES)) and name != GENERATION


def _is_of(name, patterns):
    return any(fnmatch(name, pattern) for pattern in patterns)


def model_card(provenance: Mapping[str, Any]) -> str:
    """Return the model card of a variant, Markdown with the Hub's metadata in front."""
    recipe, parents = provenance["recipe"], provenance["parents"]
    metadata = {
        "library_name": "transformers",
        "base_model": [parent.get("repo", name) for name, parent in parents.items()],
        "base_model_relation": "merge",
        "tags": ["merge", "assembly-of-experts", "mixture-of-experts"],
    }
    threshold = recipe.get("threshold", {"delta": 0})
    weights = {name: recipe["weights"].get(name, 0) for name in parents}
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---",
            f"# {_literal(recipe.get('label') or provenance['variant'])}",
            "",
            f"Assembled from the weights of {len(parents)} parents by the {provenance['tool']}, without training.",
            "",
            "| parent | λ | revision |",
            "|---|---|---|",
            *(f"| {_literal(name)} | {weights[name]:g} | `{parent['revision']}` |" for name, parent in parents.items()),
            "",
            f"* base, whose tensors are kept outside S: {_literal(recipe['base'])}",
            f"* S, the tensors that are merged: {_literal(_sentence(recipe.get('subset', {}))) or 'all'}",
            f"* δ, the threshold of their difference: {threshold['delta']:g}"
            + (f", measured as {threshold['space']}" if "space" in threshold else ""),
            f"* beside the weights: {_whose(recipe)}",
            *(f"* {key}: {_literal(str(recipe[key]))}" for key in ("config", "align_embeddings") if key in recipe),
            *(
                f"* instead in {_literal(_sentence(o['subset']))}: {_literal(_mixture(o['weights']))}"
                for o in recipe.get("overrides", [])
            ),
            *(
                f"* {key}: {recipe[key]}"
                for key in ("interpolation", "arithmetic", "rounding", "seed")
                if key in recipe
            ),
            "",
            "What became of the tensors:",
            "",
            *(f"* {_literal(line)}" for line in provenance["plan"]),
            "",
            "`recipe.json` has all of this, and the size and SHA-256 of every parent's files: the same recipe on the",
            "same files gives the same bytes.",
            "",
        ]
    )


def _literal(text):
    """A text in Markdown that is shown as it is: one line without emphasis, links, formulas, HTML, or cells' ends."""
    one_line = " ".join(text.split())
    # an underscore within a word means nothing, and names have many
    return re.sub(r"[\\`*\[\]<>&$|~#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", one_line)


def _sentence(subset):
    """{"groups": [a, b], "layers": [3]} -> "groups a, b; layers 3"."""
    return "; ".join(f"{key} {', '.join(map(str, values))}" for key, values in subset.items())


def _whose(recipe):
    """{"config": a, "tokenizer": b} -> "config of a, tokenizer of b"."""
    return ", ".join(f"{what} of {_literal(parent)}" for what, parent in chosen(recipe).items())


def _mixture(weights):
    return " + ".join(f"{weight:g} {parent}" for parent, weight in weights.items())
