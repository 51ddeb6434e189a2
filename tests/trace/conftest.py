"""A finished run to trace in, made once; what writes takes a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_lens import rows
from trace_reference import Dense

import pretilt
from pretilt.lens import choice as lenses


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_lens: dict[str, str]) -> pretilt.AuditResult:
    """240 pairs, of which 5 share a prompt."""
    folder = tmp_path_factory.mktemp("traced")
    some = rows()
    for i in range(1, 5):
        some[i]["prompt"] = some[0]["prompt"]
    out = folder / "run"
    return pretilt.audit(some, out=out, despite_doctor=True, **shared_lens)


@pytest.fixture
def copied(finished: pretilt.AuditResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.path, tmp_path / "copy"))


@pytest.fixture
def no_lens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the lens was loaded")

    monkeypatch.setattr(lenses, "choose_lens", refuse)


@pytest.fixture(scope="session")
def dense(finished: pretilt.AuditResult) -> Dense:
    return Dense(finished)
