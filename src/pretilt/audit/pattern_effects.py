"""The tests of patterns: which traits of the text the label selects, over all pairs and in groups. Needs no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pretilt.audit.presence_effects import Presence
from pretilt.audit.training_pairs import TrainingPairs
from pretilt.concepts.pattern_step import PatternCounts, answer_text, pattern_counts, question, stored_patterns
from pretilt.concepts.patterns import Pattern, matched_texts
from pretilt.run import Run
from pretilt.schema import PAIRS_FILE, PATTERN
from pretilt.settings import AuditSettings
from pretilt.stats.view_statistics import ViewStatistics
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

    `group_id` int32, of each training pair. Patterns that stand in too few pairs have a row and no test.
    """
    counts = pattern_counts(run, settings).take(pairs.train)
    present = Presence(PATTERN, *_present(counts), first_id=first_id)
    stored = stored_patterns(run)
    patterns = [stored[name] for name in counts.names]
    rate = counts.rate_difference
    table = present.rows(
        pairs,
        [pattern.phrase for pattern in patterns],
        pattern=list(counts.names),
        phrases=_frequent_matches(run, pairs.train, counts, patterns),
        per_100_words=rate.mean(axis=0) if len(rate) else np.zeros(len(patterns)),
    )
    return present.views(pairs, group_id, settings.seed), table


def _present(counts: PatternCounts) -> tuple[np.ndarray, np.ndarray]:
    return counts.chosen > 0, counts.rejected > 0


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
        held = [texts[row] for row in rows.tolist()]
        answers = [
            answer_text(pair["rejected" if side else "chosen"]) for pair, side in zip(held, sides.tolist(), strict=True)
        ]
        listed = matched_texts(pattern, answers, [question(pair["prompt"]) for pair in held])
        matches = Counter(one_line(match[:LONGEST]) for matches_of_text in listed for match in matches_of_text)
        lists.append([match for match, _ in matches.most_common(N_PHRASES)])
    return lists
