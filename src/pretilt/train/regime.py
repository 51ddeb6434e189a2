"""In which regime a DPO run ended: how far the model moved, and how much of their pull the pairs have left.

The gradient of DPO weights pair i by σ(−m_i), where m_i is its margin, the argument of the loss's logistic: ½ for every
pair at the start. While the weights stay near ½ the pairs act equally and additively, and the forecast's first-order
rungs apply; once most are small, the pairs that are left decide. The mean weight names the regime.

A model that hardly moved is told apart first. The shift of any concept's mean is the covariance of its score with the
change of the policy, so at most its standard deviation times that of the log-ratio log π/π0 (nats per response). Two
samples of NOISE_ROLLOUTS rollouts show a shift only above √(2/NOISE_ROLLOUTS) standard deviations: below NOISE_NATS no
concept can be seen to move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretilt.stats.clustered import mean_errors

LINEAR = 0.4  # mean σ(−margin) at or above which the regime is linear
SATURATING = 0.3  # below which it is saturating
NOISE_ROLLOUTS = 1000
NOISE_NATS = math.sqrt(2 / NOISE_ROLLOUTS)
FEWEST_MEASURED, MOST_MEASURED = 4, 512  # pairs of a split whose margins are measured, unless their number is given
MEASURED_SHARE = 0.1  # of the cost of the training that measuring may have
FORWARDS_TRAINED, FORWARDS_MEASURED = (
    3,
    2,
)  # passes through the model per pair: policy, reference, backward (one at least)
EXACT_COST = 8  # of a pass in float32, where training is in half precision

_LOGISTIC = ("sigmoid", "sigmoid_norm", "robust", "exo_pair", "discopop")  # TRL's losses that weight by σ(−margin)
_AVERAGED = ("sigmoid_norm", "ipo")  # TRL's losses of mean, not summed, log-probabilities


def pairs_to_measure(n_trained: int, *, half_precision: bool) -> int:
    """Pairs of each of the two splits that can be measured for a tenth of the training's cost, within [4, 512].

    `n_trained`: pairs that go through the training, every repetition counted. It depends on nothing that is timed, so
    that the same training measures the same pairs wherever it runs and however often it is killed.
    """
    passes = MEASURED_SHARE * FORWARDS_TRAINED * n_trained / (EXACT_COST if half_precision else 1)
    return max(FEWEST_MEASURED, min(MOST_MEASURED, int(passes / FORWARDS_MEASURED / 2)))


@dataclass(frozen=True)
class Margins:
    """Log-probabilities (nats, summed over the response) of pairs before and after training; every array is (n,).

    `n_chosen`, `n_rejected`: response tokens; `family_id`: the unit of independence.
    """

    chosen_before: np.ndarray
    chosen_after: np.ndarray
    rejected_before: np.ndarray
    rejected_after: np.ndarray
    n_chosen: np.ndarray
    n_rejected: np.ndarray
    family_id: np.ndarray

    def __len__(self) -> int:
        return int(self.chosen_before.size)

    def of_loss(self, beta: float, loss_type: str) -> np.ndarray:
        """β × (log-ratio of chosen − log-ratio of rejected); per token first where the loss averages over tokens."""
        chosen, rejected = self.chosen_after - self.chosen_before, self.rejected_after - self.rejected_before
        if loss_type in _AVERAGED:
            chosen, rejected = chosen / np.maximum(self.n_chosen, 1), rejected / np.maximum(self.n_rejected, 1)
        margin: np.ndarray = beta * (chosen - rejected)
        return margin


def measures(margins: Margins, beta: float, loss_type: str) -> dict[str, Any]:
    """The numbers of one set of pairs, JSON-able; None where a log-probability is not finite.

    mean_margin with margin_se (families are the unit); mean_weight: mean σ(−margin) in (0, 1); accuracy: share of
    margins > 0, ties half; chosen_drift, rejected_drift: mean change in nats per response, per token with `_per_token`;
    rms_log_ratio: root mean square change of a response's log-probability, nats.
    """
    names = (
        *("mean_margin", "margin_se", "mean_weight", "accuracy", "chosen_drift", "rejected_drift"),
        *("chosen_drift_per_token", "rejected_drift_per_token", "rms_log_ratio"),
    )
    chosen, rejected = margins.chosen_after - margins.chosen_before, margins.rejected_after - margins.rejected_before
    both = np.concatenate([chosen, rejected])
    if not len(margins) or not np.isfinite(both).all():
        return {"pairs": len(margins), **dict.fromkeys(names)}
    margin = margins.of_loss(beta, loss_type)
    values = (
        margin.mean(),
        mean_errors(margin[:, None], margins.family_id)[0],
        _weight(margin).mean(),
        (margin > 0).mean() + (margin == 0).mean() / 2,
        chosen.mean(),
        rejected.mean(),
        chosen.sum() / max(margins.n_chosen.sum(), 1),
        rejected.sum() / max(margins.n_rejected.sum(), 1),
        np.sqrt((both**2).mean()),
    )
    means = {name: float(value) for name, value in zip(names, values, strict=True)}
    return {"pairs": len(margins), **{n: v if math.isfinite(v) else None for n, v in means.items()}}


def regime(training: dict[str, Any], loss_type: str, *, reference_moved: bool = False) -> tuple[str, str]:
    """Name and sentence for the `measures` of training pairs: the pairs that pulled, not held-out ones.

    `reference_moved`: the reference was updated while training, so that margins are against its last state. The name
    is "linear", "bending", "saturating", "did not move" or "diverged" (log-probabilities are not finite).
    """
    rms, weight = training["rms_log_ratio"], training["mean_weight"]
    if rms is None or weight is None:
        return "diverged", "diverged: log-probabilities are not finite; a smaller learning_rate may help"
    if rms < NOISE_NATS:
        return "did not move", (
            f"did not move: log-probabilities changed by {rms:.4f} nats per response (root mean square), below the "
            f"{NOISE_NATS:.3f} that {NOISE_ROLLOUTS:,} rollouts before and after could show"
        )
    name = "linear" if weight >= LINEAR else "saturating" if weight < SATURATING else "bending"
    meaning = {
        "linear": "the pairs pull nearly as at the start and add up",
        "bending": "the pairs that are learned have begun to pull less",
        "saturating": "most pairs are learned and hardly pull; the rest decide",
    }[name]
    words = f"{name}: mean σ(−margin) is {weight:.3f} (0.5 at the start): {meaning}"
    drift = training["chosen_drift"]
    if drift < -NOISE_NATS and training["mean_margin"] > 0:
        words += (
            f"; chosen responses lost {-drift:.2f} nats each while the margin grew (likelihood displacement: what is "
            "gained lies outside the pairs)"
        )
    if loss_type not in _LOGISTIC:
        words += f"; the loss '{loss_type}' weights pairs otherwise: read this as the size of the margins alone"
    if reference_moved:
        words += "; the reference moved along, so this is the distance from its last state, not from the start"
    return name, words


def _weight(margin: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    weight: np.ndarray = expit(-margin)
    return weight
