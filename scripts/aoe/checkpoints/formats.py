"""The storage formats of numbers: the one list, and what belongs to FP8 weights beside their codes.

A format that is only read and copied is one entry of ``FORMATS``.  One that is combined, too, needs its arithmetic in
aoe.numerics.kernels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SCALE_SUFFIX = "_scale_inv"
BLOCK = 128  # rows and columns that share a scale; blocks at the right and lower edge may be smaller


@dataclass(frozen=True)
class StorageFormat:
    """How numbers are stored.

    name: as safetensors spells it; torch: the name of torch's dtype; bytes: of a number;
    combines: whether kernels dequantize it, sum it and round to it;
    plain: whether a config.json names it as the dtype of weights that are not quantized;
    fp8: what a ``quantization_config`` calls it (``fmt``), if its weights come with a scale a block, else empty.
    """

    name: str
    torch: str
    bytes: int
    combines: bool = False
    plain: bool = False
    fp8: str = ""


FORMATS = {
    one.name: one
    for one in (
        StorageFormat("F64", "float64", 8, plain=True),
        StorageFormat("F32", "float32", 4, combines=True, plain=True),
        StorageFormat("F16", "float16", 2, combines=True, plain=True),
        StorageFormat("BF16", "bfloat16", 2, combines=True, plain=True),
        StorageFormat("F8_E4M3", "float8_e4m3fn", 1, combines=True, fp8="e4m3"),
        StorageFormat("F8_E5M2", "float8_e5m2", 1, fp8="e5m2"),
        StorageFormat("F8_E8M0", "float8_e8m0fnu", 1),
        StorageFormat("I64", "int64", 8),
        StorageFormat("I32", "int32", 4),
        StorageFormat("I16", "int16", 2),
        StorageFormat("I8", "int8", 1),
        StorageFormat("U64", "uint64", 8),
        StorageFormat("U32", "uint32", 4),
        StorageFormat("U16", "uint16", 2),
        StorageFormat("U8", "uint8", 1),
        StorageFormat("BOOL", "bool", 1),
    )
}
COMBINABLE = tuple(one.name for one in FORMATS.values() if one.combines)
SCALED = tuple(one.name for one in FORMATS.values() if one.fp8)


def size_of(dtype: str, shape: Sequence[int]) -> int:
    """Return the bytes of a tensor's numbers.  dtype: the name of a format; shape: of the tensor."""
    return math.prod(shape) * FORMATS[dtype].bytes


def scale_of(weight: str) -> str:
    """Return the name of the scale tensor that belongs to an FP8 ``weight``."""
    return weight + SCALE_SUFFIX


def weight_of(scale: str) -> str:
    """Return the name of the weight that a scale tensor belongs to."""
    return scale.removesuffix(SCALE_SUFFIX)


def scale_shape(rows: int, columns: int) -> tuple[int, int]:
    """Return the shape of the scale tensor that belongs to a (rows, columns) FP8 weight."""
    return -(-rows // BLOCK), -(-columns // BLOCK)
