"""The arithmetic of assembling and comparing, on CPUs (numba) and on GPUs (Triton), with the same results.

Both modules are an Engine.  They work on slabs: whole block rows of a tensor, taken from every parent.  dtypes are
spelled as safetensors does.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np
from aoe.checkpoints.layout import Scales

FP8 = "F8_E4M3"

# A parent's part of a slab as stored, (numbers, scale): FP8 codes as uint8 (m, n) with float32 (ceil(m / 128),
# ceil(n / 128)); or float32 (n,), or the bits of BF16 and F16 as uint16 (n,), with None.
Part = tuple[np.ndarray, np.ndarray | None]
Array = Any  # of the engine's device: numpy's on the CPU, torch's on the GPU


class NotFiniteError(ValueError):
    """A number is NaN or Inf."""


class Sums(NamedTuple):
    """Sums of squares, added up in float64: of our values, of (ours - theirs), and of (our codes - their codes).

    steps_…: how many of the stored numbers lie 0, 1, 2, 3 and more steps of their format from one another; other_size:
    the sum of squares of their values.
    """

    size: float
    change: float
    code_change: float
    steps_0: float = 0
    steps_1: float = 0
    steps_2: float = 0
    steps_3: float = 0
    steps_more: float = 0
    other_size: float = 0


class Arithmetic(StrEnum):
    """What parents are summed in.

    float32: their values, every operation rounded on its own.  bfloat16: their values, and the products with λ, are
    rounded to BF16, added up in float32 and rounded to BF16, as PyTorch does with BF16 tensors.  stored: FP8 codes and
    scales each by themselves, as if both were weights.  deltas: the first parent's value, plus the sum of λ times the
    others' differences from it, with every value, λ and result in BF16 (products are added up in float32), as
    mergekit's task arithmetic does with BF16 tensors; the first parent's λ is not computed with.
    """

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    STORED = "stored"
    DELTAS = "deltas"


class Rounding(StrEnum):
    """How sums become stored numbers: see docs/lambda.md; none: FP8 weights become BF16."""

    NEAREST = "nearest"
    STOCHASTIC = "stochastic"
    BALANCED = "balanced"
    NONE = "none"

    @property
    def by_chance(self) -> bool:
        """Whether random numbers decide where a number is rounded to."""
        return self in (Rounding.STOCHASTIC, Rounding.BALANCED)


class Method(NamedTuple):
    """How parents are combined; key: 64 bits that random numbers come from, of the recipe's seed and the weight.

    scales: what the scales of FP8 blocks are rounded to, upwards, before the codes; it follows from how a result is
    stored.
    """

    arithmetic: Arithmetic = Arithmetic.FLOAT32
    rounding: Rounding = Rounding.NEAREST
    key: int = 0
    scales: Scales = Scales.F32

    @property
    def is_plain(self) -> bool:
        """Whether it is what a recipe has that says nothing."""
        return self[:2] == Method()[:2]

    @property
    def in_bf16(self) -> bool:
        """Whether sums are BF16 numbers before they are stored."""
        return self.arithmetic in (Arithmetic.BFLOAT16, Arithmetic.DELTAS)


PLAIN = Method()


class Engine(Protocol):
    """What both modules offer; ``SLAB`` is how large slabs should be, in bytes of one parent's numbers."""

    __name__: str
    SLAB: int

    def here(self) -> Any:
        """Return the place of the calling thread: which of the GPUs."""

    def enter(self, place: Any, /) -> None:
        """Put a thread that helps another one where that one is."""

    def memory(self, size: int) -> np.ndarray:
        """Return ``size`` bytes (uint8) to read numbers into."""

    def empty(self, shape: int | tuple[int, ...], dtype: str) -> Array:
        """Return an array on the engine's device to put results into."""

    def host(self, array: Array) -> np.ndarray:
        """Return the same array for the processor."""

    def combine(
        self,
        parts: Sequence[Part],
        dtype: str,
        weights: Sequence[float],
        out: Array,
        out_scale: Array | None = None,
        method: Method = PLAIN,
        begin: int = 0,
    ) -> None:
        """Dequantize the parts, sum weights times values in the order given, and round once to the dtype.

        Without a ``method``, all is float32 with every operation rounded on its own, and rounding is to nearest; FP8
        gets new scales (see aoe.numerics.fp8).  out: (n,) or (m, n), of FP8 parts that are not rounded BF16;
        out_scale: (ceil(m / 128), ceil(n / 128)).  begin: the row of an FP8 weight, a multiple of 128, or the element
        of another, a multiple of 4,096, that the parts begin with.  Raises NotFiniteError for NaN or Inf in a part or
        in the result.
        """

    def difference(self, parts: Sequence[Part], dtype: str) -> Sums:
        """Return the Sums of two parents' parts.  Raises NotFiniteError for NaN or Inf in a part or in the result."""


def for_device(device: str | None = None) -> Engine:
    """Return the module for "cpu" or "cuda"; without a name, for the GPU if there is one that torch can use."""
    if device is None:
        device = "cuda" if _has_gpu() else "cpu"
    if device == "cpu":
        from aoe.numerics.kernels import cpu

        return cpu
    from aoe.numerics.kernels import cuda

    return cuda


def threads(module: Engine, count: int) -> ThreadPoolExecutor:
    """Return a pool of threads that work where the caller does."""
    return ThreadPoolExecutor(count, initializer=module.enter, initargs=(module.here(),))


def _has_gpu():
    # asking torch takes seconds, and merging on the processor does without it
    driver = any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd")))  # NVIDIA's, AMD's
    if not driver or not all(map(find_spec, ("torch", "triton"))):
        return False
    import torch

    return torch.cuda.is_available()
