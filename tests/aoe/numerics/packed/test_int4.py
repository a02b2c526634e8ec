"""Packed integers against compressed-tensors' compressor."""

import numpy as np
import pytest
import torch
from compressed_tensors.compressors import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from aoe.numerics.kernels import NotFiniteError
from aoe.numerics.packed import int4, scales

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def random_weight(rows=20, columns=128):
    torch.manual_seed(rows + columns)
    weight = torch.randn(rows, columns) * 10 ** torch.randn(rows, 1)
    weight[1] = weight[1].abs()
    weight[2] = torch.arange(columns) % 16 - 7.5  # by a scale of 1, ties and the ends of the range of 4 bits
    return weight


def library(weight, bits, size, dtype, symmetric=True, **more):
    """Return compressed-tensors' scheme, and a weight as it stores it.  more: the scheme's, and weight_g_idx."""
    g_idx = {"weight_g_idx": more.pop("weight_g_idx")} if "weight_g_idx" in more else {}
    args = QuantizationArgs(
        num_bits=bits, type="int", strategy="group", group_size=size, symmetric=symmetric, zp_dtype=torch.int8, **more
    )
    groups = weight.unflatten(-1, (-1, size))
    scale, zero_point = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    parts = {"weight": weight, "weight_scale": scale.to(DTYPES[dtype]), "weight_zero_point": zero_point, **g_idx}
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    return scheme, PackedQuantizationCompressor.compress(parts, scheme)


def decoded(parts, bits, columns):
    """Return our values of a weight as the library stores it."""
    more = {"zero_point": "weight_zero_point", "g_idx": "weight_g_idx"}
    more = {key: parts[name].numpy() for key, name in more.items() if name in parts}
    return int4.decode(parts["weight_packed"].numpy(), parts["weight_scale"].float().numpy(), columns, bits, **more)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bits", "size"), [(4, 32), (4, 128), (8, 32), (8, 128), (3, 32), (2, 64), (5, 16)])
def test_encoding_and_decoding_are_compressed_tensors(bits, size, dtype, symmetric):
    weight = random_weight()
    scheme, theirs = library(weight, bits, size, dtype, symmetric)
    ours = int4.encode(weight.numpy(), size, bits, dtype, symmetric)
    assert np.array_equal(ours.packed, theirs["weight_packed"].numpy())
    assert np.array_equal(ours.scale, theirs["weight_scale"].float().numpy())
    if not symmetric:
        assert np.array_equal(ours.zero_point, theirs["weight_zero_point"].numpy())
    values = torch.from_numpy(decoded(theirs, bits, 128))
    again = PackedQuantizationCompressor.decompress(theirs, scheme)["weight"]
    assert torch.equal(values.to(DTYPES[dtype]), again)
    wide = {**theirs, "weight_scale": theirs["weight_scale"].float()}
    assert torch.equal(values, PackedQuantizationCompressor.decompress(wide, scheme)["weight"])


def test_every_byte_decodes():
    words = np.random.default_rng(1).permutation(np.arange(512)).astype(np.uint8).view(np.int32).reshape(8, 16)
    scheme, theirs = library(random_weight(8), 4, 32, "F32")
    theirs["weight_packed"] = torch.from_numpy(words)
    assert len(np.unique(words.view(np.uint8))) == 256
    expected = PackedQuantizationCompressor.decompress(theirs, scheme)["weight"].numpy()
    assert np.array_equal(decoded(theirs, 4, 128), expected)


def test_a_scale_a_row_and_columns_that_fill_no_word():
    weight = random_weight(5, 30)
    scheme, theirs = library(weight, 4, 30, "BF16")
    assert theirs["weight_packed"].shape == (5, 4)
    ours = int4.encode(weight.numpy(), 30)
    assert np.array_equal(ours.packed, theirs["weight_packed"].numpy())
    expected = PackedQuantizationCompressor.decompress(theirs, scheme)["weight"]
    assert torch.equal(torch.from_numpy(decoded(theirs, 4, 30)).bfloat16(), expected)
    odd = int4.encode(weight.numpy()[:, :27], 9)
    codes = np.stack([odd.packed.view(np.uint8) & 15, odd.packed.view(np.uint8) >> 4], -1).reshape(5, -1)[:, :27]
    values = int4.decode(odd.packed, odd.scale, 27)
    assert np.array_equal(values, (codes.astype(np.float32) - 8) * np.repeat(odd.scale, 9, 1))


@pytest.mark.parametrize("symmetric", [True, False])
def test_columns_in_another_order(symmetric):
    g_idx = torch.randperm(128, generator=torch.Generator().manual_seed(2)).int() // 32
    scheme, theirs = library(random_weight(), 4, 32, "F32", symmetric, actorder="group", weight_g_idx=g_idx)
    expected = PackedQuantizationCompressor.decompress(theirs, scheme)["weight"].numpy()
    assert np.array_equal(decoded(theirs, 4, 128), expected)
    unset = {**theirs, "weight_g_idx": torch.full((128,), -1, dtype=torch.int32)}
    expected = PackedQuantizationCompressor.decompress(unset, scheme)["weight"].numpy()
    assert np.array_equal(decoded(unset, 4, 128), expected)


def test_rows_decode_by_themselves():
    _, theirs = library(random_weight(), 4, 32, "BF16", symmetric=False)
    whole = decoded(theirs, 4, 128)
    slab = {key: theirs[key][8:16] for key in ("weight_packed", "weight_scale")}
    slab["weight_zero_point"] = theirs["weight_zero_point"][1:2]
    assert np.array_equal(decoded(slab, 4, 128), whole[8:16])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_group_of_zeros_gets_compressed_tensors_scale(dtype):
    weight = torch.zeros(1, 32, dtype=DTYPES[dtype])
    args = QuantizationArgs(num_bits=4, type="int", strategy="group", group_size=32, symmetric=True)
    scale, _ = calculate_qparams(weight.amin(-1), weight.amax(-1), args)
    ours = int4.encode(weight.float().numpy(), 32, scale_dtype=dtype)
    assert ours.scale.item() == scale.item() > 0
    assert not int4.decode(ours.packed, ours.scale, 32).any()
    skewed = int4.encode(weight.float().numpy(), 32, scale_dtype=dtype, symmetric=False)
    assert not int4.decode(skewed.packed, skewed.scale, 32, zero_point=skewed.zero_point).any()


@pytest.mark.parametrize("symmetric", [True, False])
def test_given_scales_reproduce_what_was_decoded(symmetric):
    _, theirs = library(random_weight(), 4, 32, "BF16", symmetric)
    values, scale = decoded(theirs, 4, 128), theirs["weight_scale"].float().numpy()
    zeros = np.zeros_like(scale)
    if not symmetric:
        zeros = int4.unpacked(np.ascontiguousarray(theirs["weight_zero_point"].numpy().T).view(np.uint32), 4, 20)
        zeros = zeros.T.astype(np.float32) - 8
    assert np.array_equal(int4.encode_with(values, scale, zeros), theirs["weight_packed"].numpy())


def test_seven_steps_keep_their_scale():
    draw = np.random.default_rng(3)
    codes = draw.integers(-7, 8, (64, 96)).astype(np.float32)
    codes[:, ::32] = draw.choice([-7, 7], (64, 3))
    scale = scales.widen(scales.narrow(draw.random((64, 3), np.float32), "BF16"), "BF16")
    values = codes * np.repeat(scale, 32, 1)
    ours = int4.encode(values, 32, ratio=7)
    assert np.array_equal(ours.scale, scale)
    assert np.array_equal(int4.decode(ours.packed, ours.scale, 96), values)
    assert not np.array_equal(int4.encode(values, 32).scale, scale)


def test_what_does_not_fit_is_refused():
    packed, scale = np.zeros((8, 16), np.int32), np.ones((8, 4), np.float32)
    with pytest.raises(ValueError, match=r"^packed integers is int32 \(8, 16\), but has to be int32 \(any, 15\)$"):
        int4.decode(packed, scale, 120)
    with pytest.raises(ValueError, match=r"^a scale is float32 \(7, 4\), but has to be float32 \(8, any\)$"):
        int4.decode(packed, scale[:7], 128)
    with pytest.raises(ValueError, match="128 columns cannot be divided into 3 groups"):
        int4.decode(packed, scale[:, :3], 128)
    with pytest.raises(ValueError, match=r"^a zero point is int32 \(8, 4\), but has to be int32 \(1, 4\)$"):
        int4.decode(packed, scale, 128, zero_point=np.zeros((8, 4), np.int32))
    with pytest.raises(ValueError, match="g_idx names group 4, and there are 4 groups"):
        int4.decode(packed, scale, 128, g_idx=np.full(128, 4, np.int32))
    with pytest.raises(ValueError, match="integers of 9 bits cannot be packed"):
        int4.decode(packed, scale, 128, bits=9)
    with pytest.raises(ValueError, match="groups have 32 columns, and 40 columns are no multiple of it"):
        int4.encode(np.ones((1, 40), np.float32), 32)
    with pytest.raises(ValueError, match="scales cannot be rounded to F64"):
        int4.encode(np.ones((1, 32), np.float32), 32, scale_dtype="F64")
    with pytest.raises(ValueError, match="a scale is not above 0"):
        int4.encode_with(np.ones((1, 32), np.float32), np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    with pytest.raises(NotFiniteError):
        int4.encode(np.full((1, 32), np.inf, np.float32), 32)
