"""The ladder of forecasts: from the mean of the data to a tilt of sampled responses.

    mean        mean u                       on-policy, weak labels: right to first order whatever the reward
    one_step    Sigma_0 mean u               after few steps of a policy of kernel c'c
    converged   Sigma_0 w                    trained to the Bradley-Terry optimum, small tilt
    tilt        sum_k softmax_k(eta r) c - mean   the same, tilted exactly on the sampled responses

On-policy they agree; disagreement says that the pairs are not the model's own, or that stopping early matters. Only
signs and ratios mean anything until one scalar per run is calibrated (eta = 1 / beta at the optimum of the loss).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pretilt.forecast.covariance import Within
from pretilt.forecast.preference import BradleyTerry, Preference
from pretilt.forecast.samples import PairDeltas, Rollouts

Rung = Literal["mean", "one_step", "converged", "tilt"]
RUNGS: tuple[Rung, ...] = get_args(Rung)
TRUSTED_ESS = 0.3  # effective sample size over K below which a tilt says little


@dataclass(frozen=True)
class Prediction:
    """What the ladder says of M concepts; + = will be amplified."""

    w: np.ndarray  # float64 [M], the reward of each concept with the others held fixed
    nuisance: np.ndarray  # float64 [p]
    shift: dict[Rung, np.ndarray]  # float64 [M] per rung; the rungs that the inputs allow
    ess_share: np.ndarray | None  # float64 [prompts of K >= 2], effective sample size / K of the tilt, in (0, 1]

    @property
    def ess_trusted(self) -> float:
        """Share of the prompts whose tilt rests on enough samples; NaN without a tilt."""
        return float("nan") if self.ess_share is None else float(np.mean(self.ess_share >= TRUSTED_ESS))


class Ladder:
    """All rungs for one set of pairs and one base model; `predict` again under other weights for uncertainty.

    `base`: Sigma_0. `rollouts` of the untrained model add the tilt, and the part of the shift that a rewarded nuisance
    (length) brings along, where they carry the covariates. `eta`: strength of the tilt.
    """

    def __init__(
        self,
        model: BradleyTerry,
        preference: Preference,
        base: Within,
        rollouts: Rollouts | None = None,
        *,
        eta: float = 1.0,
    ) -> None:
        n_concepts = model.pairs.u.shape[1]
        for what, rows in (("covariance", base.rows), ("rollouts", None if rollouts is None else rollouts.c)):
            if rows is not None and rows.shape[1] != n_concepts:
                raise ValueError(f"{what} of {rows.shape[1]} concepts, deltas of {n_concepts}")
        if rollouts is not None and rollouts.nuisance.shape[1] not in (0, model.pairs.nuisance.shape[1]):
            raise ValueError("rollouts carry the pairs' nuisance covariates, all of them or none")
        self.model, self.preference, self.base, self.rollouts = model, preference, base, rollouts
        self.eta = eta

    @property
    def pairs(self) -> PairDeltas:
        return self.model.pairs

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The rungs that the inputs allow."""
        return tuple(rung for rung in RUNGS if rung != "tilt" or self.rollouts is not None)

    def predict(self, family_weight: np.ndarray | None = None, unit_weight: np.ndarray | None = None) -> Prediction:
        """`family_weight` reweights the families of the pairs, `unit_weight` the prompts of the rollouts.

        Where Sigma_0 comes from the pairs, it is reweighted with them.
        """
        w, nuisance = (
            (self.preference.w, self.preference.nuisance)
            if family_weight is None
            else self.model.fit(self.preference.ridge, family_weight)
        )
        of_base = family_weight if self.base.of_pairs else unit_weight
        mean = self.pairs.mean(family_weight)
        shift: dict[Rung, np.ndarray] = {"mean": mean, "one_step": self.base.times(mean, of_base)}
        shift["converged"] = self.eta * self.base.times(w, of_base)
        ess = None
        if self.rollouts is not None:
            extra = self.rollouts.nuisance
            reward = self.rollouts.c @ w
            if extra.shape[1]:
                passive = extra @ nuisance
                reward = reward + passive
                shift["converged"] = shift["converged"] + self.eta * covariance_with(
                    self.rollouts, passive, unit_weight
                )
            shift["tilt"], ess = tilt(self.rollouts, reward, self.eta, unit_weight=unit_weight)
        return Prediction(w, nuisance, shift, ess)


def covariance_with(rollouts: Rollouts, reward: np.ndarray, unit_weight: np.ndarray | None = None) -> np.ndarray:
    """Cov(c, r) within prompts, [M], for any reward r [R] of the rollouts: the first-order shift, whatever r is.

    r need not be linear in the concepts: a reward model, or the implicit reward of a pilot run.
    """
    r = reward - rollouts.average(reward)[rollouts.prompt]
    per_prompt = np.where(rollouts.per_prompt >= 2, 1.0, 0.0)
    if unit_weight is not None:
        per_prompt = per_prompt * unit_weight[rollouts.unit]
    scale = (per_prompt / np.maximum(rollouts.per_prompt - 1, 1))[rollouts.prompt]
    return np.asarray((scale * r) @ rollouts.centred / per_prompt.sum())


def tilt(
    rollouts: Rollouts,
    reward: np.ndarray,
    eta: float = 1.0,
    *,
    base_weight: np.ndarray | None = None,
    unit_weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """E[c] under pi_0 exp(eta r) minus E[c] under pi_0, by self-normalised importance weights on base rollouts.

    reward: float [R]. base_weight: float [R] > 0, where rows are not drawn but enumerated with their probability.
    Returns (shift [M], ESS / K per prompt of K >= 2, in (0, 1]); prompts count alike. With K samples the shift is
    (K - 1) / K of the true one to first order, and bounded by what was sampled; where ESS / K is small it is the word
    of one response.
    """
    base = np.ones(len(rollouts.c)) if base_weight is None else base_weight
    prompt, starts = rollouts.prompt, rollouts.starts

    def per_prompt(values: np.ndarray) -> np.ndarray:
        return np.asarray(np.add.reduceat(values, starts))

    scaled = eta * reward
    tilted = base * np.exp(scaled - np.maximum.reduceat(scaled, starts)[prompt])
    tilted = tilted / per_prompt(tilted)[prompt]
    plain = base / per_prompt(base)[prompt]
    several = rollouts.per_prompt >= 2
    ess = (1.0 / (per_prompt(tilted**2 / plain)))[several]
    weight = several.astype(np.float64) if unit_weight is None else several * unit_weight[rollouts.unit]
    if not weight.any():
        raise ValueError("a tilt needs a prompt with at least two rollouts")
    shift = ((tilted - plain) * weight[prompt]) @ rollouts.centred / weight.sum()
    return np.asarray(shift), ess
