"""A small run with a detector, made once; what writes takes a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from detector_examples import contrast

import pretilt


@pytest.fixture(scope="session")
def detected(tmp_path_factory: pytest.TempPathFactory, shared_run: pretilt.AuditResult) -> Path:
    """A copy of the shared run with a detector "thanks". Read it."""
    path = Path(shutil.copytree(shared_run.path, tmp_path_factory.mktemp("detected") / "run"))
    pretilt.detector(path, "thanks", contrast=contrast())
    return path


@pytest.fixture
def copied(detected: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(detected, tmp_path / "run"))
