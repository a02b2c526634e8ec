"""Clones of this repository for the tests of the workflow."""

import pytest
from clones import Clone


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


@pytest.fixture(scope="session")
def main_job(tmp_path_factory):
    """A clone in which the main job has run, from nothing to the report."""
    clone = Clone(tmp_path_factory.mktemp("main_job"))
    clone.run(*clone.make())
    return clone
