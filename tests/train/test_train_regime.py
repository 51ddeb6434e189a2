"""The regime's numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pretilt.train.regime import NOISE_NATS, Margins, measures, pairs_to_measure, regime


def margins(
    chosen: list[float], rejected: list[float], n: tuple[int, int] = (10, 20), families: object = None
) -> Margins:
    """Log-ratios of chosen and rejected over a base of -50 and -60 nats."""
    size = len(chosen)
    before = np.full(size, -50.0), np.full(size, -60.0)
    ids = np.arange(size) if families is None else np.array(families)
    after = before[0] + chosen, before[1] + rejected
    return Margins(before[0], after[0], before[1], after[1], np.full(size, n[0]), np.full(size, n[1]), ids)


def test_by_hand() -> None:
    found = measures(margins([3.0, -1.0], [-1.0, 1.0]), beta=0.5, loss_type="sigmoid")
    assert found["pairs"] == 2
    assert found["mean_margin"] == pytest.approx(0.5)  # margins 0.5 × 4 = 2 and 0.5 × −2 = −1
    assert found["mean_weight"] == pytest.approx((0.11920292 + 0.73105858) / 2)
    assert found["accuracy"] == 0.5
    assert found["chosen_drift"] == pytest.approx(1.0)
    assert found["rejected_drift"] == pytest.approx(0.0)
    assert found["chosen_drift_per_token"] == pytest.approx(2 / 20)
    assert found["rms_log_ratio"] == pytest.approx(math.sqrt((9 + 1 + 1 + 1) / 4))
    assert found["margin_se"] == pytest.approx(1.5)  # the standard error of 2 and −1: sd 2.1213 / √2


def test_losses_of_means_have_margins_of_means() -> None:
    found = measures(margins([3.0], [-4.0]), beta=2.0, loss_type="sigmoid_norm")
    assert found["mean_margin"] == pytest.approx(2 * (3 / 10 + 4 / 20))


def test_families_are_the_unit_of_the_standard_error() -> None:
    """Every pair copied four times within its family says nothing new."""
    once = measures(margins([1.0, 2.0, 4.0], [0, 0, 0]), 1.0, "sigmoid")
    copied = measures(margins([1.0, 2.0, 4.0] * 4, [0] * 12, families=[0, 1, 2] * 4), 1.0, "sigmoid")
    alone = measures(margins([1.0, 2.0, 4.0] * 4, [0] * 12), 1.0, "sigmoid")
    assert copied["margin_se"] == pytest.approx(once["margin_se"]) == pytest.approx(np.std([1, 2, 4], ddof=1) / 3**0.5)
    assert alone["margin_se"] < 0.6 * once["margin_se"]
    assert measures(margins([1.0, 2.0], [0, 0], families=[5, 5]), 1.0, "sigmoid")["margin_se"] is None


@pytest.mark.parametrize(
    ("margin", "name"),  # σ(−0.4055) = 0.4 and σ(−0.8473) = 0.3
    [(0.2, "linear"), (0.404, "linear"), (0.407, "bending"), (0.845, "bending"), (0.849, "saturating"), (-3, "linear")],
)
def test_names_at_their_bounds(margin: float, name: str) -> None:
    told = regime(measures(margins([10 * margin], [0.0]), 0.1, "sigmoid"), "sigmoid")
    assert told[0] == name
    assert told[1].startswith(name)


def test_a_model_that_did_not_move_is_not_called_linear() -> None:
    still = measures(margins([0.0] * 3, [0.0] * 3), 0.1, "sigmoid")
    assert (still["mean_weight"], still["accuracy"], still["margin_se"]) == (0.5, 0.5, 0.0)
    assert regime(still, "sigmoid")[0] == "did not move"
    hair = 0.99 * NOISE_NATS
    assert regime(measures(margins([hair, -hair], [hair, -hair]), 0.1, "sigmoid"), "sigmoid")[0] == "did not move"
    assert (
        regime(measures(margins([1.01 * NOISE_NATS], [-1.01 * NOISE_NATS]), 0.1, "sigmoid"), "sigmoid")[0] == "linear"
    )
    # Both responses drift together: no margin, and yet the model is another.
    assert regime(measures(margins([5.0, -5.0], [5.0, -5.0]), 0.1, "sigmoid"), "sigmoid")[0] == "linear"


def test_noise_scale_is_what_rollouts_can_show() -> None:
    """A tilt of NOISE_NATS along a concept shifts its mean by one standard error of a before/after difference."""
    rng = np.random.default_rng(0)
    concept = rng.standard_normal(1_000_000)
    weight = np.exp(NOISE_NATS * concept)  # log-ratio along the concept with standard deviation NOISE_NATS
    shift = float((weight * concept).sum() / weight.sum())
    standard_error = math.sqrt(2 / 1000) * concept.std()
    assert shift == pytest.approx(standard_error, rel=0.05)


def test_lost_chosen_responses_are_told() -> None:
    lost = measures(margins([-2.0, -2.0], [-8.0, -8.0]), 0.1, "sigmoid")
    assert "chosen responses lost 2.00 nats each while the margin grew" in regime(lost, "sigmoid")[1]
    kept = measures(margins([2.0, 2.0], [-4.0, -4.0]), 0.1, "sigmoid")
    assert "lost" not in regime(kept, "sigmoid")[1]


def test_numbers_that_are_not_finite_are_none_and_diverged() -> None:
    broken = measures(margins([math.nan, 1.0], [0.0, 0.0]), 0.1, "sigmoid")
    assert broken["mean_margin"] is None
    assert broken["pairs"] == 2
    assert regime(broken, "sigmoid")[0] == "diverged"
    assert regime(measures(margins([-math.inf], [0.0]), 0.1, "sigmoid"), "sigmoid")[0] == "diverged"


def test_words_say_what_they_do_not_hold_for() -> None:
    moved = measures(margins([5.0], [0.0]), 0.1, "ipo")
    assert "'ipo' weights pairs otherwise" in regime(moved, "ipo")[1]
    assert "reference moved along" in regime(moved, "sigmoid", reference_moved=True)[1]


@pytest.mark.parametrize(
    ("n_trained", "half", "pairs"),
    [(0, False, 4), (100, False, 7), (1000, False, 75), (1000, True, 9), (10_000, False, 512), (10**9, True, 512)],
)
def test_pairs_to_measure_cost_a_tenth_of_three_passes_per_trained_pair(n_trained: int, half: bool, pairs: int) -> None:
    assert pairs_to_measure(n_trained, half_precision=half) == pairs
    if pairs not in (4, 512):
        assert 2 * 2 * pairs * (8 if half else 1) <= 0.1 * 3 * n_trained
