"""`pretilt view`: the page of one run on this machine alone.

The server listens on 127.0.0.1. Every address begins with a secret token, so that another user or page of the machine
cannot guess it; the Host header must be ours, which keeps out names that were bound to 127.0.0.1 elsewhere; whatever
comes from another origin is refused. The page may load scripts and styles of this server alone, none inline. Nothing is
written but the plan and the names given by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretilt.concepts.curation import CURATION_FILE, write_curation
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.lock import working
from pretilt.run import Run
from pretilt.schema import MANIFEST
from pretilt.view.site.ask import pasted, read_through_lens
from pretilt.view.site.bundle import INDEX, Bundle
from pretilt.view.site.export import ASSETS, DATA, asset, page
from pretilt.view.site.plan_calls import PlanCalls

if TYPE_CHECKING:  # torch comes with it
    from pretilt.rollouts.pasted import PastedReader

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "html": "text/html; charset=utf-8"}
JSON = "application/json; charset=utf-8"
LARGEST_BODY = 4_000_000  # bytes
MAPS = ("map", "likeness", "overlap")  # shards that take seconds and share nothing with the others
SESSION_FOLDER = "view"  # of the run, while a viewer has it open: it holds the lock of one viewer


class NoSuchCall(Exception):
    """The page asked for what the server does not answer."""


class Viewer(ThreadingHTTPServer):
    """The server of one run; `address` is what a browser opens."""

    daemon_threads = True

    def __init__(self, run: Run, plan: Path, port: int, events: Events, against: Run | None) -> None:
        self.token = secrets.token_urlsafe(24)
        self.run, self.events, self.against = run, events, against
        self._read_at = self._changed_at()
        self.bundle = Bundle(run, against, events=events)
        self.plans = PlanCalls(run, plan, events)
        self._reading, self._drawing = threading.Lock(), threading.Lock()
        self._asking, self._measuring = threading.Lock(), threading.Lock()
        self._shards: dict[str, bytes] = {}
        self._pasted: PastedReader | None = None
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError as error:
            raise UserError(
                f"port {port} cannot be used",
                why=error.strerror or str(error),
                fix="Leave --port out: a free one is taken",
            ) from error

    @property
    def address(self) -> str:
        """With the token."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    @property
    def hosts(self) -> tuple[str, str]:
        """What the Host header may be."""
        return (f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}")

    def shard(self, name: str) -> bytes:
        """A shard, made when it is first asked for. Raises KeyError for one that there is none of."""
        with self._drawing if name in MAPS else self._reading:  # lists do not wait for maps
            if name == INDEX:
                self._refresh()
            shards, data = self._shards, self._shards.get(name)
            if data is None:
                data = self.bundle.shard(name)
                if name.partition("-")[0] not in ("pairs", "answers", "curation"):  # those are quickly made again
                    shards[name] = data
            return data

    def _refresh(self) -> None:
        """Read the run again where a step has finished, or a name was given, since: a page that is loaded anew shows
        it."""
        changed_at = self._changed_at()
        if changed_at != self._read_at:
            self.run = Run(self.run.path)
            self.bundle = Bundle(self.run, self.against, events=self.events)
            self.plans = PlanCalls(self.run, self.plans.path, self.events)
            self._shards, self._read_at = {}, changed_at

    def _changed_at(self) -> list[int]:
        """When the manifest and the names given by hand were written, in nanoseconds; those that there are."""
        paths = [self.run.path / name for name in (MANIFEST, CURATION_FILE)]
        return [path.stat().st_mtime_ns for path in paths if path.exists()]

    def call(self, name: str, body: Any) -> Any:
        """What the page asks of Python; `body` None for a question without one. Raises NoSuchCall for another."""
        calls: dict[tuple[str, bool], Callable[[], Any]] = {
            ("plan", False): self.plans.read,
            ("plan", True): lambda: self.plans.write(body),
            ("what-if", True): lambda: self.plans.what_if(body),
            ("ask", True): lambda: pasted(self.run, body),
            ("read", True): lambda: self._read(body),
            ("compare", True): lambda: self.plans.compare(body),
            ("curation", True): lambda: self._curate(body),
        }
        if (name, body is not None) not in calls:
            raise NoSuchCall(name)
        # The lens takes seconds, and a slider must not wait for it.
        with self._measuring if name == "read" else self._asking:
            return calls[name, body is not None]()

    def _read(self, body: Any) -> Any:
        """A pasted text through the lens, which is loaded with the first one."""
        if self.run.manifest.get("lens") is None:
            raise UserError("the run was made without a lens", fix="Run `pretilt audit` without --no-lens")
        if self._pasted is None or self._pasted.run is not self.run:
            from pretilt.rollouts.pasted import PastedReader

            self._pasted = PastedReader(self.run, self.events)
        return read_through_lens(self._pasted, body)

    def _curate(self, body: Any) -> Any:
        with working(self.run.path, "view", self.events.say):
            return write_curation(self.run, body)


class Handler(BaseHTTPRequestHandler):
    """GET of the page and its shards, POST of the calls."""

    server: Viewer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "pretilt", ""
    timeout = 60

    def do_GET(self) -> None:
        """The page, its files, and calls without a body."""
        path = self._checked()
        if path is None:
            return
        if path.startswith("api/"):
            self._call(path.removeprefix("api/"), None)
        elif path == "":
            self._send(page(None, server=True, title=self.server.bundle.summary.title), TYPES["html"])
        elif path in ASSETS:
            self._send(asset(path), TYPES[path.rpartition(".")[2]])
        elif path.startswith(f"{DATA}/") and path.endswith(".js"):
            self._shard(path[len(DATA) + 1 : -3])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """Calls with a JSON body."""
        path = self._checked()
        if path is None:
            return
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json" or not length.isdigit():
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a call holds JSON, and says how long it is")
        elif int(length) > LARGEST_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the call is too large")
        else:
            try:
                body = json.loads(self.rfile.read(int(length)))
            except (ValueError, RecursionError):
                self._refuse(HTTPStatus.BAD_REQUEST, "the call is no JSON")
                return
            self._call(path.removeprefix("api/") if path.startswith("api/") else "", {} if body is None else body)

    def _checked(self) -> str | None:
        """The path after the token; None, and the request is refused, where host, origin or token are not ours."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        foreign = origin is not None and origin not in {f"http://{known_host}" for known_host in self.server.hosts}
        foreign = foreign or self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        # A link on another site is refused too: the address is typed, or opened by the command.
        if host not in self.server.hosts or foreign:
            self._refuse(HTTPStatus.FORBIDDEN, "this page answers this machine alone")
            return None
        token, _, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "open the whole address that `pretilt view` printed")
            return None
        return path

    def _shard(self, name: str) -> None:
        try:
            data = self.server.shard(name)
        except KeyError:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such shard")
        except UserError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
        else:
            self._send(data, TYPES["js"])

    def _call(self, name: str, body: Any) -> None:
        try:
            answer = self.server.call(name, body)
        except NoSuchCall:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such call")
        except UserError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
        else:
            self._send(json.dumps(answer, allow_nan=False).encode(), JSON)

    def _refuse(self, status: HTTPStatus, words: str) -> None:
        self.close_connection = True  # a body that was not read must not be taken for the next request
        self._send(json.dumps({"error": words}).encode(), JSON, status)

    def _send(self, data: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the reader went on to another place
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: addresses hold the token."""


@contextlib.contextmanager
def viewer(run: Run, plan: Path, *, port: int = 0, against: Run | None = None, events: Events) -> Iterator[Viewer]:
    """A server that is ready to `serve_forever`, closed at the end. Raises UserError where another viewer has the run
    open, where it is no finished audit, and for a port that is taken."""
    can_write = _can_write(run.path)  # what nobody can write needs no lock
    lock = working(run.path / SESSION_FOLDER, "view", events.say) if can_write else contextlib.nullcontext()
    with lock, Viewer(run, plan, port, events, against) as server:
        yield server


def _can_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK)
