"""GPTQ against vLLM's packing and dequantization, and a slow reference that reads integers out of one large one.

The reference follows the packing of GPTQModel (``pack_original``): integers stand one after another from the lowest bit
on, over the ends of words where there are 3 bits.
"""

import numpy as np
import pytest
import torch
from vllm.model_executor.layers.fused_moe.oracle.int_wna16 import _unpack_and_dequant_int4_gptq
from vllm.model_executor.layers.quantization.utils.quant_utils import gptq_pack
from aoe.numerics.packed import gptq


def random_parts(bits=4, columns=256, rows=96, groups=4):
    """Return a weight as it is stored, with F16 scales in float32."""
    draw = np.random.default_rng(bits + columns + rows)
    qweight = draw.integers(-(2**31), 2**31, (columns * bits // 32, rows), dtype=np.int32)
    qzeros = draw.integers(-(2**31), 2**31, (groups, rows * bits // 32), dtype=np.int32)
    return qweight, qzeros, draw.random((groups, rows)).astype(np.float16).astype(np.float32)


def integers_of(words, bits):
    """The integers of one line of words, by way of one large integer."""
    stream = sum(int(word) << 32 * place for place, word in enumerate(words.view(np.uint32)))
    return np.array([stream >> bits * k & (1 << bits) - 1 for k in range(len(words) * 32 // bits)])


def reference(qweight, qzeros, scale, g_idx, bits, less_one):
    integers = np.stack([integers_of(np.ascontiguousarray(line), bits) for line in qweight.T])
    zeros = np.stack([integers_of(line, bits) for line in qzeros])
    zeros = (zeros + less_one) % (1 << bits)
    return ((integers - zeros[g_idx].T) * scale[g_idx].T.astype(np.float64)).astype(np.float32)


@pytest.mark.parametrize(("columns", "rows", "groups"), [(256, 96, 2), (64, 200, 1), (96, 8, 3)])
def test_decoding_is_vllms(columns, rows, groups):
    parts = random_parts(4, columns, rows, groups)
    qweight, qzeros, scale = (torch.from_numpy(part)[None] for part in parts)
    theirs = _unpack_and_dequant_int4_gptq(qweight, scale, qzeros, True, torch.float32)[0]
    assert np.array_equal(gptq.decode(*parts, stored_less_one=False), theirs.numpy())


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_integers_that_vllm_packed_come_back(bits):
    integers = np.random.default_rng(bits).integers(0, 1 << bits, (128, 64))
    qweight = gptq_pack(torch.from_numpy(integers), bits, 128, 64).numpy()
    qzeros = np.zeros((1, 64 * bits // 32), np.int32)
    values = gptq.decode(qweight, qzeros, np.ones((1, 64), np.float32), bits=bits)
    assert np.array_equal(values, (integers - 1).T)


@pytest.mark.parametrize("less_one", [True, False])
@pytest.mark.parametrize("order", ["none", "grouped", "mixed", "uneven"])
@pytest.mark.parametrize("bits", gptq.BITS)
def test_all_bits_orders_and_versions(bits, order, less_one):
    parts = random_parts(bits)
    g_idx = np.arange(256, dtype=np.int32) // 64
    if order == "mixed":
        g_idx = np.random.default_rng(5).permutation(g_idx)
    if order == "uneven":
        g_idx = np.minimum(np.arange(256, dtype=np.int32) // 80, 3)
    values = gptq.decode(*parts, None if order == "none" else g_idx, bits, less_one)
    assert np.array_equal(values, reference(*parts, g_idx, bits, less_one))


def test_symmetric_zeros_of_both_versions_agree():
    qweight, _, scale = random_parts()
    old, new = (np.full((4, 12), zeros, np.uint32).view(np.int32) for zeros in (0x77777777, 0x88888888))
    values = gptq.decode(qweight, old, scale)
    assert np.array_equal(values, gptq.decode(qweight, new, scale, stored_less_one=False))
    assert values.min() < 0 < values.max()


@pytest.mark.parametrize("bits", gptq.BITS)
def test_rows_decode_by_themselves(bits):
    qweight, qzeros, scale = random_parts(bits)
    part = gptq.decode(qweight[:, 32:64], qzeros[:, bits : 2 * bits], scale[:, 32:64], bits=bits)
    assert np.array_equal(part, gptq.decode(qweight, qzeros, scale, bits=bits)[32:64])


def test_what_does_not_fit_is_refused():
    qweight, qzeros, scale = random_parts()
    with pytest.raises(ValueError, match=r"^a GPTQ scale is float32 \(4, 95\), but has to be float32 \(any, 96\)$"):
        gptq.decode(qweight, qzeros, scale[:, 1:])
    with pytest.raises(ValueError, match=r"^qzeros is int32 \(4, 11\), but has to be int32 \(4, 12\)$"):
        gptq.decode(qweight, qzeros[:, 1:], scale)
    with pytest.raises(ValueError, match="256 columns cannot be divided into 3 groups"):
        gptq.decode(qweight, qzeros[1:], scale[1:])
    with pytest.raises(ValueError, match=r"^g_idx is int32 \(255,\), but has to be int32 \(256\)$"):
        gptq.decode(qweight, qzeros, scale, np.zeros(255, np.int32))
    with pytest.raises(ValueError, match="g_idx names groups from 0 to 4, and there are 4"):
        gptq.decode(qweight, qzeros, scale, np.arange(256, dtype=np.int32) % 5)
    with pytest.raises(ValueError, match="GPTQ has integers of 2, 3, 4 or 8 bits, not of 5"):
        gptq.decode(qweight, qzeros, scale, bits=5)
