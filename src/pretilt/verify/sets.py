"""The judged sets: what the forecast said of each, what was seen, how well they agree, and how well nulls do.

Sets are judged apart, since their concepts have different units. Every rung of the ladder and every baseline meets the
same observation. Sizes are calibrated by one fitted scalar per unit: a forecast is right up to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pretilt.forecast.baselines import length_slopes, prevalence_only
from pretilt.forecast.uncertainty import Interval, law_error, predictive
from pretilt.stats.agreement import Figure, correlation, signed_square
from pretilt.stats.clustered import RESOLVED, mean_errors
from pretilt.verify.cell_errors import cell_errors, resolving
from pretilt.verify.cells import MIN_PROMPTS, CellJudgement, cell_shifts, judge_cells
from pretilt.verify.inputs import CELL_VIEWS, Cells, Forecast, Seen
from pretilt.verify.judge import FEW_CONCEPTS, Judgement, judge, r2_draws
from pretilt.verify.observed import Observed

LISTED = 10  # hits and misses
SETS = {
    "communities": "feature-conditioned",
    "features": "with single features",
    "shift_max": "response shifts, max",
    "shift_freq": "response shifts, freq",
    "patterns": "patterns of the text",
    "detectors": "detectors",
}


@dataclass(frozen=True)
class Effort:
    """How much resampling, and its seed."""

    draws: int
    permutations: int
    seed: int


@dataclass(frozen=True)
class Calibrated:
    """Predictive intervals of the concepts of one unit; what is fitted comes from the odd units of prompts.

    A forecast claims signs and ratios, so its scale is positive: where the fitted one is not surely so, `void` is True
    and no interval means anything. They would be mirrored, or of noise alone.
    """

    scale: float  # observed ≈ scale · predicted; NaN if everything predicted is 0
    scale_lo: float  # 95 %, units of prompts as the units
    scale_hi: float
    law_error: float  # what is missed beyond all noise, in standard deviations of one answer's score
    interval: Interval  # of the shift on all prompts, noise and the law's error
    inside_noise: np.ndarray  # bool [M], the shift on the even units lies in the interval for these of noise alone
    inside_even: np.ndarray  # bool [M], the same with the law's error

    @property
    def void(self) -> bool:
        return not self.scale_lo > 0

    @property
    def why_void(self) -> str:
        if not np.isfinite(self.scale):
            return "everything that was forecast is 0"
        limits = f"95 %: {self.scale_lo:+.2g} to {self.scale_hi:+.2g}"
        return f"the scale that fits the forecast to what was seen, {self.scale:+.2g} ({limits}), is not surely above 0"


@dataclass(frozen=True)
class Nulls:
    """Forecasts without skill, [M] each; `source` says whose rollouts they come from."""

    length: np.ndarray | None
    prevalence: np.ndarray  # mean score
    source: str


def nulls_of(forecast: Forecast, outcome: Seen) -> Nulls:
    """From the forecast, or, where it was made without rollouts, from those before training: the nulls gain by that."""
    column = forecast.column
    if all(np.isfinite(column[name]).all() for name in ("length_only", "prevalence_only")):
        slopes = column["length_only"] * outcome.length_drift
        return Nulls(slopes, column["prevalence_only"], "forecast")
    try:
        length = length_slopes(outcome.before, outcome.before.nuisance[:, 0]) * outcome.length_drift
    except ValueError:
        length = None  # all responses to a prompt are equally long
    return Nulls(length, prevalence_only(outcome.before), "rollouts before training")


def masks(forecast: Forecast) -> dict[str, np.ndarray]:
    """Which concepts each set holds, bool [M]; detectors where there are any."""
    bank = forecast.bank
    of_detectors = {"detectors": bank.detectors} if bank.detectors.any() else {}
    return {
        "communities": bank.communities,
        "features": bank.feature_view,
        "shift_max": bank.of("max"),
        "shift_freq": bank.of("freq"),
        "patterns": bank.patterns,
        **of_detectors,
    }


def headline_of(masks_by_set: Mapping[str, np.ndarray]) -> str:
    """The communities; where there are too few of them, all concepts of the feature view."""
    return "communities" if masks_by_set["communities"].sum() >= FEW_CONCEPTS else "features"


def calibrate(forecast: Forecast, outcome: Seen) -> dict[str, Calibrated]:
    """For each set the intervals of all M concepts, with that set's scale; single features get the communities'."""
    masks_by_set = masks(forecast)
    masks_by_set["features"] = masks_by_set[headline_of(masks_by_set)]
    return {name: _calibrated(forecast, outcome, keep) for name, keep in masks_by_set.items()}


def _calibrated(forecast: Forecast, outcome: Seen, keep: np.ndarray) -> Calibrated:
    observed, predicted = outcome.observed, forecast.column["shift"]
    odd = observed.unit % 2 == 1
    halves = {name: _some_prompts(observed, rows) for name, rows in (("odd", odd), ("even", ~odd))}
    x, y = predicted[keep], halves["odd"].mean[keep]
    square = float(x @ x)
    scale = float(x @ y) / square if square > 0 else float("nan")
    value = Interval(predicted, forecast.sd)
    sampling = outcome.noise(forecast.column["variance"])
    spread = halves["odd"].se ** 2 * odd.sum()  # variance of one prompt's shift, sampling noise included

    width = 1.96 * _scale_error(halves["odd"], predicted, keep, square)
    factor = scale if np.isfinite(scale) else 0.0

    def on(n_prompts: int, model_sd: float | np.ndarray = 0.0) -> Interval:
        noise = np.maximum(spread, sampling * len(odd)) / n_prompts
        return predictive(value, noise, scale=factor, model_sd=model_sd)

    one_answer = outcome.before.c.std(axis=0)
    variance = on(int(odd.sum())).sd[keep] ** 2
    tau, of_the_others = law_error(y - factor * x, variance, one_answer[keep])
    law = np.full(predicted.size, tau)
    law[keep] = of_the_others  # no interval is widened by the miss that it is held against
    even_mean, n_even = halves["even"].mean, int((~odd).sum())
    return Calibrated(
        scale,
        scale - width,
        scale + width,
        tau,
        on(len(odd), law * one_answer),
        _inside(even_mean, on(n_even)),
        _inside(even_mean, on(n_even, law * one_answer)),
    )


def _scale_error(observed: Observed, predicted: np.ndarray, keep: np.ndarray, square: float) -> float:
    """Standard error of the fitted scale, near-duplicate prompts as one unit; NaN for fewer than two units."""
    if not square > 0:
        return float("nan")
    by_prompt = observed.shift[:, keep] @ predicted[keep] / square  # the scale is their mean
    return float(mean_errors(by_prompt[:, None], observed.unit)[0])


def _inside(value: np.ndarray, interval: Interval) -> np.ndarray:
    return np.asarray((value >= interval.lo) & (value <= interval.hi))


def _some_prompts(observed: Observed, rows: np.ndarray) -> Observed:
    unit = np.unique(observed.unit[rows], return_inverse=True)[1].astype(np.int64)
    return replace(observed, shift=observed.shift[rows], unit=unit, prompt_ids=observed.prompt_ids[rows])


def judge_set(
    name: str, keep: np.ndarray, forecast: Forecast, outcome: Seen, nulls: Nulls, calibrated: Calibrated, effort: Effort
) -> dict[str, Any]:
    """Everything that is said of one set, JSON-able once NaN are null; `judgement` is None for too few concepts."""
    report: dict[str, Any] = {"label": SETS[name], "concepts": int(keep.sum()), "judgement": None, "table": []}
    if keep.sum() < FEW_CONCEPTS:
        return report
    observed = replace(outcome.observed, shift=outcome.observed.shift[:, keep])
    column = {rung: forecast.column[rung][keep] for rung in forecast.rungs(keep)}
    baselines = {"zero": np.zeros(int(keep.sum())), "prevalence": nulls.prevalence[keep]}
    if nulls.length is not None:
        baselines["length"] = nulls.length[keep]
    shuffled = forecast.column["shuffled"][keep]
    if np.isfinite(shuffled).all():
        baselines["shuffled"] = shuffled
    options: dict[str, Any] = asdict(effort)
    halves = None if forecast.halves is None else (forecast.halves[0][:, keep], forecast.halves[1][:, keep])
    spread = outcome.before.c[:, keep].std(axis=0)
    within = predictive_part(calibrated.interval, keep)
    declared_judgement = judge(
        forecast.column["shift"][keep],
        observed,
        nulls={k: v for k, v in baselines.items() if k in ("length", "prevalence")},
        prevalence=nulls.prevalence[keep],
        spread=spread,
        intervals={} if calibrated.void else {"predictive": within},
        predicted_halves=halves,
        **options,
    )
    for kind, columns in (("rung", column), ("baseline", baselines)):
        for what, vector in columns.items():
            declared = kind == "rung" and what == forecast.rung
            judgement = declared_judgement if declared else judge(vector, observed, **options)
            report["table"].append({"name": what, "kind": kind, "declared": declared, **_row(judgement)})
    report["judgement"] = _judgement(declared_judgement)
    report["scale"], report["scale_lo"], report["scale_hi"] = calibrated.scale, calibrated.scale_lo, calibrated.scale_hi
    report["law_error"] = calibrated.law_error
    report["intervals_void"] = calibrated.why_void if calibrated.void else None
    shares = {"noise_alone": calibrated.inside_noise[keep].mean(), "even_prompts": calibrated.inside_even[keep].mean()}
    report["coverage"] = {
        "confidence": within.confidence,
        **{name: None if calibrated.void else float(share) for name, share in shares.items()},
        "all_prompts": declared_judgement.coverage.get("predictive"),
    }
    if "shuffled" in baselines:
        report["against_shuffled"] = _difference(forecast.column["shift"][keep], shuffled, observed, effort)
    if forecast.shuffled is not None:
        report["labels"] = label_null(forecast.column["shift"][keep], forecast.shuffled[:, keep], observed.mean)
    return report


def predictive_part(interval: Interval, keep: np.ndarray) -> Interval:
    return Interval(interval.value[keep], interval.sd[keep], interval.confidence)


def _difference(predicted: np.ndarray, other: np.ndarray, observed: Observed, effort: Effort) -> dict[str, float]:
    """Signed R² of the forecast minus that of another one, 95 % over redrawn units of prompts, forecasts as sealed."""
    a, b = (r2_draws(np.broadcast_to(x, (effort.draws, x.size)), observed, effort.seed) for x in (predicted, other))
    gap = (a - b)[np.isfinite(a - b)]
    if not gap.size:
        return {"lo": float("nan"), "median": float("nan"), "hi": float("nan")}
    return dict(zip(("lo", "median", "hi"), map(float, np.quantile(gap, (0.025, 0.5, 0.975))), strict=True))


def label_null(predicted: np.ndarray, shuffled: np.ndarray, shifts: np.ndarray) -> dict[str, Any]:
    """p and 95 % quantile of the R² that the same pairs reach with labels shuffled by family, [draws, M].

    Exact for labels without meaning, however the concepts hang together: the true labels are then one more shuffle.
    Permuting concepts, as `judge` does, takes them for independent. Neither knows of an outcome that drifts by itself
    to where the labels point: for that there is training on shuffled labels.
    """
    actual = signed_square(correlation(predicted, shifts))
    null = np.array([signed_square(correlation(null_forecast, shifts)) for null_forecast in shuffled])
    null = np.where(np.isfinite(null), null, 0.0)  # a forecast of nothing at all
    p = (1 + np.count_nonzero(null >= actual - 1e-12)) / (1 + len(null)) if np.isfinite(actual) else float("nan")
    return {"p": p, "r2_95": float(np.quantile(null, 0.95)), "draws": len(null)}


def figure(value: Figure | None) -> dict[str, Any] | None:
    """A figure with what follows from it."""
    return None if value is None else {**asdict(value), "reachable": value.reachable, "of_ceiling": value.of_ceiling}


def _row(judgement: Judgement) -> dict[str, Any]:
    names = ("spearman", "sign_accuracy", "n_resolved", "slope", "slope_lo", "slope_hi", "permutation_p")
    return {**(figure(judgement.overall) or {}), **{name: getattr(judgement, name) for name in names}}


def _judgement(judgement: Judgement) -> dict[str, Any]:
    figures = {name: getattr(judgement, name) for name in Judgement.__dataclass_fields__}
    for name in ("overall", "without_top", "beyond_nulls", "standardised", "per_prevalence"):
        figures[name] = figure(figures[name])
    figures["nulls"] = {name: figure(null) for name, null in judgement.nulls.items()}
    return figures


# --- sets of prompts ------------------------------------------------------------------------------------------------


def judge_view(cells: Cells, members: Mapping[int, np.ndarray], forecast: Forecast, outcome: Seen, seed: int) -> Any:
    """One view's sets of prompts: in - out, the headline, and inside; only the concepts that the view is judged on."""
    kind_of_view = CELL_VIEWS[cells.view]
    of_kind = np.array([forecast.bank.kind[m] == kind_of_view for m in cells.concept], bool)
    observed = replace(outcome.observed, shift=outcome.observed.shift[:, cells.concept[of_kind]])
    report: dict[str, Any] = {
        "sets": int(cells.where.size),
        "concepts": int(of_kind.sum()),
        "min_prompts": MIN_PROMPTS,
        "inside_by_rung": {},
    }
    contrasts = {"in-out": ["contrast"], "inside": ["shift", *forecast_rungs(cells, of_kind)]}
    for contrast, names in contrasts.items():
        for name in names:
            predicted = cells.column[name][:, of_kind]
            has_forecast = np.isfinite(predicted).all(axis=1)
            rows = _members(cells, members, has_forecast)
            try:
                judgement = judge_cells(predicted, observed, rows, contrast, seed=seed)  # type: ignore[arg-type]
            except ValueError:  # no set has enough prompts and a forecast
                judgement = None
            figures = None
            if judgement is not None:
                figures = {**_cell_figures(judgement), "without_forecast": int((~has_forecast).sum())}
            if name in ("contrast", "shift"):
                report[contrast.replace("-", "_")] = figures
            else:
                report["inside_by_rung"][name] = figures
    return report


def forecast_rungs(cells: Cells, of_kind: np.ndarray) -> list[str]:
    """Rungs that some set has whole."""
    return [
        rung
        for rung in ("mean", "one_step", "converged", "tilt")
        if of_kind.any() and np.isfinite(cells.column[rung][:, of_kind]).all(axis=1).any()
    ]


def _members(cells: Cells, members: Mapping[int, np.ndarray], has_forecast: np.ndarray) -> list[np.ndarray]:
    """Rows of every set; none for a set without a forecast, which then counts as too small."""
    none = np.zeros(0, np.int64)
    return [members.get(int(w), none) if ok else none for w, ok in zip(cells.where, has_forecast, strict=True)]


def _cell_figures(judgement: CellJudgement) -> dict[str, Any]:
    parts = {name: figure(getattr(judgement, name)) for name in ("overall", "between", "within")}
    return {**parts, "share_within": judgement.share_within, "judged_sets": int(judgement.is_judged.sum())}


@dataclass(frozen=True)
class CellRows:
    """In - out of every set, judged or not, [K, M']; more than `resolving` standard errors count as seen."""

    observed: np.ndarray
    se: np.ndarray  # NaN where a side has fewer than two units of prompts
    resolving: np.ndarray  # [K]
    n_prompts: np.ndarray  # int64 [K], evaluation prompts of the set


def cell_rows(cells: Cells, members: Mapping[int, np.ndarray], outcome: Seen) -> CellRows:
    """What was seen in every set, judged or not."""
    observed = replace(outcome.observed, shift=outcome.observed.shift[:, cells.concept])
    rows = _members(cells, members, np.ones(cells.where.size, bool))
    se, freedom = cell_errors(observed, rows)
    n_prompts = np.array([r.size for r in rows], np.int64)
    return CellRows(cell_shifts(observed, rows, "in-out"), se, resolving(freedom), n_prompts)


# --- hits and misses --------------------------------------------------------------------------------------------------


def hits_and_misses(
    keep: np.ndarray, forecast: Forecast, outcome: Seen, calibrated: Calibrated
) -> dict[str, list[dict[str, Any]]]:
    """The concepts of a set that speak most for and most against the forecast, LISTED of each at most.

    A hit moved visibly, in the direction and within the interval that was forecast; the largest first. A miss moved
    visibly in the other direction, or lies outside of its interval; by how many predictive standard deviations.
    Neither is listed where the intervals are void.
    """
    if calibrated.void:
        return {"hits": [], "misses": []}
    y, se, predicted = outcome.observed.mean, outcome.observed.se, forecast.column["shift"]
    predictive = calibrated.interval
    resolved = np.abs(y) > RESOLVED * se
    inside, right = (y >= predictive.lo) & (y <= predictive.hi), np.sign(predicted) == np.sign(y)
    off = np.abs(y - predictive.value) / np.where(predictive.sd > 0, predictive.sd, np.inf)
    lists = {
        "hits": (keep & resolved & inside & right, np.abs(y)),
        "misses": (keep & ((resolved & ~right) | ~inside), off),
    }
    listed: dict[str, list[dict[str, Any]]] = {}
    for name, (qualifies, size) in lists.items():
        order = np.flatnonzero(qualifies)[np.argsort(-size[qualifies], kind="stable")][:LISTED]
        listed[name] = [
            {
                "concept_id": int(forecast.bank.concept_ids[m]),
                "predicted": float(predicted[m]),
                "expected": float(predictive.value[m]),
                "lo": float(predictive.lo[m]),
                "hi": float(predictive.hi[m]),
                "observed": float(y[m]),
                "se": float(se[m]),
                "off_by_sd": float(off[m]),
                "inside": bool(inside[m]),
                "sign_right": bool(right[m]) if resolved[m] else None,
            }
            for m in order
        ]
    return listed
