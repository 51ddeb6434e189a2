"""A tiny model and a run to train it on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_training import chats, write_model, write_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model folder and a run of 24 pairs, of which 4 are held out."""
    folder = tmp_path_factory.mktemp("training")
    write_run(folder / "run", chats(24))
    return write_model(folder / "model"), folder / "run"
