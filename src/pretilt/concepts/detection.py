"""How well what stands in a text tells the answers in which a concept fires most: areas under the curve.

An answer *shows* a concept if it is among the fiftieth of the answers of about its length in which the concept fires
most, and is *without* it in the weaker half of them; what lies between is left out, for weak firing is mostly noise.
Answers are compared with answers of about the same length alone, so that what only tells long from short scores 0.5.
One half of the families chooses, the other judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array, csr_array

STRATA, LEAST_IN_STRATUM = 20, 50  # lengths that are compared with each other, and answers of one of them
TOP_SHARE, LEAST_TOP = 50, 24  # one answer in so many shows a concept, but so many of all lengths where there are
LEAST_SHOWING = 5  # answers that show the concept, and that are without it, in a half: with fewer there is no score
RATES = (0.0, 1 / 3, 2 / 3)  # quantiles of a rate among the answers where it is above 0: where its levels begin
LEAST_Z = 4.0  # standard errors by which a word of the vocabulary must be more frequent where the concept shows
SHOWS, WITHOUT = 1, 2  # codes; 0 is neither


@dataclass(frozen=True)
class Answers:
    """n answers by their length and their half of the families.

    `stratum` int (n,): answers of about the same length. `half` int (n,): 0 chooses, 1 judges.
    """

    stratum: np.ndarray
    half: np.ndarray

    @property
    def n_strata(self) -> int:
        return int(self.stratum.max(initial=-1)) + 1

    def parts(self, half: int) -> Iterator[np.ndarray]:
        """The rows of every stratum of a half."""
        for stratum in range(self.n_strata):
            yield np.flatnonzero((self.stratum == stratum) & (self.half == half))


def halves(family: np.ndarray, n_tokens: np.ndarray, seed: int) -> Answers:
    """Of answers with family (n,) and length (n,): a random half of the families chooses, the others judge."""
    n_strata = int(np.clip(family.size // LEAST_IN_STRATUM, 1, STRATA))
    rank = np.empty(family.size, np.int64)
    rank[np.argsort(n_tokens, kind="stable")] = np.arange(family.size)
    families = np.unique(family)
    chooses = np.random.default_rng(seed).permutation(families)[: (families.size + 1) // 2]
    return Answers(rank * n_strata // max(family.size, 1), np.where(np.isin(family, chooses), 0, 1))


def codes(strength: np.ndarray, answers: Answers) -> np.ndarray:
    """SHOWS, WITHOUT or neither, int8 (C, n), from how strongly C concepts fire in n answers, (n, C) >= 0."""
    coded = np.zeros(strength.shape[::-1], np.int8)
    for stratum in range(answers.n_strata):
        rows = np.flatnonzero(answers.stratum == stratum)
        values = strength[rows]
        n_top = min(rows.size, max(rows.size // TOP_SHARE, -(-LEAST_TOP // answers.n_strata)))
        ordered = np.sort(values, axis=0)
        top, median = ordered[-n_top], ordered[(rows.size - 1) // 2]
        shows = (values >= top) & (values > 0)
        coded[:, rows] = np.where(shows, SHOWS, np.where((values <= median) & ~shows, WITHOUT, 0)).T
    return coded


def auroc_of_length(strength: np.ndarray, answers: Answers, half: int) -> np.ndarray:
    """How well the length alone detects each of C concepts, float64 (C,): as `auroc_of_levels`, with all lengths
    compared with each other; near 0 for a concept of short answers."""
    together = Answers(np.zeros_like(answers.stratum), answers.half)
    return auroc_of_levels(codes(strength, together), answers.stratum[:, None], together, half)[:, 0]


def rate_levels(rates: np.ndarray) -> np.ndarray:
    """Levels 0 … 3 of rates (n, P) >= 0: none, and thirds of the answers that have any. int8 (n, P)."""
    levels = np.zeros(rates.shape, np.int8)
    for j in range(rates.shape[1]):
        column = rates[:, j]
        if (column > 0).any():
            edges = np.quantile(column[column > 0], RATES)
            levels[:, j] = np.searchsorted(edges, column, side="right") * (column > 0)
    return levels


def auroc_of_levels(coded: np.ndarray, levels: np.ndarray, answers: Answers, half: int) -> np.ndarray:
    """How well every column of `levels` (n, P), small integers >= 0, detects each of C concepts, float64 (C, P).

    The share of the pairs, an answer that shows the concept and one of its length without it, in which the first has
    the higher level, ties half; NaN where there are too few.
    """
    n_levels, shape = int(levels.max(initial=0)), (coded.shape[0], levels.shape[1])
    counts = []  # of every stratum, level and kind
    for rows in answers.parts(half):
        reach = [(levels[rows] >= k).astype(np.float32) for k in range(n_levels + 1)]
        kinds = [(coded[:, rows] == kind).astype(np.float32) for kind in (SHOWS, WITHOUT)]
        counts.append(np.stack([[kind @ level for kind in kinds] for level in reach]))
    if not counts:
        return np.full(shape, np.nan)
    return _areas(np.stack(counts).astype(np.float64))


def auroc_of_pairs(
    coded: np.ndarray, concept: np.ndarray, held: csc_array, candidate: np.ndarray, answers: Answers, half: int
) -> np.ndarray:
    """The same for P pairs of a concept and a candidate, float64 (P,): how well column `candidate` of `held` (n, n_c),
    whose entries are 1 or 2, detects the concept. Time grows with the answers that hold the candidates."""
    n_strata, n = answers.n_strata, concept.size
    rows_of = np.diff(held.indptr)[candidate]
    pair = np.repeat(np.arange(n), rows_of)
    within = np.arange(pair.size) - np.repeat(np.cumsum(rows_of) - rows_of, rows_of)
    place = held.indptr[candidate].astype(np.int64)[pair] + within
    row, level = held.indices[place], held.data[place].astype(np.int64)

    kind = coded[concept[pair], row].astype(np.int64)
    used = (answers.half[row] == half) & (kind > 0)
    cell = ((answers.stratum[row] * 3 + level) * 2 + kind - 1) * n + pair
    exact = np.bincount(cell[used], minlength=n_strata * 6 * n).reshape(n_strata, 3, 2, n).astype(np.float64)
    reach = exact[:, ::-1].cumsum(axis=1)[:, ::-1]  # of this level or more
    for stratum, rows in enumerate(answers.parts(half)):
        part = coded[:, rows]
        reach[stratum, 0] = [(part == kind).sum(axis=1)[concept] for kind in (SHOWS, WITHOUT)]
    return _areas(reach)


def _areas(reach: np.ndarray) -> np.ndarray:
    """From (n_strata, n_levels + 1, 2, …) counts of showing answers and of those without, of at least each level."""
    before, after = reach, np.concatenate([reach[:, 1:], np.zeros_like(reach[:, :1])], axis=1)
    hits = ((before[:, :, 1] - after[:, :, 1]) * (before[:, :, 0] + after[:, :, 0]) / 2).sum(axis=(0, 1))
    pairs = (reach[:, 0, 0] * reach[:, 0, 1]).sum(axis=0)
    enough = (reach[:, 0].sum(axis=0) >= LEAST_SHOWING).all(axis=0) & (pairs > 0)
    return np.where(enough, hits / np.maximum(pairs, 1), np.nan)


def word_scores(coded: np.ndarray, presence: csc_array, answers: Answers, half: int) -> np.ndarray:
    """How well every word of `presence` (n, n_words), 0 or 1, detects each of C concepts, float32 (C, n_words).

    Over all lengths together: good enough to find candidates, which are scored by length. 0 for a word that as many of
    the showing answers could hold by chance, given that thousands of words are tried.
    """
    rows = np.flatnonzero(answers.half == half)
    part = csr_array(presence[rows].T)
    shares, n_answers = [], []
    for kind in (SHOWS, WITHOUT):
        of_kind = (coded[:, rows] == kind).astype(np.float32)
        n_answers.append(np.maximum(of_kind.sum(axis=1), 1)[:, None])
        shares.append((part @ of_kind.T).T / n_answers[-1])
    inside, outside = shares
    error = np.sqrt(outside * (1 - outside) / n_answers[0] + 1 / n_answers[0] ** 2)
    scores = 0.5 + (inside - outside) / 2
    return np.asarray(np.where(inside - outside >= LEAST_Z * error, scores, 0.0), np.float32)
