"""Execute plans: the output tensors of a variant, one by one, and the files of a merged checkpoint.

Numerics: what is copied is copied as bytes.  What is combined is dequantized to float32, combined in float32 in the
order of the plan, and rounded once into the stored format (FP8 blocks get new scales; see aoe.fp8).
"""

import json
import math
import os
import shutil
from pathlib import Path

import torch
from aoe import AoeError, fp8
from aoe.checkpoint import INDEX, weight_of

COMBINABLE = ("F8_E4M3", "BF16", "F16", "F32")


class Merge:
    """A plan with the checkpoints to execute it on (model name -> Checkpoint)."""

    def __init__(self, plan, checkpoints):
        self.plan = plan
        self.checkpoints = checkpoints
        self.base = checkpoints[plan.base]

    def stored(self, weight):
        """An output weight as stored: (tensor, scale or None); FP8 codes come with their float32 scales.

        Raises AoeError for NaN or Inf in a parent and for dtypes that cannot be combined.
        """
        source = self._source(weight)
        if source is None:
            return self._combined(weight)
        scale = source.scale(weight)
        return source.tensor(weight), None if scale is None else source.tensor(scale)

    def bytes(self, tensor):
        """The bytes of an output tensor (weight or scale), ready to be written in the base's place."""
        if not self.base.is_scale(tensor):
            source = self._source(tensor)
            return self._bytes(self._combined(tensor)[0]) if source is None else source.bytes(tensor)
        source = self._source(weight_of(tensor))
        return self._bytes(self._combined(weight_of(tensor))[1]) if source is None else source.bytes(tensor)

    def value(self, weight):
        """An output weight as float32, FP8 dequantized: what a server that has no FP8 computes with."""
        tensor, scale = self.stored(weight)
        return tensor.float() if scale is None else fp8.dequantize(tensor, scale)

    def _source(self, weight):
        """The checkpoint that a weight's bytes come from, or None if it must be combined.

        Parents that agree in every byte are copied: their difference is 0, which exceeds no δ [paper, equation 1].
        """
        copied = self.plan.source(weight)
        if copied is not None:
            return self.checkpoints[copied]
        mixture = self.plan.weights(weight)
        first, *others = (self.checkpoints[parent] for parent in mixture)
        names = [weight, first.scale(weight)] if first.scale(weight) else [weight]
        alike = all(first.bytes(name) == other.bytes(name) for other in others for name in names)
        return first if alike and math.isclose(math.fsum(mixture.values()), 1) else None

    def _combined(self, weight):
        total, stored = None, self.base.stored(weight)
        if stored.dtype not in COMBINABLE:
            raise AoeError(f"The tensor {weight} has the dtype {stored.dtype}, which cannot be combined.")
        for parent, share in self.plan.weights(weight).items():
            part = value(self.checkpoints[parent], weight) * share
            total = part if total is None else total + part
        if stored.dtype == "F8_E4M3":
            return fp8.quantize(total)
        return total.to(self.base.tensor(weight).dtype), None

    @staticmethod
    def _bytes(tensor):
        return memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy()).cast("B")


def value(checkpoint, weight):
    """A weight of a checkpoint as float32, FP8 dequantized.  Raises AoeError for NaN or Inf."""
    scale = checkpoint.scale(weight)
    tensor = checkpoint.tensor(weight)
    tensor = tensor.float() if scale is None else fp8.dequantize(tensor, checkpoint.tensor(scale))
    if not torch.isfinite(tensor).all():
        raise AoeError(f"{checkpoint.name}: the tensor {weight} holds NaN or Inf.")
    return tensor


def write_shard(merge, file, target):
    """Write one shard of a merged checkpoint: the base's header, then every tensor in the base's order.

    Written through a temporary name, so that a file under its own name is always complete.
    """
    shard = merge.base.shard(file)
    partial = Path(f"{target}.partial")
    with open(partial, "wb") as out:
        out.write(shard.header)
        for tensor in shard.tensors:
            out.write(merge.bytes(tensor))
        out.flush()
        os.fsync(out.fileno())
    partial.replace(target)


def copy_surroundings(merge, directory, recipe):
    """Complete a merged checkpoint: the base's index, config, tokenizer and generation config, and ``recipe.json``."""
    directory = Path(directory)
    for source in sorted(merge.base.directory.iterdir()):
        if source.is_file() and source.suffix != ".safetensors" and source.name != "README.md":
            shutil.copyfile(source, directory / source.name)
    if not (directory / INDEX).exists() and len(merge.base.shard_names) > 1:
        raise AoeError(f"{merge.base.name} has several shards, but no {INDEX}.")
    (directory / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")
