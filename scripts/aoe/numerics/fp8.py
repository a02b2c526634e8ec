"""Block-scaled FP8 as in DeepSeek-V3 checkpoints: e4m3 codes and an f32 scale (``weight_scale_inv``) per 128x128 block.

Blocks at the right and lower edge are partial where a dimension is no multiple of 128.  Source of the format: the
DeepSeek-V3 technical report, section 3.3.2, and its checkpoints' ``quantization_config``.  This is the definition, in
plain torch; aoe.numerics.kernels does the same in one pass.
"""

import torch
from aoe.checkpoints.formats import BLOCK, scale_shape

LARGEST = 448.0  # the largest finite e4m3 value


def dequantize(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the weight that FP8 codes stand for.

    codes: float8_e4m3fn (m, n); scale: float32 (ceil(m / 128), ceil(n / 128)).  Returns float32 (m, n), each element
    one product rounded once.  Raises ValueError if the shapes don't belong together.
    """
    if tuple(scale.shape) != scale_shape(*codes.shape):
        raise ValueError(f"a scale of shape {tuple(scale.shape)} does not fit a weight of shape {tuple(codes.shape)}")
    rows, columns = codes.shape
    return codes.float() * _spread(scale.float(), rows, columns)


def quantize(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return FP8 codes and scales of a weight: scale = block maximum / 448, codes rounded to nearest even.

    weight: float32 (m, n), finite.  Returns (codes float8_e4m3fn (m, n), scale float32 (ceil(m / 128), ceil(n / 128))).
    A block of zeros gets scale 1.  Deterministic: elementwise float32 operations and a maximum, so the same bytes on
    every device and at any thread count.
    """
    rows, columns = weight.shape
    block_rows, block_columns = scale_shape(rows, columns)
    padded = torch.zeros(block_rows * BLOCK, block_columns * BLOCK, dtype=torch.float32, device=weight.device)
    padded[:rows, :columns] = weight
    largest = padded.view(block_rows, BLOCK, block_columns, BLOCK).abs().amax(dim=(1, 3))
    scale = largest / LARGEST
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # also where the quotient underflows to zero
    codes = (weight / _spread(scale, rows, columns)).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
    return codes, scale


def _spread(scale, rows, columns):
    """Each block's scale at each of its elements: (block rows, block columns) -> (rows, columns)."""
    wide = scale.repeat_interleave(BLOCK, dim=0)[:rows]
    return wide.repeat_interleave(BLOCK, dim=1)[:, :columns]
