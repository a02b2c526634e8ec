"""When a request is asked again: after a hiccup of the server, but not once it is gone."""

import httpx
from openai import APIConnectionError, InternalServerError
from benchmarks.endpoint import NAME, VllmEndpoint

REQUEST = httpx.Request("POST", "http://127.0.0.1:9/v1/chat/completions")


def test_a_dead_server_is_not_asked_again():
    endpoint = VllmEndpoint(f"{NAME}/r1", base_url="http://127.0.0.1:9/v1", api_key="key")
    assert not endpoint.should_retry(APIConnectionError(request=REQUEST))
    hiccup = InternalServerError("busy", response=httpx.Response(503, request=REQUEST), body=None)
    assert endpoint.should_retry(hiccup)
