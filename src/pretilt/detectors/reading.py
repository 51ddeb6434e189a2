"""The residual stream on the content tokens of responses, read as the run's own measurement reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pretilt.lens.lens import Lens
from pretilt.lens.measure import content_activations
from pretilt.lens.packing import Rows


@dataclass(frozen=True)
class States:
    """K responses of one batch."""

    row: np.ndarray  # int64 [K], of the rows that were read
    span: np.ndarray  # int64 [K], position among the spans' names, 1 at least
    starts: np.ndarray  # int64 [K + 1]
    h: np.ndarray  # float32 [T, d_model]


def responses_only(rows: Rows) -> Rows:
    """The same rows with the prompts read and not returned."""
    content = [(np.zeros(spans[0].size, bool), *spans[1:]) for spans in rows.content]
    return Rows(rows.span_names, rows.ids, content)


def response_states(
    lens: Lens, rows: Rows, *, batch_tokens: int, progress: Callable[[int], None] | None = None
) -> Iterator[States]:
    """Every response of every row once, batch by batch; `progress` gets the number of tokens of each batch."""
    for batch, x in content_activations(lens, responses_only(rows), batch_tokens):
        key = batch.row.astype(np.int64) * len(rows.span_names) + batch.span
        first = np.flatnonzero(np.append(True, key[1:] != key[:-1])[: key.size])  # a response's tokens lie together
        starts = np.append(first, key.size)
        yield States(batch.row[first].astype(np.int64), batch.span[first].astype(np.int64), starts, x.cpu().numpy())
        if progress is not None:
            progress(batch.n_tokens)
