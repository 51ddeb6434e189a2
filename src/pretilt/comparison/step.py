"""Compare two runs: two versions of a dataset, two sources, a dataset before and after it was shaped, two models.

Effects are compared where both runs mean the same by a concept: patterns that are counted alike, and concepts with the
same features of the same lens. Nothing is written; both runs are read as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import norm

from pretilt.artifacts import content_hash, jsonable
from pretilt.audit.evidence import scores_of
from pretilt.comparison.differences import Differences, differences
from pretilt.comparison.linked import Linked, linked_families
from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.labels.described import named_table
from pretilt.lens.blocks import train_rows
from pretilt.reports.comparison import ComparedConcept, ComparedRun, ComparisonReport, SharedPairs
from pretilt.result import Result
from pretilt.run import Run
from pretilt.schema import (
    COMPARISON,
    FORECAST_FILE,
    HYPOTHESES_FILE,
    PAIRS_FILE,
    PATTERN,
    PATTERNS_FILE,
    VERIFICATION_REPORT,
)
from pretilt.settings import settings_of
from pretilt.stats.multiplicity import q_values
from pretilt.stats.sure import SURE_PAIRS, SURE_Q

OF_FEATURES = ("community", "feature")
VALUES_AT_ONCE = 20_000_000  # scores of a block of concepts: 160 MB a run
ROWS_AT_ONCE = 10_000
_VERIFICATION_FILE = VERIFICATION_REPORT.replace(".json", ".parquet")


@dataclass(frozen=True, repr=False)
class ComparisonResult(Result):
    """Two runs side by side; `report` says how many pairs and concepts they share, `table` has a row per concept."""

    first: Run
    second: Run
    report: dict[str, Any]
    rows: pa.Table

    @property
    def headline(self) -> str:
        return (
            f"{self.second.path} against {self.first.path}: {self.report['sure']} of {self.report['compared']} "
            "concepts surely differ"
        )

    @property
    def table(self) -> pa.Table:
        """Schema COMPARISON, most standard errors of the difference first."""
        return self.rows

    def preview(self) -> list[dict[str, Any]]:
        return [
            {"concept": row["name"], "first": row["first"], "second": row["second"], "difference": row["difference"]}
            for row in self.report["differing"][:10]
        ]


def compare_runs(first: Run, second: Run, *, events: Events | None = None) -> ComparisonResult:
    """The difference of every effect over all training pairs, second less first, with its error.

    Raises UserError for a run that has not finished, and for two that have no concept in common.
    """
    events = watching(events)
    sides = _Side(first), _Side(second)
    why_not = _features_differ(*sides)
    shared = _shared(sides, why_not)
    if not shared:
        raise UserError(
            "the runs have no concept in common", file=second.path, why=why_not or "they count other patterns",
            fix="Audit both with the same --patterns, or with the same model and dictionary",
        )  # fmt: skip

    keys = [side.keys(events) for side in sides]
    linked = linked_families(sides[0].family, sides[1].family, keys[0].prompt, keys[1].prompt)
    parts, carriers = _all_differences(sides, shared, linked, events)
    rows = _table(sides, shared, parts, carriers)
    report = ComparisonReport(
        first=_facts(sides[0]), second=_facts(sides[1]), pairs=_shared_pairs(*keys), compared=len(shared),
        kinds={kind: rows["kind"].to_pylist().count(kind) for kind in dict.fromkeys(rows["kind"].to_pylist())},
        first_alone=len(sides[0].concepts) - len(shared), second_alone=len(sides[1].concepts) - len(shared),
        features=why_not, sure=int(pc.sum(rows["sure"]).as_py() or 0), differing=_differing(rows),
        smallest=_smallest(rows),
    )  # fmt: skip
    return ComparisonResult(first, second, jsonable(report.model_dump()), rows)


@dataclass(frozen=True)
class _Keys:
    """A key of every training pair: its prompt, the pair, and the pair with its labels the other way round."""

    prompt: list[str]
    pair: list[str]
    turned: list[str]


class _Side:
    """One of the two runs."""

    def __init__(self, run: Run) -> None:
        run.file(HYPOTHESES_FILE)
        self.run, self.settings, self.train = run, settings_of(run), train_rows(run)

    @cached_property
    def family(self) -> np.ndarray:
        """Of every training pair, int [n]."""
        family: np.ndarray = self.run.table(PAIRS_FILE, ["family_id"])["family_id"].to_numpy()[self.train]
        return family

    @cached_property
    def concepts(self) -> dict[Hashable, dict[str, Any]]:
        """What a concept is, apart from the run: its row of concepts.parquet. Those that are tested over all pairs."""
        patterns = {}
        if self.run.holds(PATTERNS_FILE):
            columns = ["pattern", "counts", "reads", "expression", "function"]
            patterns = {
                row["pattern"]: tuple(row.values()) for row in self.run.table(PATTERNS_FILE, columns).to_pylist()
            }
        names = ["concept_id", "kind", "name", "pattern", "feature_ids", "n_pairs_active"]
        concepts: dict[Hashable, dict[str, Any]] = {}
        for row in named_table(self.run, "concepts", names).to_pylist():
            if row["kind"] == PATTERN:
                concepts[(PATTERN, patterns[row["pattern"]])] = row
            elif row["kind"] in OF_FEATURES:
                concepts[("features", tuple(row["feature_ids"]))] = row
        return concepts

    def keys(self, events: Events) -> _Keys:
        table = self.run.table(PAIRS_FILE, ["prompt", "chosen", "rejected"]).filter(pa.array(self.train))
        keys = _Keys([], [], [])
        for start in range(0, len(table), ROWS_AT_ONCE):
            events.progress("compare", start, len(table), "pairs")
            for row in table.slice(start, ROWS_AT_ONCE).to_pylist():
                prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
                keys.prompt.append(content_hash(prompt))
                keys.pair.append(content_hash([prompt, chosen, rejected]))
                keys.turned.append(content_hash([prompt, rejected, chosen]))
        return keys

    def scores(self, concepts: list[dict[str, Any]]) -> np.ndarray:
        """u, float64 [training pairs, concepts]."""
        ids = [row["concept_id"] for row in concepts]
        scores = scores_of(self.run, self.settings, ids, self.train)
        return np.stack([scores[concept][0] for concept in ids], axis=1)

    def overall(self, name: str, columns: list[str]) -> dict[int, dict[str, Any]]:
        """Rows over all pairs of an artifact by concept; none where the run does not have it."""
        if not self.run.holds(name):
            return {}
        table = self.run.table(name, ["view", "concept_id", *columns])
        rows = table.filter(pc.equal(table["view"], "global")).to_pylist()
        return {row["concept_id"]: row for row in rows}


def _features_differ(first: _Side, second: _Side) -> str:
    """Why the runs mean different things by their features; "" where they mean the same."""
    settings = first.settings, second.settings
    if any(one.no_lens for one in settings):
        return "a run that read the text alone has no features"
    if first.run.manifest["measurement_id"] != second.run.manifest["measurement_id"]:
        return "the runs were read through different lenses"
    for name in ("disparity", "freq_threshold", "baseline"):
        if getattr(settings[0], name) != getattr(settings[1], name):
            return f"the runs differ in --{name.replace('_', '-')}"
    return ""


def _shared(sides: tuple[_Side, _Side], why_not: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Concepts that both runs have."""
    first, second = (side.concepts for side in sides)
    return [
        (row, second[key])
        for key, row in first.items()
        if key in second and (row["kind"] == PATTERN or not why_not)
    ]  # fmt: skip


def _all_differences(
    sides: tuple[_Side, _Side], shared: list[tuple[dict[str, Any], dict[str, Any]]], linked: Linked, events: Events
) -> tuple[Differences, np.ndarray]:
    """Block by block; and in how many units either run has a pair that the concept tells apart, int [M]."""
    at_once = max(1, VALUES_AT_ONCE // max(int(side.train.sum()) for side in sides))
    parts, carriers = [], []
    for start in range(0, len(shared), at_once):
        events.progress("compare", start, len(shared), "concepts")
        block = shared[start : start + at_once]
        scores = [sides[i].scores([pair[i] for pair in block]) for i in (0, 1)]
        parts.append(differences(scores[0], scores[1], linked))
        carriers.append(_carriers(scores, linked))
    events.progress("compare", len(shared), len(shared), "concepts")
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in Differences.__dataclass_fields__
    }
    return Differences(**columns), np.concatenate(carriers)


def _carriers(scores: list[np.ndarray], linked: Linked) -> np.ndarray:
    touched = np.zeros((linked.n_units, scores[0].shape[1]), bool)
    for values, units in zip(scores, (linked.first, linked.second), strict=True):
        rows, columns = np.nonzero(values)
        touched[units[rows], columns] = True
    n_units: np.ndarray = touched.sum(axis=0)
    return n_units


def _table(
    sides: tuple[_Side, _Side],
    shared: list[tuple[dict[str, Any], dict[str, Any]]],
    parts: Differences,
    carriers: np.ndarray,
) -> pa.Table:
    q_value = q_values(parts.p_value, len(shared))
    columns: dict[str, Any] = {
        "concept_id": [first["concept_id"] for first, _ in shared],
        "other_id": [second["concept_id"] for _, second in shared],
        "kind": [first["kind"] for first, _ in shared],
        "name": [first["name"] for first, _ in shared],
        "first": parts.first, "first_error": parts.first_error, "second": parts.second,
        "second_error": parts.second_error, "difference": parts.difference, "error": parts.error,
        "p_value": parts.p_value, "q_value": q_value, "sure": (q_value <= SURE_Q) & (carriers >= SURE_PAIRS),
    }  # fmt: skip
    for i, prefix in enumerate(("first", "second")):
        forecast = sides[i].overall(FORECAST_FILE, ["shift", "shift_lo", "shift_hi"])
        seen = sides[i].overall(_VERIFICATION_FILE, ["observed", "se"])
        ids = [pair[i]["concept_id"] for pair in shared]
        for name in ("shift", "shift_lo", "shift_hi"):
            columns[f"{prefix}_{name}"] = [forecast.get(concept, {}).get(name) for concept in ids]
        columns[f"{prefix}_seen"] = [seen.get(concept, {}).get("observed") for concept in ids]
        columns[f"{prefix}_seen_se"] = [seen.get(concept, {}).get("se") for concept in ids]

    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.abs(np.nan_to_num(parts.difference / parts.error, nan=0.0, posinf=0.0, neginf=0.0))
    order = np.lexsort((columns["concept_id"], -size, ~columns["sure"]))
    arrays = [pa.array(columns[f.name], type=f.type, from_pandas=True) for f in COMPARISON]
    return pa.table(arrays, schema=COMPARISON).take(pa.array(order))


def _differing(rows: pa.Table) -> list[ComparedConcept]:
    names = list(ComparedConcept.model_fields)
    return [ComparedConcept(**row) for row in rows.filter(rows["sure"]).select(names).to_pylist()]


def _smallest(rows: pa.Table) -> float | None:
    """The median over patterns of the difference that a test at p = SURE_Q / rows would call one: about 3 errors."""
    errors = rows.filter(pc.equal(rows["kind"], PATTERN))["error"].to_numpy()
    errors = errors[np.isfinite(errors) & (errors > 0)]
    if not errors.size:
        return None
    return float(norm.isf(SURE_Q / len(rows) / 2) * np.median(errors))


def _facts(side: _Side) -> ComparedRun:
    manifest = side.run.manifest
    return ComparedRun(
        path=str(side.run.path), source=manifest["source"],
        model=None if side.settings.no_lens else (manifest.get("lens") or {}).get("model"),
        pairs=int(side.train.sum()), concepts=len(side.concepts),
        has_forecast=side.run.holds(FORECAST_FILE), has_verification=side.run.holds(VERIFICATION_REPORT),
    )  # fmt: skip


def _shared_pairs(first: _Keys, second: _Keys) -> SharedPairs:
    """Copies count each: of three copies in one run and two in the other, two stand in both."""
    left, right = Counter(first.pair), Counter(second.pair)
    both = (left & right).total()
    turned = ((left - right) & Counter(second.turned)).total()
    alone = (len(keys.pair) - both - turned for keys in (first, second))
    return SharedPairs(both=both, turned=turned, first_alone=next(alone), second_alone=next(alone))
