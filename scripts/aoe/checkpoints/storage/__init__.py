"""The storage formats of weights: a file each, named after the format, with all of it in ``STORAGE``.

A format says which tensors belong together, by their names and dtypes, and gives the Layout of a weight; this needs
headers and config.json only.  Its arithmetic is aoe.numerics.decoded and aoe.numerics.packed, where it is found by the
format's name: packages here import no arithmetic.  FP8 with a scale a block, row, column or tensor is one format, as
rows, columns and whole tensors are blocks.
"""

import pkgutil
from collections.abc import Callable, Container
from dataclasses import replace
from functools import cache
from importlib import import_module

from aoe.checkpoints.layout import CODES, SHAPE, Layout, Settings, Storage, plain
from aoe.checkpoints.shard import StoredTensor

Stored = Callable[[str], StoredTensor]


@cache
def storages() -> tuple[Storage, ...]:
    """Find all formats but plain numbers, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(import_module(f"{__name__}.{name}").STORAGE for name in names)


def layout_of(
    weight: str,
    files: Container[str],
    stored: Stored,
    settings: Settings,
    shape: Callable[[str], tuple[int, ...] | None],
) -> Layout:
    """Return the Layout of a weight.

    files: the names of a checkpoint's tensors; stored: gives the StoredTensor of one; shape: gives the numbers of one
    that is a packed weight's shape, None if they are not there.  Raises ValueError, in words, if its members do not fit
    each other.
    """
    for storage in storages():
        if (members := _members(storage, weight, files, stored)) is not None:
            own = replace(settings, shape=shape(members[SHAPE].name)) if SHAPE in members else settings
            return storage.read(members, own)
    return plain(stored(weight))


def may_own(tensor: str) -> list[str]:
    """Return the names of the weights that a tensor may be a member of, by its name alone."""
    return [weight for storage in storages() for weight in storage.owners(tensor) if weight != tensor]


def owner_of(tensor: str, files: Container[str], stored: Stored) -> str | None:
    """Return the weight that a tensor is a member of, or None for one that is a weight itself."""
    for storage in storages():
        for weight in storage.owners(tensor):
            if weight != tensor and weight in files and _is_member(storage, weight, tensor, files, stored):
                return weight
    return None


def _is_member(storage, weight, tensor, files, stored):
    members = _members(storage, weight, files, stored)
    return members is not None and any(one.name == tensor for one in members.values())


def _members(storage, weight, files, stored):
    """{role: StoredTensor} of a weight, if it is of that format."""
    codes = stored(weight)
    if codes.dtype not in storage.dtypes[CODES] or not any(weight.endswith(end) for end, _ in storage.ends[CODES]):
        return None
    members = {CODES: codes}
    for role in storage.ends:
        found = next((name for name in storage.candidates(weight, role) if role != CODES and name in files), None)
        if found is not None and (one := stored(found)).dtype in storage.dtypes.get(role, (one.dtype,)):
            members[role] = one
    return members if all(role in members for role in storage.needs) else None
