"""What jobs ask of a cluster."""

from types import SimpleNamespace

import pytest
from launcher.resources import JobResources, members


def workflow(groups=None, components=None):
    settings = SimpleNamespace(overwrite_groups=groups or {}, group_components=components or {})
    return SimpleNamespace(group_settings=settings)


def test_every_attempt_is_given_more_up_to_what_the_cluster_has():
    jobs = JobResources(workflow(), {"most_memory_mb": 5000, "most_minutes": 50, "gpu_most_minutes": 90})
    assert [jobs.memory(2000)(None, attempt) for attempt in (1, 2, 3)] == [2000, 4000, 5000]
    assert [jobs.minutes(20)(None, attempt, "merge") for attempt in (1, 2, 3)] == [20, 40, 50]
    assert jobs.minutes(60, gpus=8)(None, 2, "answer") == 90


def test_members_of_a_group_share_the_clusters_time():
    grouped = workflow({"merge": "shards", "diff": "shards"}, {"shards": 5})
    jobs = JobResources(grouped, {"most_minutes": 100})
    assert members(grouped, "merge") == 10
    assert members(grouped, "plan") == 1
    assert jobs.minutes(20)(None, 3, "merge") == 20  # never less than the first attempt
    assert jobs.turn(None, "merge") == 1
    assert jobs.turn(None, "plan") is None


@pytest.mark.parametrize(
    ("number", "nodes", "config", "asked"),
    [
        (0, 1, {}, {"gpu": 0}),
        (8, 1, {}, {"gpu": 8}),
        (8, 1, {"gpu_model": "h100", "gpu_partition": "p"}, {"gpu": 8, "gpu_model": "h100", "slurm_partition": "p"}),
        (8, 1, {"gpu_request": "gres"}, {"gpu": 0, "gres": "gpu:8", "tasks_per_gpu": 0}),
        (16, 2, {"gpu_model": "h100"}, {"gpu": 0, "gres": "gpu:h100:8", "tasks_per_gpu": 0}),
    ],
)
def test_gpus_are_asked_for_as_the_site_knows_them(number, nodes, config, asked):
    assert JobResources(workflow(), config).gpus(number, nodes) == asked


def test_a_server_on_several_nodes_starts_its_own_tasks():
    serving = {"mem_mb": 1000, "gpus": 16, "nodes": 2, "flavour": "cuda"}
    asked = JobResources(workflow(), {}).server(serving)
    assert (asked["tasks"], asked["mpi"], asked["nodes"], asked["check_weights"]) == (2, "srun", 2, 1)
    assert "tasks" not in JobResources(workflow(), {}).server(serving | {"gpus": 0, "nodes": 1})
