"""u of every concept on every training pair: with it the page knows all pairs of all hypotheses.

A pair's share of an effect is u / n_in inside, -u / n_out outside (`stats/evidence.py`), which a page can compute. The
pairs of a concept are stored in the order in which `trace` lists pairs of equal shares.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pretilt.audit.evidence import scores_of
from pretilt.lens.blocks import train_rows
from pretilt.run import Run
from pretilt.schema import CONCEPTS_FILE, PAIRS_FILE
from pretilt.settings import settings_of
from pretilt.view.site.shards import short

SCORES_OF_SHARD = 1_000_000  # (concept, pair) of a shard at most, if every pair had the concept
BYTES_AT_ONCE = 400_000_000


class Scores:
    """Shards of concepts with their pairs; read from the features block by block, and the last block is remembered."""

    def __init__(self, run: Run) -> None:
        self.run, self._settings = run, settings_of(run)
        train = train_rows(run)
        self._train, self.rows = train, np.flatnonzero(train)
        ids = np.asarray(run.table(PAIRS_FILE, ["pair_id"])["pair_id"].to_pylist(), dtype=str)[self.rows]
        self._name_order = np.empty(ids.size, np.int64)
        self._name_order[np.argsort(ids, kind="stable")] = np.arange(ids.size)
        self.n_concepts = run.table(CONCEPTS_FILE, ["concept_id"]).num_rows
        n = max(1, self.rows.size)
        self.of_shard = int(np.clip(SCORES_OF_SHARD // n, 1, 64))
        self.n_shards = -(-self.n_concepts // self.of_shard)
        self._shards_at_once = max(1, BYTES_AT_ONCE // (16 * n) // self.of_shard)
        self._block: tuple[int, dict[int, tuple[np.ndarray, np.ndarray]]] = (-1, {})

    def shard_of(self, concept_id: int) -> int:
        """The shard that holds a concept."""
        return concept_id // self.of_shard

    def concepts(self, shard: int) -> range:
        """The concepts of a shard."""
        return range(shard * self.of_shard, min((shard + 1) * self.of_shard, self.n_concepts))

    def shard(self, number: int) -> dict[int, dict[str, Any]]:
        """Concept to its `entry`."""
        return {concept: self.entry(concept) for concept in self.concepts(number)}

    def _scores(self, concept: int) -> tuple[np.ndarray, np.ndarray]:
        block = self.shard_of(concept) // self._shards_at_once
        if self._block[0] != block:
            first = block * self._shards_at_once * self.of_shard
            ids = range(first, min(first + self._shards_at_once * self.of_shard, self.n_concepts))
            self._block = (block, scores_of(self.run, self._settings, list(ids), self._train))
        return self._block[1][concept]

    def entry(self, concept_id: int) -> dict[str, Any]:
        """{"places": in pairs.parquet, "u": scores} of the pairs that have the concept: positive ones first, the
        largest of each sign first.
        """
        u, v = self._scores(concept_id)
        rows = np.flatnonzero(u)
        sign = np.sign(u[rows])
        order = np.lexsort((self._name_order[rows], -sign * v[rows], -np.abs(u[rows]), sign < 0))
        return {"places": self.rows[rows[order]].tolist(), "u": [short(value) for value in u[rows[order]].tolist()]}
