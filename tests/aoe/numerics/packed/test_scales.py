"""Stored numbers of scales against torch's own dtypes."""

import numpy as np
import pytest
import torch
from aoe.numerics.kernels import NotFiniteError
from aoe.numerics.packed import scales

BYTES = np.arange(256, dtype=np.uint8)
WORDS = np.arange(65536, dtype=np.uint16)


@pytest.mark.parametrize(
    ("dtype", "torchs"), [("F8_E4M3", torch.float8_e4m3fn), ("F8_E8M0", torch.float8_e8m0fnu), ("BF16", torch.bfloat16)]
)
def test_every_number_is_torchs(dtype, torchs):
    numbers = WORDS if dtype == "BF16" else BYTES
    theirs = torch.from_numpy(numbers).view(torchs).float().numpy()
    ours = scales.widen(numbers, dtype)
    assert np.array_equal(ours, theirs, equal_nan=True)
    assert np.array_equal(np.signbit(ours), np.signbit(theirs))


def test_float16_is_numpys_where_it_is_finite():
    theirs = WORDS.view(np.float16).astype(np.float32)
    finite = np.isfinite(theirs)
    assert np.array_equal(scales.widen(WORDS, "F16")[finite], theirs[finite])


@pytest.mark.parametrize(
    ("dtype", "torchs"), [("F8_E4M3", torch.float8_e4m3fn), ("F16", torch.float16), ("BF16", torch.bfloat16)]
)
def test_rounding_is_torchs(dtype, torchs):
    values = np.random.default_rng(1).normal(size=(3, 1000)).astype(np.float32) * 100
    values[0, :3] = 0, 2.0**-9, 3 * 2.0**-10
    values = np.clip(values, -448, 448)
    ours = scales.narrow(values, dtype)
    assert ours.shape == values.shape
    assert np.array_equal(ours, torch.from_numpy(values).to(torchs).view(torch.uint8).numpy().view(ours.dtype))
    assert np.array_equal(scales.narrow(scales.widen(ours, dtype), dtype), ours)


def test_what_no_scale_can_be_is_refused():
    with pytest.raises(ValueError, match=r"^scales of I64 are not known"):
        scales.widen(BYTES, "I64")
    with pytest.raises(ValueError, match=r"^a scale of BF16 is uint8 \(256,\), but has to be uint16 \(256\)$"):
        scales.widen(BYTES, "BF16")
    with pytest.raises(ValueError, match=r"^scales cannot be rounded to F8_E8M0"):
        scales.narrow(np.ones(1, np.float32), "F8_E8M0")
    with pytest.raises(NotFiniteError):
        scales.narrow(np.float32([1e6]), "F16")
