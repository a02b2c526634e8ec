"""MXFP4 against transformers' conversion of gpt-oss, compressed-tensors' compressor, and a search over all codes."""

import numpy as np
import pytest
import torch
from compressed_tensors.compressors import MXFP4PackedCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp
from transformers.integrations.mxfp4 import convert_moe_packed_tensors
from aoe.numerics.kernels import NotFiniteError
from aoe.numerics.packed import mxfp4
from aoe.numerics.packed.mxfp4 import SharedExponent

VALUES = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


@pytest.fixture(scope="module", autouse=True)
def _eager():
    with torch.compiler.set_stance("force_eager"):
        yield


def random_blocks(experts=2, rows=8, groups=8, smallest=0, largest=254):
    """Every byte in every group size of gpt-oss' layout: 2 x 8 x 8 x 16 bytes are 8 of each."""
    draw = np.random.default_rng(3)
    blocks = draw.permutation(np.arange(experts * rows * groups * 16) % 256).astype(np.uint8)
    scale = draw.integers(smallest, largest + 1, (experts, rows, groups)).astype(np.uint8)
    return blocks.reshape(experts, rows, groups, 16), scale


def same(one, other):
    return np.array_equal(one, other) and np.array_equal(np.signbit(one), np.signbit(other))


def test_decoding_is_transformers():
    blocks, scale = random_blocks()
    assert set(np.unique(blocks)) == set(range(256))
    scale[0, 0, :4] = 0, 1, 253, 254
    theirs = convert_moe_packed_tensors(torch.from_numpy(blocks), torch.from_numpy(scale), dtype=torch.float32)
    assert not theirs.isnan().any()
    assert same(mxfp4.decode(blocks, scale), theirs.transpose(1, 2).numpy())


def test_a_scale_of_255_is_not_a_number():
    blocks, scale = random_blocks()
    scale[1, 3, 2] = 255
    values = mxfp4.decode(blocks, scale)
    assert np.isnan(values[1, 3, 64:96]).all()
    assert np.isnan(values).sum() == 32


def test_rows_and_experts_decode_by_themselves_in_both_layouts():
    blocks, scale = random_blocks()
    whole = mxfp4.decode(blocks, scale)
    assert same(mxfp4.decode(blocks[1], scale[1]), whole[1])
    assert same(mxfp4.decode(blocks[1, 3:5].reshape(2, -1), scale[1, 3:5]), whole[1, 3:5])
    out = np.empty((2, 8, 256), np.float32)
    assert mxfp4.decode(blocks, scale, out) is out
    assert same(out, whole)


def nearest(quotient):
    """The e2m1 code nearest to a float64, ties to the even one, by search."""
    *_, code = min((abs(abs(quotient) - value), code & 1, code) for code, value in enumerate(VALUES))
    return code | (8 if np.signbit(quotient) else 0)


def test_encoding_is_the_specification():
    draw = np.random.default_rng(4)
    values = (draw.normal(size=(3, 96)) * 10 ** draw.normal(size=(3, 96)) * 3).astype(np.float32)
    values[0, :32] = [*VALUES, *(-np.array(VALUES)), 5, 2.5, 3.5, 1.75, 1.25, 0.75, 0.25, -0.25, *[0.1] * 8]
    values[1, :32] = values[0, :32] * np.float32(2.0**-130)  # subnormal in float32
    values[2, :32] = np.float32(3.4e38) * np.linspace(-1, 1, 32, dtype=np.float32)
    codes, scale = mxfp4.encode(values)
    assert codes.shape == (3, 3, 16)
    for i in range(3):
        for group in range(3):
            block = values[i, group * 32 : group * 32 + 32].astype(np.float64)
            exponent = max(np.floor(np.log2(np.abs(block).max())) - 2, -127)
            assert scale[i, group] == exponent + 127
            wanted = [nearest(value / 2.0**exponent) for value in block]
            assert (codes[i, group] & 15).tolist() == wanted[::2]
            assert (codes[i, group] >> 4).tolist() == wanted[1::2]


def test_the_even_rule_is_compressed_tensors():
    args = QuantizationArgs(
        num_bits=4, type="float", strategy="group", group_size=32, symmetric=True, scale_dtype=torch.uint8
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    torch.manual_seed(5)
    weight = torch.randn(16, 128) * 2.0 ** torch.randint(-20, 20, (16, 1))
    weight[0, :32] = 0
    weight[1, 0] = 1.7499999 * 2.0**22
    weight[2, 0] = 1.75 * 2.0**22
    scale, _ = compute_dynamic_scales_and_zp(weight, args, torch.nn.Linear(1, 1))
    theirs = MXFP4PackedCompressor.compress({"weight": weight, "weight_scale": scale}, scheme)
    codes, exponents = mxfp4.encode(weight.numpy(), SharedExponent.EVEN)
    assert np.array_equal(exponents, theirs["weight_scale"].numpy())
    assert np.array_equal(codes.reshape(16, 64), theirs["weight_packed"].numpy())
    assert exponents[2, 0] == exponents[1, 0] + 1
    decoded = MXFP4PackedCompressor.decompress(theirs, scheme)["weight"]
    assert same(mxfp4.decode(theirs["weight_packed"].numpy(), exponents), decoded.float().numpy())


@pytest.mark.parametrize("rule", SharedExponent)
def test_encoding_what_was_decoded_changes_no_value(rule):
    blocks, scale = random_blocks(largest=252)
    blocks[0, 0] &= 0x99  # codes 0, 1, 8 and 9 only: the scale is larger than it has to be
    blocks[1, 0] &= 0x88  # zeros
    values = mxfp4.decode(blocks, scale)
    again, scale_again = mxfp4.encode(values, rule)
    assert same(mxfp4.decode(again, scale_again), values)
    tight = np.maximum(blocks & 7, (blocks >> 4) & 7).max(axis=-1) >= 6
    assert tight.sum() > 100
    assert np.array_equal(again[tight], blocks[tight])
    assert np.array_equal(scale_again[tight], scale[tight])
    assert (scale_again[1, 0] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    values = np.ones((2, 64), np.float32)
    values[1, 63] = bad
    with pytest.raises(NotFiniteError):
        mxfp4.encode(values)


def test_what_does_not_fit_is_refused():
    blocks, scale = random_blocks()
    with pytest.raises(ValueError, match=r"^MXFP4 codes is uint8 \(2, 8, 8, 15\), but has to be uint8 \(2, 8, 128\)$"):
        mxfp4.decode(blocks[..., :15], scale)
    with pytest.raises(ValueError, match=r"^an MXFP4 scale is float32"):
        mxfp4.decode(blocks, scale.astype(np.float32))
    with pytest.raises(ValueError, match=r"^MXFP4 has 32 columns in a group, and 40 columns are no multiple of it$"):
        mxfp4.encode(np.ones((1, 40), np.float32))
    with pytest.raises(ValueError, match=r"^a weight is float64"):
        mxfp4.encode(np.ones((1, 32)))
    with pytest.raises(ValueError, match=r"^the result is float32 \(2, 8, 255\)"):
        mxfp4.decode(blocks, scale, np.empty((2, 8, 255), np.float32))
    assert mxfp4.decode(blocks[:0], scale[:0]).shape == (0, 8, 256)
