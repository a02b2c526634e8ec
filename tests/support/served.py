"""Servers under test: plans for them, their files, and their answers."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import torch
from safetensors.torch import save_file
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.plan import copy_plan, make_plan
from aoe.merging.publishing import complete_checkpoint
from aoe.merging.recipe import read_recipe
from aoe.merging.shard_writer import write_shard
from mini_family import language

SCRIPTS = Path(__file__).parents[2] / "scripts"
MINI_FOLDERS = {name: Path(__file__).parents[2] / "resources/mini" / name for name in ("v3-0324", "r1")}
BEGIN, USER, ASSISTANT, END = language.BOS, language.USER, language.ASSISTANT, language.EOS
PROMPTS = [
    f"{BEGIN}{USER}48+4*3=?{ASSISTANT}<think>\n48+4=52. 52*3=56, check 52*3=56.\n</think>\nAnswer: 56",
    f"{BEGIN}{USER}7-9=?{ASSISTANT}7-9=98\nAnswer: 98{END}{USER}now *4+5-6=?",
    f"{BEGIN}{USER}steps: 1+2+3+4=?{ASSISTANT}",
]


# loads a model as vLLM does for a server, and says what is in the memory of every worker
LOAD = """
import json, sys
from vllm import LLM
llm = LLM(**json.loads(sys.argv[1]))
print("FOUND " + json.dumps(llm.collective_rpc("digests")))
"""


def loaded(folder, environment=None, **settings):
    """[{tensor: (dtype, shape, digest)}] of what vLLM's workers compute with once they have loaded a folder."""
    words = {"model": str(folder), "enforce_eager": True, "max_model_len": 640}
    words |= {"worker_extension_cls": "aoe.serving.vllm_loader.PlanLoading", **settings}
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PYTHONPATH", "")])
    variables = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    command = [sys.executable, "-c", LOAD, json.dumps(words, default=str)]
    done = subprocess.run(command, env=variables | (environment or {}), capture_output=True, encoding="utf-8")
    assert done.returncode == 0, (done.stdout + done.stderr)[-9000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))[6:])


def complete(server, prompt, **settings):
    """The server's completion of a prompt (its text or token ids) at temperature 0."""
    return _post(server, "completions", {"prompt": prompt, "temperature": 0, **settings})["choices"][0]


def chat(server, messages, **settings):
    """The server's chat completion, with the token ids of prompt and answer."""
    return _post(server, "chat/completions", {"messages": messages, "return_token_ids": True, **settings})


def _post(server, path, content):
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.key}"}
    body = json.dumps({"model": server.name, **content}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/{path}", body, headers), timeout=120) as response:
        return json.load(response)


def prompt_logprobs(server, ids):
    """The server's log-probability of every prompt token but the first."""
    found = complete(server, ids, max_tokens=1, prompt_logprobs=0)["prompt_logprobs"]
    return torch.tensor([entry[str(token)]["logprob"] for entry, token in zip(found[1:], ids[1:], strict=True)])


def answers(server):
    """Greedy answers with the log-probability of every token."""
    found = [complete(server, prompt, max_tokens=60, logprobs=1) for prompt in PROMPTS]
    return [(answer["text"], answer["logprobs"]["token_logprobs"]) for answer in found]


def half_of(folders, tmp_path, **method):
    """The path of the plan of half of each of two models, the base first, and its Merge; method: of the recipe."""
    checkpoints = {name: Checkpoint(folder, name) for name, folder in folders.items()}
    base, other = folders
    recipe = read_recipe("half", {"base": base, "weights": {base: 0.5, other: 0.5}, **method}, checkpoints)
    plan = make_plan(recipe, checkpoints)
    plan.save(tmp_path / "plan.json")
    return tmp_path / "plan.json", Merge(plan, checkpoints, "cpu")


def write(merge, folder):
    folder.mkdir()
    for file in merge.base.shard_names:
        write_shard(merge, file, folder / file)
    recipe = {"base": merge.base.name, "weights": merge.plan.mixtures[0]}
    provenance = {"variant": "half", "recipe": recipe, "parents": {}, "plan": []}
    complete_checkpoint(merge.base, folder, provenance, merge.plan.beside, unrounded=merge.plan.unrounded)
    return folder


def in_bf16(folder, target):
    """A checkpoint with the same weights, rounded to BF16, in one file."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    checkpoint = Checkpoint(folder)
    merge = Merge(copy_plan(checkpoint), {checkpoint.name: checkpoint}, "cpu")
    save_file(
        {name: value.bfloat16() for name, value in merge.values(checkpoint.weights)}, target / "model.safetensors"
    )
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    del config["quantization_config"]
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return target
