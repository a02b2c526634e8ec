"""What was measured on a GPU is what was measured on a processor, within sampling error; and the page says so."""

from dataclasses import replace

import pandas as pd
import pytest
import yaml
from aoe.studies.study import read_content
from performance.gpu.devices import DOCS, MEASURES, as_markdown, deviations, mode_of, read_docs
from support.clones import ROOT

FOLDER = ROOT / DOCS
# if both were alike, one of 69 differences would be beyond this by chance in one of 30 cases
MAX_STANDARD_ERRORS = 3.5


def test_both_devices_agree_within_sampling_error():
    found = read_docs(FOLDER)
    cpu, gpu = (found.summaries[device] for device in ("cpu", "gpu"))
    assert list(cpu.index) == list(gpu.index) and len(cpu) == 23
    assert (cpu.questions == gpu.questions).all()
    off = deviations(cpu, gpu)
    assert off.shape == (23, len(MEASURES)) and off.abs().max().max() < MAX_STANDARD_ERRORS
    assert (off.intelligence.abs() > 0).sum() > 10, "these are two measurements, not one twice"
    for sweep in ("full", "experts"):
        ours, theirs = (
            found.transitions[device].set_index(["sweep", "measure"]).loc[(sweep, "closing")]
            for device in ("gpu", "cpu")
        )
        assert ours.midpoint_low < theirs.midpoint_high and theirs.midpoint_low < ours.midpoint_high
    assert "NVIDIA" in found.kinds["gpu"][0]["machine"] and "NVIDIA" not in found.kinds["cpu"][0]["machine"]


def test_the_committed_page_is_made_from_the_committed_figures():
    assert (FOLDER.with_suffix(".md")).read_text(encoding="utf-8") == as_markdown(read_docs(FOLDER))


def test_speed_was_measured_in_the_mode_in_which_the_study_does():
    found = read_docs(FOLDER)
    assert mode_of(read_content("mini-gpu", ROOT / "config/studies/mini-gpu.yaml")) in found.latencies
    assert set(found.latencies) == set(found.claims)
    for mode, table in found.latencies.items():
        assert len(table) == 10 and (table.repeats >= 3).all() and (table.joules_an_answer > 0).all()
        assert (FOLDER / f"figure9-{mode}.svg").exists()


def test_servers_are_started_in_the_mode_that_answers_sooner():
    starts = read_docs(FOLDER).starts
    sooner = starts.groupby("kind").answered.median().idxmin()
    serving = yaml.safe_load((ROOT / "config/studies/mini-gpu.yaml").read_text(encoding="utf-8"))["serving"]
    assert serving["options"]["enforce-eager"] == (sooner == "eager")


def test_deviations_by_hand():
    columns = {f"{measure}{end}": value for measure in MEASURES for end, value in (("", 5), ("_low", 4), ("_high", 6))}
    cpu = pd.DataFrame([columns])
    gpu = cpu + 2
    assert deviations(cpu, cpu).abs().max().max() == 0
    assert deviations(cpu, gpu).intelligence[0] == pytest.approx(2 / ((1 / 1.96) * 2**0.5))


def test_speed_claims_and_starts_are_shown_where_they_were_measured():
    measures = ["tokens_an_answer", "seconds_to_first", "seconds_an_answer", "tokens_per_second_of_an_answer"]
    measures += ["answers_per_second", "tokens_per_second", "joules_an_answer", "idle_watts"]
    row = {f"{name}{end}": value for name in measures for end, value in (("", 2), ("_low", 1), ("_high", 3))}
    row |= {"repeats": 3, "machine": "a GPU"}
    speed = pd.DataFrame([{"variant": "r1", "at_once": at_once, **row} for at_once in (1, 256)])
    speed.loc[0, ["tokens_an_answer", "seconds_an_answer", "seconds_to_first"]] = (101, 3, 1)
    claim = {"says": "It is fast.", "published": "2 ×", "condition": "≥ 1.2", "verdict": "reproduced"}
    claim |= {"value": 1.5, "low": 1.4, "high": 1.6}
    claims = {
        "eager": pd.DataFrame([claim | {"note": ""}], ["fast"]),
        "compiled": pd.DataFrame([claim | {"note": "barely"}], ["fast"]),
    }
    starts = [{"kind": "eager", "ready": seconds, "imports": 9} for seconds in (20, 30, 50)]
    starts += [{"kind": "compiled", "ready": 70, "imports": 9, "compiling": 22.5}]  # in one run
    found = replace(read_docs(FOLDER), latencies={"eager": speed}, claims=claims, starts=pd.DataFrame(starts))
    page = as_markdown(found)
    assert "| R1 | 256 | 2.00 (1.00–3.00) | 2,000 (1,000–3,000) | 2.00 (1.00–3.00) |" in page
    assert "one question at a time, the speed was 50.0 to 50.0 tokens/s" in page
    told = "1.50 (1.40–1.60) reproduced"
    assert f"| It is fast. | 2 × | ≥ 1.2 | {told} | {told}, but barely |" in page
    assert "| seconds | eager (3 runs) | compiled (1 run) |" in page
    assert "| until it responds | 30.0 (20.0–50.0) | 70.0 |" in page
    assert "| of which compiling | – | 22.5 |" in page
