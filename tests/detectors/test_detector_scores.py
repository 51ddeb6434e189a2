"""Figures of a card, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pretilt.detectors.leakage import covariances, leakage, strongest
from pretilt.detectors.scores import auroc, average_precision, best_threshold, f1_at, judge

SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32)
LABEL = np.array([True, False, True, True, False])


def test_figures_by_hand() -> None:
    assert auroc(SCORES, LABEL) == pytest.approx(4 / 6)  # of six (positive, negative) pairs four are in order
    assert average_precision(SCORES, LABEL) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert f1_at(SCORES, LABEL, 0.65) == pytest.approx(2 * 2 / (3 + 3))
    assert f1_at(SCORES, LABEL, 2.0) == 0.0
    assert auroc(np.ones(4), np.array([True, False, True, False])) == 0.5  # ties count half
    assert np.isnan(auroc(SCORES, np.ones(5, bool)))


def test_the_best_threshold_lies_half_way_to_the_next_score() -> None:
    threshold = best_threshold(SCORES, LABEL)  # F1 of calling the first 1 … 5: .5, .4, .67, .86, .75
    assert threshold == pytest.approx(0.55)
    assert f1_at(SCORES, LABEL, threshold) == pytest.approx(6 / 7)


def test_equal_scores_are_called_together() -> None:
    scores = np.array([1, 1, 1, 0], np.float32)
    label = np.array([True, False, False, True])
    threshold = best_threshold(scores, label)  # calling all: F1 2·2/(4+2); calling the three: 2·1/(3+2)
    assert f1_at(scores, label, threshold) == pytest.approx(2 / 3)
    assert (scores >= threshold).all()


def test_a_threshold_between_neighbouring_floats_keeps_the_positive() -> None:
    upper = np.float32(1.0)
    scores = np.array([upper, np.nextafter(upper, np.float32(0))], np.float32)
    threshold = best_threshold(scores, np.array([True, False]))
    assert (scores >= threshold).tolist() == [True, False]


def test_the_threshold_comes_from_validation_alone() -> None:
    judged = judge(SCORES, LABEL, np.array([0.5, 0.4], np.float32), np.array([True, False]))
    assert judged.threshold == pytest.approx(0.55)
    assert judged.f1 == 0.0  # the held-out positive lies below it
    assert judged.auroc == 1.0
    assert (judged.n_positive, judged.n_negative) == (1, 1)


def test_leakage_of_two_pairs_by_hand() -> None:
    u = np.array([[1.0, 0.0, 1.0], [0.0, -1.0, 1.0]])
    difference = np.array([4.0, 2.0])
    covariance = covariances(u, difference)
    np.testing.assert_allclose(covariance, [1.0, -0.5, 1.5])  # half the mean of u · d
    np.testing.assert_allclose(leakage(covariance, covariance[0]), [1.0, -0.5, 1.5])
    np.testing.assert_array_equal(strongest(np.array([0.2, np.nan, -0.9, 0.9]), 3), [2, 3, 0])
    assert np.isnan(leakage(covariance, 0.0)).all()


def test_leakage_does_not_see_the_labels() -> None:
    rng = np.random.default_rng(0)
    u, difference, turn = rng.standard_normal((30, 4)), rng.standard_normal(30), rng.choice([-1.0, 1.0], 30)
    np.testing.assert_allclose(covariances(u * turn[:, None], difference * turn), covariances(u, difference))
