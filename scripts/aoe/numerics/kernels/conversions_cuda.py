"""Conversions between float32 and e4m3 in kernels for GPUs."""

import triton
import triton.language as tl


@triton.jit
def decode(code: tl.tensor, native: tl.constexpr) -> tl.tensor:
    """float32 values of e4m3 codes, uint8; native: whether the GPU converts them itself."""
    if native:
        value = code.to(tl.float8e4nv, bitcast=True).to(tl.float32)
    else:
        code = code.to(tl.int32)
        magnitude = code & 0x7F
        # the exponent's bias is 7, float32's 127; below the first exponent, values are multiples of 2^-9
        normal = ((magnitude << 20) + (120 << 23)).to(tl.float32, bitcast=True)
        value = tl.where(magnitude < 8, magnitude.to(tl.float32) * 0.001953125, normal)
        value = tl.where(magnitude == 0x7F, float("nan"), value)
        # by its bit, as 0 - 0 has none
        value = (value.to(tl.int32, bitcast=True) | ((code & 0x80) << 24)).to(tl.float32, bitcast=True)
    return value


@triton.jit
def encode(value: tl.tensor, native: tl.constexpr) -> tl.tensor:
    """e4m3 codes, uint8, of float32 values of -448 to 448, to the nearest, ties to even."""
    if native:
        code = value.to(tl.float8e4nv).to(tl.uint8, bitcast=True)
    else:
        bits = value.to(tl.int32, bitcast=True)
        magnitude = bits & 0x7FFFFFFF
        normal = ((magnitude + 0x7FFFF + ((magnitude >> 20) & 1)) >> 20) - (120 << 3)
        # adding 2^23 leaves the nearest multiple of 2^-9 in the last bits
        small = magnitude.to(tl.float32, bitcast=True) * 512.0 + 8388608.0
        subnormal = small.to(tl.int32, bitcast=True) & 0xFF
        code = tl.where(magnitude < (121 << 23), subnormal, normal) | ((bits >> 24) & 0x80)
        code = code.to(tl.uint8)
    return code
