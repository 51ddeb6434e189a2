"""An OpenAI-compatible server on loopback that does, in order, whatever a test tells it to do wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
Behaviour = Callable[[dict[str, Any]], Reply]  # from the request's JSON body to a response

JSON = {"content-type": "application/json"}


def says(content: str | None, tokens: int = 10) -> Reply:
    """A chat completion with this content."""
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
    }
    return 200, JSON, json.dumps(body).encode()


def fails(status: int, message: str = "no", headers: dict[str, str] | None = None) -> Reply:
    return status, {**JSON, **(headers or {})}, json.dumps({"error": {"message": message}}).encode()


class Server:
    """`behaviour` answers every request; `requests` are the bodies that came, `paths` where to, `most` at one time."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.most = self._now = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    outer.requests.append(body)
                    outer.keys.append(self.headers.get("authorization", ""))
                    outer._now += 1
                    outer.most = max(outer.most, outer._now)
                status, headers, answer = outer.behaviour(body)
                with lock:
                    outer._now -= 1
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:  # the client gave up waiting
                    pass

            def log_message(self, *args: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def in_turn(*replies: Reply | float) -> Behaviour:
    """One reply after the other, the last one for ever; a number is a pause of so many seconds before a good answer."""
    left = list(replies)
    lock = threading.Lock()

    def behave(_: dict[str, Any]) -> Reply:
        with lock:
            reply = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(reply, float):
            time.sleep(reply)
            return says('{"label": "late"}')
        return reply

    return behave
