"""vLLM's build for processors merges families while loading them, and answers as transformers does."""

import json

import pytest
import transformers
from support.all_families import RECORD
from support.families import tiny_model
from support.family_serving import served

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))["families"]
SAMPLE = ["llama", "mixtral", "qwen3_moe"]  # `make families` serves all


class Written:
    """What stands for a Flow: its model's class."""

    def __init__(self, model_type):
        self.model = type(tiny_model(model_type))


@pytest.mark.server
def test_families_are_served_as_they_are_recorded(tmp_path):
    transformers.utils.logging.disable_progress_bar()
    found = dict(served({name: Written(name) for name in SAMPLE}, tmp_path))
    assert found == dict.fromkeys(SAMPLE, "answers as transformers does")
    assert found == {name: RECORDED[name]["served"] for name in SAMPLE}
