"""How likely the rollouts of a run are under two models: for the divergence on rollouts and for importance weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.lens.choice import choose_lens
from pretilt.rollouts.source import ModelSource
from pretilt.rollouts.step import RolloutResult, folder, joined, open_rollouts, samples_of, samples_stage
from pretilt.run import Run
from pretilt.settings import settings_of

if TYPE_CHECKING:
    from pretilt.rollouts.log_ratio import Divergence

VERSION = 1  # raise it when a change of code can change the bytes


@dataclass(frozen=True)
class LogRatios:
    """Rollouts of one role under the model that drew them and under another; rows as in its samples."""

    rollout_id: list[str]
    own: np.ndarray  # (n,) float64, log-probability under the model that drew them
    other: np.ndarray  # (n,)
    divergence: Divergence  # KL(own || other) on these rollouts
    ess_share: np.ndarray  # (J,) ESS / K of the weights other / own, per prompt in order; NaN with one rollout

    @property
    def log_weight(self) -> np.ndarray:
        """(n,) log of the weight with which a rollout stands for one of the other model."""
        return self.other - self.own


def log_ratio_run(
    run: Run,
    role: str = "before",
    *,
    own: str | Path | None = None,
    own_revision: str | None = None,
    other: str | Path | None = None,
    other_revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int = 2048,
    events: Events | None = None,
) -> LogRatios:
    """Log-probabilities of a role's rollouts under the model that drew them and under another, kept in the run.

    `own` is the model that drew them, `other` the other one; None is the run's own model. Importance weights of the
    trained model come of role "before" with `other` the trained one, and so does KL(base || trained); KL(trained ||
    base) comes of role "after" with `own` the trained one. Raises UserError if `own` did not draw these rollouts.
    """
    from pretilt.rollouts.log_ratio import divergence, effective_share

    events = watching(events)
    rollouts = open_rollouts(run, role)
    audited = settings_of(rollouts.run)
    choice = choose_lens(audited.model_copy(update={"device": device} if device else {}), events)
    where = {"dtype": dtype or audited.dtype, "device": device or audited.device}
    sources = {
        "own": ModelSource.of(choice, own, own_revision, **where),
        "other": ModelSource.of(choice, other, other_revision, **where),
    }
    _check_own(rollouts, sources["own"].identity())
    own_logprob, other_logprob = (
        _scored(rollouts, name, source, batch_tokens, events) for name, source in sources.items()
    )
    table = rollouts.samples
    prompt = pc.dictionary_encode(table["prompt_id"]).combine_chunks().indices.to_numpy()
    n_tokens = pc.list_value_length(table["ids"]).to_numpy()
    family = table["family_id"].to_numpy()
    return LogRatios(
        table["rollout_id"].to_pylist(),
        own_logprob,
        other_logprob,
        divergence(own_logprob, other_logprob, prompt, family, n_tokens),
        effective_share(other_logprob - own_logprob, prompt),
    )


def _check_own(rollouts: RolloutResult, identity: dict[str, Any]) -> None:
    """The precision may differ; for a server's rollouts nobody can tell."""
    drew = rollouts.report["model"]
    same = {k: v for k, v in drew.items() if k != "dtype"} == {k: v for k, v in identity.items() if k != "dtype"}
    if not same and "endpoint" not in drew:
        raise UserError(
            f"the rollouts '{rollouts.role}' were drawn by another model",
            why="the weights differ from those that were named",
            fix="Name the model that drew them",
        )


def _scored(rollouts: RolloutResult, name: str, source: ModelSource, batch_tokens: int, events: Events) -> np.ndarray:
    from pretilt.rollouts.log_ratio import LOGPROB, score_rollouts

    run, role = rollouts.run, rollouts.role
    temperature = float(rollouts.report["settings"]["temperature"])
    identity = source.identity()
    # The other models of a run lie side by side, each under its weights.
    place = name if name == "own" else f"other-{identity.get('sha256') or identity['revision']:.12}"
    stage_name, where = f"{samples_stage(role)}-{place}", f"{folder(role)}/{place}"
    with run.stage(
        stage_name,
        version=VERSION,
        config={"temperature": temperature, "batch_tokens": batch_tokens},
        reads=[samples_stage(role)],
        inputs={"model": identity},
    ) as stage:
        if not stage.done:
            shards = stage.shards(where, (LOGPROB,))
            score_rollouts(
                samples_of(run, role),
                source.load(),
                shards,
                temperature=temperature,
                batch_tokens=batch_tokens,
                progress=lambda done, total: events.progress(f"scoring, {name} model", done, total, "shards"),
            )
            stage.add_shards(shards)
    scored_shards = run.shards(stage_name, where, (LOGPROB,))
    logprob: np.ndarray = joined(scored_shards, LOGPROB)["logprob"].to_numpy()
    return logprob
