"""Where the examples of a trait come from: contrastive pairs, the matches of a pattern, or traced pairs of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.concepts.pattern_step import answer_text, pattern_counts, question
from pretilt.concepts.patterns import Pattern, covered_pieces
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.lens.blocks import train_rows
from pretilt.lens.packing import Rows
from pretilt.lens.tokens import token_pieces
from pretilt.pairs.read import SourcePairs, read_source, tokenise_source
from pretilt.pairs.template_reads import template_reads
from pretilt.run import Run, content_hash
from pretilt.schema import PAIRS_FILE, TOKENS_FILE
from pretilt.settings import AuditSettings
from pretilt.text import counted

CONTRAST_COLUMNS = {"prompt": "prompt", "chosen": "positive", "rejected": "negative"}


@dataclass(frozen=True)
class Material:
    """K pairs of responses to one prompt each, before the model reads them."""

    pair_ids: list[str]
    rows: Rows
    label: np.ndarray  # bool [K, 2]: the trait is in chosen, in rejected
    family: np.ndarray  # int64 [K]
    texts: list[tuple[str, str]]
    token_label: list[tuple[np.ndarray, np.ndarray]] | None  # bool per content token
    how: str  # a sentence for the card

    @property
    def sha256(self) -> str:
        """Of the texts and labels."""
        return content_hash([self.texts, self.label.tolist()])


def open_contrast(source: Any, tokenizer: Any) -> SourcePairs:
    """Contrastive pairs of a file, or of rows in memory, with the columns prompt, positive and negative (messages or
    plain text).

    Raises UserError, with file and row, for a file that cannot be read so.
    """
    return read_source(source, columns=CONTRAST_COLUMNS, reads=template_reads(tokenizer))


def contrast_material(
    source: SourcePairs, tokenizer: Any, *, max_length: int | None, n_pairs: int, seed: int, events: Events, how: str
) -> Material:
    """`n_pairs` pairs at most, drawn by the seed, tokenised as the run's own. Rows that give no pair are told."""
    read = tokenise_source(source, tokenizer, max_length=max_length, holdout=0.0, seed=seed)
    if len(read.dropped):
        first = read.dropped.slice(0, 1).to_pylist()[0]
        events.say(
            f"{counted(len(read.dropped), 'row')} of the examples left out, the first is row {first['row_index']}: "
            f"{first['reason']}"
        )
    drawn = _draw(len(read.pairs), n_pairs, seed)
    assert read.tokens is not None
    pairs, tokens = read.pairs.take(pa.array(drawn)), read.tokens.take(pa.array(drawn))
    label = np.tile([True, False], (len(pairs), 1))
    return material_of(pairs, tokens, label, None, how)


def pattern_rows(run: Run, settings: AuditSettings, name: str, n_pairs: int, seed: int) -> np.ndarray:
    """Training pairs to learn a pattern from, positions in pairs.parquet ascending: two thirds hold it in a response.

    Raises UserError where too few do.
    """
    counts = pattern_counts(run, settings)
    column = counts.names.index(name)
    holds = (counts.chosen[:, column] > 0) | (counts.rejected[:, column] > 0)
    train = train_rows(run)
    rng = np.random.default_rng(seed)
    with_it, without = (rng.permutation(np.flatnonzero(train & side)) for side in (holds, ~holds))
    if with_it.size < 10:
        raise UserError(
            f"the pattern '{name}' stands in {counted(int(with_it.size), 'training pair')} of this run",
            why="a detector needs 10 at least, to be fitted, chosen and judged",
            fix="Name another pattern, or audit more pairs",
        )
    with_it = with_it[: max(n_pairs * 2 // 3, 1)]
    return np.sort(np.concatenate([with_it, without[: n_pairs - with_it.size]]))


def pattern_material(
    run: Run, rows: np.ndarray, pattern: Pattern, tokenizer: Any, *, per_token: bool, how: str
) -> Material:
    """The pairs at these rows; a token has the trait where a match of the pattern covers a character of it.

    The pattern reads the text that the model reads: what truncation cut off is not there for either.
    """
    pairs, tokens = _rows_of(run, rows)
    sides = Rows.from_table(tokens)
    labels: list[tuple[np.ndarray, np.ndarray]] = []
    for row, prompt in enumerate(pairs["prompt"].to_pylist()):
        both = [
            covered_pieces(pattern, token_pieces(tokenizer, sides.ids[row][s][sides.content[row][s]]), question(prompt))
            for s in (1, 2)
        ]
        labels.append((both[0], both[1]))
    label = np.array([[side.any() for side in both] for both in labels], bool)
    return material_of(pairs, tokens, label, labels if per_token else None, how)


def traced_material(run: Run, rows: np.ndarray, in_chosen: np.ndarray, how: str) -> Material:
    """The pairs at these rows; the trait is in the chosen response where `in_chosen`, else in the rejected one."""
    pairs, tokens = _rows_of(run, rows)
    return material_of(pairs, tokens, np.column_stack([in_chosen, ~in_chosen]), None, how)


def _rows_of(run: Run, rows: np.ndarray) -> tuple[pa.Table, pa.Table]:
    names = ["pair_id", "prompt", "chosen", "rejected", "family_id"]
    return run.table(PAIRS_FILE, names).take(pa.array(rows)), run.table(TOKENS_FILE).take(pa.array(rows))


def material_of(
    pairs: pa.Table,
    tokens: pa.Table,
    label: np.ndarray,
    token_label: list[tuple[np.ndarray, np.ndarray]] | None,
    how: str,
) -> Material:
    """Of tables of schema PAIRS and TOKENS with the same rows; `label` bool [K, 2]."""
    texts = [[answer_text(messages) for messages in pairs[side].to_pylist()] for side in ("chosen", "rejected")]
    return Material(
        pairs["pair_id"].to_pylist(),
        Rows.from_table(tokens),
        label,
        pairs["family_id"].to_numpy().astype(np.int64),
        list(zip(*texts, strict=True)),
        token_label,
        how,
    )


def _draw(n: int, most: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])
