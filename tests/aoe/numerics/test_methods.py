"""Other arithmetics and roundings than float32's to nearest: against plain torch, and against what they promise."""

import numpy as np
import pytest
import torch
from aoe.numerics import fp8, kernels
from aoe.numerics.kernels import FP8, Arithmetic, Method, Rounding
from aoe.numerics.kernels import rounding as cpu_rounding

WITHOUT_FP8 = "cuda that does not convert e4m3"
DEVICES = ["cpu", *(pytest.param(device, marks=pytest.mark.gpu) for device in ("cuda", WITHOUT_FP8))]
SHAPES = [(1, 1), (1, 300), (127, 129), (128, 128), (300, 520)]
MIXTURES = [(0.5, 0.5), (0.25, 0.75), (0.2, 0.3, 0.5), (1.5, -0.5), (0.25,) * 4]
BY_CHANCE = (Rounding.STOCHASTIC, Rounding.BALANCED)
METHODS = [
    Method(arithmetic, rounding, 2**40 + 7)
    for arithmetic in Arithmetic
    for rounding in Rounding
    if arithmetic != Arithmetic.STORED or rounding in (Rounding.NEAREST, Rounding.STOCHASTIC)  # as recipes allow
][1:]
TORCH = {"BF16": torch.bfloat16, "F16": torch.float16}
GRID = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).double()
GRID = GRID[GRID.isfinite()].unique()


@pytest.fixture(params=DEVICES)
def engine(request, monkeypatch):
    if request.param == "cpu":
        return kernels.for_device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use")
    module = kernels.for_device("cuda")
    if request.param == WITHOUT_FP8:
        monkeypatch.setattr(module, "converts_fp8", lambda: False)
    return module


def fp8_parents(shape, count, seed, apart=0.05):
    """Parents of which each is the first with some of its own: their values, and as they are stored."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(*shape, generator=generator) * 0.02
    weights = [first + (apart * 0.02 * torch.randn(*shape, generator=generator) if n else 0) for n in range(count)]
    stored = [fp8.quantize(weight) for weight in weights]
    return [(codes.view(torch.uint8).numpy(), scale.numpy()) for codes, scale in stored]


def values_of(part):
    return fp8.dequantize(torch.tensor(part[0]).view(torch.float8_e4m3fn), torch.tensor(part[1]))


def summed(values, mixture, step=lambda x: x):
    total = None
    for value, weight in zip(values, mixture, strict=True):
        product = step(value * weight)
        total = product if total is None else total + product
    return total


def in_bf16(value):
    return value.bfloat16().float()


def combine(engine, parts, mixture, method, begin=0, dtype=FP8):
    if dtype != FP8:
        out = engine.empty(parts[0][0].shape, dtype)
        engine.combine(parts, dtype, mixture, out, None, method, begin)
        return torch.tensor(engine.host(out)).view(TORCH[dtype]), None
    if method.rounding == Rounding.NONE:
        out = engine.empty(parts[0][0].shape, "BF16")
        engine.combine(parts, dtype, mixture, out, None, method, begin)
        return torch.tensor(engine.host(out)).view(torch.bfloat16), None
    out, scale = engine.empty(parts[0][0].shape, FP8), engine.empty(parts[0][1].shape, "F32")
    engine.combine(parts, dtype, mixture, out, scale, method, begin)
    return torch.tensor(engine.host(out)).view(torch.float8_e4m3fn), torch.tensor(engine.host(scale))


def equal(found, expected):
    return torch.equal(found.view(torch.uint8), expected.view(torch.uint8))


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_in_bf16_are_those_of_torch(engine, shape, mixture):
    parts = fp8_parents(shape, len(mixture), seed=shape[1])
    total = in_bf16(summed([in_bf16(values_of(part)) for part in parts], mixture, in_bf16))
    codes, scale = combine(engine, parts, mixture, Method(Arithmetic.BFLOAT16))
    expected_codes, expected_scale = fp8.quantize(total)
    assert equal(scale, expected_scale) and equal(codes, expected_codes)


def sum_of_deltas(values, mixture):
    """What mergekit's task arithmetic does with BF16 tensors; the base comes first."""
    base, *others = (value.bfloat16() for value in values)
    deltas = torch.stack([other - base for other in others])
    deltas.mul_(torch.tensor(mixture[1:], dtype=torch.bfloat16).reshape(-1, *[1] * base.dim()))
    return (base + deltas.sum(dim=0)).float()


@pytest.mark.parametrize("mixture", [*MIXTURES, (0.0, 1.0), (0.0, 0.3, 0.7)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_of_differences_are_those_of_torch(engine, shape, mixture):
    parts, method = fp8_parents(shape, len(mixture), seed=shape[1]), Method(Arithmetic.DELTAS)
    total = sum_of_deltas([values_of(part) for part in parts], mixture)
    codes, scale = combine(engine, parts, mixture, method)
    expected_codes, expected_scale = fp8.quantize(total)
    assert equal(scale, expected_scale) and equal(codes, expected_codes)
    bits = [values_of(part).bfloat16().reshape(-1) for part in parts]
    numbers, _ = combine(
        engine, [(bit.view(torch.uint16).numpy(), None) for bit in bits], mixture, method, dtype="BF16"
    )
    assert equal(numbers, sum_of_deltas([bit.float() for bit in bits], mixture).bfloat16())


@pytest.mark.parametrize("mixture", [m for m in MIXTURES if min(m) > 0], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_codes_and_scales_are_summed_as_they_are_stored(engine, shape, mixture):
    parts = fp8_parents(shape, len(mixture), seed=shape[1], apart=0.3)
    total = summed([torch.tensor(codes).view(torch.float8_e4m3fn).float() for codes, _ in parts], mixture)
    codes, scale = combine(engine, parts, mixture, Method(Arithmetic.STORED))
    assert equal(scale, summed([torch.tensor(scale) for _, scale in parts], mixture))
    assert equal(codes, total.to(torch.float8_e4m3fn))


def test_stored_codes_beyond_the_format_are_refused(engine):
    parts = fp8_parents((128, 128), 2, seed=1)
    with pytest.raises(kernels.NotFiniteError):
        combine(engine, parts, (2.0, -0.5), Method(Arithmetic.STORED))


@pytest.mark.parametrize("arithmetic", [Arithmetic.FLOAT32, Arithmetic.BFLOAT16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_unrounded_mixtures_are_bf16(engine, shape, arithmetic):
    parts, mixture = fp8_parents(shape, 3, seed=shape[1]), (0.2, 0.3, 0.5)
    step = in_bf16 if arithmetic == Arithmetic.BFLOAT16 else lambda x: x
    total = summed([step(values_of(part)) for part in parts], mixture, step)
    found, _ = combine(engine, parts, mixture, Method(arithmetic, Rounding.NONE))
    assert equal(found, total.bfloat16())


@pytest.mark.parametrize("rounding", BY_CHANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numbers_become_one_of_their_neighbours(engine, shape, rounding):
    parts, mixture = fp8_parents(shape, 2, seed=3), (0.6, 0.4)
    codes, scale = combine(engine, parts, mixture, Method(rounding=rounding, key=5))
    total = summed([values_of(part) for part in parts], mixture)
    assert equal(scale, fp8.quantize(total)[1]), "scales are those of rounding to nearest"
    exact = (total / fp8._spread(scale, *shape)).double()
    above = torch.searchsorted(GRID, exact.contiguous()).clamp(1, len(GRID) - 1)
    low, high = GRID[above - 1], GRID[above]
    near = (codes.double() >= low - 1e-6) & (codes.double() <= high + 1e-6)
    if rounding == Rounding.STOCHASTIC:
        assert near.all()
    else:  # that are shifted by no more than the parents' difference
        assert near.double().mean() > 0.9


@pytest.mark.parametrize("rounding", BY_CHANCE)
def test_a_piece_is_rounded_as_in_the_whole(engine, rounding):
    """Whatever slabs a weight is combined in."""
    parts, mixture, method = fp8_parents((640, 300), 2, seed=3), (0.6, 0.4), Method(rounding=rounding, key=2**63 + 7)
    whole = combine(engine, parts, mixture, method)
    for begin, end in ((0, 128), (128, 512), (512, 640)):
        piece = [(codes[begin:end], scale[begin // 128 : end // 128]) for codes, scale in parts]
        codes, _ = combine(engine, piece, mixture, method, begin)
        assert equal(codes, whole[0][begin:end].contiguous())
    values = [(part[0].reshape(-1).view(np.uint16)[: 3 * 8192], None) for part in parts]
    values = [(numbers & 0xBFFF, None) for numbers, _ in values]
    whole, _ = combine(engine, values, mixture, method, dtype="BF16")
    for begin in range(0, len(whole), 8192):
        piece = [(numbers[begin : begin + 8192], None) for numbers, _ in values]
        assert equal(combine(engine, piece, mixture, method, begin, "BF16")[0], whole[begin : begin + 8192])


@pytest.mark.parametrize("rounding", BY_CHANCE)
def test_the_key_decides(engine, rounding):
    parts, mixture = fp8_parents((128, 256), 2, seed=3), (0.6, 0.4)
    one, again, other = (combine(engine, parts, mixture, Method(rounding=rounding, key=key))[0] for key in (1, 1, 2))
    assert equal(one, again) and not equal(one, other)


def realized(parts, result):
    first, *others = [values_of(part).double().reshape(-1) for part in parts]
    directions = torch.stack([other - first for other in others])
    change = result.double().reshape(-1) - first
    return torch.linalg.solve(directions @ directions.T, directions @ change), directions


@pytest.mark.parametrize("apart", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.475, 0.5, 0.501, 0.8])
def test_balanced_weights_have_the_lambda_that_was_asked_for(engine, share, apart):
    """In every block, where rounding to nearest is off by up to one half; and with less noise than by chance."""
    parts = fp8_parents((128, 128), 2, seed=8, apart=apart)
    noise = {}
    for rounding in Rounding:
        codes, scale = combine(engine, parts, (1 - share, share), Method(rounding=rounding, key=1))
        result = codes.float() if scale is None else fp8.dequantize(codes, scale)
        (found,), _ = realized(parts, result)
        mixture = summed([values_of(part) for part in parts], (1 - share, share))
        noise[rounding] = (result - mixture).norm()
        allowed = {Rounding.BALANCED: 0.002, Rounding.STOCHASTIC: 0.03, Rounding.NONE: 0.01, Rounding.NEAREST: 0.5}
        assert found == pytest.approx(share, abs=allowed[rounding]), rounding
    assert noise["none"] < noise["nearest"] <= 1.001 * noise["balanced"] <= 1.01 * noise["stochastic"]


def test_balanced_mixtures_of_three_parents(engine):
    parts, mixture = fp8_parents((128, 128), 3, seed=8), (0.2, 0.3, 0.5)
    codes, scale = combine(engine, parts, mixture, Method(rounding=Rounding.BALANCED, key=1))
    found, _ = realized(parts, fp8.dequantize(codes, scale))
    assert found.tolist() == pytest.approx([0.3, 0.5], abs=0.005)
    codes, scale = combine(engine, parts, mixture, Method())
    found, _ = realized(parts, fp8.dequantize(codes, scale))
    assert abs(found[1] - 0.5) > 0.05, "which rounding to nearest misses"


def test_chance_has_no_bias(engine):
    """Every number between two codes, rounded many times, is on average what it was."""
    generator = torch.Generator().manual_seed(0)
    row = torch.rand(1, 128, generator=generator) * 2 - 1
    row[0, 0] = 1.0  # the scale is made of it, and the same for all rows
    row[0, 1:40] *= 2.0**-9  # codes that are subnormal
    other = row * (1 + 0.1 * torch.rand(1, 128, generator=generator))
    parents = [fp8.quantize(values.repeat(128 * 64, 1)) for values in (row, other)]
    parts = [(codes.view(torch.uint8).numpy(), scale.numpy()) for codes, scale in parents]
    codes, scale = combine(engine, parts, (0.5, 0.5), Method(rounding=Rounding.STOCHASTIC, key=3))
    total = summed([values_of(part) for part in parts], (0.5, 0.5))
    change = (fp8.dequantize(codes, scale) - total).double()
    spread = change.std(dim=0)
    error = change.mean(dim=0).abs() / (spread / len(change) ** 0.5).clamp(min=1e-12)
    assert (error[spread > 0] < 4.5).all() and (spread > 0).double().mean() > 0.2


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("size", [1, 4095, 10_000])
def test_other_dtypes_are_rounded_by_chance_too(engine, dtype, size):
    generator = torch.Generator().manual_seed(size)
    first = torch.randn(size, generator=generator)
    values = [v.to(TORCH[dtype]) for v in (first, first * 1.004 + 1e-5)]
    parts = [(value.view(torch.uint16).numpy(), None) for value in values]
    mixture, total = (0.7, 0.3), summed([value.float() for value in values], (0.7, 0.3)).double()
    noise = {}
    for rounding in Rounding:
        found, _ = combine(engine, parts, mixture, Method(rounding=rounding, key=9), dtype=dtype)
        noise[rounding] = (found.double() - total).norm()
        if rounding in (Rounding.NEAREST, Rounding.NONE):
            assert equal(found, total.float().to(TORCH[dtype]))
        elif size > 1000:
            step = (values[1] - values[0]).double()
            off = ((found.double() - total) * step).sum() / (step**2).sum()
            assert abs(off) < (0.002 if rounding == Rounding.BALANCED else 0.1)
    if size > 1000:
        assert noise["nearest"] <= 1.001 * noise["balanced"] <= 1.01 * noise["stochastic"]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_nan_and_inf_are_refused_by_any_method(engine, method):
    parts = fp8_parents((100, 130), 2, seed=1)
    broken = [(codes.copy(), scale.copy()) for codes, scale in parts]
    broken[0][0][3, 4] = 0x7F
    broken[1][1][0, 1] = np.inf
    for one, other in ((broken[0], parts[1]), (parts[0], broken[1])):
        if method.arithmetic == Arithmetic.STORED and one is parts[0]:
            continue  # whose scales are taken as they are
        with pytest.raises(kernels.NotFiniteError):
            combine(engine, [one, other], (0.5, 0.5), method)


def test_random_numbers_are_those_of_philox():
    """The known answers of Random123's Philox4x32-10, for the counters and the keys that a weight has."""
    out = np.empty((1, 128), np.uint32)
    cpu_rounding.random_bits(np.uint64(0), 0, out)
    assert [int(out[0, lane * 32]) for lane in range(4)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_gpu_gives_the_cpus_bytes_by_any_method(method):
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use")
    engines = [kernels.for_device(device) for device in ("cpu", "cuda")]
    for parents, shape in ((2, (1024, 1536)), (3, (300, 1029)), (4, (130, 257))):
        parts, mixture = fp8_parents(shape, parents, seed=5), [1 / parents] * parents
        results = [combine(engine, parts, mixture, method, 256) for engine in engines]
        assert equal(results[0][0], results[1][0])
        assert results[0][1] is None or equal(results[0][1], results[1][1])
        for dtype, torch_dtype in TORCH.items():
            values = [(values_of(part).reshape(-1).to(torch_dtype).view(torch.uint16).numpy(), None) for part in parts]
            results = [combine(engine, values, mixture, method, 8192, dtype)[0] for engine in engines]
            assert equal(*results)
