"""A run whose forecast came true, and copies of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def world(told_and_seen: Path) -> Path:
    return told_and_seen


@pytest.fixture
def run(world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world, tmp_path / "run"))
