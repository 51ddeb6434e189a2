"""A plan that is being compiled, killed before each file that it puts in place, and the same command again."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from children import run_child

from pretilt.run import Run

# Dies by SIGKILL when it would put its n-th file in place.
KILLED = """
import os, pathlib, signal, sys
n, placed, whole = int(sys.argv.pop(1)), 0, os.replace
def replace(*names, **options):
    global placed
    if placed == n:
        os.kill(os.getpid(), signal.SIGKILL)
    placed += 1
    return whole(*names, **options)
os.replace = replace
from pretilt.cli.app import main
main(sys.argv[1:])
"""
MOST_FILES = 12
BYTES = ("plan.yaml", "actions.parquet", "what_if.parquet")


def compiled(run: Path) -> dict[str, object]:
    """What a compiled plan consists of: its files' bytes, and its report without the time of the seal."""
    folder = run / "shape" / "less"
    report = json.loads((folder / "shape.json").read_text(encoding="utf-8"))
    return {name: (folder / name).read_bytes() for name in BYTES} | {"report": report | {"written": ""}}


def test_killed_before_any_of_its_files_it_ends_with_the_same_bytes(planted_run: Run, tmp_path: Path) -> None:
    plan = tmp_path / "less.yaml"
    plan.write_text("items:\n- suppress: pattern:bold\n  method: drop\n- protect: pattern:apology\n", encoding="utf-8")

    def shape(name: str, n: int) -> int:
        out = tmp_path / name
        if not out.exists():
            shutil.copytree(planted_run.path, out)
        return run_child(KILLED, n, "shape", out, "--plan", plan, "--sweep").status

    assert shape("whole", MOST_FILES) == 0
    expected, kills = compiled(tmp_path / "whole"), 0
    for n in range(MOST_FILES):
        status = shape(f"killed-{n}", n)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        kills += 1
        assert shape(f"killed-{n}", MOST_FILES) == 0
        assert compiled(tmp_path / f"killed-{n}") == expected, n
        seals = json.loads((tmp_path / f"killed-{n}" / "run.json").read_text(encoding="utf-8"))["what_ifs"]
        assert [seal["sha256"] for seal in seals] == [expected["report"]["sha256"]]  # type: ignore[index]
    else:
        pytest.fail("more files than expected were put in place")
    assert kills >= 5  # plan, actions, what-if and report, and run.json for the stage and for the seal
