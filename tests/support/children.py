"""Processes that a test kills, started in a tenth of a second: a server that has imported the packages forks them.

A new interpreter takes ten seconds to import torch, transformers and this package. Where the imports themselves are
what a test is about, or what the interpreter writes while it starts, it takes a new one: see `command_line.of_its_own`.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TextIO

_SERVER = get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["pretilt.api", "pretilt.cli.app", "pretilt.audit.step", "pretilt.forecast.step", "pretilt.rollouts.step",
     "pretilt.verify.step", "pretilt.view.step", "transformers.models.llama.modeling_llama"]
)  # fmt: skip

COMMAND_LINE = "import sys; from pretilt.cli.app import main; main(sys.argv[1:])"


class Child:
    """A process that runs `code` with `sys.argv[1:] = arguments`; both of its streams end in one pipe."""

    def __init__(self, code: str, *arguments: object) -> None:
        reading, writing = _SERVER.Pipe(duplex=False)
        self._process = _SERVER.Process(target=_run, args=(code, [*map(str, arguments)], writing))
        self._process.start()
        writing.close()  # the child's copy is the only one: the pipe ends when the child does
        self._stream: TextIO = os.fdopen(os.dup(reading.fileno()), encoding="utf-8", errors="replace")
        reading.close()
        self.output = ""

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return not self._process.is_alive()

    def wait_for_line(self, line: str) -> None:
        """Until it writes this line. A child that ends before fails the test with what it wrote."""
        for text in self._stream:
            self.output += text
            if text.endswith(f"{line}\n"):  # after a progress bar, which ends no line
                return
        raise AssertionError(f"the process never wrote {line!r}, but: {self.output}")

    def kill(self) -> None:
        """SIGKILL, and the test fails if it had ended by itself."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL, self.output

    def wait(self) -> int:
        """Until it ends. Its `status` then is its exit status, or minus the signal that ended it."""
        self.output += self._stream.read()
        self._stream.close()
        self._process.join()
        assert self._process.exitcode is not None
        self.status = self._process.exitcode
        return self.status


def run_child(code: str, *arguments: object) -> Child:
    """A child that has ended."""
    child = Child(code, *arguments)
    child.wait()
    return child


def _run(code: str, arguments: list[str], writing: Connection) -> None:
    for stream in (1, 2):
        os.dup2(writing.fileno(), stream)
    writing.close()
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", encoding="utf-8") for stream in (1, 2))
    sys.argv[:] = ["-c", *arguments]
    try:
        exec(compile(code, "<child>", "exec"), {"__name__": "__main__"})
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
