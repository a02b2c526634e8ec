"""Do models fit together in more than shapes?  Known from their small files, before any weight is there."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.acquiring.hashing import sha256
from aoe.checkpoints.checkpoint import INDEX, OUTLINE, SINGLE, Checkpoint
from aoe.checkpoints.configs import check_alike
from aoe.checkpoints.configs import differences as differing_keys
from aoe.checkpoints.keys import text_config
from aoe.checkpoints.stated import contradictions
from aoe.checkpoints.tokens.alignment import in_words
from aoe.checkpoints.tokens.beside import chosen, misfits
from aoe.checkpoints.tokens.comparison import compare, compare_generation, compare_templates
from aoe.checkpoints.tokens.vocabulary import FILES, Vocabulary


def check(unions: Iterable[Mapping[str, Any]], folders: Mapping[str, Path | str]) -> list[str]:
    """Return sentences on what differs between models that are mixed, audited or counted together.

    unions: of Study.unions; folders: name -> folder, of the models whose config.json is there; others are left out.
    Raises AoeError if the parents of a variant number their tokens differently, or compute differently, and its recipe
    does not say what is meant.
    """
    models, told = _Models(folders), []
    for union in unions:
        names = [name for name in union["models"] if (models.folder(name) / "config.json").is_file()]
        if len(names) > 1:
            told += _mixed(union, names, models) if union["mixed"] else _only_compared(union, names, models)
    return list(dict.fromkeys(told))


def check_stored(checkpoints: Iterable[Checkpoint]) -> list[str]:
    """Return sentences on what the config.json of Checkpoints says of their weights, and their shards do not bear out.

    Checkpoints whose shards, or their headers, are not all there are left out.
    """
    return [sentence for checkpoint in checkpoints if _has_headers(checkpoint) for sentence in stored_told(checkpoint)]


def stored_told(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield sentences on what of a Checkpoint is not as other readers want it, and is mended in what is made of it."""
    odd = [file for file in checkpoint.shard_names if not checkpoint.shard(file).is_plain]
    if odd:
        yield (
            f"{checkpoint.name}: the header of {odd[0]} has metadata that is not text to text; the safetensors library "
            "refuses such a file.  What is made of it here has a proper header."
        )
    yield from contradictions(checkpoint)


def _has_headers(checkpoint):
    folder = checkpoint.directory
    if not (folder / INDEX).is_file() and not any((place / SINGLE).is_file() for place in (folder, folder / OUTLINE)):
        return False
    return all((folder / file).is_file() or (folder / OUTLINE / file).is_file() for file in checkpoint.shard_names)


class _Models:
    def __init__(self, folders: Mapping[str, Path | str]) -> None:
        self._checkpoints = {name: Checkpoint(folder, name) for name, folder in folders.items()}
        self._vocabularies, self._digests = {}, {}

    def folder(self, name):
        return self._checkpoints[name].directory

    def configs(self, names):
        return {name: self._checkpoints[name].config for name in names}

    def tokens(self, one, other):
        """Return what ``compare`` says of two models' tokens; nothing if all their files are the same."""
        if self._digest(one) == self._digest(other) and self.configs([one])[one] == self.configs([other])[other]:
            return None, []
        try:
            return compare(self._vocabulary(one), self._vocabulary(other))
        except AoeError as error:  # nothing is known of it, which does not keep weights from being mixed
            return None, [str(error)]

    def aligned(self, who, base, other):
        """Return the sentence on how a model's embeddings are aligned with the base's, or None if no row moves."""
        sizes = [text_config(config).get("vocab_size") for config in self.configs([base, other]).values()]
        found = [self._vocabulary(name) for name in (base, other)]
        for vocabulary in found:
            if not vocabulary.texts:
                raise AoeError(
                    f"{who} has `align_embeddings`, but {vocabulary.name} has no tokenizer in {vocabulary.folder} "
                    "whose tokens can be read; add its tokenizer.json, or leave `align_embeddings` out."
                )
        rows = [size if type(size) is int else max(one.texts) + 1 for size, one in zip(sizes, found, strict=True)]
        return in_words(*found, *rows)

    def beside(self, one, other):
        """Return sentences on how chat templates and generation configs of two models differ."""
        told = []
        for compare_files in (compare_templates, compare_generation):
            try:
                told.append(compare_files(self._vocabulary(one), self._vocabulary(other)))
            except AoeError as error:
                told.append(str(error))
        return [*filter(None, told)]

    def misfits(self, whose):
        """Return sentences on what does not fit together of the files that ``chosen`` names."""
        kinds = ("tokenizer", "chat template", "generation config")
        try:
            return list(misfits(*(self._vocabulary(whose[kind]) for kind in kinds)))
        except AoeError:  # which was told when tokenizers and templates were compared
            return []

    def _digest(self, name):
        if name not in self._digests:
            folder = self.folder(name)
            paths = sorted({path for pattern in FILES for path in folder.glob(pattern)})
            self._digests[name] = {path.name: sha256(path) for path in paths}
        return self._digests[name]

    def _vocabulary(self, name):
        if name not in self._vocabularies:
            self._vocabularies[name] = Vocabulary(self.folder(name), name)
        return self._vocabularies[name]


def _mixed(union, names, models):
    who, base, aligned = union["who"], names[0], union.get("align_embeddings", False)
    said = None if union["config_from"] else [*union["config"], *(["vocab_size"] if aligned else [])]
    told, different = check_alike(who, models.configs(names), said), False
    for other in names[1:]:
        wrong, more = models.tokens(base, other)
        if aligned:
            wrong = models.aligned(who, base, other)
        elif wrong and not union["tokenizer_from"]:
            raise AoeError(
                f"{who}: {wrong}.  Mixing their weights mixes different tokens; leave one of them out, let the rows of "
                f"{other}'s embeddings follow {base}'s tokens (`align_embeddings: true`), or, if it is meant, say "
                f"whose tokenizer the result has: `tokenizer_from: {base}`."
            )
        beside = models.beside(base, other)
        different = different or bool(beside)
        more = [*more, *beside]
        told += [f"{who}: {sentence.rstrip('.')}." for sentence in [wrong, *more] if sentence]
    whose = chosen({**union, "base": base})
    if different:
        told.append(
            f"{who}: The result has the chat template of {whose['chat template']} (`chat_template_from`) and the "
            f"generation config of {whose['generation config']} (`generation_config_from`)."
        )
    if {*whose.values()} <= {*names}:  # whose config.json are there
        told += [f"{who}: {sentence}" for sentence in models.misfits(whose)]
    return told


def _only_compared(union, names, models):
    who, base, told = union["who"], names[0], []
    for other in names[1:]:
        wrong, more = models.tokens(base, other)
        told += [f"{who}: {sentence.rstrip('.')}." for sentence in [wrong, *more] if sentence]
        if who.startswith("The audit"):
            if wrong and not union.get("align_embeddings"):
                told.append(f"{who}: Rows of embeddings are compared as they lie, unless a claim aligns them by token.")
            configs = models.configs([base, other])
            keys = [found.told(base, other) for found in differing_keys(*configs.values())]
            told += [f"{who}: the config.json of {base} and {other} differ in {'; '.join(keys)}."] if keys else []
    return told
