"""What partitions can give, against what jobs ask for; that Slurm says it so is shown in workflow/test_slurm.py."""

import re

import pytest
from aoe import AoeError
from cluster.partitions import JobRequest, Nodes, minutes_of, parse_partitions, problems, read_partitions

SINFO = """\
main*|infinite|20000|2|(null)|4|1-infinite
gpu|1-00:00:00|20000|64|gpu:a100:4(S:0-1),gpu:mig-1g.10gb:2,shard:8|1|1-2
gpu|1-00:00:00|2000000|32|gpu:8|3|1-2
short|30:00|20000|2|(null)|4|1
"""


@pytest.fixture
def partitions():
    return parse_partitions(SINFO)


def test_what_slurm_prints_is_read(partitions):
    assert [(one.name, one.minutes, one.most_nodes, one.default) for one in partitions.values()] == [
        ("main", None, None, True),
        ("gpu", 1440, 2, False),
        ("short", 30, 1, False),
    ]
    assert partitions["gpu"].kinds == (
        Nodes(1, 20000, 64, {"a100": 4, "mig-1g.10gb": 2}),
        Nodes(3, 2000000, 32, {"": 8}),
    )
    limits = {
        "30": 30,
        "1:30:00": 90,
        "2-12": 3600,
        "2-12:30": 3630,
        "7-00:00:00": 10080,
        "infinite": None,
        "n/a": None,
    }
    assert {limit: minutes_of(limit) for limit in limits} == limits


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        (
            JobRequest("rule answer", "gpu", minutes=2880, gpus=8),
            "2880 minutes, and the partition gpu has 1440: set `gpu_most_",
        ),
        (
            JobRequest("rule a", "gpu", 1440, last_minutes=4320, gpus=8),
            "4320 minutes if it is retried.* `gpu_most_minutes: 1440`",
        ),
        (
            JobRequest("group merge", "short", minutes=320),
            "group merge .* partition short has 30: give merge a smaller number",
        ),
        (
            JobRequest("group merge", "short", 20, last_minutes=60),
            "60 minutes if it is retried, .* set `most_minutes: 30`",
        ),
        (
            JobRequest("group merge", minutes=320, most_minutes=240),
            "320 minutes, and `most_minutes` .* is 240: give merge a smaller number among `group-components`",
        ),
        (
            JobRequest("rule a", memory_mb=30000),
            "30000 MB of a node, and the partition main has 20000: .*`slurm_partition`",
        ),
        (
            JobRequest("rule a", memory_mb=9, last_memory_mb=30000),
            "30000 MB .* retried, .* set `most_memory_mb: 20000`",
        ),
        (
            JobRequest("rule a", "gpu", gpus=8, gpu_model="h100"),
            r"8 GPUs called h100 .* has 0 \(a100, mig-1g.10gb\): .*`gpu_model`",
        ),
        (JobRequest("rule a", "gpu", gpus=16), "16 GPUs of a node, .* gpu has 8: change `serving.gpus` in the study"),
        (JobRequest("rule a", "gpu", gpus=24, nodes=3), "3 nodes, and the partition gpu has 2: change `serving.nodes`"),
        (
            JobRequest("rule a", "main", cores=8),
            "8 cores of a node, and the partition main has 2: change `set-threads`",
        ),
        (
            JobRequest("rule a", "gpu", memory_mb=30000, gpus=2, gpu_model="a100"),
            "no node of the partition gpu has all of them",
        ),
        (
            JobRequest("rule a", "big"),
            "for the partition big, and Slurm has main, gpu, short: change `slurm_partition`",
        ),
        (
            JobRequest("rule a", "big", gpus=1),
            "for the partition big, .* change `gpu_partition` in profiles/slurm/site.yaml",
        ),
    ],
)
def test_what_can_never_run_is_said_with_what_to_change(partitions, job, sentence):
    (said,) = problems([job, job], partitions)
    assert said.startswith(f"The {job.what} ")
    assert re.search(sentence, said), said


def test_what_fits_is_not_spoken_of(partitions):
    assert not problems(
        [
            JobRequest("rule answer", "gpu", 1440, 1440, 1_800_000, 2_000_000, cores=32, gpus=16, nodes=2),
            JobRequest("rule diff", None, 10**6, 10**6, 20000, 20000, cores=2),
            JobRequest("rule a", "short,gpu", 600, cores=8),  # one of them is enough
        ],
        partitions,
    )


def test_without_a_default_a_job_has_to_name_its_partition():
    (said,) = problems([JobRequest("rule a")], parse_partitions(SINFO.replace("*", "")))
    assert "set `slurm_partition` in profiles/slurm/config.yaml" in said


def test_a_slurm_that_cannot_be_asked_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AoeError, match="cannot be asked for its partitions"):
        read_partitions()
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho no controller >&2\nexit 1\n", encoding="utf-8")
    (tmp_path / "sinfo").chmod(0o755)
    with pytest.raises(AoeError, match=r"what partitions there are \(no controller\)"):
        read_partitions()
