"""What vLLM would choose by itself is said by every study that needs a GPU, or the study is refused."""

import re
from pathlib import Path

import pytest
import yaml
from aoe.serving.pins import PINS, unpinned
from aoe.studies.study import read_content, read_study
from launcher.schemas import read_schema

STUDIES = Path(__file__).parents[3] / "config/studies"
SCHEMAS = Path(__file__).parents[3] / "config/schemas"
SERVING = {
    "flavour": "cuda",
    "options": {"attention-backend": "FLASH_ATTN", "moe-backend": "triton"},
    "environment": {"VLLM_USE_DEEP_GEMM": "0", "VLLM_USE_FLASHINFER_SAMPLER": "0"},
}


@pytest.mark.parametrize("name", [path.stem for path in sorted(STUDIES.glob("*.yaml"))])
def test_shipped_studies_leave_nothing_open(name):
    serving = read_content(name, STUDIES / f"{name}.yaml").get("serving")
    assert serving is None or unpinned(serving) is None


@pytest.mark.parametrize("key", ["attention-backend", "moe-backend"])
def test_a_backend_that_is_left_to_vllm_is_told(key):
    options = {name: value for name, value in SERVING["options"].items() if name != key}
    assert unpinned(SERVING) is None
    assert unpinned(SERVING | {"options": options}) == f"serving.options.{key}"


@pytest.mark.parametrize("flavour", ["cuda", "cuda12", "rocm"])
def test_variables_are_pinned_whatever_their_value(flavour):
    serving = SERVING | {"flavour": flavour, "environment": {}}
    names = PINS[re.sub(r"\d", "", flavour)][1]
    for place, name in enumerate(names):
        assert unpinned(serving | {"environment": dict.fromkeys(names[:place], "1")}) == f"serving.environment.{name}"
    assert unpinned(serving | {"environment": dict.fromkeys(names, "1")}) is None


def test_the_longer_form_of_the_attention_backend_counts():
    options = {"attention-config": {"backend": "TRITON_MLA"}, "moe-backend": "triton"}
    assert unpinned(SERVING | {"options": options}) is None


def test_processors_need_no_pins():
    assert unpinned({"flavour": "cpu", "options": {}}) is None


def test_a_study_is_refused_before_anything_starts(tmp_path):
    for path in STUDIES.glob("mini*.yaml"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    content = yaml.safe_load((tmp_path / "mini-gpu.yaml").read_text(encoding="utf-8"))
    del content["serving"]["options"]["moe-backend"]
    (tmp_path / "mini-gpu.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(Exception, match=r"serving\.options\.moe-backend is missing; vLLM would choose"):
        read_study("mini-gpu", tmp_path, read_schema("study"))
