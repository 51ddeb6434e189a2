"""Families: the pairs that are not independent of each other, because they share a text or a source.

Standard errors, splits and sign flips take the family, not the pair, as their unit. Two pairs are related if they have

- near-duplicate prompts (`split.py`);
- the same or a near-duplicate response of `RESPONSE_WORDS` words or more, on whichever side;
- prompts that are fillings of one template (`templates.py`);
- the same source item, by a column such as `prompt_id` (`_source_columns` has the rule);
- the same beginning of a conversation: the user's first turn and the reply to it.

A family is everything that such relations connect. A text that many unrelated prompts share is no relation: a stock
refusal or greeting is what a model says anyway, each time anew, so responses and beginnings that would connect more
than `STOCK_FAMILIES` families are left out and counted in a note.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretilt.pairs.pair import Message, Pair
from pretilt.pairs.split import WORD, exact_key, near_duplicate_components
from pretilt.pairs.templates import digest, template_keys

RESPONSE_WORDS = 12
OPENING_WORDS, OPENING_USER_WORDS = 16, 4  # a conversation's first two turns together, and the user's alone
STOCK_FAMILIES = 20
PERCOLATION_SHARE = 0.2

RELATIONS = {
    "prompt": "near-duplicate prompts",
    "template": "prompts that fill one template",
    "source": "one source item by the columns' ids",
    "conversation": "one beginning of a conversation",
    "response": "the same or a near-duplicate response",
}
_ID_COLUMN = re.compile(r"(?:^|_)(?:q?id|uid|uuid|guid|idx|index|key|hash)$")
_NUMBERING = frozenset(("id", "idx", "index", "key", "row_id", "row_idx", "row_index"))
_NOT_ITEMS = re.compile(  # whose id, or the id of which list: not the item that a row is about
    r"(?:^|_)(?:user|annotator|worker|rater|labell?er|author|model|config|system|batch|task|category|class|label|topic"
    r"|cluster|domain|language|lang|dataset|subset|split|shard)(?:_|$)"
)
_MARKER_PAIRS, _MARKER_SHARE = 50, 0.02
_PAIRS_PER_ITEM = 20


@dataclass(frozen=True)
class Families:
    """`family_id` (n,) int32, numbered by first appearance; `by_relation` and `notes` as `report` gives them."""

    family_id: np.ndarray
    by_relation: dict[str, dict[str, Any]]
    notes: tuple[str, ...]

    def report(self) -> dict[str, Any]:
        """JSON-able. `kish_n_eff` = N² / Σ size²: so many equally large families would be as informative as these,
        if the pairs of a family were copies of each other; the truth is between it and `n_pairs`.

        Of each relation: `meaning`; `pairs`, those that it alone relates to another; `largest`, the largest family that
        it alone makes; `links`, pairs less families by it alone; `only_by_it`, the families that there would be more of
        without it.
        """
        sizes = np.bincount(self.family_id)
        n = int(self.family_id.size)
        return {
            "n_pairs": n,
            "n_families": int(sizes.size),
            "share_in_families": float(sizes[sizes > 1].sum() / n) if n else 0.0,
            "largest": int(sizes.max(initial=0)),
            "kish_n_eff": float(n * n / np.square(sizes, dtype=np.float64).sum()) if n else 0.0,
            "by_relation": self.by_relation,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class _Keys:
    """Pairs (by position) that have a common key are related."""

    pair: np.ndarray  # (m,) int64
    key: np.ndarray  # (m,) uint64

    @classmethod
    def from_owners(cls, owned: Iterator[tuple[int, int]]) -> _Keys:
        flat = np.fromiter(itertools.chain.from_iterable(owned), dtype=np.uint64).reshape(-1, 2)
        return cls(flat[:, 0].astype(np.int64), flat[:, 1])

    def links(self) -> np.ndarray:
        """(k, 2): each pair with the one before it that has the same key."""
        order = np.lexsort((self.pair, self.key))
        same = np.flatnonzero(self.key[order][1:] == self.key[order][:-1])
        return np.stack([self.pair[order[same]], self.pair[order[same + 1]]], axis=1)

    def agreement(self, family: np.ndarray) -> float:
        """Of the keys that several pairs have, the share with two of them in one family; 1 if there is no such key."""
        keys, of_key = np.unique(self.key, return_inverse=True)
        n_pairs, n_families = (
            np.bincount(np.unique(np.stack([of_key, owner], axis=1), axis=0)[:, 0], minlength=keys.size)
            for owner in (self.pair, family[self.pair])
        )
        several = n_pairs > 1
        return float((n_families < n_pairs)[several].mean()) if several.any() else 1.0

    def without_stock(self, family: np.ndarray) -> tuple[_Keys, int, int]:
        """Less the keys that stand in more than STOCK_FAMILIES families; how many those are; the most pairs that one
        of them stands in.
        """
        keys, of_key = np.unique(self.key, return_inverse=True)
        reached = np.unique(np.stack([of_key, family[self.pair]], axis=1), axis=0)[:, 0]
        stock = np.bincount(reached, minlength=keys.size) > STOCK_FAMILIES
        owned = np.unique(np.stack([of_key, self.pair], axis=1), axis=0)[:, 0]
        most = np.bincount(owned, minlength=keys.size)[stock].max(initial=0)
        keep = ~stock[of_key]
        return _Keys(self.pair[keep], self.key[keep]), int(stock.sum()), int(most)


def find_families(pairs: Sequence[Pair], component_id: np.ndarray) -> Families:
    """The families of `pairs`; `component_id` (n,) are the components of near-duplicate prompts (`split_pairs`).

    Which pairs form a family does not depend on the order of the rows, only the families' numbers do.
    """
    n = len(pairs)
    if component_id.shape != (n,):
        raise ValueError(f"{n} pairs, component_id of shape {component_id.shape}")
    links = {"prompt": _Keys(np.arange(n), component_id.astype(np.uint64)).links()}
    owners, keys, template_notes = template_keys(pairs)
    links["template"] = _Keys(owners, keys).links()
    named, numbering, source_notes = _source_columns(pairs)
    links["source"] = np.concatenate([np.empty((0, 2), dtype=np.int64), *(k.links() for k in named.values())])
    notes = [*template_notes, *source_notes]

    family_so_far = _connect(n, links.values())
    for relation, relation_keys, what in (
        ("conversation", _opening_keys(pairs), "beginnings of conversations"),
        ("response", _response_keys(pairs), "responses"),
    ):
        informative, n_stock, most = relation_keys.without_stock(family_so_far)
        links[relation] = informative.links()
        if n_stock:
            notes.append(
                f"{n_stock} {what} stand in more than {STOCK_FAMILIES} families each (one of them in {most} pairs): "
                "stock phrases, which relate nothing"
            )
    family_so_far = _connect(n, links.values())
    for column, column_keys in numbering.items():
        if column_keys.agreement(family_so_far) >= 0.5:
            links["source"] = np.concatenate([links["source"], column_keys.links()])
        else:
            notes.append(f'equal values of "{column}" stand on unrelated rows: read as a numbering that starts again')

    family = _connect(n, links.values())
    by_relation = {}
    for relation, meaning in RELATIONS.items():
        relation_family = _connect(n, [links[relation]])
        sizes = np.bincount(relation_family)
        family_without = _connect(n, [other_links for name, other_links in links.items() if name != relation])
        by_relation[relation] = {
            "meaning": meaning,
            "links": n - int(sizes.size),
            "pairs": int(sizes[sizes > 1].sum()),
            "largest": int(sizes.max(initial=0)),
            "only_by_it": int(np.unique(family_without).size - np.unique(family).size),
        }
        if sizes.max(initial=0) > max(PERCOLATION_SHARE * n, 2):
            notes.append(
                f"{meaning}: this alone makes one family of {sizes.max()} of {n} pairs, which count as little more "
                "than one observation; look whether they really depend on each other"
            )
    return Families(family, by_relation, tuple(notes))


def _connect(n: int, links: Any) -> np.ndarray:
    """(n,) int32: the connected component of each pair, numbered by first appearance."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([np.empty((0, 2), dtype=np.int64), *links])
    graph = coo_array((np.ones(len(ends), dtype=bool), (ends[:, 0], ends[:, 1])), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int32)
    rank[np.argsort(first)] = np.arange(first.size, dtype=np.int32)
    return rank[inverse]


def _reaches(n_words: int, *texts: str) -> bool:
    words = itertools.chain.from_iterable(WORD.finditer(text) for text in texts)
    return next(itertools.islice(words, n_words - 1, None), None) is not None


def _response_keys(pairs: Sequence[Pair]) -> _Keys:
    """Keys are the near-duplicate components of all responses, whichever the side."""
    text_of: dict[int, str] = {}  # one spelling per folded text: near-duplicates are sought among the texts as they are
    owned: list[tuple[int, int]] = []
    for i, pair in enumerate(pairs):
        for side in (pair.chosen, pair.rejected):
            text = side[0].content if len(side) == 1 else "\n".join(m.content for m in side)
            if _reaches(RESPONSE_WORDS, text):
                exact = digest(exact_key(text))
                text_of[exact] = min(text, text_of.get(exact, text))
                owned.append((i, exact))

    exacts = sorted(text_of)
    component = near_duplicate_components([text_of[exact] for exact in exacts])
    number = dict(zip(exacts, component.tolist(), strict=True))
    return _Keys.from_owners((i, number[exact]) for i, exact in owned)


def _opening_keys(pairs: Sequence[Pair]) -> _Keys:
    """Keys are the user's first turn with the reply to it: the one in the prompt, else either response."""

    def owned() -> Iterator[tuple[int, int]]:
        for i, pair in enumerate(pairs):
            if not pair.is_chat:
                continue
            for side in (pair.chosen, pair.rejected):
                opening = _opening((*pair.prompt, *side))
                if opening and _reaches(OPENING_USER_WORDS, opening[0]) and _reaches(OPENING_WORDS, *opening):
                    yield i, digest(*map(exact_key, opening))

    return _Keys.from_owners(owned())


def _opening(conversation: Sequence[Message]) -> tuple[str, str] | None:
    turns = [m for m in conversation if m.role in ("user", "assistant")][:2]
    return (turns[0].content, turns[1].content) if [t.role for t in turns] == ["user", "assistant"] else None


def _source_columns(pairs: Sequence[Pair]) -> tuple[dict[str, _Keys], dict[str, _Keys], list[str]]:
    """Columns of `meta` that say which item a row was made from; those that may be a mere numbering; notes.

    A column counts if its name ends in id, uuid, index, key or hash and does not say whose or which list's it is
    (user_id, category_id); values are text or whole numbers, and repeat. It is a label rather than an id where its
    distinct values are fewer than the square root of the pairs that have one, or stand on more than 20 pairs on
    average; a value on more than 50 pairs and 2 % of them stands for "none". Equal values in different `source`s are
    different items. Names that are often just a row number ("id", "index") are believed where at least half of the
    values that repeat stand on two pairs which are related by something else, too.
    """
    owned: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, pair in enumerate(pairs):
        meta = json.loads(pair.meta) if pair.meta else {}
        for column, value in meta.items():
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if isinstance(value, int | str) and not isinstance(value, bool) and str(value).strip() and _is_id(column):
                owned[column].append((i, digest(column, pair.source or "", str(value).strip())))

    named: dict[str, _Keys] = {}
    numbering: dict[str, _Keys] = {}
    notes = []

    for column in sorted(owned):
        counts = Counter(key for _, key in owned[column])
        n = len(owned[column])
        if len(counts) == n:
            continue
        if len(counts) < max(math.sqrt(n), n / _PAIRS_PER_ITEM):
            notes.append(f'"{column}" has {len(counts)} values on {n} pairs: read as a label, not as the id of an item')
            continue

        most = max(_MARKER_PAIRS, _MARKER_SHARE * n)
        keys = _Keys.from_owners((i, key) for i, key in owned[column] if counts[key] <= most)
        (numbering if _snake(column) in _NUMBERING else named)[column] = keys

    return named, numbering, notes


def _snake(column: str) -> str:
    """promptId, prompt-id, Prompt ID → prompt_id"""
    return re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)).strip("_").casefold()


def _is_id(column: str) -> bool:
    name = _snake(column)
    return bool(_ID_COLUMN.search(name)) and not _NOT_ITEMS.search(name)
