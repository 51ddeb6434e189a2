"""Rollouts that another run has drawn: the same model's answers to the same prompts need no second sampling.

A rollout depends on the model, its prompt, its random stream and the limits alone (`verify.rollouts`). Two datasets
that share prompts, or one dataset before and after it was cleaned, therefore share the untrained model's answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.errors import UserError
from pretilt.models.sampler import Drawn, Sampler
from pretilt.rollouts.sampling import stream_name
from pretilt.settings import RolloutSettings


class Reuse:
    """A sampler that takes what the rollouts of a role hold in another run, and has `make`'s sampler draw the rest.

    `file`, `report`, `samples`: the other run and its rollouts. `answered`: role, who would answer, and what ends an
    answer. `make` is called only where something is missing. Raises UserError where the other run's rollouts were drawn
    by another model, or in another way.
    """

    def __init__(
        self,
        file: Path,
        report: dict[str, Any],
        samples: pa.Table,
        answered: dict[str, Any],
        settings: RolloutSettings,
        make: Callable[[], Sampler],
    ) -> None:
        theirs, role = RolloutSettings.like(report["settings"]), str(answered["role"])
        wanted_values = {**answered, **_limits(settings)}
        stored_values = {**{name: report.get(name) for name in answered}, **_limits(theirs)}
        for name, value in wanted_values.items():
            if stored_values[name] != value:
                raise UserError(
                    f"its rollouts '{role}' cannot stand for those of this run",
                    file=file,
                    why="another model answered"
                    if name == "model"
                    else f"{name} is {stored_values[name]}, here {value}",
                    fix="Leave out --reuse, or give the options that they were sampled with",
                )
        self.taken = 0
        self._make = make
        self._drawer: Sampler | None = None
        self._samples = samples
        prompts, numbers = (self._samples[name].to_pylist() for name in ("prompt_id", "sample"))
        self._row_of = {
            stream_name(theirs.seed, role, prompt, number): row
            for row, (prompt, number) in enumerate(zip(prompts, numbers, strict=True))
        }

    def __call__(self, prompts: Sequence[np.ndarray], streams: Sequence[str]) -> list[Drawn]:
        drawn = self._known(prompts, streams)
        self.taken += len(drawn)
        if missing := [i for i in range(len(prompts)) if i not in drawn]:
            if self._drawer is None:
                self._drawer = self._make()
            new = self._drawer([prompts[i] for i in missing], [streams[i] for i in missing])
            drawn.update(zip(missing, new, strict=True))
        return [drawn[i] for i in range(len(prompts))]

    def _known(self, prompts: Sequence[np.ndarray], streams: Sequence[str]) -> dict[int, Drawn]:
        places = [(i, self._row_of[name]) for i, name in enumerate(streams) if name in self._row_of]
        rows = self._samples.take(pa.array([row for _, row in places], pa.int64())).to_pylist()
        return {
            i: Drawn(np.asarray(row["ids"], np.int32), row["finished"], row["logprob"], row["text"])
            for (i, _), row in zip(places, rows, strict=True)
            if np.array_equal(row["prompt_ids"], prompts[i])  # a prompt may be tokenised otherwise there
        }


def _limits(settings: RolloutSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in ("max_new_tokens", "temperature", "seed")}
