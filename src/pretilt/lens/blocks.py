"""The features of a run, shard by shard, as the steps after the harvest read them: never all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from pretilt.lens.store import iter_shards
from pretilt.pairs.shuffle import label_swap, swap_rows
from pretilt.pairs.transcript import transcript
from pretilt.run import Run, Shards
from pretilt.schema import FEATURES, PAIRS_FILE, SHARD_PARTS, SPANS
from pretilt.settings import AuditSettings


def shards_of(run: Run) -> Shards:
    return run.shards(FEATURES, FEATURES, SHARD_PARTS)


def train_rows(run: Run) -> np.ndarray:
    """Which rows of pairs.parquet everything is fitted and tested on, bool."""
    train: np.ndarray = pc.equal(run.table(PAIRS_FILE, ["split"])["split"], "train").to_numpy()
    return train


class Features:
    """Blocks of pairs with their sparse features.

    With the baseline "shuffled-labels" chosen and rejected are swapped for a random half of the families, here and
    nowhere else: everything that is fitted, tested or shown then sees the swapped labels.
    """

    def __init__(self, run: Run, settings: AuditSettings) -> None:
        self.run = run
        self.n_features: int = run.manifest["lens"]["n_features"]
        self.swap = label_swap(run, settings)

    def blocks(self, keep: np.ndarray, *, prompts: bool = True, activations: bool = True) -> Iterator[PairBlock]:
        """The rows to keep (bool [n_pairs]), in the order of pairs.parquet, shard by shard.

        Without prompts their rows are empty, without activations every `act_max` is; neither is read then.
        """
        for (block,) in self._blocks((keep,), prompts, activations):
            yield block

    def split(
        self, keep: np.ndarray, *, prompts: bool = True, activations: bool = True
    ) -> Iterator[tuple[PairBlock, ...]]:
        """Likewise, the rows to keep and the others: what is read once need not be read twice."""
        yield from self._blocks((keep, ~keep), prompts, activations)

    def _blocks(self, masks: Sequence[np.ndarray], prompts: bool, activations: bool) -> Iterator[tuple[PairBlock, ...]]:
        start = 0
        span_names = SPANS if prompts else SPANS[1:]
        for spans in iter_shards(shards_of(self.run), self.n_features, span_names, activations=activations):
            chosen, rejected = spans["chosen"], spans["rejected"]
            rows = slice(start, start + len(chosen))
            if prompts:
                prompt = spans["prompt"]
                prompt_rows = SpanRows(prompt.n_tokens, prompt.fire_count, prompt.act_max)
            else:
                no_entries = csr_array((len(chosen), self.n_features), dtype=np.int32)
                prompt_rows = SpanRows(np.zeros(len(chosen), np.int32), no_entries, no_entries)
            block = PairBlock(prompt_rows, chosen, rejected)

            if self.swap is not None:
                first, second = ((s.n_tokens, s.fire_count, s.act_max) for s in (chosen, rejected))
                chosen_parts, rejected_parts = swap_rows(first, second, self.swap[rows])
                block = PairBlock(prompt_rows, SpanRows(*chosen_parts), SpanRows(*rejected_parts))

            start = rows.stop
            yield tuple(block if mask[rows].all() else block.take(np.flatnonzero(mask[rows])) for mask in masks)


def prompt_texts(pairs: pa.Table) -> list[str]:
    """The prompts as one text each, without roles, for names and labellers."""
    return ["\n".join(m["content"] for m in messages) for messages in pairs["prompt"].to_pylist()]


def transcripts(pairs: pa.Table) -> list[str]:
    """The prompts as a person reads them: whose turn is whose. Needs the columns `prompt` and `is_chat`."""
    columns = (pairs[name].to_pylist() for name in ("prompt", "is_chat"))
    return [transcript(messages, is_chat=is_chat) for messages, is_chat in zip(*columns, strict=True)]


class Span(Protocol):
    """One span of N pairs, as `pretilt.lens.store.SpanFeatures`: `n_tokens` int [N], and two CSR [N, n_features].

    `fire_count` int and `act_max` float hold entries > 0 in the same places; a span without tokens is an empty row.
    """

    @property
    def n_tokens(self) -> np.ndarray: ...
    @property
    def fire_count(self) -> Any: ...
    @property
    def act_max(self) -> Any: ...


@dataclass(frozen=True)
class SpanRows:
    """Some rows of a `Span`."""

    n_tokens: np.ndarray
    fire_count: csr_array
    act_max: csr_array


@dataclass(frozen=True)
class PairBlock:
    """The three spans of the same pairs; `PairBlock(**spans)` of what `pretilt.lens.store.iter_shards` yields."""

    prompt: Span
    chosen: Span
    rejected: Span

    def __len__(self) -> int:
        return int(self.prompt.n_tokens.size)

    def take(self, rows: np.ndarray) -> PairBlock:
        """The pairs at these positions, or under this mask."""
        spans = (self.prompt, self.chosen, self.rejected)
        return PairBlock(*(SpanRows(s.n_tokens[rows], s.fire_count[rows], s.act_max[rows]) for s in spans))


Stream = Callable[[], Iterator[PairBlock]]  # each call starts the same blocks again, from the first
