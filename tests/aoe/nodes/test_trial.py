"""What small models cannot do as a study's own can, and what is kept of its options."""

import json

import pytest
import yaml
from aoe.nodes.trial import most_ranks, too_narrow, trial_options, world
from support.clones import ROOT

MINI = ROOT / "resources/mini/r1"
CONFIG = json.loads((MINI / "config.json").read_text(encoding="utf-8"))
LARGE = json.loads((ROOT / "resources/deepseek-v3/config.json").read_text(encoding="utf-8"))
PAPER = yaml.safe_load((ROOT / "config/studies/paper.yaml").read_text(encoding="utf-8"))["serving"]["options"]


def test_the_papers_options_are_kept_but_for_what_is_said():
    options, changes = trial_options(PAPER)
    differ = {name for name in PAPER if options[name] != PAPER[name]}
    assert differ == {"max-model-len", "max-num-seqs"}
    assert len(changes) == len(differ) and all(any(name in change for change in changes) for name in differ)
    assert options["enable-expert-parallel"] is True and options["tensor-parallel-size"] == 8


def test_what_fits_is_not_changed():
    small = {"max-model-len": 640, "max-num-seqs": 32, "dtype": "float32"}
    assert trial_options(small) == (small, [])


def test_options_of_another_model_are_left_out():
    options, changes = trial_options({"reasoning-parser": "deepseek_r1"})
    assert "reasoning-parser" not in options and "reasoning-parser is left out" in changes


def test_small_models_are_too_narrow_for_the_papers_gpus():
    assert too_narrow(PAPER, MINI)
    assert not too_narrow(PAPER | {"tensor-parallel-size": 1}, MINI)
    assert not too_narrow({"tensor-parallel-size": 2, "hf-overrides": {"quantization_config": None}}, MINI)


@pytest.mark.parametrize(
    ("config", "wanted", "fp8", "expert_parallel", "most"),
    [
        (CONFIG, 8, True, True, 1),  # an attention output of 128 columns is one block
        (CONFIG, 8, False, False, 4),  # it has four heads
        (CONFIG, 6, False, False, 2),
        (LARGE, 8, True, True, 8),
        (LARGE, 16, True, False, 16),
        (LARGE, 32, True, False, 16),  # 2048 columns of an expert are 16 blocks
        (CONFIG, 1, True, False, 1),
    ],
)
def test_layers_are_spread_over_as_many_gpus_as_vllm_can(config, wanted, fp8, expert_parallel, most):
    assert most_ranks(config, wanted, fp8, expert_parallel) == most


def test_a_server_is_as_many_processes_as_its_options_say():
    assert world({}) == 1
    assert world({"tensor-parallel-size": 8, "pipeline-parallel-size": 2}) == 16
