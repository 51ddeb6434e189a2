"""`pretilt …` as typed, in a process of its own or in this one, where a process is not what a test is about.

A process of its own costs four seconds, most of them imports: it is kept where the test asks what only a process shows,
namely signals, what lands on which stream whoever wrote it, the start, the exit status that a shell sees.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from unittest import mock

from pretilt.cli.app import main

ALWAYS = {"HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


def of_its_own(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process: nothing that this one has loaded or set is there."""
    command = [sys.executable, "-m", "pretilt", *map(str, arguments)]
    settings = {**os.environ, **ALWAYS, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=settings, check=False)


def in_process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same entry point, called: an exception that it lets through fails the test with its traceback."""
    out, err = io.StringIO(), io.StringIO()
    status: object = None
    with (
        mock.patch.dict(os.environ, {**ALWAYS, **environment}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
    returncode = 0 if status is None else status
    assert isinstance(returncode, int), status
    return subprocess.CompletedProcess(["pretilt", *map(str, arguments)], returncode, out.getvalue(), err.getvalue())
