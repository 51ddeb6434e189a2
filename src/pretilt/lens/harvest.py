"""The harvest: every pair through the lens, shard by shard. A shard on disk is whole and is never measured again."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pyarrow as pa

from pretilt.errors import UserError
from pretilt.lens.lens import Lens
from pretilt.lens.measure import measure
from pretilt.lens.packing import Rows
from pretilt.lens.store import tables
from pretilt.run import Progress, Shards


@dataclass(frozen=True)
class HarvestReport:
    """`n_tokens` counts all tokens of all pairs, the prompt once; `n_resumed` of them lay in shards that were there."""

    n_tokens: int
    n_resumed: int
    seconds: float
    packed: bool  # False: the model cannot read prompt + both responses in one sequence, so the prompt is read twice

    @property
    def tokens_per_second(self) -> float:
        """NaN if nothing was left to read."""
        return (self.n_tokens - self.n_resumed) / self.seconds if self.n_tokens > self.n_resumed else float("nan")


def n_shards(n_pairs: int, pairs_per_shard: int = 256) -> int:
    return -(-n_pairs // pairs_per_shard)


def harvest(
    tokens: pa.Table,
    lens: Lens,
    shards: Shards,
    *,
    pairs_per_shard: int = 256,
    batch_tokens: int = 4096,
    progress: Progress | None = None,
) -> HarvestReport:
    """Measure the pairs of `tokens` (schema TOKENS) into `shards` (parts: store.PARTS), skipping shards that are whole.

    Shard i holds pairs i * pairs_per_shard … in their order, and depends on nothing but them, the lens and
    `batch_tokens`: an interrupted harvest loses one shard at most and ends with the same bytes. `progress` gets
    (tokens done, tokens in all) after each batch, and once at the start with what was there. Raises UserError for
    pairs that the model cannot read, naming the pair.
    """
    numbers = range(n_shards(len(tokens), pairs_per_shard))
    missing = [number for number in numbers if not shards.has(number)]
    sizes = [_n_tokens(tokens.slice(number * pairs_per_shard, pairs_per_shard)) for number in numbers]
    total = sum(sizes)
    resumed = done = total - sum(sizes[number] for number in missing)
    start = time.monotonic()
    if progress is not None:
        progress(done, total)

    def advance(n: int) -> None:
        nonlocal done
        done += n
        if progress is not None:
            progress(done, total)

    for number in missing:
        part = tokens.slice(number * pairs_per_shard, pairs_per_shard)
        pair_ids = part["pair_id"].to_pylist()
        try:
            measured = measure(lens, Rows.from_table(part), batch_tokens=batch_tokens, progress=advance)
        except UserError as error:
            if error.row is None:
                raise
            row = number * pairs_per_shard + error.row
            raise UserError(
                error.what, row=row, why=error.why, fix=error.fix, file=f"pair {pair_ids[error.row]}"
            ) from error
        shards.write(number, tables(measured, pair_ids))
    return HarvestReport(total, resumed, time.monotonic() - start, lens.packs)


def _n_tokens(tokens: pa.Table) -> int:
    columns = [name for name in tokens.column_names if name.endswith("_ids")]
    return sum(len(chunk.flatten()) for name in columns for chunk in tokens[name].chunks)
