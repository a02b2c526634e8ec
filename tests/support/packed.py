"""Packed layouts of weights, written and read by compressed-tensors; layouts of several matrices in one tensor."""

import torch
from compressed_tensors.compressors import MXFP4PackedCompressor, NVFP4PackedCompressor, PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams, compute_dynamic_scales_and_zp, generate_gparam
from support.layouts import E8M0, Kind

GROUP = 32  # numbers of MXFP4 that share a scale


def eagerly(function):
    """The library compiles what packs e2m1 numbers, unless it is told not to."""

    def call(*args):
        with torch.compiler.set_stance("force_eager"):
            return function(*args)

    return call


def scheme_of(**settings):
    args = QuantizationArgs(**settings)
    return args, QuantizationScheme(targets=["Linear"], weights=args)


def signed(codes, value):
    """Packed e2m1 codes in which zeros have the sign of their values, which the library drops, and the formats have."""
    negative = ((value == 0) & value.signbit()).unflatten(-1, (-1, 2)) * torch.tensor([8, 128])
    return codes | negative.sum(-1).to(torch.uint8)


class Int4:
    """compressed-tensors' ``pack-quantized``: symmetric scales let the largest magnitude be the largest code."""

    ends = ("_packed", "_scale", "_shape")

    def __init__(self, group=32, dtype=torch.bfloat16, bits=4, symmetric=True):
        self.group, self.dtype, self.bits, self.symmetric = group, dtype, bits, symmetric
        self.args, self.scheme = scheme_of(
            num_bits=bits, type="int", strategy="group", group_size=group, symmetric=symmetric, zp_dtype=torch.int8
        )
        weights = self.args.model_dump(mode="json", exclude_none=True)
        groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
        self.config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}

    def encode(self, value):
        parts, groups = {"weight": value}, value.unflatten(-1, (-1, self.group))
        if self.symmetric:
            scale = groups.abs().amax(-1) / (2 ** (self.bits - 1) - 1)
        else:
            scale, parts["weight_zero_point"] = calculate_qparams(groups.amin(-1), groups.amax(-1), self.args)
            scale = torch.where(groups.any(-1), scale, 0)
        scale = scale.to(self.dtype)
        scale = torch.where(scale == 0, torch.finfo(self.dtype).eps, scale)
        stored = PackedQuantizationCompressor.compress(parts | {"weight_scale": scale}, self.scheme)
        stored = {key.removeprefix("weight"): part for key, part in stored.items()}
        return {end: stored[end] for end in (*self.ends, *(() if self.symmetric else ("_zero_point",)))}

    def decode(self, tensors):
        parts = {f"weight{end}": part for end, part in tensors.items()}
        parts["weight_scale"] = parts["weight_scale"].float()
        return PackedQuantizationCompressor.decompress(parts, self.scheme)["weight"]

    def name(self, weight, end):
        return weight + end

    def form(self, shape):
        """What two kinds share that store a weight of a shape alike."""
        return type(self), self.group, self.dtype, self.bits, self.symmetric


class Mxfp4:
    """MXFP4 by OCP's rule for exponents, or by compressed-tensors' for what has its names.

    ends: of the codes' and the scales' names; blocks: whether codes have a dimension for groups, as in gpt-oss.
    """

    config = None

    def __init__(self, ends=("_packed", "_scale"), stored=torch.uint8, blocks=False):
        self.ends, self.stored, self.blocks = ends, stored, blocks
        self.args, self.scheme = scheme_of(
            num_bits=4, type="float", strategy="group", group_size=GROUP, symmetric=True, scale_dtype=torch.uint8
        )

    @eagerly
    def encode(self, value):
        flat = value.reshape(-1, value.shape[-1])
        if self.ends[0] == "_packed":
            scale, _ = compute_dynamic_scales_and_zp(flat, self.args, torch.nn.Linear(1, 1))
        else:
            largest = flat.unflatten(-1, (-1, GROUP)).abs().amax(-1)
            exponent = (torch.frexp(largest).exponent - 3).clamp(
                min=-126
            )  # frexp's mantissas are below 1; 6 is 1.5 * 4
            scale = torch.ldexp(torch.ones_like(largest), torch.where(largest > 0, exponent, -127))
        parts = {"weight": flat, "weight_scale": scale}
        found = MXFP4PackedCompressor.compress(parts, self.scheme)
        lines = value.shape[:-1]
        packed = {"weight_packed": signed(found["weight_packed"], flat), "weight_scale": found["weight_scale"]}
        codes, scale = (part.reshape(*lines, -1) for part in packed.values())
        codes = codes.unflatten(-1, (-1, GROUP // 2)) if self.blocks else codes
        return dict(zip(self.ends, (codes, scale.view(self.stored)), strict=True))

    @eagerly
    def decode(self, tensors):
        codes, scale = (tensors[end] for end in self.ends)
        values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
        values = torch.cat([values, -values])
        codes = codes.flatten(-2) if self.blocks else codes
        found = values[torch.stack([codes & 15, codes >> 4], -1).flatten(-2).long()]
        return found * scale.view(E8M0).float().repeat_interleave(GROUP, -1)

    def name(self, weight, end):
        return weight.removesuffix(".weight") + end if end.startswith(".") else weight + end

    def form(self, shape):
        return type(self), self.stored


class Nvfp4:
    """compressed-tensors' NVFP4."""

    config, ends = None, ("_packed", "_scale", "_global_scale")

    def __init__(self):
        self.args, self.scheme = scheme_of(
            num_bits=4, type="float", strategy="tensor_group", group_size=16, symmetric=True,
            scale_dtype=torch.float8_e4m3fn,
        )  # fmt: skip

    @eagerly
    def encode(self, value):
        factor = generate_gparam(*torch.aminmax(value))
        scale, _ = compute_dynamic_scales_and_zp(value, self.args, torch.nn.Linear(1, 1), factor)
        parts = {"weight": value, "weight_scale": scale, "weight_global_scale": factor}
        found = NVFP4PackedCompressor.compress(parts, self.scheme)
        found["weight_packed"] = signed(found["weight_packed"], value)
        return {end: found[f"weight{end}"] for end in self.ends}

    def decode(self, tensors):
        values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
        values, codes = torch.cat([values, -values]), tensors["_packed"]
        found = values[torch.stack([codes & 15, codes >> 4], -1).flatten(-2).long()]
        factor = tensors["_scale"].float() / tensors["_global_scale"]
        return found * factor.repeat_interleave(16, -1)

    def name(self, weight, end):
        return weight + end

    def form(self, shape):
        return type(self)


class Stacked:
    """Several matrices in one tensor, each of which a Kind of FP8 stores."""

    def __init__(self, kind):
        self.kind, self.config = kind, kind.config

    def encode(self, value):
        found = [self.kind.encode(one) for one in value]
        return {end: torch.stack([one[end] for one in found]) for end in found[0]}

    def decode(self, tensors):
        ends = [*tensors]
        return torch.stack(
            [self.kind.decode(dict(zip(ends, one, strict=True))) for one in zip(*tensors.values(), strict=True)]
        )

    def name(self, weight, end):
        return self.kind.name(weight, end)

    def form(self, shape):
        return type(self), *form_of(self.kind, shape[1:])


def form_of(kind, shape):
    """What two kinds share that store a weight of a shape alike."""
    if hasattr(kind, "form"):
        return kind.form(shape)
    if not isinstance(kind, Kind):
        return type(kind), kind.dtype
    # a block that is larger than the matrix is the matrix
    blocks = tuple(min(size or whole, whole) for size, whole in zip(kind.block, shape, strict=True))
    grid = tuple(-(-whole // size) for size, whole in zip(blocks, shape, strict=True))
    return Kind, blocks, kind.stored, grid if kind.shape is None else kind.shape


def copies(base, other, shape):
    """Whether bytes of ``other``'s are what a base of that kind stores: powers of two are numbers like any others."""
    powers = [getattr(getattr(kind, "kind", kind), "dtype", None) == "powers" for kind in (base, other)]
    return form_of(base, shape) == form_of(other, shape) and (powers[1] or not powers[0])
