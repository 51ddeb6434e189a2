"""Prompt-conditioned figures: cells by hand, and skill in the context apart from skill in the concept."""

from __future__ import annotations

import numpy as np
import pytest

from pretilt.verify.cells import cell_shifts, judge_cells
from pretilt.verify.observed import Observed

N_SETS, N_CONCEPTS, PER_SET = 8, 30, 40


def observed(shift: np.ndarray, unit: np.ndarray | None = None) -> Observed:
    of = np.arange(len(shift)) if unit is None else unit
    return Observed(np.asarray(shift, float), of, np.arange(len(shift)), 0)


def context_world(seed: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray, Observed, list[np.ndarray]]:
    """(effect everywhere [M], effect of the context [K, M], what was observed, sets of prompts)."""
    rng = np.random.default_rng(seed)
    everywhere = 2 * rng.normal(0, 1, N_CONCEPTS)
    context = 0.5 * rng.normal(0, 1, (N_SETS, N_CONCEPTS))
    of = np.repeat(np.arange(N_SETS), PER_SET)
    shift = everywhere + context[of] + noise * rng.normal(0, 1, (of.size, N_CONCEPTS))
    return everywhere, context, observed(shift), [np.flatnonzero(of == k) for k in range(N_SETS)]


def test_cells_by_hand() -> None:
    y = observed(np.array([[1.0], [3], [5], [11]]))
    members = [np.array([0, 1]), np.array([1, 2, 3]), np.array([], int), np.arange(4)]
    np.testing.assert_allclose(cell_shifts(y, members, "inside").ravel(), [2, 19 / 3, np.nan, 5])
    np.testing.assert_allclose(cell_shifts(y, members, "in-out").ravel(), [2 - 8, 19 / 3 - 1, np.nan, np.nan])
    weight = np.array([2.0, 0, 1, 1])
    np.testing.assert_allclose(cell_shifts(y, members, "inside", weight).ravel(), [1, 8, np.nan, 18 / 4])
    np.testing.assert_allclose(cell_shifts(y, members, "in-out", weight)[1, 0], 8 - 1)
    near = observed(np.array([[1.0], [3], [5], [11]]), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(cell_shifts(near, members[:2], "inside", np.array([1.0, 3])).ravel(), [2, (3 + 48) / 7])


def test_a_forecast_that_knows_no_context_is_found_out() -> None:
    everywhere, context, y, members = context_world(0)
    blind = judge_cells(np.tile(everywhere, (N_SETS, 1)), y, members, "inside")
    assert blind.overall.r2 > 0.85  # looks like skill
    assert blind.between.r2 > 0.95
    assert np.isnan(blind.within.r2)  # and says nothing of where
    assert blind.within.rel_y > 0.9
    assert blind.overall.n == N_SETS * N_CONCEPTS and blind.between.n == N_CONCEPTS
    seeing = judge_cells(everywhere + context, y, members, "inside")
    assert seeing.within.r2 > 0.9
    other = 0.5 * np.random.default_rng(9).normal(0, 1, context.shape)
    wrong = judge_cells(everywhere + other, y, members, "inside")
    assert wrong.overall.r2 > 0.75
    assert abs(wrong.within.r2) < 0.1
    variance = 0.25 / (0.25 + 4)
    assert seeing.share_within == pytest.approx(variance, abs=0.04)


def test_contrasts_must_be_alike() -> None:
    """in - out against the shift inside: nothing, where in - out against in - out shows all."""
    _, context, y, members = context_world(1)
    in_out = context - (context.sum(axis=0) - context) / (N_SETS - 1)
    alike, mixed = (judge_cells(in_out, y, members, contrast) for contrast in ("in-out", "inside"))
    assert alike.overall.r2 > 0.9
    assert mixed.overall.r2 < 0.12


def test_the_ceiling_of_cells_is_what_the_truth_reaches() -> None:
    reached, ceilings = [], []
    for seed in range(12):
        everywhere, context, y, members = context_world(seed, noise=4.0)
        found = judge_cells(everywhere + context, y, members, "inside", splits=10)
        reached.append([found.overall.r2, found.within.r2])
        ceilings.append([found.overall.rel_y, found.within.rel_y])
    np.testing.assert_allclose(np.mean(ceilings, axis=0), np.mean(reached, axis=0), atol=0.05)
    assert np.mean(reached, axis=0)[1] < 0.5 < np.mean(reached, axis=0)[0]


def test_reliability_of_the_forecast_of_cells() -> None:
    everywhere, context, y, members = context_world(3)
    rng = np.random.default_rng(3)
    halves = tuple(everywhere + context + 0.5 * rng.normal(0, 1, (10, N_SETS, N_CONCEPTS)) for _ in range(2))
    forecast = (halves[0] + halves[1]).mean(axis=0) / 2
    found = judge_cells(forecast, y, members, "inside", predicted_halves=(halves[0], halves[1]))
    # halves of variance 1/4 each: the full forecast has 1/8 of noise beside 1/4 of context
    assert found.within.rel_x == pytest.approx(0.25 / (0.25 + 0.125), abs=0.07)
    assert found.between.rel_x > 0.98


def test_sets_of_few_prompts_are_left_out_and_small_ones_do_not_spoil_the_ceiling() -> None:
    everywhere, context, y, members = context_world(4)
    some = [rows[:4] for rows in members] + [members[0][:3]]
    forecast = np.vstack([everywhere + context, np.full(N_CONCEPTS, np.nan)])  # of the last set nothing is asked
    found = judge_cells(forecast, y, some, "inside")
    assert found.is_judged.tolist() == [True] * N_SETS + [False]
    assert 0.3 < found.within.rel_y < 0.95
    assert found.overall.r2 > 0.8
    with pytest.raises(ValueError, match="no set"):
        judge_cells(forecast[:1], y, [members[0][:3]], "inside")
    with pytest.raises(ValueError, match="no set"):
        judge_cells(forecast[:1], y, [np.arange(N_SETS * PER_SET)], "in-out")
    with pytest.raises(ValueError, match="finite"):
        judge_cells(forecast[-1:], y, members[:1], "inside")
