"""What moves with a detector's score among the untrained model's answers to one prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretilt.forecast.inputs import concept_bank, rollouts_of
from pretilt.forecast.samples import Rollouts
from pretilt.rollouts.detector_scores import stored_rollout_scores
from pretilt.rollouts.step import BEFORE, detectors_of_rollouts, features_stage
from pretilt.run import Run

ROLES = ("reference", BEFORE)  # answers of the untrained model, the first that the run holds


@dataclass(frozen=True)
class MovesAlong:
    """`covariance` float64 [M] of each concept's presence with the detector's score, within prompts."""

    role: str
    concept_ids: np.ndarray  # int [M]
    covariance: np.ndarray


def untrained_role(run: Run) -> str | None:
    """The role of the untrained model's rollouts, None where the run has none."""
    return next((role for role in ROLES if features_stage(role) in run.manifest["stages"]), None)


def moves_along(run: Run, role: str, name: str) -> MovesAlong | None:
    """Over the rollouts of a role; None where no prompt has two answers that say something."""
    detectors_of_rollouts(run, role, [name])
    scores = stored_rollout_scores(run, role, name)
    bank = concept_bank(run)
    answers = rollouts_of(run, role, bank, "presence", beside=scores)
    covariance = within_prompts(answers)
    return None if covariance is None else MovesAlong(role, bank.concept_ids, covariance)


def within_prompts(answers: Rollouts) -> np.ndarray | None:
    """float64 [M - 1]: covariance of every column but the last with the last, within prompts of two answers or more,
    each prompt counting alike; None without such a prompt."""
    several = answers.per_prompt >= 2
    if not several.any():
        return None
    weight = np.where(several, 1.0 / np.maximum(answers.per_prompt - 1, 1), 0.0)[answers.prompt] / several.sum()
    return np.asarray(answers.centred[:, :-1].T @ (weight * answers.centred[:, -1]))
