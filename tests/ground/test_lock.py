"""One writer per folder, and a holder that died is no obstacle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pretilt import lock
from pretilt.errors import UserError
from pretilt.lock import LOCK, working, writes
from pretilt.run import Run

HOLD = """
import sys, time
from pathlib import Path
from pretilt.lock import working
with working(Path(sys.argv[1]), "audit", print):
    print("held", flush=True)
    time.sleep(60)
"""


def silent(_: str) -> None:
    raise AssertionError("nothing had to be said")


def test_another_process_is_named_and_a_killed_one_is_no_obstacle(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    says = rf"another process writes.*`pretilt audit`, process {process.pid} on {socket.gethostname()}, since 20\d\d"
    with pytest.raises(UserError, match=says), working(tmp_path / "run", "forecast", silent):
        pass
    (tmp_path / "run" / f"pairs.parquet.{process.pid}.partial").write_bytes(b"half")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / "run" / LOCK).exists()
    with working(tmp_path / "run", "forecast", silent):
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]  # what it left half-written is gone
        assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_lock_that_a_child_of_a_dead_process_holds_is_taken_over(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    child = os.open(tmp_path / LOCK, os.O_RDWR | os.O_CREAT)
    lock.fcntl.flock(child, lock.fcntl.LOCK_EX)
    about = {"pid": dead.pid, "host": socket.gethostname(), "command": "pretilt audit", "since": "then"}
    (tmp_path / LOCK).write_text(json.dumps(about))
    with working(tmp_path, "audit", silent):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    os.close(child)


def test_steps_within_a_step_go_on_and_other_threads_do_not(tmp_path: Path) -> None:
    said: list[str] = []

    run = Run(tmp_path)

    @writes("inner")
    def inner(run: Run) -> str:
        return "done"

    def other() -> None:
        try:
            inner(run)
        except UserError as error:
            said.append(str(error))

    with working(tmp_path, "outer", silent):
        assert inner(run) == "done"
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(said) == 1 and "`pretilt outer`" in said[0]
    assert inner(run) == "done"


def test_a_folder_that_stays_empty_is_removed_again(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such source"), working(tmp_path / "a" / "b", "audit", silent):
        raise UserError("no such source")
    assert list(tmp_path.iterdir()) == []


def test_where_there_are_no_locks_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    said: list[str] = []
    with working(tmp_path, "audit", said.append), Run(tmp_path).stage("one", version=1, config={}) as stage:
        stage.write_json("one.json", 1)
    assert len(said) == 1 and "no locks" in said[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "run.json"]
