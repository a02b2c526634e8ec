"""A server on loopback that speaks as vLLM's OpenAI-compatible one does, and answers as a script says."""

import http.server
import json
import re
import threading
import time
from dataclasses import dataclass

TOKEN_IDS = True  # whether it knows what vLLM's servers know
END_THINK = 99  # the token id of </think>


@dataclass
class Reply:
    """What comes back: a text, or an HTTP ``status``; ``finish`` is ``length`` for an answer that was cut off.

    Streamed, it comes word by word: the first after ``pause`` seconds, each of the others ``delay`` after the one
    before; the connection is ``dropped`` after so many words.
    """

    text: str = ""
    finish: str = "stop"
    status: int = 200
    pause: float = 0
    delay: float = 0
    dropped: int | None = None


class Scripted:
    """``url`` (ends in /v1); ``script(request)`` gives the Reply to a chat completion's JSON; ``requests`` are kept."""

    def __init__(self, script):
        self.script, self.requests, self.stopped = script, [], False
        handler = type("Handler", (_Handler,), {"scripted": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        """From now on nobody is there; what is being answered still is."""
        self.stopped = True
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    scripted = None

    def log_message(self, *words):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.scripted.stopped:
            self.close_connection = True
            return
        self.scripted.requests.append(request)
        reply = self.scripted.script(request)
        if reply.status != 200:
            self._send(reply.status, {"error": {"message": "scripted"}})
        elif request.get("stream"):
            self._stream(request, reply)
        else:
            choice = {"message": {"role": "assistant", "content": reply.text}, "finish_reason": reply.finish}
            self._send(200, self._completion(request, "chat.completion", {"index": 0, **choice}))

    def _completion(self, request, kind, *choices):
        head = {"id": "1", "object": kind, "created": 1, "model": request["model"]}
        return head | {
            "choices": list(choices),
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }

    def _send(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, request, reply):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pieces = re.findall(r"</think>|\s*(?:(?!</think>)\S)+\s*|\s+", reply.text)
        time.sleep(reply.pause)
        self._event(request, {"delta": {"role": "assistant", "content": ""}, "token_ids": None})
        for number, piece in enumerate(pieces):
            if number == reply.dropped:
                self.close_connection = True
                return
            time.sleep(reply.delay if number else 0)
            token = END_THINK if piece == "</think>" else 1
            self._event(request, {"delta": {"content": piece}, "token_ids": [token] if TOKEN_IDS else None})
        self._event(request, {"delta": {}, "finish_reason": reply.finish})
        self._chunk("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, request, choice):
        content = self._completion(request, "chat.completion.chunk", {"index": 0, "finish_reason": None, **choice})
        self._chunk(json.dumps(content))

    def _chunk(self, data):
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
