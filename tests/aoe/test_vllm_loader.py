"""vLLM, loading a plan, serves the same model as from merged files, and computes what transformers computes."""

import json
import shutil
import urllib.request
from pathlib import Path

import pytest
import torch
import yaml
from reference import transformers_model
from safetensors.torch import save_file
from aoe.checkpoint import Checkpoint
from aoe.merge import Merge
from aoe.plan import copy_plan, make_plan
from aoe.publishing import complete_checkpoint
from aoe.recipe import read_recipe
from aoe.serving import Server
from aoe.shard_writer import write_shard
from mini_family import language

ROOT = Path(__file__).parents[2]
MINI = yaml.safe_load((ROOT / "config/studies/mini.yaml").read_text())
FOLDERS = {name: ROOT / MINI["models"][name]["path"] for name in ("v3-0324", "r1")}
OPTIONS, ENVIRONMENT = MINI["serving"]["options"], MINI["serving"]["environment"]
BEGIN, USER, ASSISTANT, END = language.BOS, language.USER, language.ASSISTANT, language.EOS
PROMPTS = [
    f"{BEGIN}{USER}48+4*3=?{ASSISTANT}<think>\n48+4=52. 52*3=56, check 52*3=56.\n</think>\nAnswer: 56",
    f"{BEGIN}{USER}7-9=?{ASSISTANT}7-9=98\nAnswer: 98{END}{USER}now *4+5-6=?",
    f"{BEGIN}{USER}steps: 1+2+3+4=?{ASSISTANT}",
]


def complete(server, prompt, **settings):
    """The server's completion of a prompt (its text or token ids) at temperature 0."""
    body = {"model": server.name, "prompt": prompt, "temperature": 0, **settings}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.key}"}
    request = urllib.request.Request(f"{server.url}/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["choices"][0]


def prompt_logprobs(server, ids):
    """The server's log-probability of every prompt token but the first."""
    found = complete(server, ids, max_tokens=1, prompt_logprobs=0)["prompt_logprobs"]
    return torch.tensor([entry[str(token)]["logprob"] for entry, token in zip(found[1:], ids[1:], strict=True)])


def answers(server):
    """Greedy answers with the log-probability of every token."""
    found = [complete(server, prompt, max_tokens=60, logprobs=1) for prompt in PROMPTS]
    return [(answer["text"], answer["logprobs"]["token_logprobs"]) for answer in found]


def half_of(folders, tmp_path):
    """The path of the plan of half of each of two models, and its Merge."""
    checkpoints = {name: Checkpoint(folder, name) for name, folder in folders.items()}
    recipe = read_recipe("half", {"base": "v3-0324", "weights": {"v3-0324": 0.5, "r1": 0.5}}, checkpoints)
    plan = make_plan(recipe, checkpoints)
    plan.save(tmp_path / "plan.json")
    return tmp_path / "plan.json", Merge(plan, checkpoints, "cpu")


def write(merge, folder):
    folder.mkdir()
    for file in merge.base.shard_names:
        write_shard(merge, file, folder / file)
    recipe = {"base": merge.base.name, "weights": merge.plan.mixtures[0]}
    complete_checkpoint(merge.base, folder, {"variant": "half", "recipe": recipe, "parents": {}, "plan": []})
    return folder


@pytest.mark.server
def test_a_merge_while_loading_computes_what_transformers_computes(tmp_path):
    plan, merge = half_of(FOLDERS, tmp_path)
    reference = transformers_model(
        FOLDERS["v3-0324"], {name: value.float() for name, value in merge.values(merge.base.weights)}
    )
    encode = language.encoder()
    with Server("half", FOLDERS, "v3-0324", plan, tmp_path / "server.log", OPTIONS, ENVIRONMENT) as server:
        for prompt in PROMPTS:
            ids = encode(prompt)
            with torch.no_grad():
                expected = reference(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            expected = expected[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
            torch.testing.assert_close(prompt_logprobs(server, ids), expected, rtol=0, atol=2e-4)


@pytest.mark.server
def test_two_tensor_parallel_workers_serve_a_plan_as_they_serve_its_files(tmp_path):
    plan, merge = half_of(FOLDERS, tmp_path)
    merged = write(merge, tmp_path / "merged")
    options = OPTIONS | {"tensor-parallel-size": 2}
    with Server("half", FOLDERS, "v3-0324", plan, tmp_path / "plan.log", options, ENVIRONMENT) as server:
        from_plan = answers(server)
    with Server("half", {"half": merged}, "half", None, tmp_path / "files.log", options, ENVIRONMENT) as server:
        assert answers(server) == from_plan


@pytest.mark.server
def test_vllms_own_loader_serves_the_merged_files_as_ours_serves_the_plan(tmp_path):
    """With BF16 parents, which vLLM's loader can read on a processor too."""
    folders = {name: in_bf16(folder, tmp_path / name) for name, folder in FOLDERS.items()}
    plan, merge = half_of(folders, tmp_path)
    merged = write(merge, tmp_path / "merged")
    with Server("half", folders, "v3-0324", plan, tmp_path / "plan.log", OPTIONS, ENVIRONMENT) as server:
        from_plan = answers(server)
    own = OPTIONS | {"load-format": "safetensors", "model-loader-extra-config": {}}
    with Server("half", {"half": merged}, "half", None, tmp_path / "files.log", own, ENVIRONMENT) as server:
        assert answers(server) == from_plan


def in_bf16(folder, target):
    """A checkpoint with the same weights, rounded to BF16, in one file."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    checkpoint = Checkpoint(folder)
    merge = Merge(copy_plan(checkpoint), {checkpoint.name: checkpoint}, "cpu")
    save_file(
        {name: value.bfloat16() for name, value in merge.values(checkpoint.weights)}, target / "model.safetensors"
    )
    config = json.loads((target / "config.json").read_text())
    del config["quantization_config"]
    (target / "config.json").write_text(json.dumps(config))
    return target
