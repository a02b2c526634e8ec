"""The benchmarks run, at a fiftieth of their size; what they find out is not judged here."""

import json

import numpy as np
import pytest
from aoe.acquiring.verification import check_structure
from aoe.checkpoints.checkpoint import Checkpoint
from performance import client, fetching, inputs, planning
from performance.__main__ import TARGETS, as_markdown
from performance.measure import row, save, side_by_side, timed_command
from performance.weights import arithmetic, auditing, comparing, formats, merging, scaling, shards
from support.clones import ROOT

DOCS = ROOT / "docs"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 250_000_000)
    monkeypatch.setattr(fetching, "FILE_BYTES", 40_000_000)
    monkeypatch.setattr(fetching, "SHARDS", 4)
    monkeypatch.setattr(client, "ANSWERS", 40)
    monkeypatch.setattr(client, "SERVED_QUESTIONS", 8)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "scripts"))


def test_every_case_that_needs_no_other_tool_gives_its_rows(small, tmp_path):
    rows = [
        *arithmetic.merge_arithmetic(1),
        *scaling.scaling(tmp_path, 1),
        *merging.merge_fp8(tmp_path, 1),
        *merging.merge_by_methods(tmp_path, 1),
        *formats.merge_formats(tmp_path, 1, 20_000_000),
        *comparing.diff_and_verify(tmp_path, 1),
        *auditing.audit(tmp_path, 1),
        *fetching.lock_and_plan(tmp_path, 1),
        *fetching.verification(tmp_path, 1),
        *fetching.download(tmp_path, 1),
        *planning.dry_run(1),
        *client.overhead(tmp_path, 1),
        *client.throughput(tmp_path, 1),
    ]
    names = {entry.name for entry in rows}
    needing = {"merge_bf16_vs_mergekit", "merge_bf16_vs_limit", "peak_memory_gib", "merge_gpu_vs_copy"}
    needing |= {"from_scores_to_paper"}  # a finished study; tests/workflow/test_paper.py goes that way
    assert TARGETS.keys() - needing <= names
    for entry in rows:
        assert entry.ours > 0
        assert entry.ratio == pytest.approx(entry.ours / entry.reference)


def test_inputs_are_checkpoints_of_their_size_with_finite_numbers(tmp_path):
    inputs.deepseek_shard(tmp_path / "deepseek", shards.DEEPSEEK, 60_000_000, seed=1, shards=2)
    checkpoint = Checkpoint(tmp_path / "deepseek")
    check_structure(checkpoint)
    assert len(checkpoint.shard_names) == 2
    assert sum(checkpoint.stored(weight).size for weight in checkpoint.weights) == pytest.approx(60e6, rel=0.5)
    for weight in checkpoint.weights:
        assert not ((checkpoint.read(weight) & 0x7F) == 0x7F).any()
        assert np.isfinite(checkpoint.read(checkpoint.scale(weight)).view(np.float32)).all()


def test_both_are_run_in_turn_and_medians_quoted():
    calls = []
    entry = side_by_side(
        "x",
        3,
        lambda: calls.append("ours") or float(len(calls)),
        lambda: calls.append("theirs") or 2.0,
        "",
        lambda: None,
    )
    assert calls == ["ours", "theirs"] * 4
    assert (entry.ours, entry.reference, entry.ratio, entry.runs) == (5.0, 2.0, 2.5, 3)
    assert entry.spread == "ours 3–7; reference 2–2"


def test_a_command_is_timed_and_its_memory_is_its_own():
    hog = np.ones(100_000_000)  # what this process holds must not count
    seconds, peak = timed_command("python3", "-c", "import time; x = bytearray(50_000_000); time.sleep(0.3)")
    assert hog.sum() > 0
    assert 0.3 < seconds < 30
    assert 0.04 < peak < 0.2
    with pytest.raises(RuntimeError, match="failed"):
        timed_command("python3", "-c", "raise SystemExit(3)")


def test_rows_that_were_not_measured_stay(tmp_path):
    path = tmp_path / "benchmarks.json"
    save([row("a", [1.0], [2.0], "s", "old"), row("b", [1.0], [2.0], "s", "kept")], path)
    table = save([row("a", [3.0], [2.0], "s", "new")], path)
    assert json.loads(path.read_text(encoding="utf-8")) == table
    assert {entry["name"]: entry["note"] for entry in table} == {"a": "new", "b": "kept"}


def test_the_committed_page_is_made_from_the_committed_figures():
    table = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    assert (DOCS / "benchmarks.md").read_text(encoding="utf-8") == as_markdown(table)
    assert TARGETS.keys() <= {entry["name"] for entry in table}
    keys = {"name", "ours", "reference", "ratio", "unit", "runs", "spread", "note"}
    assert all(keys <= entry.keys() for entry in table)
    starts = {"start_eager_vs_compiled", "study_eager_vs_compiled"}  # each run takes a GPU two and a half minutes
    assert min(entry["runs"] for entry in table if entry["name"] not in starts) >= 5
