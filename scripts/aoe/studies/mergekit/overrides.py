"""The λ of all tensors as few subsets, in the order in which a recipe tries them."""

import fnmatch
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

Mixture = dict[str, float]
Subset = dict[str, Any]  # as a study writes it


def grouped(
    mixtures: Mapping[str, Mixture], layers: Mapping[str, int | None], filters: Sequence[Sequence[str]]
) -> Iterator[tuple[Subset, Mixture]]:
    """Yield (subset, mixture): the first whose subset holds a tensor gives its mixture.

    mixtures: tensor -> {model: weight}; layers: tensor -> its layer; filters: lists of texts, of which the first that
    is in a tensor's name counts: only by these, and by their layers, do tensors' mixtures differ.
    """
    classes: dict[tuple[int, ...], list[str]] = {}
    for tensor in mixtures:
        found = (next((i for i, text in enumerate(texts) if text in tensor), len(texts)) for texts in filters)
        classes.setdefault((*found,), []).append(tensor)
    left = set(mixtures)
    *first, (_, rest) = sorted(classes.items())
    for numbers, tensors in first:
        texts = [texts[i] for i, texts in zip(numbers, filters, strict=True) if i < len(texts)]
        names = _patterns(texts, tensors, left)
        yield from _by_layers({"names": names} if names else {}, {name: mixtures[name] for name in tensors}, layers)
        left -= {*tensors}
    ((items, _),) = Counter((*mixtures[tensor].items(),) for tensor in rest).most_common(1)
    commonest = dict(items)
    others = {tensor: mixtures[tensor] for tensor in rest if mixtures[tensor] != commonest}
    yield from _by_layers({}, others, layers, named=True)
    yield {}, commonest


def _by_layers(condition, mixtures, layers, named=False):
    """Yield the subsets of a class of tensors, which have a condition in common: layers, and at the end the others.

    named: whether the others are to be named, as more tensors meet the condition.
    """
    inside, outside = {}, {}
    for tensor, mixture in mixtures.items():
        found = outside if layers[tensor] is None else inside
        found.setdefault((*mixture.items(),), []).append(tensor)
    for mixture, tensors in inside.items():
        yield condition | {"layers": _ranges({layers[tensor] for tensor in tensors})}, dict(mixture)
    named |= len(outside) > 1
    for mixture, tensors in outside.items():
        yield {"names": sorted(tensors)} if named else condition, dict(mixture)


def _patterns(texts, tensors, left):
    """Shell patterns that select these tensors, in whose names all texts are, of those left; their names if none do."""
    patterns = [""]
    for text in dict.fromkeys(texts):
        patterns = [both for pattern in patterns for both in _both(pattern, text)]
    patterns = ["*" + re.sub(r"([?[])", r"[\1]", pattern) + "*" for pattern in patterns if pattern]
    patterns = [pattern for pattern in patterns if fnmatch.filter(tensors, pattern)]
    selected = {name for pattern in patterns for name in fnmatch.filter(left, pattern)}
    return patterns if not texts or selected == {*tensors} else sorted(tensors)


def _both(one, other):
    """Patterns, one of which fits every name with two texts in it that do not overlap."""
    if other in one or one in other:
        return [max(one, other, key=len)]
    return [f"{one}*{other}", f"{other}*{one}"]


def _ranges(layers: Collection[int]) -> list[int | str]:
    """{3, 4, 5, 7} -> ["3-5", 7]."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return [first if first == last else f"{first}-{last}" for first, last in runs]
