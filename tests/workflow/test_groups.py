"""What a job of Slurm is given whose members run one after another, on cores that are for one of them."""

import json
import sys

import pytest
import yaml
from support.clones import ROOT

pytestmark = pytest.mark.workflow
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
SITE = yaml.safe_load((ROOT / "profiles/slurm/site.yaml").read_text(encoding="utf-8"))
MINUTES = {"diff": 20, "merge": 20, "audit": 60}  # of one member, by group


@pytest.fixture
def planned(clone):
    """Calls planned_groups.py: a study, and keys of site.yaml -> {what: [[members, cores, MB, minutes, at last]]}."""

    def plan(study, **site):
        command = [sys.executable, "tests/workflow/planned_groups.py", study, json.dumps(site)]
        return json.loads(clone.run(*command).stdout)

    return plan


def test_a_group_gets_the_time_of_all_its_members_and_the_cores_and_memory_of_one(planned):
    """The profile's own numbers, with two merges' cores on a node."""
    assert PROFILE["cores"] == 2 * PROFILE["set-threads"]["merge"]
    for study, groups in {"mini": ("diff", "merge", "audit"), "paper": ("diff", "merge"), "audit": ("audit",)}.items():
        found = planned(study)
        for group in groups:
            assert max(members for members, *_ in found[f"group {group}"]) > 1
            for members, cores, memory, minutes, last in found[f"group {group}"]:
                assert members <= PROFILE["group-components"][group]
                assert (cores, memory) == (8, 2000)
                assert minutes == members * MINUTES[group] and minutes <= last <= SITE["most_minutes"]
    ((members, cores, memory, minutes, _),) = planned("mini")["group tables"]
    assert (members, cores, memory, minutes) == (16, 1, 1000, 180)


def test_retries_ask_for_no_more_than_the_site_gives(planned):
    found = planned("mini", most_minutes=480, gpu_most_minutes=700, most_memory_mb=2500)
    assert {tuple(job) for job in found["rule answer"]} == {(1, 1, 2500, 480, 480)}
    for _, _, memory, minutes, last in found["group merge"] + found["group audits"] + found["group tables"]:
        assert memory <= 2500 and minutes <= last <= 480
    assert planned("mini-gpu", most_minutes=480, gpu_most_minutes=700)["rule answer"][0][3:] == [700, 700]
