"""Requests to the viewer's server, as a browser or another program makes them."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretilt.events import Events
from pretilt.run import Run
from pretilt.view.site.server import Viewer, viewer


@contextlib.contextmanager
def serving(run: Run, plan: Path) -> Iterator[Viewer]:
    """The viewer of a run, answering in a thread of its own."""
    with viewer(run, plan, events=Events()) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: Viewer, path: str, body: Any = None, *, method: str = "", token: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of a request; header names with _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **sent}
    method = method or ("GET" if body is None else "POST")
    connection.request(method, f"/{server.token if token is None else token}/{path}", data, sent)
    answer = connection.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return result
