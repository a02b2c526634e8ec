"""Checkpoints: Hugging Face directories of safetensors files, seen as named tensors and read lazily.

The files are read here and not through a framework, because assembling and auditing need what frameworks hide: the
order of the tensors in a file, its metadata, and the bytes of a tensor as they are stored.  torch is imported only for
torch's tensors: verifying, planning, and merging and comparing on the CPU do without.
"""

import json
import math
import os
import threading
from functools import cached_property
from itertools import accumulate
from operator import attrgetter, mul
from pathlib import Path
from typing import NamedTuple

import numpy as np
from aoe import AoeError
from aoe.checkpoints.formats import BLOCK, FORMATS, SCALED, scale_of, scale_shape, size_of, weight_of

HEADER_ALIGNMENT = 8  # bytes, to which the safetensors library pads
LARGEST_HEADER = 100_000_000  # bytes; the safetensors format's own limit
MOST_READ = 1 << 30  # bytes in one call; Linux reads no more than 2 GiB
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
OUTLINE = ".outline"  # folder beside the shards: the headers of those that are not there (yet)
LARGEST_NUMBER = 1 << 64  # the safetensors library computes shapes and offsets in 64 bits without a sign


def make_header(tensors, metadata=None):
    """The first bytes of a safetensors file, length prefix included, of {name: (dtype, shape)} stored in that order."""
    header, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + size_of(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


class StoredTensor(NamedTuple):
    """Where and how a tensor is stored: dtype as the file spells it, shape, byte range in its file."""

    name: str
    dtype: str
    shape: tuple
    begin: int
    end: int

    @property
    def elements(self):
        return math.prod(self.shape)

    @property
    def size(self):
        """In bytes."""
        return self.end - self.begin


class Shard:
    """One safetensors file: ``size`` (bytes), ``header`` (from the first byte on), ``metadata``, ``tensors`` in order.

    ``metadata`` is text to text.  ``is_plain`` tells whether the file's own is, too: the safetensors library opens no
    other.  outline: the file holds the header only, and ``size`` is what that promises.  Raises AoeError if the file is
    not what its header says, or, for any other reason than its metadata, nothing that other readers open.
    """

    def __init__(self, path, outline=False):
        self.path, self.outline = Path(path), outline
        self._file, self._lock, self.bytes_read = None, threading.Lock(), 0
        with open(self.path, "rb") as file:
            size = self.path.stat().st_size
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > min(LARGEST_HEADER, size - 8):
                raise AoeError(
                    f"{self.path} is no complete safetensors file: its header does not fit its {size} bytes."
                )
            text = file.read(length)
        self.header = prefix + text
        metadata, self.tensors, self.size = self._parse(text)
        self.metadata = _as_text(metadata)
        self.is_plain = metadata is None or metadata == self.metadata
        if not outline and self.size != size:
            raise AoeError(f"{self.path} has {size} bytes, but its header promises {self.size}; fetch the file again.")

    def _parse(self, text):
        try:
            # as text: of bytes, json also reads UTF-16, and marks before the first brace
            entries = json.loads(text.decode(), object_pairs_hook=self._unique, parse_int=_whole_number)
            metadata = entries.pop("__metadata__", None)
            stored = [self._entry(name, **entry) for name, entry in entries.items()]
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise AoeError(f"{self.path} has an unreadable safetensors header ({error}).") from error
        stored.sort(key=attrgetter("begin", "end"))
        position = len(self.header)
        for tensor in stored:
            if tensor.begin != position:
                raise AoeError(f"{self.path}: the header leaves a gap or an overlap before the tensor {tensor.name}.")
            position = tensor.end
        return metadata, {tensor.name: tensor for tensor in stored}, position

    def _entry(self, name, dtype, shape, data_offsets, **_):
        numbers = [*shape, *data_offsets]
        if not _is_unicode(name):
            raise AoeError(
                f"{self.path}: the name {name!a} of a tensor is broken Unicode; no other reader opens the file."
            )
        if (
            len(data_offsets) != 2
            or set(map(type, numbers)) != {int}
            or min(numbers) < 0
            or max([*numbers, *accumulate(shape, mul)]) >= LARGEST_NUMBER
        ):
            raise AoeError(
                f"{self.path}: the tensor {name} has the impossible shape {shape} or offsets {data_offsets}."
            )
        begin, end = len(self.header) + data_offsets[0], len(self.header) + data_offsets[1]
        if dtype not in FORMATS:
            raise AoeError(f"{self.path}: the tensor {name} has the unknown dtype {dtype}.")
        if end - begin != size_of(dtype, shape):
            raise AoeError(f"{self.path}: the tensor {name} has a byte range that does not fit {dtype} {shape}.")
        return StoredTensor(name, dtype, tuple(shape), begin, end)

    def _unique(self, pairs):
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise AoeError(f"{self.path}: the header names a tensor twice.")
        return entries

    @property
    def written_header(self):
        """The header of a file with the same tensors that every reader opens: this one's, if its metadata lets it.

        The safetensors library wants metadata of text, transformers its ``format`` among them.
        """
        if self.is_plain and (not self.metadata or "format" in self.metadata):
            return self.header
        tensors = {name: (stored.dtype, stored.shape) for name, stored in self.tensors.items()}
        return make_header(tensors, {"format": "pt"} | self.metadata)

    @property
    def file(self):
        """The open file, for reading at any place; opened once, whatever threads ask for it."""
        with self._lock:
            if self._file is None:
                self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - for as long as the shard is in use
        return self._file

    def read(self, name, begin=0, out=None):
        """Fill ``out``, a uint8 array, with a tensor's bytes from ``begin`` on and return it; without one, all of them.

        Raises AoeError if the file ends before.
        """
        stored = self.tensors[name]
        out = np.empty(stored.size - begin, np.uint8) if out is None else out
        if begin + len(out) > stored.size:
            raise ValueError(f"the tensor {name} has {stored.size} bytes, not {begin + len(out)}")
        done, file = 0, self.file
        while done < len(out):
            try:
                count = os.preadv(file.fileno(), [out[done : done + MOST_READ]], stored.begin + begin + done)
            except OSError as error:
                raise AoeError(f"{self.path} cannot be read at the tensor {name} ({error.strerror}).") from error
            if not count:
                raise AoeError(
                    f"{self.path} ends within the tensor {name}: "
                    + ("the shard itself was not fetched." if self.outline else "it was cut off after it was opened.")
                )
            done += count
        with self._lock:
            self.bytes_read += done
        return out

    def prefetch(self, name, begin, end):
        """Ask the system to read bytes of a tensor ahead."""
        if hasattr(os, "posix_fadvise"):
            start = self.tensors[name].begin + begin
            os.posix_fadvise(self.file.fileno(), start, end - begin, os.POSIX_FADV_WILLNEED)

    def tensor(self, name):
        """The tensor as stored: its own dtype and shape, a copy in memory."""
        import torch

        stored = self.tensors[name]
        dtype = getattr(torch, FORMATS[stored.dtype].torch)
        if not stored.elements:
            return torch.empty(stored.shape, dtype=dtype)
        return torch.from_numpy(self.read(name)).view(dtype).reshape(stored.shape)


def _whole_number(digits):
    """A number of the header's JSON; other readers take -0 for no whole one."""
    return float(digits) if digits == "-0" else int(digits)


def _as_text(metadata):
    """A header's metadata as the format has it, text to text; what is none, as JSON."""
    if not isinstance(metadata, dict):
        metadata = {} if metadata is None else {"metadata": metadata}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    return {_unicode(key): _unicode(text) for key, text in texts.items()}


def _unicode(text):
    return text.encode(errors="replace").decode()


def _is_unicode(text):
    return text == _unicode(text)


class Checkpoint:
    """A directory of safetensors files: ``name`` for messages, ``config`` (a dict), ``files`` (tensor -> file name).

    Raises AoeError if the directory has no config, or an index that is broken or points outside of it.
    """

    def __init__(self, directory, name=None):
        self.directory = Path(directory)
        self.name = name or self.directory.name
        self._shards, self._lock = {}, threading.Lock()

    @cached_property
    def config(self):
        return self._read_json("config.json")

    @cached_property
    def files(self):
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
    def shard_names(self):
        """The file names of the shards, sorted."""
        return sorted(set(self.files.values()))

    def shard(self, file):
        """The Shard of a file name, or its outline if only that was fetched.

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
    def bytes_read(self):
        """Bytes of tensors that were read so far, from all shards."""
        return sum(shard.bytes_read for shard in self._shards.values())

    @property
    def bytes_of_shards(self):
        """Bytes of all shards."""
        return sum(self.shard(file).size for file in self.shard_names)

    def __contains__(self, tensor):
        return tensor in self.files

    def stored(self, tensor):
        """Where and how ``tensor`` is stored.  Raises AoeError if the checkpoint has no such tensor."""
        return self.shard_of(tensor).tensors[tensor]

    def bytes(self, tensor):
        """The bytes of ``tensor`` as stored."""
        return self.read(tensor).tobytes()

    def read(self, tensor, begin=0, out=None):
        """Bytes of ``tensor`` as stored; see Shard.read."""
        return self.shard_of(tensor).read(tensor, begin, out)

    def tensor(self, tensor):
        """``tensor`` as stored, dtype and shape as in the file."""
        return self.shard_of(tensor).tensor(tensor)

    def scale(self, weight):
        """The name of the scale of an FP8 ``weight``, or None for another dtype; it may lie in another shard.

        Raises AoeError if an FP8 weight has none: without it, its codes mean nothing.
        """
        if self.stored(weight).dtype not in SCALED:
            return None
        if scale_of(weight) not in self:
            raise AoeError(f"{self.name}: the FP8 tensor {weight} has no {scale_of(weight)}.")
        return scale_of(weight)

    def check_scales(self):
        """Raises AoeError if any FP8 weight of the checkpoint has no scale, or one that does not fit it."""
        for tensor in self.files:
            self.check_scale(tensor)

    def check_scale(self, weight):
        """Raises AoeError if an FP8 weight has no scale, or one that does not fit it; other dtypes need none."""
        scale, stored = self.scale(weight), self.stored(weight)
        if scale is None:
            return
        if len(stored.shape) != 2:
            raise AoeError(f"{self.name}: the FP8 tensor {weight} has {len(stored.shape)} dimensions instead of 2.")
        expected, found = scale_shape(*stored.shape), self.stored(scale)
        if (found.dtype, found.shape) != ("F32", expected):
            raise AoeError(
                f"{self.name}: the scale {scale} is {found.dtype} {list(found.shape)}, but its weight of shape "
                f"{list(stored.shape)} in blocks of {BLOCK}x{BLOCK} needs F32 {list(expected)}."
            )

    @property
    def weights(self):
        """The names of all tensors but the scales, shard by shard in file order."""
        return [name for file in self.shard_names for name in self.shard(file).tensors if not self.is_scale(name)]

    def weight(self, tensor):
        """The weight that ``tensor`` is or is the scale of."""
        return weight_of(tensor) if self.is_scale(tensor) else tensor

    def is_scale(self, tensor):
        """Whether ``tensor`` is the scale of an FP8 weight of this checkpoint, and not a tensor of its own."""
        weight = weight_of(tensor)
        return weight != tensor and weight in self and self.stored(weight).dtype in SCALED

    def shard_of(self, tensor):
        """The Shard that holds ``tensor``."""
        if tensor not in self.files:
            raise AoeError(f"{self.name} has no tensor {tensor}.")
        file = self.files[tensor]
        shard = self.shard(file)
        if tensor not in shard.tensors:
            raise AoeError(f"{self.name}: the index puts {tensor} into {file}, but that shard does not hold it.")
        return shard

    def _read_json(self, file):
        try:
            content = json.loads((self.directory / file).read_text(encoding="utf-8"))
        except OSError as error:
            raise AoeError(f"{self.name}: {self.directory / file} cannot be read ({error.strerror}).") from error
        except (ValueError, RecursionError) as error:
            raise AoeError(f"{self.name}: {self.directory / file} is not valid JSON ({error}).") from error
        if not isinstance(content, dict):
            raise AoeError(f"{self.name}: {self.directory / file} holds no JSON object.")
        return content
