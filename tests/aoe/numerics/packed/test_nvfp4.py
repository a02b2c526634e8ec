"""NVFP4 against compressed-tensors' compressor, vLLM's dequantization, and ModelOpt's rule written out."""

import numpy as np
import pytest
import torch
from compressed_tensors.compressors import NVFP4PackedCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp, generate_gparam
from aoe.numerics.kernels import NotFiniteError
from aoe.numerics.packed import nvfp4
from aoe.numerics.packed.nvfp4 import GlobalScale

ARGS = QuantizationArgs(
    num_bits=4, type="float", strategy="tensor_group", group_size=16, symmetric=True, scale_dtype=torch.float8_e4m3fn
)
SCHEME = QuantizationScheme(targets=["Linear"], weights=ARGS)


@pytest.fixture(scope="module", autouse=True)
def _eager():
    with torch.compiler.set_stance("force_eager"):
        yield


def random_weight(rows=32, columns=64):
    torch.manual_seed(7)
    weight = torch.randn(rows, columns) * 10 ** torch.randn(rows, 1)
    weight[0] = 0
    weight[1, :16] = 1e-9  # its scale underflows
    weight[2, :16] = torch.tensor([6, 5, 3.5, 2.5, 1.75, 1.25, 0.75, 0.25] * 2) * 448
    weight[2, 8:16] *= -1
    return weight


def random_codes(rows=16, columns=512):
    draw = np.random.default_rng(8)
    codes = draw.permutation(np.arange(rows * columns // 2) % 256).astype(np.uint8).reshape(rows, columns // 2)
    finite = np.setdiff1d(np.arange(256), [127, 255])
    return codes, draw.permutation(np.resize(finite, rows * columns // 16)).reshape(rows, -1).astype(np.uint8)


def same(one, other):
    return np.array_equal(one, other) and np.array_equal(np.signbit(one), np.signbit(other))


def test_encoding_is_compressed_tensors():
    weight = random_weight()
    global_scale = generate_gparam(*torch.aminmax(weight))
    scale, _ = compute_dynamic_scales_and_zp(weight, ARGS, torch.nn.Linear(1, 1), global_scale)
    parts = {"weight": weight, "weight_scale": scale, "weight_global_scale": global_scale}
    theirs = NVFP4PackedCompressor.compress(parts, SCHEME)
    ours = nvfp4.global_scale_of(weight.abs().max().item(), GlobalScale.DIVIDES)
    assert ours == global_scale.item()
    codes, scales = nvfp4.encode(weight.numpy(), ours, GlobalScale.DIVIDES)
    assert np.array_equal(scales, theirs["weight_scale"].view(torch.uint8).numpy())
    assert np.array_equal(codes, theirs["weight_packed"].numpy())
    values = nvfp4.decode(codes, scales, ours, GlobalScale.DIVIDES)
    decoded = NVFP4PackedCompressor.decompress(theirs, SCHEME)["weight"]
    assert torch.equal(torch.from_numpy(values).bfloat16(), decoded)


def test_scales_of_weights_are_compressed_tensors():
    """The library divides by multiplying with a reciprocal, so that about every fourth quotient is another."""
    largest = torch.rand(200, generator=torch.Generator().manual_seed(1)) * 10
    theirs = [generate_gparam(-one.reshape(1), one.reshape(1)).item() for one in largest]
    assert [nvfp4.global_scale_of(one.item(), GlobalScale.DIVIDES) for one in largest] == theirs
    assert theirs != (2688 / largest.double()).float().tolist()


def test_a_scale_is_divided_before_it_is_multiplied():
    """In the other order both of these magnitudes get the next smaller scale: the quotient is next to a tie."""
    weight, global_scale = torch.tensor([[0.7387605905532837] * 16, [1.4775211811065674] * 16]), torch.tensor([1234.5])
    scale, _ = compute_dynamic_scales_and_zp(weight, ARGS, torch.nn.Linear(1, 1), global_scale)
    _, scales = nvfp4.encode(weight.numpy(), 1234.5, GlobalScale.DIVIDES)
    assert scales.tolist() == [[114], [122]] == scale.to(torch.float8_e4m3fn).view(torch.uint8).tolist()


def test_decoding_is_compressed_tensors():
    codes, scales = random_codes()
    values = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    values = np.concatenate([values, -values])[np.stack([codes & 15, codes >> 4], -1).reshape(16, -1)]
    floats = torch.from_numpy(scales).view(torch.float8_e4m3fn).float()
    for global_scale in (1.0, 0.7, 1234.5):
        theirs = dequantize(torch.from_numpy(values), floats, global_scale=torch.tensor([global_scale]))
        assert same(nvfp4.decode(codes, scales, global_scale, GlobalScale.DIVIDES), theirs.numpy())
    part = nvfp4.decode(codes[3:5], scales[3:5], global_scale, GlobalScale.DIVIDES)
    assert same(part, theirs[3:5].numpy())


def test_decoding_by_a_factor_is_vllms():
    from vllm.model_executor.layers.quantization.utils.nvfp4_emulation_utils import dequantize_to_dtype

    codes, scales = random_codes()
    for global_scale in (1.0, 0.7, 1.234e-5):
        parts = torch.from_numpy(codes), torch.from_numpy(scales), torch.tensor(global_scale)
        theirs = dequantize_to_dtype(*parts, torch.float32, swizzle=False)
        assert same(nvfp4.decode(codes, scales, global_scale, GlobalScale.MULTIPLIES), theirs.numpy())


def test_encoding_by_a_factor_is_modelopts_rule():
    weight = random_weight()
    factor = np.float32(weight.abs().max().item()) / np.float32(6 * 448)
    assert nvfp4.global_scale_of(weight.abs().max().item(), GlobalScale.MULTIPLIES) == factor
    largest = weight.view(32, 4, 16).abs().amax(-1) / (6 * torch.tensor(factor))
    largest[largest == 0] = 1
    scale = largest.clamp(2**-9, 448).to(torch.float8_e4m3fn)
    quotients = weight.view(32, 4, 16) / (scale.float() * factor).unsqueeze(-1)
    levels = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5])
    ties_up = torch.tensor([False, True, False, True, False, True, False])
    size = quotients.abs().unsqueeze(-1)
    code = ((size > levels) | ((size == levels) & ties_up)).sum(-1) + 8 * (quotients < 0)
    code = code.view(32, 64).numpy().astype(np.uint8)
    codes, scales = nvfp4.encode(weight.numpy(), factor, GlobalScale.MULTIPLIES)
    assert np.array_equal(scales, scale.view(torch.uint8).numpy())
    assert np.array_equal(codes, code[:, ::2] | code[:, 1::2] << 4)
    assert np.array_equal(nvfp4.encode(weight.numpy()[5:7], factor, GlobalScale.MULTIPLIES)[0], codes[5:7])


@pytest.mark.parametrize("convention", GlobalScale)
def test_zeros_and_tiny_weights_stay_finite(convention):
    for largest in (0.0, 1e-45, 1e-40):
        values = np.zeros((1, 16), np.float32)
        values[0, 0], values[0, 1] = -0.0, largest
        global_scale = nvfp4.global_scale_of(largest, convention)
        assert global_scale == 1
        codes, scales = nvfp4.encode(values, global_scale, convention)
        assert not nvfp4.decode(codes, scales, global_scale, convention).any()
        assert codes[0, 0] == 8  # the sign of the zero
    assert generate_gparam(torch.zeros(1), torch.zeros(1)).item() == 1


@pytest.mark.parametrize("convention", GlobalScale)
def test_the_largest_group_gets_the_largest_scale(convention):
    weight = random_weight().numpy()
    global_scale = nvfp4.global_scale_of(np.abs(weight).max(), convention)
    _, scales = nvfp4.encode(weight, global_scale, convention)
    assert scales.max() == 0x7E  # 448


def test_nan_scales_give_nan():
    codes, scales = random_codes()
    scales[2, 3] = 127
    values = nvfp4.decode(codes, scales, 1.0, GlobalScale.DIVIDES)
    assert np.isnan(values[2, 48:64]).all()
    assert np.isnan(values).sum() == 16


def test_what_does_not_fit_is_refused():
    codes, scales = random_codes()
    with pytest.raises(ValueError, match=r"^NVFP4 codes is uint8 \(15, 256\), but has to be uint8 \(16, 256\)$"):
        nvfp4.decode(codes[:15], scales, 1.0, GlobalScale.DIVIDES)
    with pytest.raises(ValueError, match=r"^an NVFP4 scale is uint8 \(512,\)"):
        nvfp4.decode(codes, scales.reshape(-1), 1.0, GlobalScale.DIVIDES)
    with pytest.raises(ValueError, match=r"^NVFP4 has 16 columns in a group, and 40 columns are no multiple of it$"):
        nvfp4.encode(np.ones((1, 40), np.float32), 1.0, GlobalScale.DIVIDES)
    with pytest.raises(NotFiniteError):
        nvfp4.encode(np.full((1, 16), np.nan, np.float32), 1.0, GlobalScale.DIVIDES)
