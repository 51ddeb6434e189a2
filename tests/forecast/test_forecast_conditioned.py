"""Forecasts on sets of prompts: by hand, against the forecast over everything, and their spread."""

from __future__ import annotations

import numpy as np
import pytest

from pretilt.forecast.conditioned import Cells, prompt_products, times_each
from pretilt.forecast.covariance import from_pairs, from_rollouts
from pretilt.forecast.ladder import Ladder
from pretilt.forecast.preference import BradleyTerry, Preference
from pretilt.forecast.samples import PairDeltas, Rollouts
from pretilt.forecast.uncertainty import bootstrap


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def ladder_of(pairs: PairDeltas, rollouts: Rollouts | None, w: list[float], **options: float) -> Ladder:
    model = BradleyTerry(pairs)
    nuisance = np.zeros(pairs.nuisance.shape[1])
    given = Preference(np.array(w), nuisance, model.left_out, 1.0, None)
    return Ladder(model, given, from_pairs(pairs) if rollouts is None else from_rollouts(rollouts), rollouts, **options)


@pytest.fixture(scope="module")
def small() -> Ladder:
    """Four pairs, of which the first two are a family; two prompts of two answers, one of which never varies."""
    pairs = PairDeltas.of(np.array([[1.0], [0.0], [-1.0], [1.0]]), np.array([7, 7, 8, 9]))
    rollouts = Rollouts.of(np.array([[0.0], [1.0], [0.0], [0.0]]), np.array(["a", "a", "b", "b"]))
    return ladder_of(pairs, rollouts, [2.0])


def test_a_mean_inside_and_what_it_is_more_than_outside(small: Ladder) -> None:
    cells = Cells(small, [rows(0, 1, 2), rows(3), rows()], [rows(0), rows(1), rows()])
    found = cells.forecast()
    assert found.n_in.tolist() == [3, 1, 0]
    np.testing.assert_allclose(found.shift["mean"].ravel(), [0, 1, np.nan])
    np.testing.assert_allclose(found.contrast["mean"].ravel(), [0 - 1, 1 - 0, np.nan])
    # Sigma_0 = (1/2 + 0) / 2: one prompt of variance 1/2, one of none.
    np.testing.assert_allclose(found.shift["one_step"].ravel(), [0, 0.25, np.nan])
    np.testing.assert_allclose(found.contrast["one_step"].ravel(), [-0.25, 0.25, np.nan])


def test_its_standard_error_counts_families_not_pairs(small: Ladder) -> None:
    found = Cells(small, [rows(0, 1, 2), rows(0, 1)], [rows(), rows()]).mean_sd().ravel()
    # Family 7 is off by 1 + 0, family 8 by -1: 2 / (2 - 1) · (1 + 1) / 3² = 4 / 9.
    assert found[0] == pytest.approx(2 / 3)
    assert np.isnan(found[1])  # one family says nothing of its spread


def test_a_set_of_one_prompt_borrows_ten_elevenths(small: Ladder) -> None:
    found = Cells(small, [rows(0, 1), rows(2)], [rows(0), rows()]).forecast()
    # Prompt a: Sigma w = 1/2 · 2 = 1; prompt b: 0; both: 1/2.
    inside, outside = (1 * 1 + 10 * 0.5) / 11, (1 * 0 + 10 * 0.5) / 11
    assert found.shift["converged"][0, 0] == pytest.approx(inside)
    assert found.contrast["converged"][0, 0] == pytest.approx(inside - outside)
    assert found.shift["converged"][1, 0] == pytest.approx(0.5)  # no rollout of its own: as everywhere
    assert found.contrast["converged"][1, 0] == pytest.approx(0)


@pytest.fixture(scope="module")
def world() -> tuple[Ladder, Ladder]:
    """(with rollouts of varying number that carry a nuisance, few enough to be shrunk; without any)."""
    rng = np.random.default_rng(5)
    u, length = rng.normal(0.3, 1, (120, 6)), rng.normal(0.2, 1, (120, 1))
    pairs = PairDeltas.of(u, np.repeat(np.arange(40), 3), nuisance=length)
    prompt = np.repeat(np.arange(9), [1, 2, 3, 4, 3, 2, 2, 3, 4])
    rollouts = Rollouts.of(rng.normal(size=(24, 6)) + prompt[:, None], prompt, nuisance=rng.normal(size=(24, 1)))
    model = BradleyTerry(pairs)
    given = Preference(rng.normal(size=6), np.array([0.7]), model.left_out, 0.1, None)
    with_rollouts = Ladder(model, given, from_rollouts(rollouts), rollouts, eta=0.5)
    return with_rollouts, Ladder(model, given, from_pairs(pairs), eta=0.5)


def test_the_prompts_parts_make_up_the_forecast_over_all(world: tuple[Ladder, Ladder]) -> None:
    ladder = world[0]
    assert ladder.base.shrinkage > 0
    parts = prompt_products(ladder, ladder.preference.w, ladder.preference.nuisance)
    assert parts.shape == (8, 6)  # the prompt of one answer says nothing of what goes together
    np.testing.assert_allclose(parts.mean(axis=0), ladder.predict().shift["converged"])


@pytest.mark.parametrize("number", [0, 1])
def test_the_set_of_everything_is_the_forecast_over_all(world: tuple[Ladder, Ladder], number: int) -> None:
    ladder = world[number]
    prompts = None if ladder.rollouts is None else [np.arange(9), rows()]
    found = Cells(ladder, [np.arange(120), rows(*range(30))], prompts).forecast()
    for rung, values in ladder.predict().shift.items():
        if rung in found.shift:
            np.testing.assert_allclose(found.shift[rung][0], values, err_msg=rung)
            assert np.isnan(found.contrast[rung][0]).all()  # nothing is outside
    part, rest = 30 / 120 * found.shift["mean"][1], 90 / 120 * (found.shift["mean"][1] - found.contrast["mean"][1])
    np.testing.assert_allclose(part + rest, found.shift["mean"][0])
    if ladder.rollouts is None:
        np.testing.assert_allclose(found.contrast["converged"][1], 0)  # nothing tells the sets apart


def test_many_directions_at_once(world: tuple[Ladder, Ladder]) -> None:
    base = world[0].base
    weight = np.random.default_rng(0).poisson(1, base.n_units).astype(float)
    directions = np.random.default_rng(1).normal(size=(3, 6))
    directions[1, 2] = np.nan
    found = times_each(base, directions, weight)
    np.testing.assert_allclose(found[[0, 2]], [base.times(directions[k], weight) for k in (0, 2)])
    assert np.isnan(found[1]).all()


def test_spread_agrees_with_the_forecast_over_all() -> None:
    """Of everything as a set: drawn as in the global bootstrap, and the mean's closed form with either."""
    rng = np.random.default_rng(3)
    pairs = PairDeltas.of(
        rng.normal(0.2, 1, (300, 3)) + np.repeat(rng.normal(size=(100, 3)), 3, axis=0), np.arange(300) // 3
    )
    rollouts = Rollouts.of(rng.normal(size=(240, 3)), np.arange(240) // 4)
    ladder = ladder_of(pairs, rollouts, [0.5, -0.5, 0.0])
    drawn = bootstrap(ladder, 300, seed=1)
    cells = Cells(ladder, [np.arange(300)], [np.arange(60)])
    for rung in ("one_step", "converged"):
        sd = cells.drawn_sd(rung, drawn["w"], seed=2, draws=300)[0]
        np.testing.assert_allclose(sd, drawn[rung].std(axis=0, ddof=1), rtol=0.2, err_msg=rung)
    np.testing.assert_allclose(cells.mean_sd()[0], drawn["mean"].std(axis=0, ddof=1), rtol=0.15)


def test_sets_must_fit_their_ladder(small: Ladder, world: tuple[Ladder, Ladder]) -> None:
    with pytest.raises(ValueError, match="rollouts"):
        Cells(small, [rows(0)])
    with pytest.raises(ValueError, match="rollouts"):
        Cells(world[1], [rows(0)], [rows(0)])
    with pytest.raises(ValueError, match="its pairs and its prompts"):
        Cells(small, [rows(0), rows(1)], [rows(0)])
