"""Which forecast a training began with stands in train.json, and nothing that comes later changes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tiny_training import QUICK, chats, write_model, write_run
from whole_reports import forecast_report

from pretilt.api import train as train_run
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.forecast.seal import check_free
from pretilt.run import Run, file_hash, write_json, write_table
from pretilt.train import trainer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def seal(run: Run, written: str = "2026-01-02T03:04:05+00:00") -> dict[str, str]:
    """A forecast of one number, as the run holds it when it is finished."""
    with run.stage("forecast", version=1, config={"written": written}) as stage:
        stage.write("forecast.parquet", pa.table({"shift": [1.0]}))
        sealed = {"sha256": file_hash(run.path / "forecast.parquet"), "written": written}
        stage.write_json("forecast.json", forecast_report(**sealed))
    return sealed


def report(folder: Path) -> Any:
    return json.loads((folder / "train.json").read_text())


def train(run: Run, model: Path, out: str, **options: Any) -> Any:
    return train_run(run.path, model=model, out=run.path / out, **{**QUICK, "max_steps": 2, **options}).report


def test_a_training_notes_the_forecast_it_began_with(model: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", chats(24))
    assert train(run, model, "without")["forecast"] is None
    sealed = seal(run)
    assert train(run, model, "with")["forecast"] == sealed == report(tmp_path / "run" / "with")["forecast"]
    seal(run, "2027-01-01T00:00:00+00:00")
    assert train(run, model, "with")["forecast"] == sealed
    write_table(run.path / "forecast.parquet", pa.table({"shift": [2.0]}), "")
    with pytest.raises(UserError, match=r"damaged.*pretilt forecast"):  # it may be mended: nothing is trained
        train(run, model, "changed")


@pytest.mark.parametrize("sealed_first", [True, False])
def test_it_survives_an_interruption(
    sealed_first: bool, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", chats(24))
    expected = seal(run) if sealed_first else None

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(run, model, "out")
    begun = report(tmp_path / "run" / "out")
    assert begun["finished"] is False and begun["forecast"] == expected
    seal(run, "2027-01-01T00:00:00+00:00")
    finished = train(run, model, "out")
    assert finished["finished"] and finished["forecast"] == expected
    # The model's files are lost: made again from the start, it is still the training of that beginning.
    next((tmp_path / "run" / "out").glob("*.safetensors")).unlink()
    assert train(run, model, "out")["forecast"] == expected


class Said(Events):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize(
    ("was", "now", "begun", "refused"),
    [
        (None, "before", False, ""),
        (None, "reference", False, ""),
        ("before", "reference", False, ""),
        ("before", None, False, "Give --replace: the old one is kept"),  # it would know less
        ("reference", "before", False, "Give --replace"),
        (None, "reference", True, "A training has begun .*train.json.* may know its outcome"),
    ],
)
def test_before_any_training_a_forecast_gives_way_to_one_that_knows_more(
    was: str | None, now: str | None, begun: bool, refused: str, tmp_path: Path
) -> None:
    run = Run(tmp_path)
    with run.stage("forecast", version=1, config={"rung": "mean", "rollouts": was}) as stage:
        stage.write("forecast.parquet", pa.table({"shift": [1.0]}))
    if begun:
        write_json(tmp_path / "trained" / "train.json", {"finished": False})
    events, config = Said(), {"rung": "mean", "rollouts": now}
    with run.stage("forecast", version=1, config=config) as stage:
        stage.done = True  # nothing is written here
        if refused:
            with pytest.raises(UserError, match=refused):
                check_free(run, stage, config, False, events)
        else:
            check_free(run, stage, config, False, events)
            assert "gives way" in events.said[0] and f"one with the rollouts '{now}'" in events.said[0]
        check_free(run, stage, config, True, events)
