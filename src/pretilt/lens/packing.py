"""Batches: how the token ids of pairs become the inputs of forward passes.

A pair's prompt is read once for both responses: prompt, chosen and rejected lie in one sequence, the positions of
rejected start again where the prompt ends, and a mask hides chosen from it. Where a model cannot do that (ALiBi,
recurrent layers, a window shorter than the pair) prompt + response is read plainly, twice. Padding is on the right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pretilt.errors import UserError
from pretilt.models.subject import SubjectModel
from pretilt.schema import SPANS

_FLOAT32_TOLERANCE = (
    1e-4  # relative distance of packed from plain activations; observed 1e-6, a wrong mask gives > 1e-2
)
_HALF_TOLERANCE = 5e-2


@dataclass(frozen=True)
class Rows:
    """Token ids and content masks: one row per pair (or rollout), one column per span.

    `ids[row][span]` is an int array, `content[row][span]` a bool array of the same length, False for template and
    special tokens. Span 0 is the prompt; the spans behind it are alternative responses to it and do not see each other.
    """

    span_names: tuple[str, ...]
    ids: list[tuple[np.ndarray, ...]]
    content: list[tuple[np.ndarray, ...]]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_tokens(self) -> int:
        """Tokens of all spans, template and special tokens too, the prompt counted once."""
        return sum(ids.size for spans in self.ids for ids in spans)

    @classmethod
    def from_table(cls, tokens: pa.Table) -> Rows:
        """From a table of schema TOKENS."""
        columns = {name: _slices(tokens[name]) for span in SPANS for name in (f"{span}_ids", f"{span}_content")}
        return cls(
            SPANS,
            list(zip(*(columns[f"{span}_ids"] for span in SPANS), strict=True)),
            list(zip(*(columns[f"{span}_content"] for span in SPANS), strict=True)),
        )


def _slices(column: pa.ChunkedArray) -> list[np.ndarray]:
    slices: list[np.ndarray] = []
    for chunk in column.chunks:
        values = chunk.flatten().to_numpy(zero_copy_only=False)
        ends = np.cumsum(chunk.value_lengths().to_numpy(zero_copy_only=False))
        slices += np.split(values, ends[:-1]) if len(chunk) else []
    return slices


@dataclass(frozen=True)
class Batch:
    """One forward pass of B sequences, padded to L, and its n content tokens by sequence, span and position."""

    input_ids: np.ndarray  # (B, L) int64, 0 behind the end
    ends: np.ndarray | None  # (B, 3) int64: where prompt, chosen and rejected end; None: plain reading
    n_tokens: int  # tokens read for the first time: no padding, no prompt that another sequence counts
    flat: np.ndarray  # (n,) int64, index into the flattened (B, L)
    row: np.ndarray  # (n,) int32
    span: np.ndarray  # (n,) int8
    position: np.ndarray  # (n,) int32, index into the span's ids
    token_id: np.ndarray  # (n,) int32


@dataclass(frozen=True)
class _Sequence:
    row: int
    spans: tuple[int, ...]  # in reading order
    counted: tuple[int, ...]  # the spans whose content this sequence encodes
    length: int


def plan(rows: Rows, model: SubjectModel, *, batch_tokens: int, pack: bool) -> Iterator[Batch]:
    """Batches of at most `batch_tokens` tokens with padding (one sequence at least), shortest first; always the same.

    Raises UserError for a row that is too long for the model or holds token ids that the model does not have.
    """
    tree: list[_Sequence] = []
    plain: list[_Sequence] = []
    max_depth, max_length = _tree_limits(model)

    for row, ids in enumerate(rows.ids):
        sizes = [span.size for span in ids]
        depth = sizes[0] + max(sizes[1:])
        _check_row(row, ids, depth, model)
        if pack and len(ids) == 3 and depth <= max_depth and sum(sizes) <= max_length:
            tree.append(_Sequence(row, (0, 1, 2), (0, 1, 2), sum(sizes)))
            continue
        for span in range(1, len(ids)):
            counted = (0, span) if span == 1 else (span,)
            plain.append(_Sequence(row, (0, span), counted, sizes[0] + sizes[span]))

    for sequences in (tree, plain):
        batch: list[_Sequence] = []
        for sequence in sorted(sequences, key=lambda s: s.length):  # stable: ties stay in row order
            if batch and (len(batch) + 1) * sequence.length > batch_tokens:
                yield _build(batch, rows)
                batch = []
            batch.append(sequence)
        if batch:
            yield _build(batch, rows)


def _build(sequences: Sequence[_Sequence], rows: Rows) -> Batch:
    length = max(s.length for s in sequences)
    input_ids = np.zeros((len(sequences), length), np.int64)
    ends = np.zeros((len(sequences), len(sequences[0].spans)), np.int64)
    span_parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    n_tokens = 0

    for b, sequence in enumerate(sequences):
        start = 0
        for i, span in enumerate(sequence.spans):
            ids = rows.ids[sequence.row][span]
            input_ids[b, start : start + ids.size] = ids
            if span in sequence.counted:
                n_tokens += ids.size
                position = np.flatnonzero(rows.content[sequence.row][span])
                same = np.ones_like(position)
                span_parts.append(
                    (b * length + start + position, sequence.row * same, span * same, position, ids[position])
                )
            start += ids.size
            ends[b, i] = start

    flat, row, span_of, position, token_id = (np.concatenate(parts) for parts in zip(*span_parts, strict=True))
    return Batch(
        input_ids,
        ends if ends.shape[1] == 3 else None,
        n_tokens,
        flat,
        row.astype(np.int32),
        span_of.astype(np.int8),
        position.astype(np.int32),
        token_id.astype(np.int32),
    )


def read(model: SubjectModel, layer: int, batch: Batch) -> Tensor:
    """Residual stream of the batch, (B, L, d_model)."""
    input_ids = torch.from_numpy(batch.input_ids).to(model.device)
    if batch.ends is None:
        return model.residual(layer, input_ids)
    mask, position_ids = tree_inputs(torch.from_numpy(batch.ends).to(model.device), input_ids.shape[1], model.dtype)
    return model.residual(layer, input_ids, attention_mask=mask, position_ids=position_ids)


def tree_inputs(ends: Tensor, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Additive mask (B, 1, L, L) and positions (B, L) of sequences prompt + chosen + rejected ending at `ends` (B, 3).

    A token sees itself and what lies before it, except that rejected (and the padding behind it) does not see chosen.
    """
    t = torch.arange(length, device=ends.device)
    prompt_end, chosen_end = ends[:, 0, None], ends[:, 1, None]  # (B, 1)
    chosen = (t >= prompt_end) & (t < chosen_end)  # (B, L)
    behind = t >= chosen_end  # (B, L)
    hidden = (t[:, None] < t)[None] | (behind[:, :, None] & chosen[:, None, :])  # (B, L, L)
    mask = torch.zeros(hidden.shape, dtype=dtype, device=ends.device).masked_fill_(hidden, torch.finfo(dtype).min)
    position_ids = t - behind * (chosen_end - prompt_end)
    return mask[:, None], position_ids


def packs_exactly(model: SubjectModel, layer: int) -> bool:
    """True if the model's packed activations equal plain reading on a small example of two pairs of unequal lengths."""
    sizes = ((5, 4, 6), (3, 7, 2))
    total = sum(map(sum, sizes))
    pool = iter(
        np.split((np.arange(total) * 7919 + 13) % model.n_vocab, np.cumsum([n for row in sizes for n in row])[:-1])
    )
    ids = [tuple(next(pool) for _ in row) for row in sizes]
    rows = Rows(SPANS, ids, [tuple(np.ones(span.size, bool) for span in row) for row in ids])

    plain = _in_order(model, layer, rows, pack=False)
    try:
        packed = _in_order(model, layer, rows, pack=True)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return False  # errors of architectures that take no 4-D mask or positions

    distance = (packed - plain).norm(dim=1) / plain.norm(dim=1)  # a NaN compares as too far
    tolerance = _FLOAT32_TOLERANCE if model.dtype == torch.float32 else _HALF_TOLERANCE
    return bool((distance <= tolerance).all())


def _in_order(model: SubjectModel, layer: int, rows: Rows, *, pack: bool) -> Tensor:
    residuals = []
    order = []
    for batch in plan(rows, model, batch_tokens=1 << 20, pack=pack):
        residuals.append(read(model, layer, batch).flatten(0, 1)[torch.from_numpy(batch.flat).to(model.device)].float())
        order.append(np.stack([batch.position, batch.span, batch.row]))
    return torch.cat(residuals)[torch.from_numpy(np.lexsort(np.concatenate(order, axis=1))).to(model.device)]


def _tree_limits(model: SubjectModel) -> tuple[float, float]:
    """(longest prompt + response, longest packed sequence) that packing reads exactly.

    A mask of our own replaces the model's sliding or chunked one, which binds only beyond its window. GPT-Neo applies
    its window to the index in the sequence, and so to the packed length.
    """
    windows = [getattr(model.config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    depth = min((w for w in windows if isinstance(w, int)), default=float("inf"))
    return depth, getattr(model.config, "window_size", None) or float("inf")


def _check_row(row: int, ids: tuple[np.ndarray, ...], depth: int, model: SubjectModel) -> None:
    if model.max_positions is not None and depth > model.max_positions:
        raise UserError(
            f"a sequence of {depth} tokens is too long for the model",
            row=row,
            why=f"it reads at most {model.max_positions}",
            fix="Give a smaller --max-length",
        )

    highest = max((int(span.max()) for span in ids if span.size), default=0)
    if highest >= model.n_vocab:
        raise UserError(
            f"token id {highest} is unknown to the model",
            row=row,
            why=f"it has {model.n_vocab} ids",
            fix="Use the model's own tokenizer",
        )
