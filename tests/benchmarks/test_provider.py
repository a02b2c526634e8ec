"""When a request is asked again: after a hiccup of the server, but not once it is gone, nor if it refuses."""

from types import SimpleNamespace

import aiohttp
import pytest
from benchmarks.provider import NAME, EndpointError, VllmEndpoint

GONE = aiohttp.ClientConnectorError(SimpleNamespace(host="h", port=1, ssl=None), OSError("refused"))


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (GONE, False),
        (aiohttp.ClientPayloadError("cut"), True),
        (aiohttp.ServerDisconnectedError(), True),
        (TimeoutError(), True),
        (EndpointError(503, "busy"), True),
        (EndpointError(429, "slower"), True),
        (EndpointError(200, "the engine stumbled in the middle of an answer"), True),
        (EndpointError(400, "too long"), False),
        (EndpointError(401, "who?"), False),
        (ValueError("a mistake of ours"), False),
    ],
)
def test_what_is_asked_again(error, again):
    assert VllmEndpoint(f"{NAME}/r1").should_retry(error) is again
