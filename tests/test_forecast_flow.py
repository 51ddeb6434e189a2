"""Weights after a while of training: by hand, against Euler's steps, two decompositions and Lanczos."""

from __future__ import annotations

import numpy as np
import pytest

from tiltmeter.forecast.flow import Flow, flow_weights, spread
from tiltmeter.forecast.samples import PairDeltas


def random_pairs(seed: int, n: int, m: int) -> PairDeltas:
    rng = np.random.default_rng(seed)
    u = rng.normal(0.2, 1, (n, m)) * rng.uniform(0.1, 2, m)
    u[:, 0] = 0  # a concept that no pair shows
    return PairDeltas.of(u, rng.integers(0, 15, n), weight=rng.uniform(0, 2, n), offset=rng.normal(0, 1, n))


def by_euler(pairs: PairDeltas, time: float, metric: np.ndarray, weight: np.ndarray, steps: int = 20_000) -> np.ndarray:
    """dw/dt = metric * E[u (sigma(-o) - sigma'(o) w'u)], the linearised pull of the loss, one small step at a time."""
    share, wrong = weight / weight.sum(), 1 / (1 + np.exp(pairs.offset))
    b = pairs.u.T @ (share * wrong)
    a = (pairs.u.T * (share * wrong * (1 - wrong))) @ pairs.u
    w = np.zeros(b.size)
    for _ in range(steps):
        w = w + time / steps * metric * (b - a @ w)
    return w


def test_one_concept_by_hand() -> None:
    """u = 1, 1, -1: S = 1, mean 1/3. w_t = (1 - exp(-t / 4)) · 2 / 3."""
    flow = Flow.of(PairDeltas.of(np.array([[1.0], [1.0], [-1.0]])))
    for time in (0.0, 1e-9, 0.7, 100.0):
        assert flow.at(time)[0] == pytest.approx(2 / 3 * -np.expm1(-time / 4), rel=1e-12)
    assert flow.at(np.inf)[0] == pytest.approx(2 / 3, rel=1e-12)
    assert flow.margin(4.0) == pytest.approx(2 / 9 * -np.expm1(-1.0), rel=1e-12)
    assert flow.time_for_margin(2 / 9 * -np.expm1(-1.0)) == pytest.approx(4.0, rel=1e-8)


@pytest.mark.parametrize(("n", "m"), [(50, 6), (12, 30)], ids=["more pairs", "more concepts"])
@pytest.mark.parametrize("time", [0.3, 6.0])
def test_equals_many_small_steps(n: int, m: int, time: float) -> None:
    pairs = random_pairs(0, n, m)
    metric = np.random.default_rng(1).uniform(0.3, 2, m)
    expected = by_euler(pairs, time, metric, pairs.weight)
    np.testing.assert_allclose(Flow.of(pairs, metric).at(time), expected, rtol=2e-3, atol=2e-4)
    assert Flow.of(pairs, metric).at(time)[0] == 0
    # the metric is a change of units, and not a change of the answer's units
    plain = PairDeltas.of(pairs.u * np.sqrt(metric), pairs.family, weight=pairs.weight, offset=pairs.offset)
    np.testing.assert_allclose(Flow.of(plain).at(time) * np.sqrt(metric), Flow.of(pairs, metric).at(time), atol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(300, 80), (60, 150), (3, 5)])
@pytest.mark.parametrize("time", [1e-3, 1.0, 50.0, np.inf])
def test_lanczos_equals_the_eigenbasis(n: int, m: int, time: float) -> None:
    pairs = random_pairs(2, n, m)
    metric = np.random.default_rng(3).uniform(0.3, 2, m)
    exact = Flow.of(pairs, metric).at(time)
    np.testing.assert_allclose(flow_weights(pairs, time, metric), exact, atol=1e-5 * np.abs(exact).max())
    drawn = np.random.default_rng(4).poisson(1.0, pairs.n_families).astype(float) + (np.arange(pairs.n_families) == 0)
    again = PairDeltas.of(pairs.u, pairs.family, weight=pairs.weight * drawn[pairs.family], offset=pairs.offset)
    expected = Flow.of(again, metric).at(time)
    found = flow_weights(pairs, time, metric, drawn)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_margins_grow_to_their_limit_and_tell_the_time() -> None:
    rng = np.random.default_rng(5)
    pairs = PairDeltas.of(rng.normal(0.2, 1, (100, 7)))
    flow = Flow.of(pairs)
    for time in (0.01, 1.0, 30.0):
        margin = float((pairs.u @ flow.at(time)).mean())
        assert flow.margin(time) == pytest.approx(margin, rel=1e-10)
        assert flow.time_for_margin(margin) == pytest.approx(time, rel=1e-6)
    assert flow.time_for_margin(0.0) == 0.0
    assert flow.time_for_margin(-1.0) == 0.0
    assert flow.time_for_margin(flow.margin(np.inf) * 1.01) == np.inf


def test_nothing_to_learn_and_bad_times() -> None:
    nothing = PairDeltas.of(np.array([[1.0, 0], [-1.0, 0]]))
    np.testing.assert_array_equal(flow_weights(nothing, 3.0), 0)
    np.testing.assert_array_equal(Flow.of(nothing).at(3.0), 0)
    silent = PairDeltas.of(np.zeros((3, 5)))
    np.testing.assert_array_equal(Flow.of(silent).at(np.inf), 0)
    assert Flow.of(silent).time_for_margin(0.1) == np.inf
    with pytest.raises(ValueError, match="time"):
        spread(np.ones(2), -1.0)


def test_an_explained_pair_pulls_less() -> None:
    """Offset log 3: the chosen one is given 3 : 1 beforehand, so the pair counts 2 · 1/4; infinite: it is filtered."""
    u = np.array([[1.0], [3.0]])
    assert PairDeltas.of(u, offset=np.array([0, np.log(3)])).mean()[0] == pytest.approx((1 + 0.5 * 3) / 2)
    assert PairDeltas.of(u, offset=np.array([0, 800.0])).mean()[0] == pytest.approx(0.5)
    assert PairDeltas.of(u, offset=np.array([0, -800.0])).mean()[0] == pytest.approx(3.5)  # at most doubled
    pairs = random_pairs(6, 40, 5)
    np.testing.assert_allclose(Flow.of(pairs).at(1e-9) / 1e-9 * 2, pairs.mean(), rtol=1e-6)
