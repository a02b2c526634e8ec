"""What the preflight imports of an environment: what its scripts need while they run."""

import json
import runpy
from types import SimpleNamespace

import pytest
from support.clones import ROOT

TYPED = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import absent_module\n"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import json\n", []),
        ("def draw():\n    import absent_module\n", ["absent_module"]),
        ("from absent_module import part\n", ["absent_module"]),
        (TYPED, []),
    ],
)
def test_imports_that_only_types_need_are_left_out(tmp_path, code, told):
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    rule = SimpleNamespace(
        params=SimpleNamespace(title="analysis", scripts=[str(script)], file="envs/analysis.yaml"),
        output=[str(tmp_path / "check.json")],
        log=[str(tmp_path / "log.txt")],
    )
    runpy.run_path(str(ROOT / "scripts/preflight_environment.py"), init_globals={"snakemake": rule})
    found = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))["findings"]
    assert len(found) == len(told)
    for (sentence, fatal), module in zip(found, told, strict=True):
        assert fatal and sentence.startswith(f"script.py cannot import {module}")
