"""Reading again what a plan rewrites or masks, with the run's own measurement, and its new concept deltas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pretilt.concepts.patterns import count, n_words
from pretilt.detectors.stored import load_detector, thresholds
from pretilt.errors import UserError
from pretilt.forecast.inputs import Scorer, detector_names, pattern_columns
from pretilt.forecast.scores import log_length
from pretilt.lens.blocks import SpanRows
from pretilt.pairs.pair import Drop, Pair, with_response
from pretilt.pairs.tables import pairs_from_table
from pretilt.schema import PAIRS_FILE, TOKENS_FILE
from pretilt.shape.data import ConceptFamily, ShapeData
from pretilt.train.actions import SIDES, Changes

if TYPE_CHECKING:
    from pretilt.lens.lens import Lens
    from pretilt.lens.packing import Rows


@dataclass(frozen=True)
class Reread:
    """New deltas of the rows that were rewritten or masked: u [k, M] and nuisance [k, p] by family name."""

    rows: np.ndarray  # int64 [k], training pairs, ascending
    u: dict[str, np.ndarray]
    nuisance: dict[str, np.ndarray]


def reread(data: ShapeData, changes: Changes, families: Sequence[ConceptFamily] | None = None) -> Reread | None:
    """The pairs with another text or with masked tokens, measured anew for all or some families; None without any.

    A masked token is no content: no feature fires on it, and no pattern is counted in it. Raises UserError for a
    rewritten response of which nothing is left to train on.
    """
    rows = np.array(sorted({row for row, _ in (*changes.texts, *changes.masks)}), np.int64)
    if not rows.size:
        return None
    reading = _Reading(data, changes, rows)
    u, nuisance = {}, {}
    for family in data.families if families is None else families:
        kinds = family.bank
        measured = reading.of_features
        if kinds.patterns.all():
            measured = reading.of_patterns
        elif kinds.detectors.all():
            measured = reading.of_detectors
        u[family.name], nuisance[family.name] = measured(family)
    return Reread(rows, u, nuisance)


class _Reading:
    """The changed pairs, as pairs and as spans of features; the latter are read when they are asked for."""

    def __init__(self, data: ShapeData, changes: Changes, rows: np.ndarray) -> None:
        self.data, self.changes, self.rows = data, changes, rows
        table = data.run.table(PAIRS_FILE).filter(pa.array(data.sets.train)).take(pa.array(rows))
        self.pairs: list[Pair] = pairs_from_table(table)
        for i, row in enumerate(rows.tolist()):
            for side in SIDES:
                if (row, side) in changes.texts:
                    self.pairs[i] = with_response(self.pairs[i], side, changes.texts[row, side])
        self._spans: dict[str, SpanRows] | None = None

    def of_features(self, family: ConceptFamily) -> tuple[np.ndarray, np.ndarray]:
        """u and the difference in log length, of concepts of features."""
        data = self.data
        scorer = Scorer(data.run, data.settings, family.bank, data.form)
        chosen, rejected = (self.spans[side] for side in SIDES)
        longer = log_length(chosen.n_tokens) - log_length(rejected.n_tokens)
        return scorer(chosen) - scorer(rejected), longer[:, None]

    def of_patterns(self, family: ConceptFamily) -> tuple[np.ndarray, np.ndarray]:
        """u and the difference in log length in words."""
        data = self.data
        patterns = list(data.patterns.values())
        chosen_patterns = [patterns[i] for i in pattern_columns(data.run, family.bank, list(data.patterns))]
        questions = [data.question(row) for row in self.rows.tolist()]
        holds, words = [], []
        for side in SIDES:
            texts = self._texts(side)
            holds.append(count(chosen_patterns, texts, questions) > 0)
            words.append(log_length(n_words(texts)))
        return holds[0].astype(np.float64) - holds[1].astype(np.float64), (words[0] - words[1])[:, None]

    def of_detectors(self, family: ConceptFamily) -> tuple[np.ndarray, np.ndarray]:
        """u and the difference in log length; the detectors see no masked token."""
        from pretilt.detectors.reading import response_states
        from pretilt.detectors.step import responses

        data, names = self.data, detector_names(self.data.run, family.bank)
        present = np.zeros((len(self.rows), 2, len(names)))
        n_tokens = np.zeros((len(self.rows), 2))
        opened = [(load_detector(data.run, name)[0], thresholds(data.run, name)[0]) for name in names]
        for states in response_states(self._lens, self.tokens, batch_tokens=data.settings.batch_tokens):
            for d, (detector, threshold) in enumerate(opened):
                for row, span, scores in responses(detector, states):
                    present[row, span - 1, d] = float(scores.max() >= threshold)
                    n_tokens[row, span - 1] = scores.size
        longer = log_length(n_tokens[:, 0]) - log_length(n_tokens[:, 1])
        return present[:, 0] - present[:, 1], longer[:, None]

    @property
    def spans(self) -> dict[str, SpanRows]:
        """Features of both responses of the changed pairs, without the masked tokens."""
        if self._spans is None:
            self._spans = self._read()
        return self._spans

    def _texts(self, side: str) -> list[str]:
        """What the assistant says, without the masked tokens."""
        texts = []
        for row in self.rows.tolist():
            if (row, side) in self.changes.masks:
                texts.append(self._unmasked(row, side))
            else:
                texts.append(self.changes.texts.get((row, side)) or self.data.text(row, side))
        return texts

    def _unmasked(self, row: int, side: str) -> str:
        from pretilt.lens.tokens import token_pieces

        tokens = self.data.tokens([row])
        ids, content = (np.asarray(tokens[f"{side}_{name}"][0].as_py()) for name in ("ids", "content"))
        content = content.astype(bool)
        hidden = _hidden(self.changes.masks[row, side], ids.size)[content]
        pieces = token_pieces(self.data.lens.tokenizer, ids[content])
        return "".join(piece for piece, is_hidden in zip(pieces, hidden, strict=True) if not is_hidden)

    @cached_property
    def _lens(self) -> Lens:
        return self.data.lens.lens(self.data.run.table(TOKENS_FILE))

    @cached_property
    def tokens(self) -> Rows:
        """The changed pairs as the model reads them; masked tokens are no content. Raises as `reread` does."""
        from pretilt.lens.packing import Rows
        from pretilt.pairs.chat import tokenise

        data, settings = self.data, self.data.settings
        ids: list[tuple[np.ndarray, ...]] = []
        content: list[tuple[np.ndarray, ...]] = []
        for row, pair, tokens in zip(
            self.rows.tolist(), self.pairs, tokenise(self.pairs, data.lens.tokenizer, max_length=settings.max_length),
            strict=True,
        ):  # fmt: skip
            if isinstance(tokens, Drop):
                raise UserError(
                    f"pair {pair.pair_id} cannot be read after it is rewritten", why=tokens.reason,
                    fix="Give a smaller strength, or another method",
                )  # fmt: skip
            masks = [np.ones(tokens.chosen_ids.size, bool), np.ones(tokens.rejected_ids.size, bool)]
            for keep, side in zip(masks, SIDES, strict=True):
                keep &= ~_hidden(self.changes.masks.get((row, side), ()), keep.size)
            ids.append((tokens.prompt_ids, tokens.chosen_ids, tokens.rejected_ids))
            unread = np.zeros(tokens.prompt_ids.size, bool)
            content.append((unread, tokens.chosen_content & masks[0], tokens.rejected_content & masks[1]))
        return Rows(("prompt", *SIDES), ids, content)

    def _read(self) -> dict[str, SpanRows]:
        from scipy.sparse import csr_array

        from pretilt.lens.measure import measure

        data, lens, rows = self.data, self._lens, self.tokens
        data.events.say(f"reading {len(rows):,} changed pairs")
        done = 0

        def progress(n_tokens: int) -> None:
            nonlocal done
            done += n_tokens
            data.events.progress("reading changed pairs", done, rows.n_tokens, "tokens")

        measured = measure(lens, rows, batch_tokens=data.settings.batch_tokens, progress=progress)
        spans = {}
        for side in SIDES:
            pool = measured.spans[side]
            shape = len(rows), lens.n_features
            fires, strongest = (
                csr_array((values, pool.feature_id, pool.indptr), shape) for values in (pool.fire_count, pool.act_max)
            )
            spans[side] = SpanRows(pool.n_tokens, fires, strongest)
        return spans


def _hidden(ranges: Sequence[tuple[int, int]], n_tokens: int) -> np.ndarray:
    """bool [n_tokens]: the masked ones."""
    hidden = np.zeros(n_tokens, bool)
    for start, stop in ranges:
        hidden[start:stop] = True
    return hidden
