"""The sandbox that this machine has, for the tests of what runs in it."""

import pytest
from aoe import AoeError
from benchmarks.sandbox import find_sandbox


@pytest.fixture(scope="session")
def sandbox():
    try:
        return find_sandbox()
    except AoeError as error:
        pytest.skip(f"needs bubblewrap, and user namespaces that it may use (`apt install bubblewrap`): {error}")
