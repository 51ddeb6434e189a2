"""Which texts a label is made from, and which it is scored on.

Texts are drawn from two halves of the families, one to write the label and one to score it, so that a near-copy of a
text that was shown never scores the label. In either half a concept has texts that express it most and, for each of
them, one that does not and is otherwise alike: the other response to the same prompt, or of the same group, of about
the same length. What only tells long from short, or one topic from another, then scores no better than chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array, csr_array, diags_array

TOP_SHARE = 50  # a text shows a concept if it is among the strongest 1/50 of the half's texts …
_AT_LEAST = 2  # … or among the strongest two for every one that is drawn, and the concept fires in it
_LOW_SHARE = 4  # where a concept fires nearly everywhere, texts of the last quarter stand for those without it
_POOL = 4096  # texts without the concept that are looked at as counterparts
_SAME_TOPIC, _OTHER_TOPIC = 0.25, 1.0  # what a counterpart of another prompt costs, in units of log length ratio


@dataclass(frozen=True)
class Candidates:
    """Texts that may be drawn; arrays of length n_texts.

    `expression` >= 0 is how much a text shows the concept; `order` is a permutation that ranks the texts for drawing
    (the same for all concepts, so that many concepts share the texts that must be read again).
    """

    expression: np.ndarray
    pair: np.ndarray  # row of pairs.parquet
    family: np.ndarray
    topic: np.ndarray
    side: np.ndarray  # 0 chosen, 1 rejected; prompts: 0
    n_tokens: np.ndarray
    order: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """Indices into the candidates. `without[i]` is the counterpart of `showing[i]`; it may be shorter."""

    showing: np.ndarray
    without: np.ndarray


def halves(family: np.ndarray, train: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(to write from, to score on): two bool masks over the pairs that share no family.

    A random half of the training families writes; everything else, held-out pairs included, scores.
    """
    families = np.unique(family[train])
    picked = np.random.default_rng(seed).permutation(families)[: (families.size + 1) // 2]
    writing = np.isin(family, picked)
    return train & writing, ~writing


def mean_over_features(values: csr_array, membership: csc_array) -> csc_array:
    """(n, n_concepts): the mean of `values` (n, n_features) over each concept's features, zeros included.

    Of `act_max` it is how strongly a text shows a concept; of 0/1 firing, the share of its features that fire.
    """
    size = np.maximum(np.asarray(membership.sum(axis=0)).ravel(), 1)
    sums = csr_array(values.astype(np.float32) @ csr_array(membership, dtype=np.float32))
    return csc_array(sums @ diags_array((1.0 / size).astype(np.float32)))


def draw(candidates: Candidates, allowed: np.ndarray, n_showing: int, n_without: int, *, least: float = 0.0) -> Drawn:
    """Up to `n_showing` texts that show the concept and `n_without` counterparts, among the `allowed` (bool) ones.

    At most one text per family in either list. A text shows the concept if its expression is above `least` and
    among the strongest (2 %, or twice as many as are drawn); weak firing is left out, for it is mostly noise. One
    without it has expression 0, or, where too few families have such a text, is in the last quarter with less than half
    of what the showing ones have at least. Chosen and rejected texts are drawn alike where both show it.
    """
    rows = np.flatnonzero(allowed & (candidates.n_tokens > 0))
    rows = rows[np.argsort(candidates.order[rows])]

    expression = candidates.expression[rows]
    ranked = np.sort(expression)
    strongest = min(rows.size, max(rows.size // TOP_SHARE, _AT_LEAST * n_showing))
    floor = max(float(ranked[-strongest]), least) if strongest else 0.0

    high = (expression >= floor) & (expression > least)
    low = expression == 0
    if np.unique(candidates.family[rows[low]]).size < n_without and rows.size:
        low = expression <= min(ranked[rows.size // _LOW_SHARE], np.nextafter(floor / 2, 0))

    showing = _alternate(candidates, _one_per_family(candidates, rows[high]), n_showing)
    return Drawn(showing, _counterparts(candidates, showing, rows[low], n_without))


def _one_per_family(candidates: Candidates, rows: np.ndarray) -> np.ndarray:
    """The first row of every family, in order."""
    _, first = np.unique(candidates.family[rows], return_index=True)
    return rows[np.sort(first)]


def _alternate(candidates: Candidates, rows: np.ndarray, n: int) -> np.ndarray:
    """The first n rows, taken from either side in turn as long as both have some."""
    side = candidates.side[rows]
    turn = np.empty(rows.size)
    for current in (0, 1):
        turn[side == current] = np.arange((side == current).sum()) + current / 2
    return rows[np.argsort(turn, kind="stable")][:n]


def _counterparts(candidates: Candidates, showing: np.ndarray, pool: np.ndarray, n: int) -> np.ndarray:
    """For each showing text the cheapest one of the pool whose family was not taken yet."""
    same_pair = pool[np.isin(candidates.pair[pool], candidates.pair[showing])]
    pool = np.unique(np.concatenate([pool[:_POOL], same_pair]))
    pool = pool[np.argsort(candidates.order[pool])]

    counterparts: list[int] = []
    free = np.ones(pool.size, dtype=bool)
    for text in showing[:n]:
        if not free.any():
            break
        cost = np.abs(np.log(candidates.n_tokens[pool] / candidates.n_tokens[text]))
        near = np.where(candidates.topic[pool] == candidates.topic[text], _SAME_TOPIC, _OTHER_TOPIC)
        cost += np.where(candidates.pair[pool] == candidates.pair[text], 0.0, near)
        best = int(np.argmin(np.where(free, cost, np.inf)))
        counterparts.append(int(pool[best]))
        free &= candidates.family[pool] != candidates.family[pool[best]]

    return np.array(counterparts, dtype=np.int64)
