"""Near-duplicate components of prompts, and the held-out pairs: whole components, set apart before anything is fitted.

Two prompts are linked when the Jaccard similarity of their word 3-grams, estimated by MinHash, is at least 0.7; a
component is everything that such links connect. Candidates come from locality-sensitive hashing, so that nothing is
quadratic in the number of prompts. System messages do not count: a shared one says nothing about the question.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pretilt.errors import UserError
from pretilt.pairs.pair import Pair
from pretilt.text import counted

JACCARD_THRESHOLD = 0.7
SHINGLE_WORDS = 3
MIN_WORDS = 5  # shorter prompts are linked only when they are equal (case, spaces and final punctuation aside)
MIN_PAIRS_TO_SPLIT = 20
MIN_HELDOUT_PROMPTS, ENOUGH_PROMPTS = 150, 1500  # at least so many held-out prompts, where there are so many in all

_N_BANDS, _BAND_ROWS = 25, 5  # a pair with Jaccard 0.7 shares a band with probability 0.99, one with 0.4 with 0.23
_MINHASH_SEED = 1  # fixed: components are a fact about the data, `seed` only chooses which of them are held out
# Scripts written without spaces count character by character: Thai, kana, Chinese characters.
WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W_]+")


@dataclass(frozen=True)
class Split:
    """`component_id` (n,) int32, numbered by first appearance; `heldout` (n,) bool; `notes` for the reader."""

    component_id: np.ndarray
    heldout: np.ndarray
    notes: tuple[str, ...]


def split_pairs(pairs: Sequence[Pair], *, holdout: float = 0.1, seed: int = 0) -> Split:
    """Components of the pairs' prompts, and a share `holdout` (0 to 0.5) of the components held out.

    Which components are held out depends on the seed and on the prompts' text, not on the order of the rows. A
    component so large that it would more than double the held-out share stays in training.
    """
    if not 0 <= holdout <= 0.5:
        raise UserError(f"holdout is {holdout:g}", why="it is a share of the components", fix="Give 0 to 0.5")
    keys = [exact_key(prompt_text(pair)) for pair in pairs]
    texts = sorted(set(keys))
    number = {text: i for i, text in enumerate(texts)}
    of_text = near_duplicate_components(texts)
    raw = of_text[np.array([number[key] for key in keys], dtype=np.int64)]
    heldout_components, notes = _choose(texts, of_text, raw, holdout, seed)
    _, first, inverse = np.unique(raw, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return Split(rank[inverse], np.isin(raw, heldout_components), tuple(notes))


def prompt_text(pair: Pair) -> str:
    """The prompt as it is compared: its messages except system ones (those too, where there are no others)."""
    turns = [m.content for m in pair.prompt if m.role not in ("system", "developer")]
    return "\n".join(turns or [m.content for m in pair.prompt])


def near_duplicate_components(texts: Sequence[str], *, threshold: float = JACCARD_THRESHOLD) -> np.ndarray:
    """(n,) int64: which connected component each of the (distinct) texts belongs to. Deterministic."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(texts)
    long = np.array([i for i, text in enumerate(texts) if len(WORD.findall(text)) >= MIN_WORDS], dtype=np.int64)
    if not long.size:
        return np.arange(n, dtype=np.int64)
    signatures = _signatures([texts[i] for i in long])
    a, b = _links(signatures, threshold)
    graph = coo_array((np.ones(len(a), dtype=bool), (long[a], long[b])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def exact_key(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).rstrip(" .!?…") or " ".join(folded.split())


def _signatures(texts: Sequence[str]) -> np.ndarray:
    """(n, 125) uint32 MinHash values of the word 3-grams."""
    from datasketch import MinHash

    def shingles() -> Iterator[set[bytes]]:
        for text in texts:
            w = WORD.findall(text)
            yield {" ".join(w[i : i + SHINGLE_WORDS]).encode() for i in range(len(w) - SHINGLE_WORDS + 1)}

    n_values = _N_BANDS * _BAND_ROWS
    signatures = np.empty((len(texts), n_values), dtype=np.uint32)
    minhashes = MinHash.generator(
        shingles(), num_perm=n_values, seed=_MINHASH_SEED, hashfunc=zlib.crc32, scheme="affine32"
    )
    for row, minhash in zip(signatures, minhashes, strict=True):
        row[:] = minhash.hashvalues
    return signatures


def _links(signatures: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows that share a band and whose estimated Jaccard similarity reaches the threshold.

    Within a bucket each row is compared with the bucket's first and with its neighbour, not with all others: enough to
    connect a family, and linear even where half of the dataset is one template.
    """
    multipliers = np.random.default_rng(_MINHASH_SEED).integers(1, 2**63, size=_BAND_ROWS, dtype=np.uint64) | np.uint64(
        1
    )

    left, right = [], []
    for band in range(_N_BANDS):
        rows = signatures[:, band * _BAND_ROWS : (band + 1) * _BAND_ROWS].astype(np.uint64)
        bucket = (rows * multipliers).sum(axis=1, dtype=np.uint64)  # wraps; a collision only costs a comparison

        order = np.argsort(bucket, kind="stable")
        same = bucket[order][1:] == bucket[order][:-1]
        starts = np.maximum.accumulate(np.where(np.concatenate([[True], ~same]), np.arange(len(order)), 0))
        member = np.flatnonzero(same) + 1
        left += [order[member - 1], order[starts[member]]]
        right += [order[member], order[member]]

    edges = np.unique(np.stack([np.concatenate(left), np.concatenate(right)], axis=1), axis=0)
    similar = [
        chunk[(signatures[chunk[:, 0]] == signatures[chunk[:, 1]]).mean(axis=1) >= threshold]
        for chunk in np.array_split(edges, max(1, len(edges) // 100_000))
    ]

    linked = np.concatenate(similar)
    return linked[:, 0], linked[:, 1]


def _choose(
    texts: Sequence[str], of_text: np.ndarray, of_pair: np.ndarray, holdout: float, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Numbers of the components to hold out, and notes."""
    none = np.array([], dtype=np.int64)
    n_pairs, n_texts = len(of_pair), len(texts)
    if holdout == 0:
        return none, []
    if n_pairs < MIN_PAIRS_TO_SPLIT:
        return none, [
            f"no pairs are held out: {counted(n_pairs, 'pair is', 'pairs are')} too few, "
            f"{MIN_PAIRS_TO_SPLIT} are needed"
        ]

    components, first_text, n_prompts = np.unique(of_text, return_index=True, return_counts=True)
    pair_counts = np.bincount(of_pair, minlength=int(components[-1]) + 1)[components]
    lot = [hashlib.sha256(f"{seed}:{texts[i]}".encode("utf-8", "surrogatepass")).digest() for i in first_text]

    min_components = max(1, round(holdout * len(components)))
    min_prompts = MIN_HELDOUT_PROMPTS if n_texts >= ENOUGH_PROMPTS else 0
    most_pairs = n_pairs * min(0.5, max(2 * holdout, 2 * min_prompts / n_texts))

    chosen: list[int] = []
    held_pairs = held_prompts = 0
    for c in sorted(range(len(components)), key=lot.__getitem__):
        if len(chosen) >= min_components and held_prompts >= min_prompts:
            break
        if held_pairs + pair_counts[c] <= most_pairs:
            chosen.append(c)
            held_pairs += int(pair_counts[c])
            held_prompts += int(n_prompts[c])

    notes = []
    if not chosen:
        largest = int(pair_counts.max())
        why = f"the largest component of near-duplicate prompts has {largest} of {n_pairs} pairs"
        notes.append(f"no pairs are held out: {why}, and a component is never split")
    elif held_prompts < min_prompts:
        notes.append(f"only {held_prompts} prompts are held out: the other near-duplicate components are too large")

    return components[chosen], notes
