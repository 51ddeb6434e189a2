"""One writer per folder: a lock that the system lifts when its process ends, however it ends.

Readers need none: every file is replaced in one step, and checked against its hash.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pretilt.artifacts import cannot_write, check_name, discard_partials
from pretilt.errors import UserError

try:
    import fcntl
except ImportError:  # a system without them
    fcntl = None  # type: ignore[assignment]

LOCK = "run.lock"
_held: dict[tuple[int, int], int] = {}  # folder (device, inode) to the thread of this process that writes there

P = ParamSpec("P")
T = TypeVar("T")


@contextlib.contextmanager
def working(folder: str | Path, command: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder for `command`, making it where it is missing; one that stays empty is removed again.

    A thread that holds it already goes on. Where the file system has no locks, `say` is told; where nothing can be
    written, none is needed. Raises UserError, naming the holder, where another process or thread writes there.
    """
    folder = Path(folder)
    check_name(folder)
    try:
        new_folders = _make(folder)
        place = folder.stat()
    except OSError as error:
        raise cannot_write(error, folder) from error
    key = (place.st_dev, place.st_ino)
    if _held.get(key) == threading.get_ident():
        yield
        return

    descriptor = _take(folder, command, say)
    if descriptor is None:
        yield
        return
    _held[key] = threading.get_ident()
    try:
        discard_partials(folder)
        yield
    finally:
        del _held[key]
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()
        os.close(descriptor)
        for path in new_folders:
            with contextlib.suppress(OSError):
                path.rmdir()


def writes(command: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a step whose first argument is a `Run`: it holds the run's folder while it works."""

    def decorate(step: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(step)

        @functools.wraps(step)
        def locked(*args: P.args, **kwargs: P.kwargs) -> T:
            arguments = signature.bind(*args, **kwargs).arguments
            run: Any = next(iter(arguments.values()))
            events: Any = arguments.get("events")
            with working(run.path, command, events.say if events is not None else lambda _: None):
                return step(*args, **kwargs)

        return locked

    return decorate


def _make(folder: Path) -> list[Path]:
    """Make the folder and those above it; returns the new ones, innermost first."""
    new_folders = []
    for path in (folder, *folder.parents):
        if path.exists():
            break
        new_folders.append(path)
    folder.mkdir(parents=True, exist_ok=True)
    return new_folders


def _take(folder: Path, command: str, say: Callable[[str], None]) -> int | None:
    """The open, locked file; None where there can be no lock."""
    path = folder / LOCK
    own_facts = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": f"pretilt {command}",
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            return None  # nothing can be written here: the first artifact says why
        try:
            if fcntl is None:
                raise OSError("no locks")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            if _is_dead(holder):  # what holds it is a child that outlived it
                path.unlink(missing_ok=True)
                continue
            raise UserError(
                "another process writes into this folder",
                file=folder,
                why="`{command}`, process {pid} on {host}, since {since}".format(**holder) if holder else "",
                fix="Wait until it has ended, or give another folder",
            ) from error
        except OSError:
            say(f"this file system has no locks: let nothing else write into {folder} meanwhile")
        try:
            is_there = os.fstat(descriptor).st_ino == path.stat().st_ino
        except FileNotFoundError:
            is_there = False
        if is_there:
            with contextlib.suppress(OSError):  # on a full disk the lock holds without its text
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(own_facts).encode(), 0)
            return descriptor
        os.close(descriptor)  # its holder has just removed it


def _holder(descriptor: int) -> dict[str, Any] | None:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return None
    is_complete = isinstance(holder, dict) and {"pid", "host", "command", "since"} <= set(holder)
    return holder if is_complete else None


def _is_dead(holder: dict[str, Any] | None) -> bool:
    if holder is None or holder["host"] != socket.gethostname() or not isinstance(holder["pid"], int):
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
