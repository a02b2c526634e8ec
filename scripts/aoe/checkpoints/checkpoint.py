"""Checkpoints: Hugging Face directories of safetensors files, seen as named tensors and read lazily."""

from __future__ import annotations

import json
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from aoe import AoeError
from aoe.checkpoints.layout import SCALE, Layout, Settings
from aoe.checkpoints.shard import Shard, StoredTensor
from aoe.checkpoints.storage import layout_of, owner_of

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
OUTLINE = ".outline"  # folder beside the shards: the headers of those that are not there (yet)


class Checkpoint:
    """A directory of safetensors files: ``name`` for messages, ``config`` (a dict), ``files`` (tensor -> file name).

    Raises AoeError if the directory has no config, or an index that is broken or points outside of it.
    """

    def __init__(self, directory: Path | str, name: str | None = None) -> None:
        self.directory = Path(directory)
        self.name = name or self.directory.name
        self._shards, self._lock = {}, threading.Lock()
        self._layouts, self._owners = {}, {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        return self._read_json("config.json")

    @cached_property
    def files(self) -> dict[str, str]:
        """The file name of the shard of every tensor."""
        if (self.directory / INDEX).exists():
            files = self._read_json(INDEX).get("weight_map")
            if not isinstance(files, dict) or not files:
                raise AoeError(f"{self.directory / INDEX} has no weight_map.")
            for file in [file for file in files.values() if not isinstance(file, str)] or set(files.values()):
                if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
                    raise AoeError(
                        f"{self.directory / INDEX} points to {file!r}, which is not a safetensors file beside it."
                    )
            return files
        if (self.directory / SINGLE).exists() or (self.directory / OUTLINE / SINGLE).exists():
            return dict.fromkeys(self.shard(SINGLE).tensors, SINGLE)
        raise AoeError(f"{self.directory} holds neither {INDEX} nor {SINGLE}: it is no safetensors checkpoint.")

    @property
    def shard_names(self) -> list[str]:
        """The file names of the shards, sorted."""
        return sorted(set(self.files.values()))

    def shard(self, file: str) -> Shard:
        """Return the Shard of a file name, or its outline if only that was fetched.

        Raises AoeError if it is missing, unreadable or broken.
        """
        if file in self._shards:
            return self._shards[file]
        with self._lock:
            if file not in self._shards:
                path = self.directory / file
                outline = self.directory / OUTLINE / file
                try:
                    self._shards[file] = Shard(path) if path.exists() or not outline.exists() else Shard(outline, True)
                except FileNotFoundError as error:
                    raise AoeError(f"{self.name}: the shard {path} is missing.") from error
                except OSError as error:
                    raise AoeError(f"{self.name}: the shard {path} cannot be read ({error.strerror}).") from error
                except AoeError as error:
                    raise AoeError(f"{self.name}: {error}") from error
            return self._shards[file]

    @property
    def bytes_read(self) -> int:
        """Bytes of tensors that were read so far, from all shards."""
        return sum(shard.bytes_read for shard in self._shards.values())

    @property
    def bytes_of_shards(self) -> int:
        """Bytes of all shards."""
        return sum(self.shard(file).size for file in self.shard_names)

    def __contains__(self, tensor: str) -> bool:
        return tensor in self.files

    def stored(self, tensor: str) -> StoredTensor:
        """Return where and how ``tensor`` is stored.  Raises AoeError if the checkpoint has no such tensor."""
        return self.shard_of(tensor).tensors[tensor]

    def rearranges(self, tensor: str) -> bool:
        """Return whether ``read`` gives a tensor's bytes in another order than its file has them in."""
        return False

    def renames(self, weight: str) -> bool:
        """Return whether a weight is seen here under another name than it has in its file, or in other pieces."""
        return False

    def bytes(self, tensor: str) -> bytes:
        """Return the bytes of ``tensor`` as stored."""
        return self.read(tensor).tobytes()

    def read(self, tensor: str, begin: int = 0, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return bytes of ``tensor`` as stored; see Shard.read."""
        return self.shard_of(tensor).read(tensor, begin, out)

    def prefetch(self, tensor: str, begin: int, end: int) -> None:
        """Ask the system to read bytes of ``tensor`` ahead."""
        self.shard_of(tensor).prefetch(tensor, begin, end)

    def tensor(self, tensor: str) -> torch.Tensor:
        """Return ``tensor`` as stored, dtype and shape as in the file."""
        return self.shard_of(tensor).tensor(tensor)

    @cached_property
    def settings(self) -> Settings:
        """What config.json says of the storage of quantized weights; nothing if there is none that can be read."""
        try:
            return Settings.of_config(self.config)
        except AoeError:
            return Settings()

    def layout(self, weight: str) -> Layout:
        """Return how a weight is stored: its format, and the tensors that belong to it, which may lie in other shards.

        Raises AoeError if one is missing without which its codes mean nothing, or does not fit it.
        """
        if weight not in self._layouts:
            try:
                self._layouts[weight] = layout_of(weight, self.files, self.stored, self.settings, self._stated_shape)
            except ValueError as error:
                raise AoeError(f"{self.name}: {error}") from error
        return self._layouts[weight]

    def files_of(self, weight: str) -> set[str]:
        """Return the file names of the shards that hold a weight with all its members."""
        return {self.files[name] for name in self.layout(weight).names}

    def _stated_shape(self, tensor):
        """The rows and columns that a packed weight's own tensor states; None if it is not there, or says no two."""
        stored = self.stored(tensor)
        if stored.dtype not in ("I32", "I64") or stored.elements != 2 or self.shard_of(tensor).outline:
            return None
        return tuple(self.read(tensor).view("<i4" if stored.dtype == "I32" else "<i8").tolist())

    def scale(self, weight: str) -> str | None:
        """Return the name of the scale of a weight, or None if it needs none.  Raises AoeError as ``layout`` does."""
        member = self.layout(weight).members.get(SCALE)
        return member.stored.name if member else None

    def check_scales(self) -> None:
        """Raise AoeError if any weight of the checkpoint lacks a scale, or has one that does not fit it."""
        for weight in self.files:
            if not self.is_scale(weight):
                self.layout(weight)

    @property
    def weights(self) -> list[str]:
        """The names of all tensors but the scales, shard by shard in file order."""
        return [weight for file in self.shard_names for weight in self.weights_in(file)]

    def weights_in(self, file: str) -> list[str]:
        """Return the names of the tensors that the index puts into a shard, but for the scales, in file order."""
        tensors = self.shard(file).tensors
        return [name for name in tensors if self.files.get(name) == file and not self.is_scale(name)]

    def weight(self, tensor: str) -> str:
        """Return the weight that ``tensor`` is, or is a member of."""
        return self._owner(tensor) or tensor

    def is_scale(self, tensor: str) -> bool:
        """Return whether ``tensor`` is the scale, or another member, of a quantized weight, and not one of its own."""
        return self._owner(tensor) is not None

    def _owner(self, tensor):
        if tensor not in self._owners:
            self._owners[tensor] = owner_of(tensor, self.files, self.stored)
        return self._owners[tensor]

    def shard_of(self, tensor: str) -> Shard:
        """Return the Shard that holds ``tensor``."""
        if tensor not in self.files:
            raise AoeError(f"{self.name} has no tensor {tensor}.")
        file = self.files[tensor]
        shard = self.shard(file)
        if tensor not in shard.tensors:
            raise AoeError(f"{self.name}: the index puts {tensor} into {file}, but that shard does not hold it.")
        return shard

    def _read_json(self, file):
        try:
            text = (self.directory / file).read_text(encoding="utf-8")
            content = json.loads(text)
            if "\\ud" in text.lower():
                json.dumps(content, ensure_ascii=False).encode()  # what is half a character cannot be written again
        except OSError as error:
            raise AoeError(f"{self.name}: {self.directory / file} cannot be read ({error.strerror}).") from error
        except (ValueError, RecursionError) as error:
            raise AoeError(f"{self.name}: {self.directory / file} is not valid JSON ({error}).") from error
        if not isinstance(content, dict):
            raise AoeError(f"{self.name}: {self.directory / file} holds no JSON object.")
        return content
