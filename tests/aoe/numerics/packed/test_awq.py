"""AWQ against vLLM: its packing of known integers, and its dequantization."""

import numpy as np
import pytest
import torch
from vllm.model_executor.layers.fused_moe.oracle.int_wna16 import _unpack_and_dequant_int4_awq
from vllm.model_executor.layers.quantization.utils.quant_utils import awq_pack
from aoe.numerics.packed import awq


def random_parts(columns=256, rows=144, groups=4):
    """Return a weight as it is stored, with F16 scales in float32; sizes are no multiples of a tile."""
    draw = np.random.default_rng(columns + rows)
    words = draw.integers(-(2**31), 2**31, (columns + groups, rows // 8), dtype=np.int32)
    scale = draw.random((groups, rows)).astype(np.float16).astype(np.float32)
    scale[0, 0] = 6e-8  # subnormal in F16
    return words[:columns], words[columns:], scale


@pytest.mark.parametrize(("columns", "rows", "groups"), [(256, 144, 2), (96, 520, 3), (33, 8, 1)])
def test_decoding_is_vllms(columns, rows, groups):
    parts = random_parts(columns, rows, groups)
    qweight, qzeros, scale = (torch.from_numpy(part)[None] for part in parts)
    theirs = _unpack_and_dequant_int4_awq(qweight, scale, qzeros, True, torch.float32)[0]
    assert np.array_equal(awq.decode(*parts), theirs.numpy())


def test_integers_that_vllm_packed_come_back():
    draw = np.random.default_rng(1)
    integers, zeros = draw.integers(0, 16, (128, 64)), draw.integers(0, 16, (1, 64))
    qweight = awq_pack(torch.from_numpy(integers), 4, 128, 64).numpy()
    qzeros = awq_pack(torch.from_numpy(zeros), 4, 1, 64).numpy()
    values = awq.decode(qweight, qzeros, np.ones((1, 64), np.float32))
    assert np.array_equal(values, (integers - zeros).T)


def test_eight_rows_and_the_columns_of_a_group_decode_by_themselves():
    qweight, qzeros, scale = random_parts()
    whole = awq.decode(qweight, qzeros, scale)
    assert np.array_equal(awq.decode(qweight[:, 2:5], qzeros[:, 2:5], scale[:, 16:40]), whole[16:40])
    assert np.array_equal(awq.decode(qweight[64:192], qzeros[1:3], scale[1:3]), whole[:, 64:192])


def test_what_does_not_fit_is_refused():
    qweight, qzeros, scale = random_parts()
    with pytest.raises(ValueError, match=r"^an AWQ scale is float32 \(4, 143\), but has to be float32 \(any, 144\)$"):
        awq.decode(qweight, qzeros, scale[:, 1:])
    with pytest.raises(ValueError, match=r"^qzeros is int32 \(3, 18\), but has to be int32 \(4, 18\)$"):
        awq.decode(qweight, qzeros[1:], scale)
    with pytest.raises(ValueError, match="255 columns cannot be divided into 4 groups"):
        awq.decode(qweight[1:], qzeros, scale)
    with pytest.raises(ValueError, match=r"^qweight is uint8"):
        awq.decode(qweight.view(np.uint8), qzeros, scale)
