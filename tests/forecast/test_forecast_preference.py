"""Bradley-Terry: against scikit-learn and a plain minimiser, planted weights and confounds, honest held-out scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from pretilt.forecast.preference import BradleyTerry, family_folds, fit_preference, pair_auc
from pretilt.forecast.samples import PairDeltas


def labelled(rng: np.random.Generator, u: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """u with every pair turned so that the winner, drawn from Bradley-Terry, comes first."""
    wins = rng.random(len(u)) < 1 / (1 + np.exp(-margin))
    return np.where(wins, 1.0, -1.0)[:, None] * u


@pytest.mark.parametrize("shape", [(200, 6), (40, 90)], ids=["more pairs", "more concepts"])
def test_equals_scikit_learn(shape: tuple[int, int]) -> None:
    """Every pair in both orders is a balanced classification without an intercept."""
    rng = np.random.default_rng(0)
    u = rng.normal(0, 1, shape) * rng.uniform(0.2, 2, shape[1])
    u = labelled(rng, u, u[:, 0] - u[:, 1])
    for ridge in (1.0, 0.01):
        w, _ = BradleyTerry(PairDeltas.of(u), np.ones(shape[1])).fit(ridge)
        oracle = LogisticRegression(C=1 / (2 * len(u) * ridge), fit_intercept=False, tol=1e-12, max_iter=10_000)
        oracle.fit(np.concatenate([u, -u]), np.repeat([1, 0], len(u)))
        np.testing.assert_allclose(w, oracle.coef_[0], rtol=1e-4, atol=1e-6)
        # one unit per root mean square by default
        rms = np.sqrt((u**2).mean(axis=0))
        standard, _ = BradleyTerry(PairDeltas.of(u)).fit(ridge)
        oracle.fit(np.concatenate([u, -u]) / rms, np.repeat([1, 0], len(u)))
        np.testing.assert_allclose(standard * rms, oracle.coef_[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(60, 4), (30, 40)], ids=["more pairs", "more concepts"])
def test_offsets_weights_and_a_free_nuisance_equal_a_plain_minimiser(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    n, m = shape
    u, x = labelled(rng, rng.normal(0, 1, shape), np.zeros(n)), rng.normal(0.3, 5, (n, 2))
    offset, weight, family = rng.normal(0, 2, n), rng.uniform(0, 2, n), rng.integers(0, 12, n)
    of_family = rng.poisson(1.0, 12).astype(float)
    pairs = PairDeltas.of(u, family, weight=weight, offset=offset, nuisance=x)
    metric, ridge = rng.uniform(0.5, 3, m), 0.05
    drawn = of_family[: pairs.n_families]
    model = BradleyTerry(pairs, metric)
    for family_weight in (None, drawn):
        w, nuisance = model.fit(ridge, family_weight)
        share = weight * (1 if family_weight is None else family_weight[pairs.family])
        share = share / share.sum()

        def loss(a: np.ndarray, share: np.ndarray = share) -> float:
            margin = u @ a[:m] + x @ a[m:] + offset
            return float(share @ np.logaddexp(0, -margin) + ridge / 2 * (a[:m] ** 2 / metric).sum())

        best = minimize(loss, np.zeros(m + 2), method="BFGS", options={"gtol": 1e-9, "maxiter": 5000})
        np.testing.assert_allclose(np.concatenate([w, nuisance]), best.x, rtol=5e-3, atol=2e-5)
        assert loss(np.concatenate([w, nuisance])) <= best.fun + 1e-8


def test_swapping_the_responses_flips_every_sign() -> None:
    rng = np.random.default_rng(2)
    u, x = rng.normal(0.1, 1, (80, 5)), rng.normal(0, 1, (80, 1))
    here, there = (fit_preference(PairDeltas.of(s * u, nuisance=s * x), [0.01]) for s in (1, -1))
    np.testing.assert_allclose(here.w, -there.w, atol=1e-7)
    np.testing.assert_allclose(here.nuisance, -there.nuisance, atol=1e-6)


def test_planted_weights_come_back_and_a_passenger_gets_none() -> None:
    rng = np.random.default_rng(3)
    u = rng.normal(0, 1, (6000, 4))
    u[:, 1] = 0.8 * u[:, 0] + 0.6 * u[:, 1]  # concept 1 goes along with concept 0
    u = labelled(rng, u, 1.2 * u[:, 0] - 0.7 * u[:, 2])
    found = fit_preference(PairDeltas.of(u))
    np.testing.assert_allclose(found.w, [1.2, 0, -0.7, 0], atol=0.12)
    assert u[:, 1].mean() > 0.25  # its mean delta says that it is rewarded
    best = found.heldout.best
    assert found.ridge == found.heldout.ridges[best]
    ideal = roc_auc_score(
        np.repeat([1, 0], 6000), np.concatenate([1.2 * u[:, 0] - 0.7 * u[:, 2], 0.7 * u[:, 2] - 1.2 * u[:, 0]])
    )
    assert ideal - 0.01 < found.heldout.auc[best] <= ideal + 0.002


def test_length_is_a_nuisance_and_not_a_concept() -> None:
    """Labels follow length; the concept only follows length too. Without the covariate it looks rewarded."""
    rng = np.random.default_rng(4)
    gap = rng.normal(0, 1, 4000)
    u = np.stack([gap + rng.normal(0, 0.7, 4000), rng.normal(0, 1, 4000)], axis=1)
    sign = np.where(rng.random(4000) < 1 / (1 + np.exp(-2 * gap)), 1.0, -1.0)
    blind = fit_preference(PairDeltas.of(u * sign[:, None]), [1e-3])
    seeing = fit_preference(PairDeltas.of(u * sign[:, None], nuisance=(gap * sign)[:, None]), [1e-3])
    assert blind.w[0] > 0.8
    assert abs(seeing.w[0]) < 0.2
    assert seeing.nuisance[0] == pytest.approx(2.0, abs=0.25)
    c, length = rng.normal(0, 1, (5, 2)), rng.normal(0, 1, (5, 1))
    np.testing.assert_allclose(seeing.reward(c, length) - seeing.reward(c), seeing.nuisance[0] * length[:, 0])
    np.testing.assert_allclose(seeing.reward(c), c @ seeing.w)


def test_a_covariate_that_tells_the_label_is_left_out() -> None:
    """Chosen is always the longer one: no finite coefficient. A mixed one that separates stays finite."""
    rng = np.random.default_rng(5)
    u = labelled(rng, rng.normal(0, 1, (200, 2)), np.zeros(200))
    longer = np.abs(rng.normal(1, 1, 200))
    found = fit_preference(PairDeltas.of(u, nuisance=np.stack([longer, rng.normal(0, 1, 200)], axis=1)), [0.1])
    assert found.left_out.tolist() == [True, False]
    assert found.nuisance[0] == 0
    both = np.stack([longer + 3 * u[:, 0], u[:, 0]], axis=1)  # first - 3 * second > 0 for every pair
    separated = fit_preference(PairDeltas.of(u, nuisance=both), [0.1])
    assert np.isfinite(separated.nuisance).all()
    assert (both @ separated.nuisance > 0).all()


def test_held_out_scores_know_families() -> None:
    """Random labels, ten near-copies of each pair: scored on copies it has seen, the fit looks skilled."""
    rng = np.random.default_rng(6)
    family = np.repeat(np.arange(60), 10)
    u = rng.normal(0, 1, (60, 40))[family] + 0.05 * rng.normal(0, 1, (600, 40))
    by_family, by_row = (fit_preference(PairDeltas.of(u, f), [1.0, 0.1, 0.01]).heldout for f in (family, None))
    assert by_row.auc.min() > 0.9
    assert 0.3 < by_family.auc[1] < 0.7
    assert by_family.log_loss.min() > 0.9 * np.log(2)


def test_held_out_scores_by_hand() -> None:
    """One concept, two folds of one family each: fitted on the one, scored on the other."""
    u = np.array([[1.0], [1.0], [1.0], [-1.0]])
    model = BradleyTerry(PairDeltas.of(u, [0, 0, 1, 1]), np.ones(1))
    ridge = 0.1
    found = model.held_out([ridge], n_folds=2)
    # fitted on (1, -1): w = 0. Fitted on (1, 1): sigma(-w) = w / 10
    w = BradleyTerry(PairDeltas.of(u[:2]), np.ones(1)).fit(ridge)[0][0]
    assert 1 / (1 + np.exp(w)) == pytest.approx(w / 10, rel=1e-6)
    mixed = (np.logaddexp(0, -w) + np.logaddexp(0, w)) / 2
    assert found.log_loss[0] == pytest.approx((np.log(2) + mixed) / 2, rel=1e-6)
    # margins 0, 0, w, -w: sums of two are > 0 in 5 of 16 and 0 in 6 of 16 cases
    assert found.auc[0] == pytest.approx(5 / 16 + 3 / 16, rel=1e-12)
    assert found.accuracy[0] == pytest.approx((0.5 + 0.5 + 1 + 0) / 4)
    # family losses minus the mean: ± 2 * (mixed - log 2) / 2; over 4 pairs
    assert found.log_loss_se[0] == pytest.approx(np.sqrt(2) * (mixed - np.log(2)) / 4, rel=1e-6)


def test_the_auc_of_both_orders() -> None:
    rng = np.random.default_rng(7)
    margin = np.round(rng.normal(0.3, 1, 60), 1)
    label = np.repeat([1, 0], 60)
    assert pair_auc(margin) == pytest.approx(roc_auc_score(label, np.concatenate([margin, -margin])), rel=1e-12)
    weight = rng.integers(0, 4, 60).astype(float)
    again = np.repeat(margin, weight.astype(int))
    assert pair_auc(margin, weight) == pytest.approx(pair_auc(again), rel=1e-12)
    assert pair_auc(np.zeros(3)) == 0.5
    assert pair_auc(np.array([2.0, 1.0])) == 1.0


def test_folds_keep_families_whole_and_are_even() -> None:
    rng = np.random.default_rng(8)
    family = rng.choice([3, 8, *range(20, 120)], 500)
    fold = family_folds(family, 5, seed=1)
    assert all(len(set(fold[family == f])) == 1 for f in set(family))
    size = np.bincount(fold)
    assert size.size == 5
    assert np.ptp(size) <= 3
    assert (family_folds(family, 5, seed=2) != fold).any()
    assert family_folds(np.array([1, 2]), 5).max() == 1
    with pytest.raises(ValueError, match="two families"):
        family_folds(np.zeros(4))


def test_what_is_refused_and_degenerate() -> None:
    u = np.zeros((4, 2))
    u[:, 0] = [1, 1, -1, 1]
    model = BradleyTerry(PairDeltas.of(u))
    assert model.fit(0.1)[0][1] == 0.0  # a concept that no pair shows
    with pytest.raises(ValueError, match="ridge"):
        model.fit(0.0)
    with pytest.raises(ValueError, match="two families"):
        fit_preference(PairDeltas.of(u, np.zeros(4)))
    one = PairDeltas.of(u, [0, 0, 0, 1], weight=np.array([1.0, 1, 1, 0]))
    with pytest.raises(ValueError, match="all the weight"):
        fit_preference(one)
