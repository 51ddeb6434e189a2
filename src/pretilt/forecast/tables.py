"""The forecast of one family of concepts as columns: over all pairs, and on every set of prompts that the audit has.

Communities with features, and each kind of response-shift concepts, are three families: every one has a reward model
of its own, since a fit of all together would share one label's credit among three descriptions of the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.forecast.answers import Answers, answer
from pretilt.forecast.baselines import length_slopes, prevalence_only, shuffled_labels
from pretilt.forecast.conditioned import RUNGS as CELL_RUNGS
from pretilt.forecast.conditioned import Cells
from pretilt.forecast.covariance import from_pairs, from_rollouts
from pretilt.forecast.ladder import RUNGS, TRUSTED_ESS, Ladder, Rung
from pretilt.forecast.preference import BradleyTerry, fit_preference
from pretilt.forecast.samples import PairDeltas, Rollouts
from pretilt.forecast.uncertainty import Interval, half_forecasts
from pretilt.schema import FORECAST, FORECAST_HALVES, FORECAST_SHUFFLED
from pretilt.stats.agreement import correlation

SHUFFLES = 99  # an outcome that none of them meets as well has p = 1 / 100
MAX_DRAWN_CELLS = 20_000  # sets x concepts of a view; above, only the mean has an interval
MAX_CELLS = 1_000_000  # of the groups; above, communities alone are forecast in them
_COLUMNS = [field.name for field in FORECAST if field.type == pa.float64()]
_FLAGS = ("needs_sft", "unclear")


@dataclass(frozen=True)
class Scope:
    """What is computed, whatever the family."""

    rung: Rung
    eta: float
    draws: int
    seed: int

    @property
    def cells_rung(self) -> Rung:
        """The rung of sets of prompts: the declared one where it can be conditioned, else the mean."""
        return self.rung if self.rung in CELL_RUNGS else "mean"


class Family:
    """One family's reward model, ladder and answers. `concept_ids` int32 [M]."""

    def __init__(
        self,
        scope: Scope,
        concept_ids: np.ndarray,
        pairs: PairDeltas,
        rollouts: Rollouts | None,
        progress: Callable[[], None],
    ) -> None:
        self.scope, self.concept_ids, self.pairs, self.rollouts = scope, concept_ids, pairs, rollouts
        self.base = from_pairs(pairs) if rollouts is None else from_rollouts(rollouts)
        self.ladder = self._ladder(pairs, None)
        progress()
        self.answers: Answers = answer(self.ladder, scope.rung, draws=scope.draws, seed=scope.seed)
        progress()
        self.halves = half_forecasts(self.ladder, seed=scope.seed)[scope.rung]
        progress()
        self.shuffled = np.stack([self._shuffled(draw) for draw in range(SHUFFLES)])
        progress()

    def _shuffled(self, draw: int) -> np.ndarray:
        """The same pairs and the same ridge: what is left is what chance makes of labels that say nothing, [M]."""
        seed = self.scope.seed if draw == 0 else (self.scope.seed, draw)
        ladder = self._ladder(shuffled_labels(self.pairs, seed), self.ladder.preference.ridge)
        return ladder.predict().shift[self.scope.rung]

    def _ladder(self, pairs: PairDeltas, ridge: float | None) -> Ladder:
        model, scope = BradleyTerry(pairs), self.scope
        chosen = fit_preference(model, seed=scope.seed) if ridge is None else fit_preference(model, [ridge])
        return Ladder(model, chosen, self.base, self.rollouts, eta=scope.eta)

    def columns(self) -> dict[str, Any]:
        """The global rows."""
        answers, m = self.answers, self.concept_ids.size
        columns: dict[str, Any] = {name: np.full(m, np.nan) for name in _COLUMNS}
        columns |= {rung: answers.ladder[rung].value for rung in self.ladder.rungs}
        columns |= _interval("shift", answers.will_move) | _interval("rewarded", answers.is_rewarded)
        columns |= {"shuffled": self.shuffled[0], "level": self.pairs.level}
        columns |= dict.fromkeys(_FLAGS)
        if self.rollouts is not None and answers.can_be_expressed is not None:
            expressed = answers.can_be_expressed
            columns |= {"prevalence": expressed.prevalence, "prevalence_upper": expressed.upper}
            columns |= {name: getattr(expressed, name) for name in _FLAGS}
            columns |= {"variance": self.base.variances(), "prevalence_only": prevalence_only(self.rollouts)}
            columns["length_only"] = _length_slopes(self.rollouts)
        columns |= {"where": np.full(m, -1, np.int32), "concept_id": self.concept_ids}
        columns["n_in"] = np.full(m, len(self.pairs.u), np.int64)
        return columns

    def halves_table(self) -> pa.Table:
        """Schema FORECAST_HALVES, by split, half, concept."""
        values = np.stack(self.halves, axis=1)  # [splits, 2, M]
        split, half, concept = (place.ravel() for place in np.indices(values.shape))
        columns = {"split": split, "half": half, "concept_id": self.concept_ids[concept], "value": values.ravel()}
        return pa.table({f.name: pa.array(columns[f.name]).cast(f.type) for f in FORECAST_HALVES})

    def shuffled_table(self) -> pa.Table:
        """Schema FORECAST_SHUFFLED, by draw and concept."""
        draw, concept = (place.ravel() for place in np.indices(self.shuffled.shape))
        columns = {"draw": draw, "concept_id": self.concept_ids[concept], "value": self.shuffled.ravel()}
        return pa.table({f.name: pa.array(columns[f.name]).cast(f.type) for f in FORECAST_SHUFFLED})

    def cells(
        self,
        where: Sequence[int],
        pair_sets: Sequence[np.ndarray],
        prompt_sets: Sequence[np.ndarray] | None,
        keep: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """The rows of a view's sets, by set and concept; `keep` bool [M]: of these concepts only."""
        keeps = np.ones(self.concept_ids.size, bool) if keep is None else keep
        scope, cells = self.scope, Cells(self.ladder, pair_sets, prompt_sets)
        rung, conditioned = scope.cells_rung, cells.forecast()
        shape = len(where), int(keeps.sum())
        sd = np.full((len(where), keeps.size), np.nan)
        if rung == "mean":
            sd = cells.mean_sd()
        elif sd.size <= MAX_DRAWN_CELLS and len(where):
            sd = cells.drawn_sd(rung, self.answers.draws["w"], scope.seed, scope.draws)
        columns: dict[str, Any] = {name: np.full(shape, np.nan) for name in _COLUMNS}
        columns |= {name: values[:, keeps] for name, values in conditioned.shift.items()}
        columns |= _interval("shift", Interval(conditioned.shift[rung][:, keeps], sd[:, keeps]))
        columns["contrast"] = conditioned.contrast[rung][:, keeps]
        columns = {name: values.ravel() for name, values in columns.items()}
        columns |= dict.fromkeys(_FLAGS)
        columns["where"] = np.repeat(np.asarray(where, np.int32), shape[1])
        columns["concept_id"] = np.tile(self.concept_ids[keeps], shape[0])
        columns["n_in"] = np.repeat(conditioned.n_in, shape[1])
        return columns

    def report(self) -> dict[str, Any]:
        """JSON-able figures; None where undefined."""
        answers, chosen = self.answers, self.ladder.preference
        shift, mean = answers.will_move, answers.ladder["mean"].value
        held, expression = chosen.heldout, answers.can_be_expressed
        nulls: dict[str, np.ndarray] = {"shuffled": self.shuffled[0]}
        if self.rollouts is not None:
            nulls |= {"length": _length_slopes(self.rollouts), "prevalence": prevalence_only(self.rollouts)}
        figures = {
            "concepts": int(self.concept_ids.size),
            "auc_heldout": None if held is None else float(held.auc[held.best]),
            "accuracy_heldout": None if held is None else float(held.accuracy[held.best]),
            "ridge": chosen.ridge,
            "ridge_at_edge": chosen.ridge_at_edge,
            "length_coefficient": float(chosen.nuisance[0]),
            "shrinkage": self.base.shrinkage,
            "ess_trusted": None if answers.ess_share is None else float(np.mean(answers.ess_share >= TRUSTED_ESS)),
            "signs_known": int(shift.sign_known.sum()),
            "needs_sft": None if expression is None else int(expression.needs_sft.sum()),
            "unclear": None if expression is None else int(expression.unclear.sum()),
            "ladder_agreement": {
                rung: _r(mean, answers.ladder[rung].value) for rung in RUNGS if rung in answers.ladder
            },
            "null_agreement": {name: _r(shift.value, values) for name, values in nulls.items()},
        }
        return {name: _known(value) for name, value in figures.items()}


def forecast_table(view: str, columns: dict[str, Any]) -> pa.Table:
    """Schema FORECAST; NaN becomes null."""
    n = len(columns["where"])
    arrays = {"view": pa.array([view]).take(pa.array(np.zeros(n, np.int64)))}
    for field in FORECAST:
        if field.name != "view":
            values = columns[field.name]
            arrays[field.name] = pa.nulls(n, field.type) if values is None else pa.array(values, from_pandas=True)
    return pa.table({field.name: arrays[field.name] for field in FORECAST}).cast(FORECAST)


def _interval(name: str, interval: Interval) -> dict[str, np.ndarray]:
    return {name: interval.value, f"{name}_lo": interval.lo, f"{name}_hi": interval.hi}


def _length_slopes(rollouts: Rollouts) -> np.ndarray:
    try:
        return length_slopes(rollouts, rollouts.nuisance[:, 0])
    except ValueError:  # all answers to a prompt are equally long
        return np.full(rollouts.c.shape[1], np.nan)


def _r(x: np.ndarray, y: np.ndarray) -> float:
    return float(correlation(x, y))


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _known(item) for name, item in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
