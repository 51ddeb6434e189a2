"""A training stopped or killed at any moment ends as if nobody had touched it."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from children import run_child
from tiny_training import QUICK
from training_runs import LORA, Stopped, Watcher, same, trained

from pretilt.api import train as train_run
from pretilt.train.step import TrainResult


def test_sigkill_ends_in_the_same_bits(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Killed after step 5 of 8 with checkpoints every 3: it goes on from step 3 and ends bit for bit as if unkilled."""
    options = {**QUICK, "max_steps": 8, "save_steps": 3}
    script = f"""
import os, signal
from pretilt.events import Events
from pretilt.api import train as train_run
class Kill(Events):
    def progress(self, label, done, total, unit):
        if done == 5:
            os.kill(os.getpid(), signal.SIGKILL)
train_run({str(made[1])!r}, model={str(made[0])!r}, out={str(tmp_path / "killed")!r}, events=Kill(), **{options!r})
"""
    killed = run_child(script)
    assert killed.status == -signal.SIGKILL, killed.output
    assert [p.name for p in (tmp_path / "killed").glob("checkpoint-*")] == ["checkpoint-3"]
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    # A second kill, in the middle of writing a checkpoint, leaves one without its last file.
    shutil.copytree(tmp_path / "killed" / "checkpoint-3", tmp_path / "killed" / "checkpoint-6")
    (tmp_path / "killed" / "checkpoint-6" / "trainer_state.json").unlink()
    watcher = Watcher()
    result = train_run(made[1], model=made[0], out=tmp_path / "killed", events=watcher, **options)
    assert watcher.steps == [4, 5, 6, 7, 8] and result.report["resumed_from_step"] == 3
    assert "going on from checkpoint-3" in watcher.said
    whole = train_run(made[1], model=made[0], out=tmp_path / "whole", **options)
    assert same(tmp_path / "killed", tmp_path / "whole")
    assert result.report["regime"] == whole.report["regime"]
    assert [entry["loss"] for entry in result.report["log"]] == [entry["loss"] for entry in whole.report["log"]]


@pytest.mark.parametrize(("where", "resumed"), [({"at_step": 3}, 2), ({"at_measured": 16}, 6)])
def test_stopped_lora_ends_in_the_same_bits(
    where: dict[str, Any], resumed: int, made: tuple[Path, Path], tmp_path: Path
) -> None:
    """Stopped between steps, and after the last one, with checkpoints at every step and dropout in the adapter."""
    lora = {**LORA, "lora_dropout": 0.3}
    with pytest.raises(Stopped):
        trained(made, tmp_path / "a", Watcher(**where), lora=lora)
    result = trained(made, tmp_path / "a", lora=lora)
    assert result.report["resumed_from_step"] == resumed
    trained(made, tmp_path / "b", lora=lora)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not list((tmp_path / "a").glob("checkpoint-*"))


MOMENTS: list[tuple[dict[str, int], int | None, list[int], list[int]]] = [
    # stopped at; last checkpoint then; the steps made after it, and the pairs measured after it
    ({"at_step": 5}, 4, [5, 6, 7], [16, 20, 24]),
    ({"at_step": 7}, 4, [5, 6, 7], [16, 20, 24]),  # the last step is made, its checkpoint is not
    ({"at_measured": 16}, 7, [], [16, 20, 24]),
    ({"at_measured": 24}, 7, [], [16, 20, 24]),
]


# Seven steps at a learning rate that never sinks: one step too many would change the weights.
STEADY: dict[str, Any] = {"max_steps": 7, "save_steps": 4, "lr_scheduler_type": "constant"}


@pytest.fixture(scope="module")
def unstopped(made: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return trained(made, tmp_path_factory.mktemp("unstopped") / "out", **STEADY)


@pytest.mark.parametrize(("where", "resumed", "steps", "measured"), MOMENTS)
def test_stopped_at_any_moment_it_makes_max_steps_and_ends_in_the_same_bytes(
    where: dict[str, int], resumed: int | None, steps: list[int], measured: list[int], made: tuple[Path, Path],
    unstopped: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from pretilt.train import trainer as stock

    with pytest.raises(Stopped):
        trained(made, tmp_path / "out", Watcher(**where), **STEADY)
    read: list[int] = []
    exact = stock._log_probabilities
    monkeypatch.setattr(stock, "_log_probabilities", lambda t, sample: (read.append(len(sample)), exact(t, sample))[1])
    watcher = Watcher()
    result = trained(made, tmp_path / "out", watcher, **STEADY)
    assert (result.report["resumed_from_step"], watcher.steps, watcher.measured) == (resumed, steps, measured)
    assert sum(read) == 24 - where.get("at_measured", 0)  # what was measured before is read, not measured again
    for name in ("steps", "epochs", "regime", "files"):  # the files by the hashes of their bytes
        assert result.report[name] == unstopped.report[name], name
    assert [entry["loss"] for entry in result.report["log"]] == [entry["loss"] for entry in unstopped.report["log"]]
    assert result.report["steps"] == 7
    assert not (tmp_path / "out" / "margins-parts").exists()
