"""vLLM's server as an Inspect model that keeps what OpenAI's protocol leaves out: the id of every output token, and
when the first one came.

Answers are streamed, in pieces of many tokens after the first: that costs next to nothing, shows that the server is
still at work, and tells the time to the first token.  The client is plain aiohttp: for short answers OpenAI's own takes
about as much of the processor as all the rest of Inspect.
"""

import asyncio
import json
import os
import time
from typing import Any

import aiohttp
from inspect_ai.hooks import Hooks, RunEnd, hooks
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from aoe import AoeError

NAME = "vllm-endpoint"
URL, KEY = "VLLM_ENDPOINT_BASE_URL", "VLLM_ENDPOINT_API_KEY"
PIECE = 256  # tokens
KEPT = 2  # seconds that a connection is kept unused: fewer than the server keeps it
SILENCE = 3600  # seconds without a piece of an answer after which the server is taken for dead
LONGEST_LINE = 1 << 22  # bytes of a piece
SAMPLING = ("temperature", "top_p", "max_tokens", "seed")
FINISHES = {"length": "max_tokens", "stop": "stop"}  # OpenAI's reason -> Inspect's


class EndpointError(Exception):
    """The server answered with an HTTP ``status`` (200: in the middle of an answer) and said what is wrong."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"the server said, with HTTP status {status}: {words}")
        self.status = status


@modelapi(name=NAME)
class VllmEndpoint(ModelAPI):
    """``vllm-endpoint/{model}``, where the environment variable VLLM_ENDPOINT_BASE_URL says (it ends in /v1), with the
    key in VLLM_ENDPOINT_API_KEY.

    The metadata of an answer has ``token_ids``, their numbers in a text with spaces between them, which Inspect's log
    carries at a fraction of a list's cost, and ``seconds_after_first``, from its first token to its end.
    """

    def __init__(self, model_name: str, config: GenerateConfig | None = None, **_: Any) -> None:
        super().__init__(model_name, config=config or GenerateConfig())

    def should_retry(self, ex: BaseException) -> bool:
        """Return whether to ask again: after a hiccup, and when a connection was lost.

        If a server of one's own cannot be reached any more, it has died, and to ask again would only hide that.
        """
        if isinstance(ex, EndpointError):
            return ex.status in (200, 408, 429) or ex.status >= 500
        return isinstance(ex, (aiohttp.ClientError, TimeoutError)) and not isinstance(ex, aiohttp.ClientConnectorError)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Return the answer to a conversation; raises EndpointError, or what aiohttp raises, without one."""
        request = {
            "model": self.model_name,
            "messages": [{"role": message.role, "content": message.text} for message in input],
            "stream": True,
            "stream_options": {"include_usage": True},
            "stream_interval": PIECE,
            "return_token_ids": True,
            **{name: value for name in SAMPLING if (value := getattr(config, name)) is not None},
            **(config.extra_body or {}),
        }
        async with client().post(f"{os.environ[URL]}/chat/completions", json=request) as response:
            if response.status != 200:
                raise EndpointError(response.status, (await response.text())[:1000])
            return await self._read(response.content)

    async def _read(self, stream):
        words, token_ids, first, finish, usage = [], [], None, None, None
        async for line in stream:
            if not line.startswith(b"data: {"):
                continue
            piece = json.loads(line.removeprefix(b"data: "))
            if "error" in piece:
                raise EndpointError(200, piece["error"])
            usage = piece.get("usage") or usage
            for choice in piece["choices"]:
                if choice["delta"].get("reasoning") or choice["delta"].get("reasoning_content"):
                    raise AoeError("the server keeps the reasoning apart; serve without a reasoning parser")
                words.append(choice["delta"].get("content") or "")
                if ids := choice.get("token_ids"):
                    first = first or time.perf_counter()
                    token_ids += ids
                finish = choice.get("finish_reason") or finish
        if finish not in FINISHES:  # "abort", "error" or nothing at all
            raise aiohttp.ClientPayloadError(f"the stream ended in the middle of an answer ({finish})")
        if any(words) and not token_ids:
            raise AoeError("the server does not say the ids of its tokens; it has to know `return_token_ids`, as vLLM")
        ended = time.perf_counter()
        metadata = {"token_ids": " ".join(map(str, token_ids)), "seconds_after_first": ended - (first or ended)}
        message = ChatMessageAssistant(content="".join(words), metadata=metadata)
        output = ModelOutput(
            model=self.model_name,
            choices=[ChatCompletionChoice(message=message, stop_reason=FINISHES[finish])],
        )
        if usage:
            counts = {"input": "prompt_tokens", "output": "completion_tokens", "total": "total_tokens"}
            output.usage = ModelUsage(**{f"{kind}_tokens": usage[count] for kind, count in counts.items()})
        return output


_clients = {}  # event loop -> HTTP client; every run of Inspect's has a loop of its own


def client() -> aiohttp.ClientSession:
    """Return the HTTP client of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        _clients[loop] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=SILENCE),
            read_bufsize=LONGEST_LINE,
            headers={"Authorization": f"Bearer {os.environ[KEY]}"},
        )
    return _clients[loop]


async def close_client() -> None:
    """Close the HTTP client of the running event loop, if it has one."""
    if session := _clients.pop(asyncio.get_running_loop(), None):
        await session.close()


@hooks(name=NAME, description="closes the connections at the end of a run")
class Closing(Hooks):
    async def on_run_end(self, data: RunEnd) -> None:
        """Close the client of the run that has ended."""
        await close_client()
