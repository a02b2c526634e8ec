"""The mini family and models made of it, which audits look at."""

import pytest
from support.published import FULL, NAMES, R1T, Audited, assembled, parents, publish


@pytest.fixture(scope="session")
def family():
    return parents()


@pytest.fixture(scope="session")
def r1t(family):
    return assembled(R1T, family)


@pytest.fixture(scope="session")
def full(family):
    return assembled(FULL, family)


@pytest.fixture
def audited(tmp_path, family):
    """A function that audits tensors, as published, against the family."""

    def run(tensors, claim=None, names=NAMES, tolerance=None):
        return Audited(publish(tmp_path / "published", tensors), {n: family[n] for n in names}, claim, tolerance)

    return run
