"""What each source of the pairs, and each model that wrote them, would teach by itself: length, patterns of the text.

"Which source to keep" is asked of every mixed dataset. A row is the pairs of one source alone, against zero; sources
are not compared with each other, since their prompts differ too.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from scipy.stats import norm

from pretilt.audit.training_pairs import TrainingPairs
from pretilt.concepts.pattern_step import PatternCounts, pattern_counts, stored_patterns
from pretilt.run import Run
from pretilt.schema import PAIRS_FILE, SOURCES, SOURCES_FILE
from pretilt.settings import AuditSettings
from pretilt.stats.clustered import mean_errors
from pretilt.stats.sure import LEAST_FIRING, SURE_PAIRS, SURE_Q

VERSION = 2  # raise it when a change of code can change the bytes
COLUMNS = ("source", "chosen_model", "rejected_model")
MOST_VALUES, MOST_PATTERNS = 50, 5  # values of a column, the most frequent; patterns of a row, the largest


def sources_stage(run: Run, settings: AuditSettings) -> None:
    """sources.parquet: of each frequent source, chosen model and rejected model what its pairs select."""
    config = {"baseline": settings.baseline, "seed": settings.seed}
    with run.stage("sources", version=VERSION, config=config, reads=["pairs", "patterns"]) as stage:
        if stage.done:
            return

        pairs = TrainingPairs(run, settings)
        counts = pattern_counts(run, settings).take(pairs.train)
        titles = {name: pattern.phrase for name, pattern in stored_patterns(run).items()}
        table = run.table(PAIRS_FILE, list(COLUMNS)).filter(pa.array(pairs.train))

        rows_of = [(column, value, rows) for column in COLUMNS for value, rows in _frequent(table[column].to_pylist())]
        n_tests = max(1, len(rows_of) * len(counts.names))
        smallest_z = float(norm.isf(SURE_Q / 2 / n_tests))
        records = []
        for column, value, rows in rows_of:
            taught = _teaches(counts, pairs, rows, smallest_z, titles)
            records.append({"column": column, "value": value, **_measures(pairs, rows), **taught})
        stage.write(SOURCES_FILE, pa.Table.from_pylist(records, SOURCES))


def _frequent(values: list[str | None]) -> list[tuple[str, np.ndarray]]:
    """(value, its rows), the most frequent first; nothing where the column is empty."""
    named = np.array([value or "" for value in values], dtype=object)
    names, code, counts = np.unique(named, return_inverse=True, return_counts=True)
    order = [k for k in np.argsort(-counts, kind="stable") if names[k] and counts[k] >= LEAST_FIRING]
    return [(str(names[k]), np.flatnonzero(code == k)) for k in order[:MOST_VALUES]]


def _measures(pairs: TrainingPairs, rows: np.ndarray) -> dict[str, float | int | None]:
    length = pairs.length_difference[rows].astype(np.float64)
    error = float(mean_errors(length[:, None], pairs.family[rows])[0])
    return {
        "n_pairs": rows.size,
        "n_families": int(np.unique(pairs.family[rows]).size),
        "length_difference": float(length.mean()),
        "length_error": None if np.isnan(error) else error,
        "share_chosen_longer": float((length > 0).mean()),
    }


def _teaches(
    counts: PatternCounts, pairs: TrainingPairs, rows: np.ndarray, smallest_z: float, titles: dict[str, str]
) -> dict[str, list[dict[str, object]]]:
    """The patterns whose mean u of these pairs is surely not 0, largest first; none below SURE_PAIRS families."""
    of_rows = counts.take(rows)
    family = pairs.family[rows]
    u = of_rows.u.astype(np.float64)
    mean, error = u.mean(axis=0), mean_errors(u, family)
    z = np.divide(mean, error, out=np.zeros(mean.size), where=error > 0)
    n_active = ((of_rows.chosen > 0) | (of_rows.rejected > 0)).sum(axis=0)
    sure = (np.abs(z) >= smallest_z) & (n_active >= LEAST_FIRING) & (np.unique(family).size >= SURE_PAIRS)
    first = [k for k in np.argsort(-np.abs(mean), kind="stable") if sure[k]][:MOST_PATTERNS]
    return {
        "patterns": [
            {
                "pattern": counts.names[k],
                "name": titles[counts.names[k]],
                "delta": float(mean[k]),
                "error": float(error[k]),
                "share_chosen": float((of_rows.chosen[:, k] > 0).mean()),
                "share_rejected": float((of_rows.rejected[:, k] > 0).mean()),
            }
            for k in first
        ]
    }
