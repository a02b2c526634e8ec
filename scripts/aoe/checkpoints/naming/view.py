"""Views: checkpoints, some of whose tensors are seen otherwise than they are stored."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import FORMATS
from aoe.checkpoints.layout import Layout
from aoe.checkpoints.shard import Shard, StoredTensor

if TYPE_CHECKING:
    import torch


class View(Checkpoint):
    """A Checkpoint that is another one, ``model``, in everything that a subclass does not say otherwise.

    It shares the other's open shards, and what is counted of them.
    """

    def __init__(self, model: Checkpoint) -> None:
        super().__init__(model.directory, model.name)
        self.model = model
        self._shards, self._lock = model._shards, model._lock

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        return self.model.config

    @cached_property
    def files(self) -> dict[str, str]:
        """The file name of the shard of every tensor."""
        return self.model.files

    @property
    def shard_names(self) -> list[str]:
        """The file names of the shards, sorted."""
        return self.model.shard_names

    @property
    def weights(self) -> list[str]:
        """The names of all weights."""
        return self.model.weights

    def __contains__(self, tensor: str) -> bool:
        return tensor in self.model

    def stored(self, tensor: str) -> StoredTensor:
        """Return how a tensor is stored; the byte range of those that are rearranged has their size, and no meaning."""
        return self.model.stored(tensor)

    def rearranges(self, tensor: str) -> bool:
        """Return whether ``read`` gives a tensor's bytes in another order than its file has them in."""
        return self.model.rearranges(tensor)

    def renames(self, weight: str) -> bool:
        """Return whether a weight is seen here under another name than it has in its file, or in other pieces."""
        return self.model.renames(weight)

    def files_of(self, weight: str) -> set[str]:
        """Return the file names of the shards that hold a weight with all its members."""
        return self.model.files_of(weight)

    def read(self, tensor: str, begin: int = 0, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return bytes of a tensor as it is seen; see Shard.read."""
        return self.model.read(tensor, begin, out)

    def prefetch(self, tensor: str, begin: int, end: int) -> None:
        """Ask the system to read bytes of a tensor ahead."""
        self.model.prefetch(tensor, begin, end)

    def tensor(self, tensor: str) -> torch.Tensor:
        """Return a tensor as it is seen, dtype and shape as ``stored`` says."""
        if not self.rearranges(tensor):
            return self.model.tensor(tensor)
        import torch

        stored = self.stored(tensor)
        dtype = getattr(torch, FORMATS[stored.dtype].torch)
        return torch.from_numpy(self.read(tensor)).view(dtype).reshape(stored.shape)

    def layout(self, weight: str) -> Layout:
        """Return how a weight is stored; see Checkpoint.layout."""
        return self.model.layout(weight)

    def weight(self, tensor: str) -> str:
        """Return the weight that ``tensor`` is, or is a member of."""
        return self.model.weight(tensor)

    def is_scale(self, tensor: str) -> bool:
        """Return whether ``tensor`` is a member of a quantized weight, and not one of its own."""
        return self.model.is_scale(tensor)

    def shard_of(self, tensor: str) -> Shard:
        """Return the Shard that holds ``tensor``."""
        return self.model.shard_of(tensor)
