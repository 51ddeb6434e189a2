"""`train`: the model of a run, trained on the run's own pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretilt.errors import require_extra
from pretilt.events import Events, watching
from pretilt.pipeline.result import open_run

if TYPE_CHECKING:
    from pretilt.train.dpo import TrainResult


def train_model(
    path: str | Path, *, model: str | None = None, events: Events | None = None, **options: Any
) -> TrainResult:
    """`train.dpo.train_run`, with the bundled model where the run was read through it and no other is named."""
    require_extra("train", "training")
    from pretilt.train.dpo import train_run

    events = watching(events)
    lens = open_run(path).run.manifest.get("lens") or {}
    if model is None and lens.get("bundled"):
        from pretilt.demo.model import bundled_model

        model = str(bundled_model(events.say))
    if model is not None:
        options["model"] = model
    return train_run(path, events=events, **options)
