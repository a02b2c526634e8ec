"""Merging: copies are byte-exact, combinations equal a plain reference, files equal what is merged while loading."""

import filecmp

import pytest
import torch
from safetensors.torch import load_file
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.plan import copy_plan, make_plan
from aoe.merging.publishing import complete_checkpoint
from aoe.merging.recipe import read_recipe
from aoe.merging.shard_writer import write_shard
from aoe.numerics import fp8
from aoe.numerics.kernels import cpu
from support.checkpoints import stored, weights, write_checkpoint

EXPERT = "model.layers.1.mlp.experts.0.up_proj.weight"


def merge_of(family, **entry):
    recipe = read_recipe("test", {"base": "v3", "weights": {"v3": 0.7, "r1": 0.3}} | entry, family)
    return Merge(make_plan(recipe, family), family, "cpu")


def written(merge, folder):
    folder.mkdir()
    for file in merge.base.shard_names:
        write_shard(merge, file, folder / file)
    parents = {name: {"revision": "none", "files": {}} for name in merge.plan.parents}
    recipe = {"base": merge.base.name, "weights": merge.plan.mixtures[0]}
    complete_checkpoint(
        merge.base, folder, {"variant": "test", "recipe": recipe, "parents": parents, "plan": merge.plan.describe()}
    )
    return Checkpoint(folder)


def test_a_merge_of_copies_reproduces_the_files(family, tmp_path):
    merged = written(Merge(copy_plan(family["r1"]), family), tmp_path / "copy")
    for file in ["config.json", "model.safetensors.index.json", *family["r1"].shard_names]:
        assert filecmp.cmp(merged.directory / file, family["r1"].directory / file, shallow=False), file


def test_copied_tensors_keep_every_byte_and_their_scales(family, tmp_path):
    merged = written(merge_of(family, weights={"r1": 1}, subset={"groups": ["routed_experts"]}), tmp_path / "r1t")
    for tensor in merged.files:
        parent = family["r1" if ".layers.1.mlp.experts." in tensor else "v3"]
        assert merged.bytes(tensor) == parent.bytes(tensor), tensor


def test_fp8_is_dequantized_combined_and_requantized(family, tmp_path):
    merged = written(merge_of(family), tmp_path / "merged")
    parts = []
    for parent in ("v3", "r1"):
        checkpoint = family[parent]
        parts.append(fp8.dequantize(checkpoint.tensor(EXPERT), checkpoint.tensor(f"{EXPERT}_scale_inv")))
    codes, scale = fp8.quantize(parts[0] * 0.7 + parts[1] * 0.3)
    assert torch.equal(merged.tensor(EXPERT).view(torch.uint8), codes.view(torch.uint8))
    assert torch.equal(merged.tensor(f"{EXPERT}_scale_inv"), scale)  # it lies in the other shard


@pytest.mark.parametrize("tensor", ["lm_head.weight", "model.layers.1.mlp.gate.e_score_correction_bias"])
def test_other_dtypes_are_combined_in_f32_and_rounded_once(family, tmp_path, tensor):
    merged = written(merge_of(family), tmp_path / "merged")
    expected = family["v3"].tensor(tensor).float() * 0.7 + family["r1"].tensor(tensor).float() * 0.3
    assert torch.equal(merged.tensor(tensor), expected.to(family["v3"].tensor(tensor).dtype))


def test_parents_that_agree_are_copied(family, tmp_path):
    norm = "model.layers.0.input_layernorm.weight"
    merged = written(merge_of(family, weights={"v3": 1 / 3, "r1": 1 / 3, "r1-0528": 1 / 3}), tmp_path / "merged")
    assert merged.bytes(norm) == family["v3"].bytes(norm)


def test_merged_while_loading_equals_merged_on_disk(family, tmp_path):
    merge = merge_of(family, weights={"v3": 0.2, "r1": 0.3, "r1-0528": 0.5})
    merged = written(merge, tmp_path / "merged")
    from_files = Merge(copy_plan(merged), {merged.name: merged}, "cpu")
    everything = merge.base.weights
    for (_, ours), (_, theirs) in zip(merge.values(everything), from_files.values(everything), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(merge.outputs(everything), from_files.outputs(everything), strict=True):
        assert ours[0] == theirs[0]
        for one, other in zip(ours[1:], theirs[1:], strict=True):
            assert (one is None and other is None) or torch.equal(one.view(torch.uint8), other.view(torch.uint8))


def test_the_same_bytes_with_any_threads_and_slabs(family, tmp_path, monkeypatch):
    folders = []
    for threads, size in ((1, cpu.SLAB), (3, 512), (2, 1)):
        monkeypatch.setattr(cpu, "SLAB", size)
        merge = merge_of(family, weights={"v3": 0.2, "r1": 0.3, "r1-0528": 0.5})
        merge.threads = threads
        folders.append(written(merge, tmp_path / str(threads)).directory)
        on_disk = Checkpoint(folders[0])
        for weight, tensor, scale in merge.outputs(merge.base.weights):
            assert bytes(tensor.flatten().view(torch.uint8).numpy()) == on_disk.bytes(weight)
            assert scale is None or bytes(scale.numpy()) == on_disk.bytes(on_disk.scale(weight))
    for file in family["v3"].shard_names:
        for other in folders[1:]:
            assert filecmp.cmp(folders[0] / file, other / file, shallow=False)


def test_the_safetensors_library_reads_the_result(family, tmp_path):
    merged = written(merge_of(family), tmp_path / "merged")
    names = [name for file in merged.shard_names for name in load_file(merged.directory / file)]
    assert sorted(names) == sorted(family["v3"].files)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_inf_in_a_parent_are_refused_by_name(family, tmp_path, bad):
    values = weights(1)
    values["lm_head.weight"][3, 5] = bad
    odd = dict(family, r1=write_checkpoint(tmp_path / "odd", stored(values), "r1"))
    with pytest.raises(AoeError, match=r"r1: the tensor lm_head\.weight holds NaN or Inf"):
        written(merge_of(odd), tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("model-00002*.safetensors"))  # nothing half-written under its name


def test_integers_cannot_be_combined(family, tmp_path):
    for seed, name in enumerate(("v3", "r1")):
        tensors = stored(weights(seed))
        tensors["model.norm.weight"] = torch.arange(160) + seed
        family[name] = write_checkpoint(tmp_path / f"int-{name}", tensors, name)
    with pytest.raises(AoeError, match=r"model\.norm\.weight has the dtype I64, which cannot be combined, and differs"):
        merge_of(family)


def test_integers_that_agree_are_copied(family, tmp_path):
    for seed, name in enumerate(("v3", "r1")):
        tensors = stored(weights(seed))
        tensors["model.norm.weight"] = torch.arange(160)
        family[name] = write_checkpoint(tmp_path / f"int-{name}", tensors, name)
    merged = written(merge_of(family), tmp_path / "merged")
    assert torch.equal(merged.tensor("model.norm.weight"), torch.arange(160))


@pytest.mark.parametrize("weights_of_parents", [{"v3": 0.5, "r1": 0.5}, {"r1": 1}])
def test_a_plan_that_was_made_for_other_files_is_refused(family, tmp_path, weights_of_parents):
    merge = merge_of(family, weights=weights_of_parents)
    tensors = stored(weights(1))
    tensors["lm_head.weight"] = tensors["lm_head.weight"].view(160, 32)
    merge.checkpoints["r1"] = write_checkpoint(tmp_path / "other", tensors, "r1")
    with pytest.raises(AoeError, match=r"lm_head\.weight has another dtype or shape in r1 than in v3"):
        list(merge.outputs(merge.base.weights))


@pytest.mark.gpu
@pytest.mark.parametrize("number", [0, 1])
def test_a_gpu_makes_the_processors_bytes_whichever_it_is(family, number):
    if torch.cuda.device_count() <= number:
        pytest.skip(f"needs {number + 1} NVIDIA GPUs")
    plan = merge_of(family).plan
    with torch.cuda.device(number):
        on_gpu = list(Merge(plan, family, "cuda", threads=3).outputs(family["v3"].weights))
    on_cpu = Merge(plan, family, "cpu").outputs(family["v3"].weights)
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        for one, other in zip(ours[1:], theirs[1:], strict=True):
            assert (one is None) == (other is None)
            assert one is None or one.device.index in (number, None)
            assert one is None or torch.equal(one.cpu().view(torch.uint8), other.view(torch.uint8))


@pytest.mark.gpu
def test_a_gpu_dequantizes_to_the_processors_values(family):
    """Of tensors that are combined, and of copies, which never were on the GPU."""
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    everything = family["v3"].weights
    for plan in (merge_of(family).plan, copy_plan(family["v3"])):
        on_gpu, on_cpu = (Merge(plan, family, engine).values(everything) for engine in ("cuda", "cpu"))
        for (_, ours), (_, theirs) in zip(on_gpu, on_cpu, strict=True):
            assert torch.equal(ours.cpu(), theirs)
