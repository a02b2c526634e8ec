"""Every family of transformers' language models goes through all of it, and has its row in the documentation."""

import json

import pytest
import transformers
from support.all_families import LEFT_OUT, RECORD, WORKS, outcome
from support.families import all_families

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))
TRIED = [name for name, family in RECORDED["families"].items() if family["outcome"] != LEFT_OUT]


@pytest.fixture(autouse=True)
def _quiet():
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


def test_every_family_of_the_pinned_transformers_is_recorded():
    assert RECORDED["transformers"] == transformers.__version__, "run `make families`"
    assert RECORDED["families"].keys() == set(all_families())


@pytest.mark.parametrize("model_type", TRIED)
def test_a_family_is_as_it_is_recorded(model_type, tmp_path):
    found, _ = outcome(model_type, tmp_path)
    recorded = RECORDED["families"][model_type]
    assert found == {key: said for key, said in recorded.items() if key != "served"}


@pytest.mark.parametrize("model_type", sorted(RECORDED["families"].keys() - set(TRIED)))
def test_a_family_that_is_left_out_is_no_language_model_that_transformers_can_run(model_type, tmp_path):
    assert outcome(model_type, tmp_path)[0] == RECORDED["families"][model_type]


def test_families_that_people_merge_work():
    """Else a table of refusals would do."""
    known = {
        "deepseek_v2",
        "deepseek_v3",
        "glm4_moe",
        "gpt_oss",
        "kimi_k25",
        "llama",
        "llama4",
        "minimax_m2",
        "mixtral",
    }
    known |= {
        "mistral",
        "olmoe",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "qwen3_next",
        "qwen3_5_moe",
        "gemma3_text",
        "phimoe",
    }
    assert {name for name in known if RECORDED["families"][name]["outcome"] != WORKS} == set()
