"""The kernels against slow references: every byte of what is combined, norms against float64, on CPU and GPU."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from aoe.checkpoints.formats import scale_shape
from aoe.numerics import fp8, kernels
from aoe.numerics.kernels import FP8

SCRIPTS = Path(__file__).parents[3] / "scripts"
SHAPES = [(1, 1), (1, 300), (300, 1), (127, 129), (128, 128), (256, 512), (130, 1029), (576, 640)]
MIXTURES = [(1.0,), (0.5, 0.5), (0.2, 0.3, 0.5), (1 / 3, 1 / 3, 1 / 3), (1.5, -0.5), (1e-3, 0.999), (0.25,) * 4]
TORCH = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
WITHOUT_FP8 = "cuda that does not convert e4m3"  # as AMD's MI300, and NVIDIA's GPUs before Ada
DEVICES = ["cpu", *(pytest.param(device, marks=pytest.mark.gpu) for device in ("cuda", WITHOUT_FP8))]


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


def numbers_of(tensor, dtype):
    """A tensor's numbers as they are read from a file."""
    return tensor.view(dtype).numpy()


def fp8_parts(shape, parents, seed, lowest=-38, highest=30):
    """Parts of any finite codes and scales of any size: float32's subnormals as well."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 254, (parents, *shape), generator=generator, dtype=torch.uint8)
    codes += codes >= 127  # 0x7f and 0xff are NaN
    exponents = torch.rand(parents, *scale_shape(*shape), generator=generator) * (highest - lowest) + lowest
    scales = (10.0 ** exponents.double()).float() * 1.1
    return [(numbers_of(c, torch.uint8), numbers_of(s, torch.float32)) for c, s in zip(codes, scales, strict=True)]


def weights_of(parts):
    return [
        fp8.dequantize(torch.tensor(codes).view(torch.float8_e4m3fn), torch.tensor(scale)) for codes, scale in parts
    ]


def combined(values, mixture):
    total = None
    for value, share in zip(values, mixture, strict=True):
        total = value * share if total is None else total + value * share
    return total


def combine_fp8(engine, parts, mixture):
    out, scale = engine.empty(parts[0][0].shape, FP8), engine.empty(parts[0][1].shape, "F32")
    engine.combine(parts, FP8, mixture, out, scale)
    return engine.host(out), engine.host(scale)


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("range_of_scales", [(-5, -3), (-45, -36), (-38, 30)], ids=["usual", "subnormal", "any"])
def test_fp8_is_combined_as_plain_torch_does(engine, shape, mixture, range_of_scales):
    parts = fp8_parts(
        shape,
        len(mixture),
        seed=shape[0] * shape[1] + len(mixture),
        lowest=range_of_scales[0],
        highest=range_of_scales[1],
    )
    codes, scale = fp8.quantize(combined(weights_of(parts), mixture))
    ours, our_scale = combine_fp8(engine, parts, mixture)
    assert np.array_equal(our_scale, scale.numpy())
    assert np.array_equal(ours, codes.view(torch.uint8).numpy())


def test_every_rounding_of_a_code(engine):
    """Blocks whose scale is 1 and whose first value is a code, a tie between two, or the next float32 beside them."""
    codes = torch.arange(0, 127, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    ties = (codes[1:] + codes[:-1]) / 2
    near = [v.nextafter(torch.tensor(end)) for v in (codes, ties) for end in (torch.inf, -torch.inf)]
    quotients = torch.cat([codes, ties, *near])
    quotients = quotients[(quotients >= 0) & (quotients <= 448)]
    values = torch.cat([quotients, -quotients])  # each the sum of a code and a rest, which is its block's scale
    whole = values.to(torch.float8_e4m3fn)
    rest = values - whole.float()
    blocks = torch.zeros(2, len(values), 128, 128)
    blocks[0, :, 0, 0], blocks[1, :, 0, 0] = whole.float(), torch.sign(rest)
    blocks[0, :, 0, 1] = 448
    parts = []
    for number, scales in ((0, torch.ones(len(values))), (1, torch.where(rest == 0, 1, rest.abs()))):
        matrix = blocks[number].reshape(-1, 128).to(torch.float8_e4m3fn)
        parts.append((numbers_of(matrix, torch.uint8), numbers_of(scales.view(-1, 1), torch.float32)))
    total = combined(weights_of(parts), (1.0, 1.0))
    expected, scale = fp8.quantize(total)
    ours, our_scale = combine_fp8(engine, parts, (1.0, 1.0))
    assert torch.equal(total[::128, 0], values)
    assert (our_scale == 1).all()
    assert np.array_equal(our_scale, scale.numpy())
    assert np.array_equal(ours, expected.view(torch.uint8).numpy())


@pytest.mark.parametrize("seed", range(int(os.environ.get("AOE_FUZZ", 60))))
def test_fp8_of_any_shape_and_mixture(engine, seed):
    random = np.random.default_rng(seed)
    shape = tuple(int(n) for n in random.integers(1, 400, 2))
    mixture = random.normal(size=random.integers(1, 5)).tolist()
    parts = fp8_parts(shape, len(mixture), seed, *sorted(random.uniform(-45, 34, 2).tolist()))
    total = combined(weights_of(parts), mixture)
    if not total.isfinite().all():
        with pytest.raises(kernels.NotFiniteError):
            combine_fp8(engine, parts, mixture)
        return
    codes, scale = fp8.quantize(total)
    ours, our_scale = combine_fp8(engine, parts, mixture)
    assert np.array_equal(our_scale, scale.numpy())
    assert np.array_equal(ours, codes.view(torch.uint8).numpy())


def test_blocks_of_zeros_get_the_scale_1(engine):
    codes = np.zeros((130, 130), np.uint8)
    codes[0, 0] = 0x80  # minus zero
    scale = numbers_of(torch.ones(2, 2), torch.float32)
    ours, our_scale = combine_fp8(engine, [(codes, scale)] * 2, [0.5, 0.5])
    assert np.array_equal(ours, codes)
    assert np.array_equal(our_scale, scale)


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("size", [1, 4095, 4097, 20_000])
@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_other_dtypes_are_combined_in_f32_and_rounded_once(engine, dtype, size, mixture):
    parts, values = any_values(dtype, size, len(mixture), seed=size)
    expected = combined([value.float() for value in values], mixture).to(TORCH[dtype])
    out = engine.empty(size, dtype)
    if not expected.isfinite().all():
        with pytest.raises(kernels.NotFiniteError):
            engine.combine(parts, dtype, mixture, out)
        return
    engine.combine(parts, dtype, mixture, out)
    assert np.array_equal(engine.host(out).view("u1"), expected.view(torch.uint8).numpy())


def any_values(dtype, size, parents, seed):
    """Numbers of any finite bit pattern (subnormals as well), the largest exponents left out."""
    generator = torch.Generator().manual_seed(seed)
    unsigned = torch.int32 if dtype == "F32" else torch.int16
    limit = torch.iinfo(unsigned)
    bits = torch.randint(limit.min, limit.max, (parents, size), generator=generator, dtype=torch.int64).to(unsigned)
    values = bits.view(TORCH[dtype])
    values = torch.where(values.float().abs() < torch.finfo(TORCH[dtype]).max / 4, values, torch.ones_like(values))
    stored = torch.float32 if dtype == "F32" else torch.uint16
    return [(numbers_of(value, stored), None) for value in values], list(values)


@pytest.mark.parametrize("dtype", TORCH)
def test_all_16_bit_patterns_and_ties(engine, dtype):
    """One parent with λ = 1 gives its numbers back; halves of neighbours are ties, which go to the even one."""
    if dtype == "F32":
        values = torch.tensor([0.0, -0.0, 1e-45, -1e-38, 3.4e38, 1.0])
    else:
        values = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(TORCH[dtype])
        values = values[values.isfinite()]
    part = (numbers_of(values.contiguous(), torch.float32 if dtype == "F32" else torch.uint16), None)
    out = engine.empty(len(values), dtype)
    engine.combine([part], dtype, [1.0], out)
    assert np.array_equal(engine.host(out).view("u1"), values.view(torch.uint8).numpy())
    sorted_values = values.sort().values
    above = sorted_values.roll(-1).contiguous()
    above[-1] = sorted_values[-1]
    parts = [
        (numbers_of(v.clone(), torch.float32 if dtype == "F32" else torch.uint16), None) for v in (sorted_values, above)
    ]
    engine.combine(parts, dtype, [0.5, 0.5], out)
    expected = (sorted_values.float() * 0.5 + above.float() * 0.5).to(TORCH[dtype])
    assert np.array_equal(engine.host(out).view("u1"), expected.view(torch.uint8).numpy())


@pytest.mark.parametrize("dtype", [FP8, *TORCH])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 77, 5_000])
def test_nan_and_inf_are_refused(engine, dtype, bad, place):
    parts = parts_with(dtype, bad, place)
    out = engine.empty(parts[0][0].shape, dtype)
    scale = engine.empty(parts[0][1].shape, "F32") if dtype == FP8 else None
    for order in (parts, parts[::-1]):
        with pytest.raises(kernels.NotFiniteError):
            engine.combine(order, dtype, [0.5, 0.5], out, scale)
        with pytest.raises(kernels.NotFiniteError):
            engine.difference(order, dtype)


def parts_with(dtype, bad, place):
    """Two parts, one of them with a bad number; in FP8 NaN is a code and Inf can only be a scale."""
    if dtype != FP8:
        values = torch.linspace(-1, 1, 6_000).to(TORCH[dtype])
        odd = values.clone()
        odd[place] = bad
        stored = torch.float32 if dtype == "F32" else torch.uint16
        return [(numbers_of(value, stored), None) for value in (values, odd)]
    parts = fp8_parts((100, 130), 2, seed=1, lowest=-5, highest=-3)
    codes, scale = (array.copy() for array in parts[1])
    if math.isnan(bad):
        codes.reshape(-1)[place] = 0x7F if place else 0xFF
    else:
        codes[:] = 1
        scale[0, 1] = bad
    return [parts[0], (codes, scale)]


@pytest.mark.parametrize("seed", range(40))
def test_norms_of_fp8_equal_float64(engine, seed):
    random = np.random.default_rng(seed)
    shape = SHAPES[seed % len(SHAPES)]
    spread = [(-5, -4.9), (-5, -3), (-44, 20)][seed % 3]
    one, other = fp8_parts(shape, 2, seed, *spread)
    if random.random() < 0.5:  # nearly equal parents, whose differences are small
        codes = one[0].copy()
        changed = random.random(shape) < 0.1
        codes[changed & ((codes & 0x7F) > 0)] -= 1
        scale = one[1].copy() if random.random() < 0.3 else np.nextafter(one[1], np.float32(np.inf))
        other = (codes, scale)
    sums = engine.difference([one, other], FP8)
    codes = [torch.tensor(part[0]).view(torch.float8_e4m3fn).double() for part in (one, other)]
    ours, theirs = (
        c * fp8._spread(torch.tensor(part[1]).double(), *shape) for c, part in zip(codes, (one, other), strict=True)
    )
    sizes = [*sums[:3], sums.other_size]
    for found, expected in zip(sizes, (ours, ours - theirs, codes[0] - codes[1], theirs), strict=True):
        assert math.sqrt(found) == pytest.approx(expected.norm().item(), rel=1e-6, abs=0)


@pytest.mark.parametrize("dtype", [FP8, *TORCH])
def test_steps_are_counted_in_the_order_of_the_format(engine, dtype):
    """Against the places in a sorted list of all numbers, of F32 in one that begins near 0; both zeros are one."""
    if dtype == FP8:
        codes = np.arange(256, dtype=np.uint8)
        bits = codes[(codes & 0x7F) < 0x7F]
        values = torch.from_numpy(bits).view(torch.float8_e4m3fn).float()
    elif dtype == "F32":
        positive = np.arange(0, 1000, dtype=np.uint32)
        bits = np.concatenate([positive, positive | np.uint32(1 << 31)])
        values = torch.from_numpy(bits.view(np.float32))
    else:
        bits = np.arange(1 << 16, dtype=np.uint16)
        values = torch.from_numpy(bits.view(np.int16)).view(TORCH[dtype]).float()
        bits, values = bits[values.isfinite().numpy()], values[values.isfinite()]
    places = np.unique(values.numpy(), return_inverse=True)[1]
    random = np.random.default_rng(5)
    one = random.integers(len(bits), size=(130, 300))
    near = np.argsort(places, kind="stable")
    other = near[np.clip(np.argsort(near, kind="stable")[one] + random.integers(-5, 6, one.shape), 0, len(bits) - 1)]
    apart = np.abs(places[one].astype(np.int64) - places[other])
    expected = [*((apart == steps).sum() for steps in range(4)), (apart > 3).sum()]
    assert min(expected) > 1000
    parts = [(bits[chosen].reshape(one.shape if dtype == FP8 else -1), None) for chosen in (one, other)]
    if dtype == FP8:
        parts = [(codes, np.ones(scale_shape(*one.shape), np.float32)) for codes, _ in parts]
    elif dtype == "F32":
        parts = [(numbers.view(np.float32), None) for numbers, _ in parts]
    assert list(engine.difference(parts, dtype)[3:8]) == expected


def test_weights_that_agree_in_value_have_no_difference(engine):
    """Half the codes' values at twice the scale."""
    codes = np.full((128, 128), 0x40, np.uint8)
    halves = codes - 8
    scales = [np.full((1, 1), 0.3, np.float32), np.full((1, 1), 0.6, np.float32)]
    sums = engine.difference([(codes, scales[0]), (halves, scales[1])], FP8)
    assert sums.change == 0
    assert sums.code_change > 0


@pytest.mark.parametrize("dtype", TORCH)
def test_norms_of_other_dtypes_equal_float64(engine, dtype):
    parts, (ours, theirs) = any_values(dtype, 10_000, 2, seed=3)
    sums = engine.difference(parts, dtype)
    expected = (ours.double(), ours.double() - theirs.double())
    for found, values in zip(sums, expected, strict=False):
        assert math.sqrt(found) == pytest.approx(values.norm().item(), rel=1e-6)
    assert sums.code_change == sums.change


def test_sums_do_not_drown_small_parts(engine):
    values = torch.full((5_000_000,), 1e-4)
    sums = engine.difference([(numbers_of(values, torch.float32), None)] * 2, "F32")
    assert math.sqrt(sums.size) == pytest.approx(float(np.float32(1e-4)) * math.sqrt(5_000_000), rel=1e-9)


@pytest.mark.gpu
def test_the_gpu_gives_the_cpus_bytes():
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use")
    parts = fp8_parts((2048, 7168), 3, seed=5, lowest=-5, highest=-3)
    results = [combine_fp8(kernels.for_device(device), parts, (0.2, 0.3, 0.5)) for device in ("cpu", "cuda")]
    for ours, theirs in zip(*results, strict=True):
        assert np.array_equal(ours, theirs)


def test_without_a_place_for_what_was_compiled_it_is_compiled_anew():
    """As in a container whose file system and home cannot be written to."""
    script = (
        "import numba.core.caching as caching; caching.CacheImpl._locator_classes = []\n"
        "import numpy as np; from aoe.numerics.kernels import cpu\n"
        "x = np.full(3, 2, np.float32); out = cpu.empty(3, 'F32'); cpu.combine([(x, None)] * 2, 'F32', [1, 2], out)\n"
        "assert (out == 6).all()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=SCRIPTS, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
