"""Vocabularies: which text the token ids of a model stand for, read from whatever tokenizer files it has.

Row i of the embeddings is the token i.  Where parents number their tokens differently, mixing, auditing and counting
tokens by their ids are meaningless, whatever the shapes.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.checkpoints.keys import text_config
from aoe.checkpoints.tokens.pieces import BYTE, NORMAL, read_pieces

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
CONFIG, GENERATION = "config.json", "generation_config.json"
VOCABULARY, MERGES, LINES = "vocab.json", "merges.txt", "vocab.txt"  # of tokenizers without a tokenizer.json
LISTS = (VOCABULARY, LINES, MERGES, "added_tokens.json")
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "*.spm")
TIKTOKEN, TEKKEN = ("*.tiktoken", "tiktoken.model"), "tekken.json"
MODELS = (*SENTENCEPIECE, *TIKTOKEN, TEKKEN)
FILES = (TOKENIZER, SETTINGS, GENERATION, "special_tokens_map.json", *LISTS, *MODELS)  # patterns
SPECIAL = ("bos", "eos", "pad", "unk")
HANDLING = ("special", "lstrip", "rstrip", "single_word", "normalized")  # of added tokens in text
PIECE_OF_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")

# How vocabularies write tokens: as text; with a letter a byte, as GPT-2 has it; with ▁ for spaces and <0x0A> for bytes;
# as bytes, shown here in Latin-1.
TEXT, LETTERS, SPACED, RAW = "text", "letters", "spaced", "raw"


class Vocabulary:
    """What a model's folder says of its tokens.

    ``texts``: id -> text as the tokenizer's file writes it, in the ``notation``; ``added``: the ids that were added to
    the trained ones; None if no file can be read for it.
    """

    def __init__(self, folder: Path | str, name: str) -> None:
        self.folder, self.name = Path(folder), name
        self._contents: dict[str, dict[str, Any]] = {}

    @property
    def texts(self) -> dict[int, str] | None:
        """{id: text}; raises AoeError if a tokenizer's file is broken."""
        return self._found[0]

    @property
    def added(self) -> set[int] | None:
        """The ids of added tokens."""
        return self._found[1]

    @property
    def notation(self) -> str:
        """How the texts are written."""
        return self._found[2]

    @cached_property
    def _found(self):
        """(texts, added, notation) by the first kind of file that is there and can be read."""
        if (self.folder / TOKENIZER).is_file():
            return self._taken(self._model.get("vocab"), self._added, self._written())
        extra = [{"id": number, "content": text} for text, number in self._optional("added_tokens.json").items()]
        if (self.folder / VOCABULARY).is_file():
            vocabulary = self._read(VOCABULARY)
            letters = any("Ġ" in text for text in vocabulary)  # the letter of a space
            return self._taken(vocabulary, extra, LETTERS if letters else TEXT)
        if (self.folder / LINES).is_file():
            lines = (self.folder / LINES).read_text(encoding="utf-8", errors="replace").splitlines()
            return self._taken({text: number for number, text in enumerate(lines)}, extra, TEXT)
        if (self.folder / TEKKEN).is_file():
            ranks, special = self._tekken()
            return self._taken(ranks, special, RAW)
        if ranks := self._ranks():
            return self._taken(ranks, [], RAW)
        if found := self._pieces():
            odd = [{"id": i, "content": text} for i, (text, kind) in enumerate(found) if kind not in (NORMAL, BYTE)]
            return self._taken([[text, 0] for text, _ in found], odd + extra, SPACED)
        return None, None, TEXT

    def _taken(self, vocabulary, added, notation):
        try:
            if isinstance(vocabulary, list):  # of unigrams, with their scores
                vocabulary = {text: number for number, (text, *_) in enumerate(vocabulary)}
            decoder = self.settings.get("added_tokens_decoder") or {}
            more = {int(number): entry["content"] for number, entry in decoder.items()}
            more |= {entry["id"]: entry["content"] for entry in added}
            texts = {number: text for text, number in (vocabulary or {}).items()} | more
            if set(map(type, texts)) - {int} or set(map(type, texts.values())) - {str}:
                raise TypeError("an id that is no number, or a token that is no text")
            return texts, set(more), notation
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AoeError(f"{self.name}: the tokenizer in {self.folder} cannot be understood ({error!r}).") from error

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The content of tokenizer_config.json."""
        return self._optional(SETTINGS)

    @property
    def generation(self) -> dict[str, Any] | None:
        """The content of generation_config.json, or None without one."""
        return self._read(GENERATION) if (self.folder / GENERATION).is_file() else None

    @property
    def _model(self):
        model = self._read(TOKENIZER).get("model")
        return model if isinstance(model, dict) else {}

    @property
    def _added(self):
        return self._read(TOKENIZER).get("added_tokens") or []

    def _written(self):
        """How the tokenizer.json writes its tokens."""
        content = self._read(TOKENIZER)
        steps = [step for part in ("pre_tokenizer", "decoder") for step in _steps(content.get(part))]
        if any(step.get("type") == "ByteLevel" for step in steps):
            return LETTERS
        spaced = "▁" in str([content.get(part) for part in ("normalizer", "pre_tokenizer", "decoder")])
        return SPACED if spaced or self._model.get("byte_fallback") else TEXT

    def meanings(self) -> dict[int, bytes]:
        """Return {id: the bytes of its text, in UTF-8}, the same however a tokenizer's file writes tokens.

        A byte of which there is also a token as text keeps its name, such as ``<0x20>`` beside a space.
        """
        texts, added = self.texts or {}, self.added or set()
        plain = {number: self._bytes(text, number in added) for number, text in texts.items()}
        if self.notation != SPACED:
            return plain
        known = set(plain.values())
        for number, text in texts.items():
            single = PIECE_OF_BYTE.fullmatch(text)
            if single and number not in added and bytes.fromhex(single[1]) not in known:
                plain[number] = bytes.fromhex(single[1])
        return plain

    def _bytes(self, text, added):
        if self.notation == RAW and not added:
            return text.encode("latin-1")
        if self.notation == LETTERS and not added and all(letter in OF_LETTERS for letter in text):
            return bytes(OF_LETTERS[letter] for letter in text)
        return (text.replace("▁", " ") if self.notation == SPACED and not added else text).encode(errors="replace")

    def splitting(self) -> dict[str, Any]:
        """Return what decides which ids a text becomes, besides the vocabulary: {part: how}."""
        if not (self.folder / TOKENIZER).is_file():
            return self._merges()
        content, model = self._read(TOKENIZER), self._model
        merges = model.get("merges") if isinstance(model.get("merges"), list) else []
        merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]
        flags = ("type", "byte_fallback", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix")
        parts = {flag: model.get(flag) for flag in flags} | {"merges": merges}
        parts |= {part: _simplest(content.get(part)) for part in ("normalizer", "pre_tokenizer")}
        return {part: value for part, value in parts.items() if value not in (None, "", False, [], {})}

    def _merges(self):
        path = self.folder / MERGES
        if not (self.folder / VOCABULARY).is_file() or not path.is_file():
            return {}
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return {"merges": [line.split(" ") for line in lines if line.strip() and not line.startswith("#version")]}

    def handling(self) -> dict[str, list[str]]:
        """Return {text of an added token: the HANDLING that it has}, as far as stated."""
        entries = [*(self.settings.get("added_tokens_decoder") or {}).values()]
        entries += self._added if (self.folder / TOKENIZER).is_file() else []
        return {entry["content"]: [how for how in HANDLING if entry.get(how)] for entry in entries}

    def special(self) -> dict[str, Any]:
        """Return {what: ids or text} of the tokens that begin, end, pad or stand for unknown text, as far as stated."""
        found: dict[str, Any] = {}
        for file in (CONFIG, GENERATION):
            content = self._optional(file)
            content = text_config(content)
            for which in SPECIAL:
                ids = content.get(f"{which}_token_id")
                numbers = [number for number in (ids if isinstance(ids, list) else [ids]) if type(number) is int]
                if numbers:
                    found[f"{which}_token_id of {file}"] = sorted(numbers)
        for which, text in self.named().items():
            found[f"{which} of {SETTINGS}"] = text
        return found

    def named(self) -> dict[str, str]:
        """Return {bos_token, …: text} of tokenizer_config.json, which chat templates know by these names."""
        tokens = {f"{which}_token": self.settings.get(f"{which}_token") for which in SPECIAL}
        texts = {which: token.get("content") if isinstance(token, dict) else token for which, token in tokens.items()}
        return {which: text for which, text in texts.items() if isinstance(text, str)}

    def ends(self) -> list[int]:
        """Return the token ids at which generation stops: those of generation_config.json, else of config.json."""
        found = self.special()
        return found.get(f"eos_token_id of {GENERATION}") or found.get(f"eos_token_id of {CONFIG}") or []

    def added_ids(self) -> dict[str, int]:
        """Return {text: id} of the added tokens, each of which is one token wherever it stands in a text."""
        return {(self.texts or {})[number]: number for number in sorted(self.added or ())}

    def files(self) -> dict[str, bytes]:
        """Return {file: its bytes} of trained tokenizers."""
        paths = [path for pattern in MODELS for path in sorted(self.folder.glob(pattern))]
        return {path.name: path.read_bytes() for path in paths}

    def text(self, number: int) -> str:
        """Return the text of an id in quotes, or that there is none."""
        texts = self.texts or {}
        return repr(texts[number]) if number in texts else "nothing"

    def _ranks(self):
        """{text: id} of a file of base64 text and ranks, or nothing."""
        for path in self._paths(TIKTOKEN):
            try:
                lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
                return {base64.b64decode(text, validate=True).decode("latin-1"): int(rank) for text, rank in lines}
            except (OSError, ValueError):
                continue
        return {}

    def _tekken(self):
        """({text: id}, added tokens) of Mistral's tekken.json, whose special tokens come first."""
        content = self._read(TEKKEN)
        try:
            first, size = (content["config"][f"default_{key}"] for key in ("num_special_tokens", "vocab_size"))
            trained = {
                base64.b64decode(entry["token_bytes"]).decode("latin-1"): first + entry["rank"]
                for entry in content["vocab"][: size - first]
            }
            special = content.get("special_tokens") or []
            return trained, [{"id": entry["rank"], "content": entry["token_str"]} for entry in special]
        except (KeyError, TypeError, ValueError) as error:
            raise AoeError(f"{self.name}: {self.folder / TEKKEN} cannot be understood ({error!r}).") from error

    def _pieces(self):
        """[(text, type)] of a SentencePiece model, or nothing."""
        for path in self._paths(SENTENCEPIECE):
            try:
                return read_pieces(path.read_bytes())
            except (OSError, ValueError):
                continue
        return []

    def _paths(self, patterns: Iterable[str]) -> Iterator[Path]:
        return (path for pattern in patterns for path in sorted(self.folder.glob(pattern)))

    def _optional(self, file):
        return self._read(file) if (self.folder / file).is_file() else {}

    def _read(self, file):
        if file not in self._contents:
            try:
                content = json.loads((self.folder / file).read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise AoeError(f"{self.name}: {self.folder / file} cannot be read ({error}).") from error
            if not isinstance(content, dict):
                raise AoeError(f"{self.name}: {self.folder / file} holds no JSON object.")
            self._contents[file] = content
        return self._contents[file]


def _letters() -> dict[str, int]:
    """{letter: byte}: printable bytes of Latin-1 stand for themselves, the others for letters from U+0100 on."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + number): byte for number, byte in enumerate(hidden)}


OF_LETTERS = _letters()


def _steps(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The steps of a pre-tokenizer or decoder."""
    if not isinstance(part, dict):
        return []
    lists = [part[key] for key in ("pretokenizers", "decoders") if isinstance(part.get(key), list)]
    return [part, *(inner for steps in lists for step in steps for inner in _steps(step))]


def _simplest(part):
    """A normalizer or pre-tokenizer without steps that do nothing."""
    if not isinstance(part, dict):
        return part
    steps = next((part[key] for key in ("normalizers", "pretokenizers") if isinstance(part.get(key), list)), None)
    if part.get("type") == "Sequence" and steps is not None:
        steps = [step for step in map(_simplest, steps) if step]
        return steps[0] if len(steps) == 1 else steps
    return {key: value for key, value in part.items() if value is not None}
