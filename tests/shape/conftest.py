"""A run without a lens whose patterns are planted in counts that can be checked by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from text_pairs import planted_rows, write_planted

import pretilt
from pretilt.run import Run


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Bold in chosen alone on 30 % of 600 pairs, an apology in rejected alone on 20 %; semicolons by a coin."""
    folder = tmp_path_factory.mktemp("shape")
    source = write_planted(folder / "pairs.jsonl", planted_rows())
    return pretilt.audit(source, out=folder / "run", no_lens=True).run


@pytest.fixture
def run(planted_run: Run, tmp_path: Path) -> Run:
    """A copy that a test may write into."""
    shutil.copytree(planted_run.path, tmp_path / "run")
    return Run(tmp_path / "run")
