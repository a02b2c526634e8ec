"""Align embeddings by token: which rows of another model's belong to the tokens of a base.

Parents that were trained on one vocabulary and number its tokens differently, or were given different tokens later,
can be mixed once row i of each of them is the token i of the base.  A row whose token the other model does not have is
the base's, so that it is not mixed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import SCALED
from aoe.checkpoints.keys import text_config
from aoe.checkpoints.layout import Layout, plain
from aoe.checkpoints.naming.renamed import named_as
from aoe.checkpoints.naming.view import View
from aoe.checkpoints.parts import TensorGroup
from aoe.checkpoints.shard import StoredTensor
from aoe.checkpoints.tokens.comparison import comparable
from aoe.checkpoints.tokens.vocabulary import Vocabulary

Run = list[int]  # [first row of the base, number of rows, first row of the other model]
OF_MTP = ("embed_tokens.weight", "shared_head.head.weight", "lm_head.weight")  # ends of names in layers of this group
SHOWN = 6  # tokens that a sentence names


def rows_by_token(base: Vocabulary, other: Vocabulary, rows: int, other_rows: int) -> list[Run]:
    """Return the Runs of rows of the other model's embeddings that belong to the base's; rows in no Run are the base's.

    rows, other_rows: how many the embeddings of each have.  Rows beyond both vocabularies keep their places.
    """
    ours, theirs = comparable(base, other)
    places: dict[str | bytes, int] = {}
    for number in sorted(theirs):
        places.setdefault(theirs[number], number)
    runs: list[Run] = []
    for row in range(rows):
        token = ours.get(row)
        same = token == theirs.get(row)  # of two rows with one text, the one in its place
        found = row if same else None if token is None else places.get(token)
        if found is None or found >= other_rows:
            continue
        if runs and (runs[-1][0] + runs[-1][1], runs[-1][2] + runs[-1][1]) == (row, found):
            runs[-1][1] += 1
        else:
            runs.append([row, 1, found])
    return runs


def in_words(base: Vocabulary, other: Vocabulary, rows: int, other_rows: int) -> str | None:
    """Return a sentence on how the other model's embeddings are aligned with the base's, or None if nothing moves."""
    runs = rows_by_token(base, other, rows, other_rows)
    if runs == [[0, rows, 0]]:
        return None
    moved = sum(count for begin, count, theirs in runs if begin != theirs)
    covered = np.zeros(rows, bool)
    for begin, count, _ in runs:
        covered[begin : begin + count] = True
    kept = np.flatnonzero(~covered).tolist()
    lacking = [base.text(row) for row in kept if row in (base.texts or {})]
    why = f", as {other.name} lacks {', '.join(lacking[:SHOWN])}{' …' if len(lacking) > SHOWN else ''}"
    return (
        f"Of the {rows:,} rows of the embeddings, {moved:,} are other rows of {other.name}, by their token's text, and "
        f"{len(kept):,} are {base.name}'s{why if lacking else ''}."
    )


@dataclass(frozen=True)
class Alignment:
    """``tensors``: the base's that have a row a token; ``rows``: how many; ``runs``: parent -> Runs, of the parents
    whose rows move."""

    tensors: list[str]
    rows: int
    runs: dict[str, list[Run]]

    def aligned(self, base: Checkpoint, models: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
        """Return {name: Checkpoint} where those whose rows move are seen with their rows in the base's order."""
        seen = {name: named_as(base, model) for name, model in models.items()}
        return {
            name: AlignedCheckpoint(model, base, self.tensors, self.runs[name]) if name in self.runs else model
            for name, model in seen.items()
        }

    def describe(self) -> list[str]:
        """Return one line a parent."""
        lines = []
        for name, runs in self.runs.items():
            moved = sum(count for begin, count, theirs in runs if begin != theirs)
            kept = self.rows - sum(count for _, count, _ in runs)
            lines.append(f"embeddings of {name}, aligned by token: {moved} rows are moved, {kept} are the base's")
        return lines


def align(base: Checkpoint, others: Iterable[Checkpoint]) -> Alignment | None:
    """Return the Alignment of other models' embeddings with a base's, or None if no row of theirs moves.

    Raises AoeError if a tokenizer cannot be read, or embeddings are stored in a way, or of a size, that rows cannot be
    exchanged in.
    """
    ours = _vocabulary(base)
    tensors = tensors_of_tokens(base, 1 + max(ours.texts or [0]))
    rows = base.stored(tensors[0]).shape[0]
    runs = {}
    for other in [named_as(base, other) for other in others]:
        theirs = _vocabulary(other)
        for tensor in tensors:
            _check_rows(base, other, tensor)
        found = rows_by_token(ours, theirs, rows, min(other.stored(tensor).shape[0] for tensor in tensors))
        sizes = {other.stored(tensor).shape[0] for tensor in tensors}
        if found != [[0, rows, 0]] or sizes != {rows}:
            runs[other.name] = found
    return Alignment(tensors, rows, runs) if runs else None


def tensors_of_tokens(base: Checkpoint, tokens: int) -> list[str]:
    """Return the names of a checkpoint's tensors that have a row a token, sorted; tokens: the fewest rows.

    Raises AoeError if there is none.
    """
    architecture, found = Architecture(base.config), []
    for tensor in sorted(base.files):
        group, shape = architecture.place(tensor).group, base.stored(tensor).shape
        of_tokens = group in (TensorGroup.EMBEDDINGS, TensorGroup.LM_HEAD)
        if (of_tokens or (group == TensorGroup.MTP and tensor.endswith(OF_MTP))) and shape and shape[0] >= tokens:
            found.append(tensor)
    rows = text_config(base.config).get("vocab_size")
    rows = rows if type(rows) is int else max((base.stored(tensor).shape[0] for tensor in found), default=0)
    found = [tensor for tensor in found if base.stored(tensor).shape[0] == rows]
    if not found:
        raise AoeError(f"{base.name} has no embeddings with a row for each of its {tokens:,} tokens to align.")
    return found


def _vocabulary(model: Checkpoint) -> Vocabulary:
    found = Vocabulary(model.directory, model.name)
    if not found.texts:
        raise AoeError(
            f"{model.name} has no tokenizer in {model.directory} whose tokens can be read, so its embeddings cannot be "
            "aligned by token; add its tokenizer.json, or leave `align_embeddings` out."
        )
    return found


def _check_rows(base, other, tensor):
    """Raises AoeError unless rows of a tensor can stand in for the base's."""
    ours, theirs = base.stored(tensor), other.stored(tensor)
    if (ours.dtype, ours.shape[1:]) != (theirs.dtype, theirs.shape[1:]) or ours.dtype in SCALED:
        raise AoeError(
            f"The rows of {tensor} cannot be aligned by token: it is {ours.dtype} {list(ours.shape)} in {base.name}, "
            f"and {theirs.dtype} {list(theirs.shape)} in {other.name}."
        )


class AlignedCheckpoint(View):
    """A Checkpoint whose embeddings have the base's rows in number and order; all else is as it was.

    model: the one that is seen so; tensors, runs: of an Alignment.
    """

    def __init__(self, model: Checkpoint, base: Checkpoint, tensors: Iterable[str], runs: list[Run]) -> None:
        super().__init__(model)
        self._base, self._aligned, self._runs = base, frozenset(tensors), runs
        self._ends = [first + count for first, count, _ in runs]

    def rearranges(self, tensor: str) -> bool:
        """Return whether the rows of a tensor are not as they lie in its file."""
        return tensor in self._aligned or self.model.rearranges(tensor)

    def layout(self, weight: str) -> Layout:
        """Return how a weight is stored, which aligned ones are with the base's number of rows."""
        return plain(self.stored(weight)) if weight in self._aligned else self.model.layout(weight)

    def stored(self, tensor: str) -> StoredTensor:
        """Return how a tensor is stored; the byte range of aligned ones has their size, and else no meaning."""
        own = self.model.stored(tensor)
        if tensor not in self._aligned:
            return own
        ours = self._base.stored(tensor)
        return own._replace(name=tensor, shape=ours.shape, end=own.begin + ours.size)

    def read(self, tensor: str, begin: int = 0, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Fill ``out`` with bytes of a tensor from ``begin`` on, as if its rows lay in the base's order."""
        if tensor not in self._aligned:
            return self.model.read(tensor, begin, out)
        stored = self.stored(tensor)
        out = np.empty(stored.size - begin, np.uint8) if out is None else out
        width, end = stored.size // stored.shape[0], begin + len(out)
        done = begin
        for number in range(bisect_right(self._ends, begin // width), len(self._runs)):
            first, count, theirs = self._runs[number]
            start, stop = max(first * width, done), min((first + count) * width, end)
            if start >= end:
                break
            if start > done:
                self._base.read(tensor, done, out[done - begin : start - begin])
            self.model.read(tensor, start + (theirs - first) * width, out[start - begin : stop - begin])
            done = stop
        if done < end:
            self._base.read(tensor, done, out[done - begin :])
        return out
