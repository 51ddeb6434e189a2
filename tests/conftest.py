"""What several files need and none may change: a tiny lens and a finished audit through it, made once per session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tests run beside each other, a core for each process
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub, which reads it once

import pytest

import pretilt

MAY_BE_SKIPPED = ("llama_cpp", "root may read everything", "no /dev/full here")  # in CI too; nothing else may


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if unexpected := _skipped_for_want(terminalreporter):
        terminalreporter.write_line(f"CI: {len(unexpected)} tests were skipped that must run", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _skipped_for_want(reporter) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skipped_for_want(reporter: Any) -> list[str]:
    """Reasons of the skips that CI does not accept: a browser, an extra or the bundled model that is missing there."""
    if not os.environ.get("CI"):
        return []
    reasons = [report.longrepr[2] for report in reporter.stats.get("skipped", [])]
    return [reason for reason in reasons if not any(accepted in reason for accepted in MAY_BE_SKIPPED)]


@pytest.fixture(scope="session")
def shared_lens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Options `model` and `dictionary`: the folders of a fitted lens, see `tiny_lens.write_lens`."""
    from tiny_lens import write_lens  # it loads torch, which many files can do without

    model, dictionary = write_lens(tmp_path_factory.mktemp("lens"))
    return {"model": str(model), "dictionary": str(dictionary)}


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory, shared_lens: dict[str, str]) -> Iterator[pretilt.AuditResult]:
    """The audit of `tiny_lens.rows()`, its source `pairs.jsonl` beside it. Read it; what writes, writes into a copy."""
    from tiny_lens import artifacts, rows, write_rows

    folder = tmp_path_factory.mktemp("audited")
    result = pretilt.audit(write_rows(folder / "pairs.jsonl", rows()), out=folder / "run", **shared_lens)
    before = artifacts(result.path)
    yield result
    assert artifacts(result.path) == before, "a test has written into the run that others read"


@pytest.fixture(scope="session")
def told_and_seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to copy: a forecast of mean u, rollouts of a model that says the chosen response in 9 of 10 cases."""
    from verify_run_folder import write_run
    from verify_worlds import foresee, say

    path = write_run(tmp_path_factory.mktemp("told-and-seen") / "run")
    say(path, "before", 0.5, seed=1)
    say(path, "after", 0.9, seed=2)
    foresee(path)
    return path


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from browser import start_chromium

    yield from start_chromium(tmp_path_factory.mktemp("profile"))
