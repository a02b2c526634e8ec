"""Vocabularies: do the token ids of two models stand for the same text?

Row i of the embeddings is the token i.  Where parents number their tokens differently, mixing, auditing and counting
tokens by their ids are meaningless, whatever the shapes.  Added tokens that no text becomes, such as placeholders, may
differ: DeepSeek-R1 names two ids `<think>` and `</think>` that its base has as placeholders.
"""

import base64
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from aoe import AoeError

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
CONFIG, GENERATION = "config.json", "generation_config.json"
LISTS = ("vocab.json", "vocab.txt", "merges.txt", "added_tokens.json")  # of tokenizers without a tokenizer.json
MODELS = ("tokenizer.model", "tiktoken.model", "spiece.model", "sentencepiece.bpe.model", "*.tiktoken", "*.spm")
FILES = (TOKENIZER, SETTINGS, GENERATION, "special_tokens_map.json", *LISTS, *MODELS)  # patterns
SPECIAL = ("bos", "eos", "pad", "unk")
UNUSED = re.compile(r"[<\[{].*(place.?holder|reserved|unused|dummy|filler|extra[_▁ ]?id|pad\W*\d).*[>\]}]", re.I)
SHOWN = 6  # ids that a sentence names


class Vocabulary:
    """What a model's folder says of its tokens.

    ``texts``: id -> text; ``added``: the ids that were added to the trained ones; None if no file can be read for it.
    """

    def __init__(self, folder: Path | str, name: str) -> None:
        self.folder, self.name = Path(folder), name
        self.texts: dict[int, str] | None = None
        self.added: set[int] | None = None
        if (self.folder / TOKENIZER).is_file():
            self._take(self._model.get("vocab"), self._read(TOKENIZER).get("added_tokens") or [])
        elif (self.folder / "vocab.json").is_file():
            extra = self._optional("added_tokens.json")
            self._take(self._read("vocab.json"), [{"id": i, "content": text} for text, i in extra.items()])
        elif ranks := self._tiktoken():
            self._take(ranks, [])

    def _take(self, vocabulary, added):
        try:
            if isinstance(vocabulary, list):  # of unigrams, with their scores
                vocabulary = {text: number for number, (text, *_) in enumerate(vocabulary)}
            decoder = self.settings.get("added_tokens_decoder") or {}
            more = {int(number): entry["content"] for number, entry in decoder.items()}
            more |= {entry["id"]: entry["content"] for entry in added}
            self.texts = {number: text for text, number in (vocabulary or {}).items()} | more
            self.added = set(more)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AoeError(f"{self.name}: the tokenizer in {self.folder} cannot be understood ({error!r}).") from error

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The content of tokenizer_config.json."""
        return self._optional(SETTINGS)

    @property
    def _model(self):
        model = self._read(TOKENIZER).get("model")
        return model if isinstance(model, dict) else {}

    def splitting(self) -> dict[str, Any]:
        """Return what decides which ids a text becomes, besides the vocabulary: {part: how}."""
        if not (self.folder / TOKENIZER).is_file():
            return {}
        content, model = self._read(TOKENIZER), self._model
        merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges") or []]
        flags = ("type", "byte_fallback", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix")
        parts = {flag: model.get(flag) for flag in flags} | {"merges": merges}
        parts |= {part: _simplest(content.get(part)) for part in ("normalizer", "pre_tokenizer")}
        return {part: value for part, value in parts.items() if value not in (None, "", False, [], {})}

    def special(self) -> dict[str, Any]:
        """Return {what: ids or text} of the tokens that begin, end, pad or stand for unknown text, as far as stated."""
        found = {}
        for file in (CONFIG, GENERATION):
            content = self._optional(file)
            content = content.get("text_config") or content
            for which in SPECIAL:
                ids = content.get(f"{which}_token_id")
                if ids is not None:
                    found[f"{which}_token_id of {file}"] = sorted(ids) if isinstance(ids, list) else [ids]
        for which in SPECIAL:
            token = self.settings.get(f"{which}_token")
            text = token.get("content") if isinstance(token, dict) else token
            if text is not None:
                found[f"{which}_token of {SETTINGS}"] = text
        return found

    def files(self) -> dict[str, bytes]:
        """Return {file: its bytes} of trained tokenizers that are not read here."""
        paths = [path for pattern in MODELS for path in sorted(self.folder.glob(pattern))]
        return {path.name: path.read_bytes() for path in paths}

    def text(self, number: int) -> str:
        """Return the text of an id in quotes, or that there is none."""
        texts = self.texts or {}
        return repr(texts[number]) if number in texts else "nothing"

    def _tiktoken(self):
        """{text: id} of a file of base64 text and ranks, or nothing."""
        for pattern in ("*.tiktoken", "tiktoken.model"):
            for path in sorted(self.folder.glob(pattern)):
                try:
                    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
                    return {base64.b64decode(text).decode("latin-1"): int(rank) for text, rank in lines}
                except (OSError, ValueError):
                    continue
        return {}

    def _optional(self, file):
        return self._read(file) if (self.folder / file).is_file() else {}

    def _read(self, file):
        if file not in self.__dict__:
            try:
                content = json.loads((self.folder / file).read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise AoeError(f"{self.name}: {self.folder / file} cannot be read ({error}).") from error
            if not isinstance(content, dict):
                raise AoeError(f"{self.name}: {self.folder / file} holds no JSON object.")
            self.__dict__[file] = content
        return self.__dict__[file]


def _simplest(part):
    """A normalizer or pre-tokenizer without steps that do nothing."""
    if not isinstance(part, dict):
        return part
    steps = next((part[key] for key in ("normalizers", "pretokenizers") if isinstance(part.get(key), list)), None)
    if part.get("type") == "Sequence" and steps is not None:
        steps = [step for step in map(_simplest, steps) if step]
        return steps[0] if len(steps) == 1 else steps
    return {key: value for key, value in part.items() if value is not None}


def compare(one: Vocabulary, other: Vocabulary) -> tuple[str | None, list[str]]:
    """Compare two Vocabularies.

    Returns (a sentence on token ids that mean other text, or None; sentences on what else differs).
    """
    told = [*_special_told(one, other)]
    if one.texts is None or other.texts is None:
        return None, [*_bytes_told(one, other), *told]
    wrong, unused = _differing(one, other)
    if unused:
        told.append(
            f"The tokenizers of {one.name} and {other.name} differ in {_number(unused)} that no ordinary text becomes: "
            f"{_ids(unused, one, other)}."
        )
    parts, others = one.splitting(), other.splitting()
    if len(set(map(bool, (parts, others)))) == 1:
        for part in sorted(parts.keys() | others.keys()):
            if parts.get(part) != others.get(part):
                told.append(
                    f"The tokenizers of {one.name} and {other.name} split text differently: their {part} differs."
                )
    if not wrong:
        return None, told
    return (
        f"The tokenizers of {one.name} and {other.name} give {_number(wrong)} another meaning: "
        f"{_ids(wrong, one, other)}"
    ), told


def _differing(one, other):
    """(ids whose meaning differs, ids of which only added tokens that stand for no ordinary text do), sorted."""
    places = [{text: number for number, text in v.texts.items()} for v in (one, other)]
    wrong, unused = [], []
    for number in sorted(one.texts.keys() | other.texts.keys()):
        ours, theirs = one.texts.get(number), other.texts.get(number)
        if ours == theirs:
            continue
        idle = [text is not None and bool(UNUSED.fullmatch(text)) for text in (ours, theirs)]
        moved = (ours in places[1] and not idle[0]) or (theirs in places[0] and not idle[1])
        added = all(number in v.added for v in (one, other) if number in v.texts)
        (unused if not moved and (any(idle) or added) else wrong).append(number)
    return wrong, unused


def _bytes_told(one, other):
    ours, theirs = one.files(), other.files()
    for file in sorted(ours.keys() | theirs.keys()):
        if ours.get(file) != theirs.get(file):
            how = "differ" if file in ours and file in theirs else "is there in one of them only"
            yield (
                f"The tokenizers of {one.name} and {other.name} cannot be compared: {file} {how}, and not both have a "
                f"{TOKENIZER}; see for yourself that token ids mean the same."
            )
            return
    if not ours and (one.texts is None) != (other.texts is None):
        without = one if one.texts is None else other
        yield f"{without.name} has no tokenizer that could be compared with the other models'."


def _special_told(one, other):
    ours, theirs = one.special(), other.special()
    for what in ours.keys() & theirs.keys():
        if ours[what] != theirs[what]:
            mine, yours = (v[0] if isinstance(v, list) and len(v) == 1 else v for v in (ours[what], theirs[what]))
            yield f"{what} is {mine!r} in {one.name}, {yours!r} in {other.name}."


def _number(ids):
    return "1 id" if len(ids) == 1 else f"{len(ids):,} ids"


def _ids(numbers, one, other):
    shown = [
        f"{number} is {one.text(number)} in {one.name}, {other.text(number)} in {other.name}"
        for number in numbers[:SHOWN]
    ]
    return "; ".join(shown) + (f"; and {len(numbers) - SHOWN:,} more" if len(numbers) > SHOWN else "")
