"""Clones of this repository for the tests of the workflow."""

import pytest
from support import slurm
from support.clones import SMALL, Clone
from support.cluster import Cluster


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


@pytest.fixture(scope="session")
def main_job(tmp_path_factory):
    """A clone in which the main job has run, from nothing to the report."""
    clone = Clone(tmp_path_factory.mktemp("main_job"))
    clone.run(*clone.make())
    return clone


@pytest.fixture(scope="session")
def small_job(tmp_path_factory):
    """A clone in which the study of a few answers has run, undisturbed."""
    clone = Clone(tmp_path_factory.mktemp("small_job"))
    clone.study("small", **SMALL)
    clone.run(*clone.make("small"))
    return clone


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A cluster on this machine."""
    if reason := slurm.missing():
        pytest.skip(f"no Slurm can be started here: {reason}")
    nodes = slurm.Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        nodes.start()
        yield Cluster(tmp_path_factory.mktemp("cluster"), nodes)
    finally:
        nodes.stop()
