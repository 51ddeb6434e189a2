"""Actions: what is done to which pair, as rows that a person can read and as arrays that training and forecast take.

    drop     the pair is left out                          weight   its gradient is multiplied by `amount`
    swap     chosen and rejected change places             offset   `amount` is added to its margin, beta D + offset
    rewrite  the response of `side` becomes `text`         mask     tokens start to stop of `side` leave the loss
    inoculate  the policy, not the reference, reads `text` before the prompt of `side`
    steer      the policy, not the reference, is pushed by `amount` along the detector `text` while it reads `side`

Tokens are counted from 0 in the ids of the response (tokens.parquet), as the trainer has them; `stop` is the token
after the last.

The last two teach in another context than the one in which the model is used. `explained` is the log-odds that this
context gives the pair before training; what carries over is not known, see `Changes.foretold`.

Where several items act on one pair: dropped is dropped, weights multiply, offsets add, two exchanges undo each other,
and of two rewritten texts the later item's counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.schema import ACTIONS

SIDES = ("chosen", "rejected")
LEAST = 1e-12  # an offset below it is none
CARRIED = 0.5  # of what is learned under an instruction or steering: not known, and 0 and 1 are the bounds


@dataclass(frozen=True)
class Action:
    """One row of actions.parquet, of the training pair in `row`."""

    row: int
    item: int
    action: str
    amount: float | None = None
    side: str | None = None
    start: int | None = None
    stop: int | None = None
    text: str | None = None
    explained: float | None = None
    reason: str = ""


def actions_table(actions: Iterable[Action], pair_ids: Sequence[str]) -> pa.Table:
    """Schema ACTIONS, by item and pair."""
    rows = [
        {
            "pair_id": pair_ids[action.row],
            **{name: getattr(action, name) for name in ACTIONS.names if name != "pair_id"},
        }
        for action in sorted(
            actions, key=lambda action: (action.item, action.row, action.side or "", action.start or 0)
        )
    ]
    return pa.Table.from_pylist(rows, ACTIONS)


@dataclass
class Changes:
    """What all actions together do to n training pairs."""

    weight: np.ndarray  # float64 [n], >= 0; 0: dropped
    dropped: np.ndarray  # bool [n]
    offset: np.ndarray  # float64 [n], of the margin beta D + offset of the pair as it is trained on
    swap: np.ndarray  # bool [n]
    texts: dict[tuple[int, str], str] = field(default_factory=dict)  # (row, side) to the rewritten response
    masks: dict[tuple[int, str], list[tuple[int, int]]] = field(default_factory=dict)  # to token ranges
    instructions: dict[tuple[int, str], str] = field(default_factory=dict)  # to what the policy reads first
    pushes: dict[tuple[int, str], dict[str, float]] = field(default_factory=dict)  # to the length along each detector
    explained: dict[int, float] = field(default_factory=dict)  # row to log-odds, of both

    @classmethod
    def none(cls, n: int) -> Changes:
        """No change of n pairs."""
        return cls(np.ones(n), np.zeros(n, bool), np.zeros(n), np.zeros(n, bool))

    @classmethod
    def of(cls, actions: Iterable[Action], n: int) -> Changes:
        """All actions on n pairs. Offsets are meant for the labels as they stand: they turn with a swapped pair."""
        changes = cls.none(n)
        for action in actions:
            if action.action == "drop":
                changes.dropped[action.row] = True
            elif action.action == "weight":
                changes.weight[action.row] *= action.amount
            elif action.action == "offset":
                changes.offset[action.row] += action.amount
            elif action.action == "swap":
                changes.swap[action.row] ^= True
            elif action.action == "rewrite":
                changes.texts[action.row, str(action.side)] = str(action.text)
            elif action.action == "mask":
                changes.masks.setdefault((action.row, str(action.side)), []).append(
                    (int(action.start or 0), int(action.stop or 0))
                )
            elif action.action == "inoculate":
                before = changes.instructions.get((action.row, str(action.side)))
                both = action.text if before in (None, action.text) else f"{before}\n{action.text}"
                changes.instructions[action.row, str(action.side)] = str(both)
            elif action.action == "steer":
                along = changes.pushes.setdefault((action.row, str(action.side)), {})
                along[str(action.text)] = along.get(str(action.text), 0.0) + float(action.amount or 0.0)
            else:
                raise ValueError(f"unknown action '{action.action}'")
            if action.explained is not None:
                changes.explained[action.row] = changes.explained.get(action.row, 0.0) + action.explained
        changes.weight[changes.dropped] = 0.0
        changes.offset[changes.swap] *= -1
        return changes

    @property
    def touched(self) -> np.ndarray:
        """bool [n]: the pairs that are not trained on as they stand."""
        rows = (self.weight != 1) | (np.abs(self.offset) > LEAST) | self.swap
        for row, _ in (*self.texts, *self.masks, *self.instructions, *self.pushes):
            rows[row] = True
        return np.asarray(rows)

    @property
    def detectors(self) -> list[str]:
        """Along which the policy is pushed, by name."""
        return sorted({name for along in self.pushes.values() for name in along})

    def foretold(self, carried: float = CARRIED) -> Changes:
        """What a what-if computes with: as weights and offsets, what an instruction or steering does to a pair.

        What the context explains is an offset. One of the two responses teaches in that context, and of its half of the
        pair's pull the share `carried` in [0, 1] comes to the model without it.
        """
        if not self.explained:
            return self
        weight, offset = self.weight.copy(), self.offset.copy()
        for row, log_odds in self.explained.items():
            weight[row] *= (1 + carried) / 2
            offset[row] += -log_odds if self.swap[row] else log_odds
        return replace(self, weight=weight, offset=offset, instructions={}, pushes={}, explained={})


def read_actions(table: pa.Table, pair_ids: Sequence[str]) -> list[Action]:
    """The rows of actions.parquet for these training pairs. Raises ValueError for a pair that is not among them."""
    row_of = {pair_id: row for row, pair_id in enumerate(pair_ids)}
    actions = []
    for values in table.to_pylist():
        pair_id = values.pop("pair_id")
        if pair_id not in row_of:
            raise ValueError(f"an action names the pair {pair_id}, which is not trained on")
        actions.append(Action(row=row_of[pair_id], **values))
    return actions


def coverage(actions: Sequence[Action], signs: Mapping[int, int], n: int, gross: int = 10) -> dict[str, Any]:
    """Pairs touched per item and by two items, what is left, and conflicts. `signs`: +1 suppress, -1 amplify, by item.

    A conflict is a pair that two items pull apart: their offsets have opposite signs, it is weighted up and down, one
    drops or masks what another rewrites or amplifies, or two exchange it and so undo each other.
    """
    by_item: dict[int, set[int]] = {item: set() for item in signs}
    kinds: dict[int, dict[int, set[str]]] = {}
    for action in actions:
        by_item[action.item].add(action.row)
        way = action.action
        if action.action == "offset" and action.amount:
            way = "offset up" if action.amount > 0 else "offset down"
        if action.action == "weight" and action.amount is not None and action.amount != 1:
            way = "weighted up" if action.amount > 1 else "weighted down"
        kinds.setdefault(action.row, {}).setdefault(action.item, set()).add(way)

    overlaps = {
        f"{a} and {b}": len(by_item[a] & by_item[b])
        for a, b in combinations(sorted(by_item), 2)
        if by_item[a] & by_item[b]
    }
    conflicts: Counter[str] = Counter()
    examples: list[int] = []
    for row, items in kinds.items():
        clashes = {clash for a, b in combinations(sorted(items), 2) for clash in _clashes(items[a], items[b], a, b)}
        conflicts.update(clashes)
        if clashes and len(examples) < gross:
            examples.append(row)
    changes = Changes.of(actions, n)
    return {
        "pairs": n,
        "touched": int(changes.touched.sum()),
        "dropped": int(changes.dropped.sum()),
        "left": int((changes.weight > 0).sum()),
        "weight_left": float(changes.weight.sum() / max(n, 1)),
        "by_item": {str(item): len(rows) for item, rows in by_item.items()},
        "overlaps": overlaps,
        "conflicts": dict(sorted(conflicts.items())),
        "conflicting_rows": examples,
    }


_AGAINST = (
    ("offset up", "offset down"), ("weighted up", "weighted down"), ("drop", "weighted up"), ("drop", "offset down"),
    ("drop", "rewrite"), ("drop", "inoculate"), ("drop", "steer"), ("drop", "swap"), ("mask", "rewrite"),
    ("swap", "swap"), ("rewrite", "rewrite"),
)  # fmt: skip


def _clashes(first: set[str], second: set[str], a: int, b: int) -> list[str]:
    pairs = [(x, y) for x, y in _AGAINST if (x in first and y in second) or (y in first and x in second)]
    return [f"items {a} and {b}: {x} against {y}" for x, y in pairs]
