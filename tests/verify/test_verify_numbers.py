"""A verification worked by hand: noise, scale, intervals, errors of sets, hits, verdicts, the rules of the doctor."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pretilt.audit import checks
from pretilt.forecast.inputs import Bank
from pretilt.forecast.samples import Rollouts
from pretilt.forecast.uncertainty import law_error
from pretilt.verify.cell_errors import cell_errors, resolving
from pretilt.verify.cells import cell_shifts
from pretilt.verify.inputs import Forecast, Seen
from pretilt.verify.judge import _permutation
from pretilt.verify.observed import Observed, realised
from pretilt.verify.sets import calibrate, hits_and_misses, label_null
from pretilt.verify.verdict import short, statements, verdict


def seen_of(before: list[list[float]], after: list[list[float]]) -> Seen:
    """One concept, a row of scores per prompt; every prompt a family of its own."""

    def rollouts(rows: list[list[float]]) -> Rollouts:
        prompt = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        c = np.concatenate(rows)[:, None]
        return Rollouts.of(c, prompt, nuisance=np.zeros(len(c)))

    b, a = rollouts(before), rollouts(after)
    return Seen(b, a, realised(b, a), 0.0, [])


def test_noise_of_sampling_by_hand() -> None:
    # Variance of one answer is 0.5 (answers 0 and 1); two prompts, two answers before, one after.
    seen = seen_of([[0, 1], [0, 1]], [[1], [0]])
    # (0.5 / 2 + 0.5 / 1) / 2 prompts
    np.testing.assert_allclose(seen.noise(np.array([math.nan])), [0.375])
    np.testing.assert_allclose(seen.noise(np.array([1.0])), [0.75])  # the forecast's own variance goes first


def forecast_of(shift: list[float], sd: float = 0.0) -> Forecast:
    x = np.array(shift)
    column = dict.fromkeys(("shift", "mean"), x)
    column |= {"shift_lo": x - 1.959963984540054 * sd, "shift_hi": x + 1.959963984540054 * sd}
    column["variance"] = np.zeros(x.size)
    bank = Bank(np.arange(x.size, dtype=np.int32), ["community"] * x.size)
    return Forecast({"rung": "mean", "form": "presence"}, pa.table({}), bank, column, None)


def observed_of(shift: list[list[float]], unit: list[int] | None = None) -> Observed:
    values = np.array(shift, float)
    return Observed(values, np.array(unit or range(len(values))), np.arange(len(values)), 0)


def seen_shift(observed: Observed) -> Seen:
    zero = Rollouts.of(np.zeros_like(observed.shift), np.arange(len(observed.shift)))
    return Seen(zero, zero, observed, 0.0, [])


def test_the_scale_comes_from_the_odd_prompts_and_the_coverage_from_the_even_ones() -> None:
    # Odd prompts (1, 3) shift by twice what was said, without any noise; the even ones (0, 2) by 0 for concept 2.
    observed = observed_of([[2, 4, 0], [2, 4, 6], [2, 4, 0], [2, 4, 6]])
    one = calibrate(forecast_of([1, 2, 3]), seen_shift(observed))["communities"]
    assert one.scale == 2.0
    np.testing.assert_allclose(one.interval.value, [2, 4, 6])
    assert one.inside_even.tolist() == [True, True, False]
    assert not one.void and (one.scale_lo, one.scale_hi) == (2.0, 2.0)  # the odd prompts agree to the last digit
    wide = calibrate(forecast_of([1, 2, 3], sd=2.0), seen_shift(observed))["communities"]
    np.testing.assert_allclose(wide.interval.sd, 4.0)  # scale times the forecast's own
    assert wide.inside_even.all()


def test_intervals_hold_what_they_claim() -> None:
    """400 concepts, 200 prompts of unit noise: about 95 % of what is seen on the even prompts lies inside."""
    rng = np.random.default_rng(3)
    said = rng.normal(0, 1, 400)
    observed = observed_of((0.5 * said + rng.normal(0, 1, (200, 400))).tolist())
    sound = calibrate(forecast_of(said.tolist()), seen_shift(observed))["communities"]
    assert 0.90 < sound.inside_even.mean() < 0.98
    wrong = calibrate(forecast_of(rng.permutation(said).tolist()), seen_shift(observed))["communities"]
    assert wrong.inside_even.mean() < 0.6


def test_intervals_hold_what_the_law_misses_and_are_no_wider_where_it_misses_nothing() -> None:
    """300 concepts, 200 prompts of unit noise; every concept goes its own way by 0.3 of its answers' spread."""
    rng = np.random.default_rng(4)
    said, spread = rng.normal(0, 1, 300), rng.uniform(0.5, 2.0, 300)
    answers = Rollouts.of(rng.normal(0, spread, (400, 300)), np.arange(400))
    noise, own = rng.normal(0, 1, (200, 300)), rng.normal(0, 0.3 * spread)
    for law, expected in ((0.5 * said + own, 0.3), (0.5 * said, 0.0)):
        seen = Seen(answers, answers, observed_of((law + noise).tolist()), 0.0, [])
        one = calibrate(forecast_of(said.tolist()), seen)["communities"]
        assert one.law_error == pytest.approx(expected, abs=0.04)
        assert 0.90 < one.inside_even.mean() < 0.98
        assert (one.inside_noise.mean() < 0.6) == (expected > 0)


def test_no_interval_is_widened_by_its_own_miss() -> None:
    # Two concepts as they should be, the third far off: its own interval knows of no misses, the others' do.
    best, others = law_error(np.array([0.0, 0.0, 5.0]), np.full(3, 0.01), np.ones(3))
    assert best > 1
    assert others[2] == 0
    assert (others[:2] > 1).all()
    # Likeliest tau by hand: two misses of ±3 and no noise, tau² = 9.
    both, _ = law_error(np.array([3.0, -3.0]), np.full(2, 1e-12), np.ones(2))
    assert both == pytest.approx(3.0, rel=0.03)
    assert law_error(np.array([1.0]), np.array([1.0]), np.zeros(1)) == (0.0, np.zeros(1))


def test_errors_of_in_minus_out_by_hand() -> None:
    members = [np.array([0, 1]), np.arange(4), np.array([], int), np.array([0]), np.array([0, 1, 2])]
    alone, freedom = cell_errors(observed_of([[1], [3], [0], [2]]), members)
    # parts ∓½ inside and ∓½ outside: each side ½ · 2 / 1, as the means of two numbers with variance 2 have
    assert alone[0, 0] == pytest.approx(math.sqrt(1 + 1))
    assert freedom[0] == 1
    assert np.isnan(alone[1:]).all() and np.isnan(freedom[1:]).all()  # a side without a second prompt
    # prompts 1 (inside) and 2 (outside) are one unit: parts −½, ½ + ½, −½, squares times 2 / 1
    together, _ = cell_errors(observed_of([[1], [3], [0], [2]], [0, 1, 1, 2]), members[:1])
    assert together[0, 0] == pytest.approx(math.sqrt(1.5 * 2))
    # Two near-duplicates are one unit, which says nothing of its own spread.
    twins, _ = cell_errors(observed_of([[1], [3], [0], [2]], [0, 0, 1, 2]), members[:1])
    assert np.isnan(twins).all()


def test_errors_of_a_small_set_against_a_large_rest_by_hand() -> None:
    # inside 0 and 6 (variance 18, of the mean 9); outside 1, 2, 3, 4 (variance 5/3, of the mean 5/12)
    se, freedom = cell_errors(observed_of([[0], [6], [1], [2], [3], [4]]), [np.array([0, 1])])
    assert se[0, 0] == pytest.approx(math.sqrt(9 + 5 / 12))
    assert freedom[0] == 1
    # Tables of Student's t: 4.55 % two-sided are 13.97 at 1 degree of freedom, 4.53 at 2, 2.00 at infinitely many.
    assert resolving(np.array([1.0, 2.0, 1e9])) == pytest.approx([13.97, 4.53, 2.0], abs=0.005)


def test_where_nothing_moved_few_sets_count_as_seen_however_small() -> None:
    """Sets of 1, 2, 3, 4 and 8 of 60 prompts, 20,000 concepts of noise: 4.6 % by chance at most, none of one prompt."""
    rng = np.random.default_rng(5)
    observed = Observed(rng.normal(0, 1, (60, 20_000)), np.arange(60), np.arange(60), 0)
    members = [np.arange(n) for n in (1, 2, 3, 4, 8)]
    se, freedom = cell_errors(observed, members)
    resolved = np.abs(cell_shifts(observed, members, "in-out")) > resolving(freedom)[:, None] * se
    shares = resolved.mean(axis=1)
    assert shares[0] == 0
    assert (shares < 0.05).all() and (shares[3:] > 0.02).all(), shares


@pytest.mark.parametrize(
    ("shifts", "scale", "lo"),
    [
        ([-2.0, -2.0], -2.0, -2.0),  # the wrong way round: every "hit" had the opposite sign of what was forecast
        ([0.0, 0.0], 0.0, 0.0),
        # two prompts, 3 and −1 times what was said: mean 1, its error sqrt(2 · (4 + 4)) / 2 = 2
        ([3.0, -1.0], 1.0, 1.0 - 1.96 * 2),
    ],
)
def test_a_scale_that_is_not_surely_positive_voids_hits_and_intervals(
    shifts: list[float], scale: float, lo: float
) -> None:
    said = np.array([1.0, 2.0, 3.0])
    odd = iter(shifts)
    rows = [(said * next(odd) if i % 2 else said * 0.0).tolist() for i in range(4)]
    forecast, seen = forecast_of(said.tolist()), seen_shift(observed_of(rows))
    one = calibrate(forecast, seen)["communities"]
    assert (one.scale, one.scale_lo) == (pytest.approx(scale), pytest.approx(lo)) and one.void
    assert "is not surely above 0" in one.why_void
    assert hits_and_misses(np.ones(3, bool), forecast, seen, one) == {"hits": [], "misses": []}


def test_hits_and_misses_by_hand() -> None:
    keep = np.ones(4, bool)
    # Said +1 each; seen +1, +0.2 (within noise), −1, and far too much.
    rows = [[1.0, 0.2, -1.0, 9.0], [1.0, -0.1, -1.0, 9.0], [1.0, 0.1, -1.0, 9.1], [1.1, -0.2, -1.1, 9.0]]
    forecast, seen = forecast_of([1, 1, 1, 1], sd=0.2), seen_shift(observed_of(rows))
    calibrated = calibrate(forecast, seen)["communities"]
    fixed = replace(
        calibrated, scale_lo=0.5, interval=replace(calibrated.interval, value=np.ones(4), sd=np.full(4, 0.6))
    )
    found = hits_and_misses(keep, forecast, seen, fixed)
    assert [one["concept_id"] for one in found["hits"]] == [0]
    assert [(one["concept_id"], one["sign_right"]) for one in found["misses"]] == [(3, True), (2, False)]
    assert found["misses"][1]["off_by_sd"] == pytest.approx(2.025 / 0.6)


@pytest.mark.parametrize(
    ("value", "text"), [(0.832, ".83"), (-0.02, "−.02"), (1.0, "1.00"), (-0.001, ".00"), (None, "?"), (math.nan, "?")]
)
def test_figures_in_short(value: float | None, text: str) -> None:
    assert short(value) == text


def test_shuffled_labels_by_hand() -> None:
    said, seen = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])  # R² 1
    shuffled = np.array([[10.0, 20, 30], [3.0, 2, 1], [0.0, 0, 0]])  # R² 1, −1, and a forecast of nothing
    found = label_null(said, shuffled, seen)
    assert found == {"p": pytest.approx(2 / 4), "r2_95": pytest.approx(0.9), "draws": 3}
    assert math.isnan(label_null(np.zeros(3), shuffled, seen)["p"])


def test_concepts_that_move_together_fool_a_permutation_of_concepts_and_no_shuffle_of_labels() -> None:
    """40 concepts follow two factors. A forecast that has nothing to do with the outcome is no better than chance."""
    rng = np.random.default_rng(3)
    of_labels, of_concepts = [], []
    for _ in range(300):
        loadings = rng.normal(0, 1, (2, 40))
        said, seen, shuffled = (rng.normal(0, 1, (n, 2)) @ loadings for n in (1, 1, 39))
        of_labels.append(label_null(said[0], shuffled, seen[0])["p"])
        of_concepts.append(_permutation(said[0], seen[0], 99, 0)[0])
    assert np.mean(np.array(of_labels) <= 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(np.array(of_concepts) <= 0.05) > 0.3


def judged(r2: float, rel_y: float, p: float = 0.001, *, length: float = 0.0, beyond: float | None = None) -> Any:
    beyond_nulls = {"r2": r2 if beyond is None else beyond, "rel_y": rel_y}
    found = {"overall": {"r2": r2, "rel_y": rel_y}, "permutation_p": p, "beyond_nulls": beyond_nulls}
    table = [{"kind": "rung", "name": "mean", "r2": r2}, {"kind": "baseline", "name": "length", "r2": length}]
    return {"label": "feature-conditioned", "concepts": 214, "judgement": found, "table": table}


@pytest.mark.parametrize(
    ("told", "name", "says"),
    [
        (judged(0.83, 0.91), "came true",
         "true: R² .83 of a possible .91 (feature-conditioned, 214 concepts, 300 prompts × 4)"),
        (judged(0.45, 0.91), "came partly true", ".45"),
        (judged(0.22, 0.91), "failed", "better than chance"),
        (judged(0.30, 0.91, p=0.06), "failed", "no better than chance (p 0.06)"),
        (judged(-0.60, 0.91, p=1.0), "failed", "R² −.60"),
        (judged(math.nan, 0.91, p=math.nan), "failed", "the same of every concept"),
        (judged(0.05, 0.12, p=0.2), "nothing can be said", "hardly moved"),
        (judged(0.10, 0.49), "nothing can be said", "agrees with the forecast (R² .10"),
        (judged(0.80, math.nan), "nothing can be said", "rel_y ?"),
        (judged(0.83, 0.91, length=0.9), "came partly true", "length alone has .90"),
        (judged(0.83, 0.91) | {"labels": {"p": 0.2}}, "failed", "no better than chance (p 0.2)"),
        (judged(0.83, 0.91, beyond=0.1), "came partly true", ".10 of a possible .91"),
        ({"label": "x", "concepts": 2, "judgement": None, "table": []}, "nothing can be said", "too few concepts"),
    ],
)  # fmt: skip
def test_the_verdict(told: Any, name: str, says: str) -> None:
    found = verdict(told, 300, 4.0)
    assert found["name"] == name
    assert says in found["sentence"]


@pytest.mark.parametrize("rel_y", [0.91, 0.49, math.nan])
def test_no_claim_holds_that_could_not_have_failed(rel_y: float) -> None:
    """Two concepts, both right and both seen: each claim holds under a high ceiling, none is tested under a low one."""
    told = judged(0.40, rel_y) | {"coverage": {"noise_alone": 1.0}, "labels": {"p": 0.01, "r2_95": 0.1, "draws": 99}}
    told["judgement"]["nulls"] = {"length": {"r2": 0.1}}
    cells = {"group": {"in_out": {"within": {"r2": 0.5, "rel_y": 0.8}}}}
    shift = np.array([1.0, -1.0])
    claims = statements(told, cells, shift, np.full(2, 0.1), shift, np.full(2, 0.1))
    assert len(claims) == 8
    assert {claim["held"] for claim in claims} == ({True} if rel_y == 0.91 else {None})


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (checks.moved(0.5, 0.3), "green"), (checks.moved(0.49, 0.3), "amber"), (checks.moved(0.19, 0.0), "red"),
        (checks.moved(math.nan, 0.0), "red"), (checks.zero_step(0.10, 10), "green"),
        (checks.zero_step(0.2, 10), "amber"), (checks.zero_step(0.21, 10), "red"),
        (checks.shuffled_training(0.051), "green"),
        (checks.shuffled_training(0.05), "amber"), (checks.shuffled_training(0.01), "red"),
        (checks.shuffled_training(math.nan), "red"), (checks.rollout_index_space(0.51), "green"),
        (checks.rollout_index_space(0.5), "amber"), (checks.rollout_index_space(0.1), "red"),
    ],
)  # fmt: skip
def test_the_rules_of_the_four_checks(check: checks.Check, verdict: str) -> None:
    assert check.verdict == verdict
    assert bool(check.what_to_do) == (verdict != "green")
