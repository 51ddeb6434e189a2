"""The measurement: token ids in, pooled features of every span out. Data and rollouts are both read by `measure`.

Only content tokens are encoded and counted; template, special and padding tokens never are. An activation is what the
dictionary gives for the output of the lens' decoder block at that token (arXiv 2606.12360, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pretilt.lens.lens import Lens
from pretilt.lens.packing import Batch, Rows, plan, read
from pretilt.lens.pooling import Measurement, Pooler


def measure(
    lens: Lens,
    rows: Rows,
    *,
    batch_tokens: int = 4096,
    pack: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> Measurement:
    """Pooled features of every span of every row, in the order of `rows`.

    `batch_tokens` is the token budget of one forward pass, padding included. `pack` forces the way of reading (None:
    pack if the model reads packed pairs exactly). `progress` gets the number of tokens of each batch; they sum to
    `rows.n_tokens`. The same rows, lens and budget give the same bytes. Raises UserError for rows the model cannot
    read and for activations that are not finite.
    """
    pooler = Pooler(rows, lens.n_features)
    for batch, x in content_activations(lens, rows, batch_tokens, pack=pack):
        pooler.add(batch, *(part.cpu().numpy() for part in lens.dictionary.encode_sparse(x)))
        if progress is not None:
            progress(batch.n_tokens)
    return pooler.finish()


def token_activations(
    lens: Lens, rows: Rows, feature_sets: Sequence[Sequence[np.ndarray]], *, batch_tokens: int = 1024
) -> list[list[dict[str, np.ndarray]]]:
    """Summed activation of chosen features on every content token.

    `feature_sets[i]` holds the feature sets (int arrays) asked of row i. Returns, per row and per set, span name →
    float32 array with one value >= 0 per content token of the span.
    """
    sums = [
        [[np.zeros(ids.size, np.float32) for ids in spans] for _ in sets]
        for spans, sets in zip(rows.ids, feature_sets, strict=True)
    ]

    is_summed = np.zeros(lens.n_features, bool)
    for batch, x in content_activations(lens, rows, batch_tokens):
        token, feature, act = (part.cpu().numpy() for part in lens.dictionary.encode_sparse(x))

        span_key = batch.row.astype(np.int64) * len(rows.span_names) + batch.span
        is_start = np.append(True, span_key[1:] != span_key[:-1])[: span_key.size]  # a span's tokens lie together
        starts = np.flatnonzero(is_start)

        for start, end in zip(starts, np.append(starts[1:], span_key.size), strict=True):
            row, span, position = batch.row[start], batch.span[start], batch.position[start:end]
            hits = slice(*np.searchsorted(token, (start, end)))
            for i, features in enumerate(feature_sets[row]):
                is_summed[:] = False
                is_summed[features] = True
                selected = is_summed[feature[hits]]
                total = np.bincount(token[hits][selected] - start, weights=act[hits][selected], minlength=end - start)
                sums[row][i][span][position] = total

    return [
        [
            {name: acts[content] for name, acts, content in zip(rows.span_names, by_span, contents, strict=True)}
            for by_span in by_set
        ]
        for by_set, contents in zip(sums, rows.content, strict=True)
    ]


def content_activations(
    lens: Lens, rows: Rows, batch_tokens: int = 1024, *, pack: bool | None = None
) -> Iterator[tuple[Batch, Tensor]]:
    """Batches and the residual stream of their n content tokens, (n, d_model) float32."""
    pack = lens.packs if pack is None else pack
    for batch in plan(rows, lens.model, batch_tokens=batch_tokens, pack=pack):
        residual = read(lens.model, lens.layer, batch).flatten(0, 1)
        yield batch, residual[torch.from_numpy(batch.flat).to(residual.device)].float()
