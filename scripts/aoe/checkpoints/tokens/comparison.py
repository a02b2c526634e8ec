"""Compare what two models' folders say of their tokens: do token ids stand for the same text, and what else differs?

Added tokens that no text becomes, such as placeholders, may differ: DeepSeek-R1 names two ids `<think>` and `</think>`
that its base has as placeholders.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sized
from typing import Any

from aoe.checkpoints.tokens.chat_templates import DEFAULT, chat_templates
from aoe.checkpoints.tokens.vocabulary import GENERATION, TOKENIZER, Vocabulary

UNUSED = re.compile(r"[<\[{].*(place.?holder|reserved|unused|dummy|filler|extra[_▁ ]?id|pad\W*\d).*[>\]}]", re.I)
SHOWN = 6  # ids, keys or texts that a sentence names
WRITING = ("_from_model_config", "transformers_version")  # keys of a generation_config.json that only say who wrote it

Tokens = Mapping[int, str] | Mapping[int, bytes]


def comparable(one: Vocabulary, other: Vocabulary) -> tuple[Tokens, Tokens]:
    """Return {id: token} of two vocabularies in one notation: as their files have it, or as bytes where these differ.

    Both have ``texts``.
    """
    assert one.texts is not None and other.texts is not None
    if one.notation == other.notation:
        return one.texts, other.texts
    return one.meanings(), other.meanings()


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
    if one.notation == other.notation and len(set(map(bool, (parts, others)))) == 1:
        for part in sorted(parts.keys() | others.keys()):
            if parts.get(part) != others.get(part):
                told.append(
                    f"The tokenizers of {one.name} and {other.name} split text differently: their {part} differs."
                )
    told += _handling_told(one, other)
    if not wrong:
        return None, told
    return (
        f"The tokenizers of {one.name} and {other.name} give {_number(wrong)} another meaning: "
        f"{_ids(wrong, one, other)}"
    ), told


def _differing(one, other):
    """(ids whose meaning differs, ids of which only added tokens that stand for no ordinary text do), sorted."""
    tokens = comparable(one, other)
    places = [{token: number for number, token in found.items()} for found in tokens]
    wrong, unused = [], []
    for number in sorted(tokens[0].keys() | tokens[1].keys()):
        ours, theirs = tokens[0].get(number), tokens[1].get(number)
        if ours == theirs:
            continue
        texts = [vocabulary.texts.get(number) for vocabulary in (one, other)]
        idle = [text is not None and bool(UNUSED.fullmatch(text)) for text in texts]
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


def _handling_told(one: Vocabulary, other: Vocabulary) -> Iterator[str]:
    """What of the tokens that both added is found in text, or left out of it, in different ways."""
    ours, theirs = one.handling(), other.handling()
    odd = [text for text in ours.keys() & theirs.keys() if ours[text] != theirs[text]]
    shown = [
        f"{text!r} is {', '.join(ours[text]) or 'plain'} in {one.name}, {', '.join(theirs[text]) or 'plain'} in "
        f"{other.name}"
        for text in sorted(odd)[:SHOWN]
    ]
    if shown:
        yield (
            f"The tokenizers of {one.name} and {other.name} treat {_number(odd, 'added token')} differently: "
            f"{'; '.join(shown)}{_more(odd)}."
        )


def compare_templates(one: Vocabulary, other: Vocabulary) -> str | None:
    """Return a sentence on how the chat templates of two models differ, or None."""
    ours, theirs = chat_templates(one.folder), chat_templates(other.folder)
    if ours == theirs:
        return None
    if not ours or not theirs:
        having, without = (one, other) if ours else (other, one)
        return f"{having.name} has a chat template, {without.name} has none."
    odd = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    which = "" if odd == [DEFAULT] else f" ({', '.join(odd)})"
    return f"The chat templates of {one.name} and {other.name} differ{which}."


def compare_generation(one: Vocabulary, other: Vocabulary) -> str | None:
    """Return a sentence on how the generation configs of two models differ, but for their token ids, or None."""
    ours, theirs = one.generation, other.generation
    if ours is None or theirs is None:
        if ours is theirs:
            return None
        having, without = (other, one) if ours is None else (one, other)
        return f"{having.name} has a {GENERATION}, {without.name} has none."
    keys = [key for key in sorted(ours.keys() | theirs.keys()) if not key.endswith("_token_id") and key not in WRITING]
    odd = [key for key in keys if ours.get(key) != theirs.get(key)]
    if not odd:
        return None
    shown = [
        f"{key} is {_value(ours, key)} in {one.name}, {_value(theirs, key)} in {other.name}" for key in odd[:SHOWN]
    ]
    return f"The {GENERATION} of {one.name} and {other.name} differ: {'; '.join(shown)}{_more(odd)}."


def _value(content: Mapping[str, Any], key: str) -> str:
    return json.dumps(content[key], ensure_ascii=False) if content.get(key) is not None else "nothing"


def _number(found: Sized, what: str = "id") -> str:
    return f"1 {what}" if len(found) == 1 else f"{len(found):,} {what}s"


def _more(found: Sized) -> str:
    return f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""


def _ids(numbers, one, other):
    shown = [
        f"{number} is {one.text(number)} in {one.name}, {other.text(number)} in {other.name}"
        for number in numbers[:SHOWN]
    ]
    return "; ".join(shown) + _more(numbers)
