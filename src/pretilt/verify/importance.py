"""A second look at the same shift: rollouts before training, weighted to stand for the trained model's.

With the log-ratio of both models on rollouts before training, their weighted mean estimates the trained model's shift
on the very same answers. Where the model has moved far, a prompt's weight falls on one answer and the estimate is its
word alone: prompts with an effective sample size under TRUSTED_ESS of K are left out, and it is never the headline.

The same log-ratios say why a forecast missed: see `pretilt.verify.hindsight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pretilt.forecast.ladder import TRUSTED_ESS, tilt
from pretilt.forecast.samples import Rollouts
from pretilt.rollouts.log_ratio import LOGPROB, divergence, effective_share
from pretilt.rollouts.reading import EMPTY, READ
from pretilt.rollouts.step import RolloutResult, folder, joined, samples_stage
from pretilt.run import Run
from pretilt.stats.agreement import View, correlation, signed_square
from pretilt.verify.hindsight import hindsight
from pretilt.verify.inputs import Forecast, Seen
from pretilt.verify.judge import FEW_CONCEPTS

FEW_PROMPTS = 4


def importance(
    run: Run,
    before: RolloutResult,
    model: Mapping[str, Any],
    forecast: Forecast,
    outcome: Seen,
    masks: Mapping[str, np.ndarray],
    headline: str,
) -> dict[str, Any]:
    """What the weighted rollouts say of the headline's concepts, and hindsight of every set, JSON-able.

    "why" stands in place of the former where they say nothing; hindsight needs no more than both models' scores.
    `model`: identity of the trained model, as rollouts-<role>.json gives it; `masks`: the judged sets, bool [M].
    """
    keep = masks[headline]
    both = _log_probs(run, before.role, model)
    if both is None:
        return {"why": "the rollouts before training were not scored under both models (`--importance` does that)"}
    own_logprob, other = both
    samples, reading = before.samples, before.reading
    prompt = pc.dictionary_encode(samples["prompt_id"]).combine_chunks().indices.to_numpy()
    family, n_tokens = samples["family_id"].to_numpy(), pc.list_value_length(samples["ids"]).to_numpy()
    moved = divergence(own_logprob, other, prompt, family, n_tokens)
    facts: dict[str, Any] = {
        "kl": {"of": "KL(before || after) on rollouts before, nats per response", "value": moved.kl,
               "standard_error": moved.standard_error, "per_token": moved.kl_per_token},
        "trusted_above": TRUSTED_ESS,
    }  # fmt: skip
    was_read = np.array([status in (READ, EMPTY) for status in reading["status"].to_pylist()], bool)
    ids = np.array(samples["prompt_id"].to_pylist())[was_read]
    order = np.argsort(ids, kind="stable")  # as Rollouts.of sorts them
    weight = (other - own_logprob)[was_read][order]
    rollouts = outcome.before
    if not np.array_equal(rollouts.prompt_ids[rollouts.prompt], ids[order]):
        raise ValueError("the scored rollouts are not those that were read")
    facts["hindsight"] = _hindsight(forecast, outcome, weight, masks)
    share = effective_share(weight, rollouts.prompt)
    both_sides = np.isin(rollouts.prompt_ids, outcome.observed.prompt_ids)
    trusted = (share >= TRUSTED_ESS) & both_sides
    facts |= {"prompts": int(both_sides.sum()), "trusted_prompts": int(trusted.sum())}
    facts["median_ess_share"] = float(np.median(share[np.isfinite(share)])) if np.isfinite(share).any() else None
    if trusted.sum() < FEW_PROMPTS:
        return {
            **facts,
            "why": f"effective sample size under {TRUSTED_ESS} of the rollouts on nearly all prompts",
        }
    rows = trusted[rollouts.prompt]
    some = Rollouts.of(rollouts.c[rows][:, keep], rollouts.prompt[rows])
    shift, _ = tilt(some, weight[rows])
    is_trusted = np.isin(outcome.observed.prompt_ids, rollouts.prompt_ids[trusted])
    sampled = outcome.observed.shift[is_trusted][:, keep].mean(axis=0)
    return {
        **facts,
        "r2_of_forecast": signed_square(correlation(forecast.column["shift"][keep], shift)),
        "r2_with_sampled": signed_square(correlation(sampled, shift)),
    }


def _hindsight(
    forecast: Forecast, outcome: Seen, log_ratio: np.ndarray, masks: Mapping[str, np.ndarray]
) -> dict[str, dict[str, dict[str, float]]]:
    """By set and law: its figure with the trained model's own reward, and the forecast's agreement with it."""
    try:
        laws = hindsight(outcome.before, log_ratio, outcome.observed)
    except ValueError:
        return {}  # one answer per prompt, or a single prompt
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for name, keep in masks.items():
        if keep.sum() < FEW_CONCEPTS:
            continue
        predicted = forecast.column["shift"][keep]
        for law, evidence in laws.items():
            figure = evidence.figure(_only(keep))
            agreement = signed_square(correlation(predicted, evidence.predicted[keep]))
            figures.setdefault(name, {})[law] = {
                **asdict(figure), "reachable": figure.reachable, "r2_with_forecast": agreement,
            }  # fmt: skip
    return figures


def _only(keep: np.ndarray) -> View:
    return lambda values: values[..., keep]


def _log_probs(run: Run, role: str, model: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Log-probabilities of a role's rollouts under the run's own model and under another, if the run holds both."""
    name = model.get("sha256") or model.get("revision")
    columns = []
    for place in ("own", f"other-{name:.12}" if name else ""):
        stage = f"{samples_stage(role)}-{place}"
        if stage not in run.manifest["stages"]:
            return None
        shards = run.shards(stage, f"{folder(role)}/{place}", (LOGPROB,))
        if not shards.count():
            return None
        columns.append(joined(shards, LOGPROB)["logprob"].to_numpy())
    return (columns[0], columns[1]) if columns[0].size == columns[1].size else None
