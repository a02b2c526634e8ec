"""The arithmetic of assembling and comparing, on CPUs (numba) and on GPUs (Triton), with the same results.

Both modules work on slabs: whole block rows of a tensor, taken from every parent.  A parent's part of a slab is a pair
of numpy arrays as stored, (numbers, scale): FP8 codes as uint8 (m, n) with float32 (ceil(m / 128), ceil(n / 128)), or
float32 (n,), or the bits of BF16 and F16 as uint16 (n,), with None.  A module offers

* ``here()`` and ``enter(here)``: a thread that helps another must enter where that one is (which of the GPUs);
* ``SLAB``: how large slabs should be, in bytes of one parent's numbers, and ``memory(size)``: bytes to read them into;
* ``empty(shape, dtype)``: an array on its device to put results into, ``host(array)``: the same for the processor;
* ``combine(parts, dtype, weights, out, out_scale)``: dequantize, sum weights times values in the order given, in
  float32 with every operation rounded on its own, and round once to the dtype (FP8: with new scales, see
  aoe.numerics.fp8);
* ``difference(parts, dtype)``: the Sums of two parents' parts.

They raise NotFiniteError for NaN or Inf in a part or in the result.  dtypes are spelt as safetensors does.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import NamedTuple

FP8 = "F8_E4M3"


class NotFiniteError(ValueError):
    """A number is NaN or Inf."""


class Sums(NamedTuple):
    """Sums of squares, added up in float64: of our values, of (ours - theirs), and of (our codes - their codes)."""

    size: float
    change: float
    code_change: float


def for_device(device=None):
    """The module for "cpu" or "cuda"; without a name, for the GPU if there is one that torch can use."""
    if device is None:
        device = "cuda" if _has_gpu() else "cpu"
    if device == "cpu":
        from aoe.numerics.kernels import cpu as module
    else:
        from aoe.numerics.kernels import cuda as module
    return module


def threads(module, count):
    """A pool of threads that work where the caller does."""
    return ThreadPoolExecutor(count, initializer=module.enter, initargs=(module.here(),))


def _has_gpu():
    # asking torch takes seconds, and merging on the processor does without it
    driver = any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd")))  # NVIDIA's, AMD's
    if not driver or not all(map(find_spec, ("torch", "triton"))):
        return False
    import torch

    return torch.cuda.is_available()
