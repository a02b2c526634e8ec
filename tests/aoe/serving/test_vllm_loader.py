"""vLLM, loading a plan, serves the same model as from merged files, and computes what transformers computes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from aoe import AoeError
from aoe.serving.loaded import digest_of, digest_of_all, read_records
from aoe.serving.sampling import NEUTRAL
from aoe.serving.server import Server
from benchmarks.prompts import Renderer
from benchmarks.solver import CONTINUE
from mini_family import language
from support.reference import transformers_model
from support.served import MINI_FOLDERS, PROMPTS, answers, chat, half_of, in_bf16, loaded, prompt_logprobs, write
from support.vocabularies import renumber

MINI = yaml.safe_load((Path(__file__).parents[3] / "config/studies/mini.yaml").read_text(encoding="utf-8"))
OPTIONS, ENVIRONMENT = MINI["serving"]["options"], MINI["serving"]["environment"]


@pytest.mark.server
def test_a_merge_while_loading_computes_what_transformers_computes(tmp_path):
    plan, merge = half_of(MINI_FOLDERS, tmp_path)
    reference = transformers_model(
        MINI_FOLDERS["v3-0324"], {name: value.float() for name, value in merge.values(merge.base.weights)}
    )
    encode = language.encoder()
    with Server("half", MINI_FOLDERS, plan, tmp_path / "server.log", OPTIONS, ENVIRONMENT) as server:
        for prompt in PROMPTS:
            ids = encode(prompt)
            with torch.no_grad():
                expected = reference(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            expected = expected[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
            torch.testing.assert_close(prompt_logprobs(server, ids), expected, rtol=0, atol=2e-4)


@pytest.mark.server
def test_two_tensor_parallel_workers_serve_a_plan_as_they_serve_its_files(tmp_path):
    """Each of which makes other weights, with random numbers that are the same as for the files."""
    plan, merge = half_of(MINI_FOLDERS, tmp_path, rounding="balanced", seed=3)
    merged = write(merge, tmp_path / "merged")
    options = OPTIONS | {"tensor-parallel-size": 2}
    with Server("half", MINI_FOLDERS, plan, tmp_path / "plan.log", options, ENVIRONMENT) as server:
        from_plan, records = answers(server), server.loaded()
        assert server.backends()["attention"] == ["CPU_MLA"]
    assert len(records) == 2 and records[0]["handed"] == records[1]["handed"] == records[1]["shared"]
    assert max(sum(record["read"].values()) for record in records) < 0.6 * sum(records[0]["of"].values())
    with Server("half", {"half": merged}, None, tmp_path / "files.log", options, ENVIRONMENT) as server:
        assert answers(server) == from_plan
        from_files = server.loaded()
    assert [record["handed"] for record in from_files] == [record["handed"] for record in records]
    assert [record["held"] for record in from_files] == [record["held"] for record in records]


@pytest.mark.server
@pytest.mark.parametrize("unrounded", [False, True], ids=["BF16 parents", "unrounded"])
def test_vllms_own_loader_serves_the_merged_files_as_ours_serves_the_plan(tmp_path, unrounded):
    """BF16 files, which vLLM's loader can read on a processor too: of BF16 parents, or of FP8 without rounding."""
    folders = MINI_FOLDERS if unrounded else {n: in_bf16(folder, tmp_path / n) for n, folder in MINI_FOLDERS.items()}
    plan, merge = half_of(folders, tmp_path, rounding="none" if unrounded else "nearest")
    merged = write(merge, tmp_path / "merged")
    with Server("half", folders, plan, tmp_path / "plan.log", OPTIONS, ENVIRONMENT) as server:
        from_plan = answers(server)
    own = OPTIONS | {"load-format": "safetensors", "model-loader-extra-config": {}}
    with Server("half", {"half": merged}, None, tmp_path / "files.log", own, ENVIRONMENT) as server:
        assert answers(server) == from_plan


@pytest.mark.server
def test_embeddings_are_aligned_while_loading(tmp_path):
    """A server is handed what parents give whose tokens have the same numbers."""
    folders = {"v3-0324": MINI_FOLDERS["v3-0324"], "r1": tmp_path / "r1"}
    renumber(MINI_FOLDERS["r1"], folders["r1"])
    plan, merge = half_of(folders, tmp_path, align_embeddings=True)
    assert merge.plan.alignment
    (tmp_path / "same").mkdir()
    _, same = half_of(MINI_FOLDERS, tmp_path / "same")
    served = [weight for weight in same.base.weights if not weight.startswith("model.layers.4.")]  # no MTP
    expected = digest_of_all({weight: digest_of(tensor) for weight, tensor in same.values(served)})
    with Server("half", folders, plan, tmp_path / "server.log", OPTIONS, ENVIRONMENT, check=True) as server:
        (record,) = server.loaded()
        assert record["handed"] == expected
        assert record["checked"] == len(served)


SHAPES = {
    "two ranks": {"tensor_parallel_size": 2, "enable_expert_parallel": True},
    "four ranks": {"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "enable_expert_parallel": True},
}


@pytest.mark.server
@pytest.mark.parametrize("shape", SHAPES)
def test_ranks_read_their_own_part_and_hold_what_vllms_own_loader_gives_them(tmp_path, shape):
    """Loaded only: vLLM's builds for processors can load experts and layers that are spread, but not run them."""
    folders = {name: in_bf16(folder, tmp_path / name) for name, folder in MINI_FOLDERS.items()}
    plan, merge = half_of(folders, tmp_path, rounding="stochastic", seed=1)
    merged = write(merge, tmp_path / "merged")
    options = {"dtype": "float32", "attention_backend": "CPU_MLA", "kv_cache_memory_bytes": 64 << 20, "max_num_seqs": 8}
    options |= SHAPES[shape]
    (tmp_path / "records").mkdir()
    extra = {"plan": plan, "checkpoints": folders, "records": tmp_path / "records", "check": True}
    ours = loaded(folders["v3-0324"], ENVIRONMENT, load_format="aoe", model_loader_extra_config=extra, **options)
    theirs = loaded(merged, ENVIRONMENT, load_format="safetensors", **options)
    ranks = SHAPES[shape].get("pipeline_parallel_size", 1) * 2
    assert len(ours) == ranks and ours == theirs
    records = read_records(tmp_path / "records")
    assert [record["rank"] for record in records] == list(range(ranks))
    read = [sum(record["read"].values()) / sum(record["of"].values()) for record in records]
    assert max(read) < 1.2 / ranks, "nobody reads what others hold; embeddings and the LM head are on one stage each"
    served = [name for name in merge.base.weights if not name.startswith("model.layers.4.")]
    assert sum(record["checked"] for record in records) == len(served), "every weight but the MTP layer's was made once"


@pytest.mark.server
def test_a_rank_that_fails_ends_the_server_with_its_reason(tmp_path):
    """The others wait for what it would have sent them."""
    plan, merge = half_of(MINI_FOLDERS, tmp_path)
    broken = tmp_path / "r1"
    shutil.copytree(MINI_FOLDERS["r1"], broken)
    place = merge.base.stored("model.norm.weight")
    file = broken / merge.base.files["model.norm.weight"]
    content = bytearray(file.read_bytes())
    content[place.begin : place.begin + 2] = b"\xc0\x7f"  # NaN
    file.write_bytes(content)
    options = OPTIONS | {"tensor-parallel-size": 2}
    folders = MINI_FOLDERS | {"r1": broken}
    with (
        pytest.raises(AoeError, match=r"r1: the tensor model\.norm\.weight holds NaN or Inf"),
        Server("half", folders, plan, tmp_path / "server.log", options, ENVIRONMENT, patience=120),
    ):
        pass


@pytest.mark.server
def test_only_what_is_asked_for_changes_how_answers_are_sampled(tmp_path):
    """Of the base's generation_config.json only the tokens that end an answer count."""
    odd = {"top_k": 1, "repetition_penalty": 1.5, "min_p": 0.9, "max_new_tokens": 3, "eos_token_id": [2, 14]}
    folder = Path(shutil.copytree(MINI_FOLDERS["r1"], tmp_path / "r1"))
    (folder / "generation_config.json").write_text(json.dumps(odd), encoding="utf-8")
    question = [{"role": "user", "content": "48+4*3=?"}]
    forced = [*question, {"role": "assistant", "content": "<think>\n"}]
    begun, continued = {"add_generation_prompt": True}, CONTINUE
    with Server("r1", {"r1": folder}, None, tmp_path / "server.log", OPTIONS, ENVIRONMENT) as server:
        renderer = Renderer(server.url, server.key, "r1")
        for seed in range(8):
            for messages, flags in ((question, begun), (forced, continued)):
                asked = {"seed": seed, "temperature": 1.5, "top_p": 1.0, "max_tokens": 100, **flags}
                answer, neutral = (chat(server, messages, **asked, **more) for more in ({}, NEUTRAL))
                assert answer["choices"][0]["token_ids"] == neutral["choices"][0]["token_ids"]
                assert answer["prompt_token_ids"] == renderer.render(messages, **flags)
                ids = answer["choices"][0]["token_ids"]
                assert ids[-1] in (2, 14) or (len(ids) == 100 and not {2, 14} & set(ids[:-1]))
        assert renderer.decode(renderer.encode("<think>\n")) == "<think>\n"
