"""Trainings of the tiny model, watched and stopped, and what became of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_training import QUICK

from pretilt.api import train as train_run
from pretilt.events import Events
from pretilt.train.step import TrainResult

UNSAVED = {"save_strategy": "no"}  # else a checkpoint after each of the six steps: as long again as the steps
LORA = {"r": 4, "target_modules": "all-linear"}


class Stopped(BaseException):
    """Not an Exception: nothing in between may take it for an error that it can handle."""


class Watcher(Events):
    """Keeps what was said; stops the training after a step or some measured pairs, or at a line."""

    def __init__(
        self, *, at_step: int | None = None, at_words: str | None = None, at_measured: int | None = None
    ) -> None:
        self.said: list[str] = []
        self.steps: list[int] = []
        self.measured: list[int] = []
        self.referenced: dict[str, list[int]] = {}
        self.at_step, self.at_words, self.at_measured = at_step, at_words, at_measured

    def say(self, text: str) -> None:
        self.said.append(text)
        if self.at_words is not None and self.at_words in text:
            raise Stopped

    def progress(self, label: str, done: int, total: int, unit: str) -> None:
        if label.startswith("reference"):
            self.referenced.setdefault(label, []).append(done)
            return
        (self.steps if label == "training" else self.measured).append(done)
        if done == (self.at_step if label == "training" else self.at_measured):
            raise Stopped


def trained(made: tuple[Path, Path], out: Path, events: Events | None = None, **options: Any) -> TrainResult:
    return train_run(made[1], model=made[0], out=out, events=events, **{**QUICK, **options})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
