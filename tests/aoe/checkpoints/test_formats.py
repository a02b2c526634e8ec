"""Storage formats: the list agrees with torch, and with what kernels compute with."""

import numpy as np
import pytest
import torch
from aoe.checkpoints.formats import COMBINABLE, FORMATS, SCALED, size_of
from aoe.numerics.kernels import FP8, cpu


@pytest.mark.parametrize("name", FORMATS)
def test_torch_has_the_format(name):
    assert getattr(torch, FORMATS[name].torch).itemsize == FORMATS[name].bytes


def test_the_roles_of_formats():
    assert set(COMBINABLE) == {"F8_E4M3", "BF16", "F16", "F32"}
    assert set(SCALED) == {"F8_E4M3", "F8_E5M2"}
    assert {name for name, one in FORMATS.items() if one.plain} == {"F64", "F32", "F16", "BF16"}
    assert size_of("BF16", (3, 5)) == 30


@pytest.mark.parametrize("name", COMBINABLE)
def test_kernels_know_what_combines(name):
    assert np.dtype(cpu.STORAGE[name]).itemsize == FORMATS[name].bytes
    assert name == FP8 or {name} <= cpu.KINDS.keys() & cpu.MANTISSAS.keys()


def test_kernels_know_nothing_else():
    assert cpu.STORAGE.keys() == set(COMBINABLE)
