"""vLLM, loading a plan, serves the same model as from merged files, and computes what transformers computes."""

from pathlib import Path

import pytest
import torch
import yaml
from aoe.serving import Server
from mini_family import language
from reference import transformers_model
from served import MINI_FOLDERS, PROMPTS, answers, half_of, in_bf16, prompt_logprobs, write

MINI = yaml.safe_load((Path(__file__).parents[2] / "config/studies/mini.yaml").read_text())
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
    plan, merge = half_of(MINI_FOLDERS, tmp_path)
    merged = write(merge, tmp_path / "merged")
    options = OPTIONS | {"tensor-parallel-size": 2}
    with Server("half", MINI_FOLDERS, plan, tmp_path / "plan.log", options, ENVIRONMENT) as server:
        from_plan = answers(server)
    with Server("half", {"half": merged}, None, tmp_path / "files.log", options, ENVIRONMENT) as server:
        assert answers(server) == from_plan


@pytest.mark.server
def test_vllms_own_loader_serves_the_merged_files_as_ours_serves_the_plan(tmp_path):
    """With BF16 parents, which vLLM's loader can read on a processor too."""
    folders = {name: in_bf16(folder, tmp_path / name) for name, folder in MINI_FOLDERS.items()}
    plan, merge = half_of(folders, tmp_path)
    merged = write(merge, tmp_path / "merged")
    with Server("half", folders, plan, tmp_path / "plan.log", OPTIONS, ENVIRONMENT) as server:
        from_plan = answers(server)
    own = OPTIONS | {"load-format": "safetensors", "model-loader-extra-config": {}}
    with Server("half", {"half": merged}, None, tmp_path / "files.log", own, ENVIRONMENT) as server:
        assert answers(server) == from_plan
