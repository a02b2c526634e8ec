"""FP8 blocks against a float64 reference that rounds by search over all 256 codes."""

import numpy as np
import pytest
import torch
from aoe.numerics import fp8

CODES = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).double()


def nearest_code(value):
    """The finite e4m3 value nearest to a float64, ties to the even mantissa, by exhaustive search."""
    finite = [(abs(CODES[i].item() - value), i & 1, CODES[i].item()) for i in range(256) if CODES[i].isfinite()]
    return min(finite)[2]


def reference_quantize(weight):
    rows, columns = weight.shape
    codes, scales = torch.zeros(rows, columns, dtype=torch.float64), torch.zeros(*fp8.scale_shape(rows, columns))
    for i in range(0, rows, 128):
        for j in range(0, columns, 128):
            block = weight[i : i + 128, j : j + 128]
            scale = block.abs().max() / 448
            scale = scale if scale > 0 else torch.tensor(1.0)
            scales[i // 128, j // 128] = scale
            quotients = (block / scale).double().numpy()
            codes[i : i + 128, j : j + 128] = torch.from_numpy(np.vectorize(nearest_code)(quotients))
    return codes, scales


@pytest.mark.parametrize("shape", [(1, 1), (3, 130), (130, 5), (128, 128)])
def test_quantize_equals_the_reference(shape):
    torch.manual_seed(sum(shape))
    weight = torch.randn(shape) * 10 ** torch.randn(shape)
    codes, scales = fp8.quantize(weight)
    expected_codes, expected_scales = reference_quantize(weight)
    assert torch.equal(scales, expected_scales)
    assert torch.equal(codes.double(), expected_codes)


def test_blocks_of_zeros_and_subnormals_survive():
    weight = torch.zeros(256, 128)
    weight[130, 3] = 1e-44  # a subnormal float32, whose scale would underflow
    codes, scales = fp8.quantize(weight)
    assert torch.equal(scales, torch.ones(2, 1))
    assert torch.equal(fp8.dequantize(codes, scales), torch.zeros(256, 128))


def test_the_largest_value_of_a_block_becomes_448():
    weight = torch.tensor([[-3.0, 0.1], [2.9, 0.0]])
    codes, scales = fp8.quantize(weight)
    assert codes.float()[0, 0] == -448
    assert fp8.dequantize(codes, scales)[0, 0] == pytest.approx(-3.0, rel=1e-6)


def test_a_scale_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        fp8.dequantize(torch.zeros(200, 128).to(torch.float8_e4m3fn), torch.ones(1, 1))
