"""An endpoint on loopback that answers everything at once with the same words.

Usage: python -m performance.instant_endpoint
"""

import asyncio
import json

ANSWER_TOKENS = 100
RESPONSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(data: str) -> bytes:
    """Return a chunk of the response: a server-sent event that holds ``data``."""
    text = f"data: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(text), text)


def text_event(content: str, tokens: int, finish: str | None = None) -> bytes:
    """Return the event that adds ``content``, so many tokens, to the answer."""
    choice = {"index": 0, "delta": {"content": content}, "token_ids": [1] * tokens, "finish_reason": finish}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "instant"}
    return event(json.dumps(head | {"choices": [choice]}))


ANSWER = (
    RESPONSE_HEAD
    + text_event("word ", 1)
    + text_event("word " * (ANSWER_TOKENS - 1), ANSWER_TOKENS - 1, "stop")
    + event("[DONE]")
    + b"0\r\n\r\n"
)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer all requests of a connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    """Print the endpoint's address, and serve until killed."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
