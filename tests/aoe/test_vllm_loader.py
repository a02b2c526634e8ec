"""vLLM, loading a plan, computes what transformers computes on the same weights (float32, log-probabilities)."""

import json
import urllib.request
from pathlib import Path

import pytest
import torch
import yaml
from reference import transformers_model
from aoe.checkpoint import Checkpoint
from aoe.merge import Merge
from aoe.plan import make_plan
from aoe.recipe import read_recipe
from aoe.serving import Server
from mini_family import language

ROOT = Path(__file__).parents[2]
MINI = yaml.safe_load((ROOT / "config/studies/mini.yaml").read_text())
BEGIN, USER, ASSISTANT, END = language.BOS, language.USER, language.ASSISTANT, language.EOS
PROMPTS = [
    f"{BEGIN}{USER}48+4*3=?{ASSISTANT}<think>\n48+4=52. 52*3=56, check 52*3=56.\n</think>\nAnswer: 56",
    f"{BEGIN}{USER}7-9=?{ASSISTANT}7-9=98\nAnswer: 98{END}{USER}now *4+5-6=?",
    f"{BEGIN}{USER}steps: 1+2+3+4=?{ASSISTANT}",
]


def prompt_logprobs(server, ids):
    """The server's log-probability of every prompt token but the first."""
    body = {"model": server.name, "prompt": ids, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.key}"}
    request = urllib.request.Request(f"{server.url}/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        found = json.load(response)["choices"][0]["prompt_logprobs"]
    return torch.tensor([entry[str(token)]["logprob"] for entry, token in zip(found[1:], ids[1:], strict=True)])


@pytest.mark.server
def test_a_merge_while_loading_computes_what_transformers_computes(tmp_path):
    folders = {name: ROOT / MINI["models"][name]["path"] for name in ("v3-0324", "r1")}
    checkpoints = {name: Checkpoint(folder, name) for name, folder in folders.items()}
    recipe = read_recipe("half", {"base": "v3-0324", "weights": {"v3-0324": 0.5, "r1": 0.5}}, checkpoints)
    plan = make_plan(recipe, checkpoints)
    plan.save(tmp_path / "plan.json")
    merge = Merge(plan, checkpoints)
    reference = transformers_model(folders["v3-0324"], {name: merge.value(name) for name in merge.base.weights})
    encode = language.encoder()
    settings = MINI["serving"]["options"], MINI["serving"]["environment"]
    with Server("half", folders, "v3-0324", tmp_path / "plan.json", tmp_path / "server.log", *settings) as server:
        for prompt in PROMPTS:
            ids = encode(prompt)
            with torch.no_grad():
                expected = reference(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            expected = expected[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
            torch.testing.assert_close(prompt_logprobs(server, ids), expected, rtol=0, atol=2e-4)
