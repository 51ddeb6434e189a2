"""The tests of patterns: which traits of the text the label selects, over all pairs and in groups. Needs no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.audit.training_pairs import TrainingPairs
from pretilt.concepts.pattern_step import PatternCounts, answer_text, pattern_counts, question, stored_patterns
from pretilt.concepts.patterns import Pattern, spans
from pretilt.run import Run
from pretilt.schema import CONCEPTS, PAIRS_FILE, PATTERN
from pretilt.settings import AuditSettings
from pretilt.stats.columns import Columns
from pretilt.stats.sets import Sets
from pretilt.stats.sure import LEAST_FIRING
from pretilt.stats.view_statistics import ViewStatistics, view_statistics
from pretilt.text import one_line

N_PHRASES, SEARCHED, LONGEST = 6, 200, 40  # matches that are kept, responses looked at for them, characters of one


def pattern_views(
    run: Run,
    settings: AuditSettings,
    pairs: TrainingPairs,
    group_id: np.ndarray,
    *,
    first_id: int,
) -> tuple[list[ViewStatistics], pa.Table]:
    """Views "pattern" and "pattern_group", and the patterns' rows of CONCEPTS, whose ids begin at `first_id`.

    `group_id` int32, of each training pair. Tested are the patterns that stand in either response of at least
    LEAST_FIRING pairs; the others have a row and no test.
    """
    counts = pattern_counts(run, settings).take(pairs.train)
    u = counts.u
    n_active = ((counts.chosen > 0) | (counts.rejected > 0)).sum(axis=0)
    ids = first_id + np.arange(len(counts.names))
    tested = np.flatnonzero((n_active >= LEAST_FIRING) & u.any(axis=0))

    views = []
    if tested.size:
        columns = Columns(u[:, tested].astype(np.float32))
        sets = {"pattern": Sets.everything(pairs.family), "pattern_group": Sets.groups(group_id, pairs.family)}
        views = [
            view_statistics(name, ids[tested], columns, of_view, covariates=pairs.covariates, seed=settings.seed)
            for name, of_view in sets.items()
            if len(of_view)
        ]
    return views, _rows(run, pairs, counts, ids, u, n_active)


def _rows(
    run: Run, pairs: TrainingPairs, counts: PatternCounts, ids: np.ndarray, u: np.ndarray, n_active: np.ndarray
) -> pa.Table:
    patterns = stored_patterns(run)
    chosen, rejected = (share.mean(axis=0) if len(share) else np.zeros(len(ids)) for share in _present(counts))
    nothing = [None] * len(ids)
    columns: dict[str, Any] = {
        "concept_id": ids,
        "kind": [PATTERN] * len(ids),
        "pattern": list(counts.names),
        "detector": nothing,
        "feature_ids": [[] for _ in ids],
        "size": np.zeros(len(ids), np.int32),
        "name": [patterns[name].phrase for name in counts.names],
        "name_kind": [PATTERN] * len(ids),
        "name_score": nothing,
        "contexts": [[] for _ in ids],
        "phrases": _frequent_matches(run, pairs.train, counts, [patterns[name] for name in counts.names]),
        "n_pairs_active": n_active,
        "prevalence": (chosen + rejected) / 2,
        "share_chosen": chosen,
        "share_rejected": rejected,
        "per_100_words": counts.rate_difference.mean(axis=0) if len(u) else np.zeros(len(ids)),
        "length_correlation": correlations(u, pairs.length_difference),
        "mean_u_paper": nothing,
        "mean_u_count2": nothing,
        "mean_u_freq": nothing,
    }
    arrays = [pa.array(columns[f.name], f.type, from_pandas=pa.types.is_floating(f.type)) for f in CONCEPTS]
    return pa.table(arrays, schema=CONCEPTS)


def _present(counts: PatternCounts) -> tuple[np.ndarray, np.ndarray]:
    return counts.chosen > 0, counts.rejected > 0


def correlations(u: np.ndarray, length_difference: np.ndarray) -> np.ndarray:
    """Pearson of each column of u with the length difference, NaN where either is constant."""
    values = u - u.mean(axis=0) if len(u) else u.astype(float)
    length = length_difference - (length_difference.mean() if length_difference.size else 0.0)
    spread = np.sqrt((values**2).sum(axis=0) * (length @ length))
    return np.divide(length @ values, spread, out=np.full(u.shape[1], np.nan), where=spread > 0)


def _frequent_matches(
    run: Run, train: np.ndarray, counts: PatternCounts, patterns: Sequence[Pattern]
) -> list[list[str]]:
    """Of each pattern the most frequent matches in the first SEARCHED responses in which it stands."""
    pairs = run.table(PAIRS_FILE, ["prompt", "chosen", "rejected"]).filter(pa.array(train))
    places: list[tuple[np.ndarray, np.ndarray]] = []  # of each pattern: rows, and 0 for chosen or 1 for rejected
    for column in range(len(patterns)):
        both = np.stack([part[:, column] for part in _present(counts)], axis=1)
        row, side = np.nonzero(both)
        places.append((row[:SEARCHED], side[:SEARCHED]))
    needed = np.unique(np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in places)]))
    texts = dict(zip(needed.tolist(), pairs.take(pa.array(needed)).to_pylist(), strict=True))

    lists = []
    for pattern, (rows, sides) in zip(patterns, places, strict=True):
        matches: Counter[str] = Counter()
        for row, side in zip(rows.tolist(), sides.tolist(), strict=True):
            pair = texts[row]
            text = answer_text(pair["rejected" if side else "chosen"])
            for start, end in spans(pattern, text, question(pair["prompt"])):
                matches[one_line(text[start : min(end, start + LONGEST)])] += 1
        lists.append([match for match, _ in matches.most_common(N_PHRASES)])
    return lists
