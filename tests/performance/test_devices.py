"""What was measured on a GPU is what was measured on a processor, within sampling error; and the page says so."""

import pandas as pd
import pytest
from performance.devices import DOCS, MEASURES, as_markdown, deviations, read_docs
from clones import ROOT

FOLDER = ROOT / DOCS
# of 69 differences one beyond 3.5 standard errors would be chance in one of 30 cases, were all alike
MOST = 3.5


def test_both_devices_agree_within_sampling_error():
    cpu, gpu, steps, kinds = read_docs(FOLDER)
    assert list(cpu.index) == list(gpu.index) and len(cpu) == 23
    assert (cpu.questions == gpu.questions).all()
    off = deviations(cpu, gpu)
    assert off.shape == (23, len(MEASURES)) and off.abs().max().max() < MOST
    assert (off.intelligence.abs() > 0).sum() > 10, "these are two measurements, not one twice"
    for sweep in ("full", "experts"):
        ours, theirs = (
            steps[device].set_index(["sweep", "measure"]).loc[(sweep, "closing")] for device in ("gpu", "cpu")
        )
        assert ours.midpoint_low < theirs.midpoint_high and theirs.midpoint_low < ours.midpoint_high
    assert "H200" in kinds["gpu"][0]["machine"] and "H200" not in kinds["cpu"][0]["machine"]


def test_the_committed_page_is_made_from_the_committed_figures():
    assert (FOLDER.with_suffix(".md")).read_text() == as_markdown(*read_docs(FOLDER))


def test_deviations_by_hand():
    columns = {f"{measure}{end}": value for measure in MEASURES for end, value in (("", 5), ("_low", 4), ("_high", 6))}
    cpu = pd.DataFrame([columns])
    gpu = cpu + 2
    assert deviations(cpu, cpu).abs().max().max() == 0
    assert deviations(cpu, gpu).intelligence[0] == pytest.approx(2 / ((1 / 1.96) * 2**0.5))
