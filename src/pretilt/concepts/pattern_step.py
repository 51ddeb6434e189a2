"""The step `patterns`: how often each pattern stands in the text of each response. No model takes part in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.concepts.pattern_files import load_patterns
from pretilt.concepts.patterns import Example, Pattern, Rewrite, count, n_words, spans
from pretilt.lens.tokens import PairTokens
from pretilt.pairs.shuffle import label_swap
from pretilt.run import Run
from pretilt.schema import PAIRS_FILE, PATTERN_COUNTS, PATTERN_COUNTS_FILE, PATTERNS, PATTERNS_FILE
from pretilt.settings import AuditSettings

LONG_TEXT = 10  # words
COMMON_ENGLISH = r"\b(?:the|and|of|you|that|with|this|are|your|have)\b"
STAGE, VERSION = "patterns", 1  # raise the number when a change of code can change the bytes


def patterns_stage(run: Run, settings: AuditSettings) -> None:
    """Count every pattern in every response. Raises UserError for a mistake in the user's file of patterns."""
    patterns = load_patterns(Path(settings.patterns) if settings.patterns else None)
    meaning = [{**asdict(pattern), "matches": None, "misses": None} for pattern in patterns]  # examples change no count
    with run.stage(STAGE, version=VERSION, config={}, reads=["pairs"], inputs=meaning) as stage:
        if stage.done:
            return

        pairs = run.table(PAIRS_FILE, ["pair_id", "prompt", "chosen", "rejected"])
        questions = [question(messages) for messages in pairs["prompt"].to_pylist()]
        columns: dict[str, Any] = {"pair_id": pairs["pair_id"]}
        for side in ("chosen", "rejected"):
            texts = [answer_text(messages) for messages in pairs[side].to_pylist()]
            counts = count(patterns, texts, questions)
            columns[side] = _lists(counts)
            columns[f"{side}_words"] = n_words(texts)

        stage.write(PATTERNS_FILE, pa.Table.from_pylist([_row(pattern) for pattern in patterns], PATTERNS))
        stage.write(
            PATTERN_COUNTS_FILE, pa.table({f.name: columns[f.name] for f in PATTERN_COUNTS}).cast(PATTERN_COUNTS)
        )


def answer_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """What the assistant says in a response, or all of it where no turn is the assistant's."""
    of_assistant = [m["content"] or "" for m in messages if m["role"] == "assistant"]
    return "\n\n".join(of_assistant or [m["content"] or "" for m in messages])


def english_share(texts: Sequence[str]) -> float | None:
    """Share of the texts of ten words or more with two of the commonest English words; None without such a text."""
    column = pa.array(texts, pa.large_string())
    is_long = n_words(column) >= LONG_TEXT
    if not is_long.any():
        return None
    n_english = pc.count_substring_regex(column.filter(pa.array(is_long)), COMMON_ENGLISH, ignore_case=True)
    return float(np.mean(n_english.to_numpy(zero_copy_only=False) >= 2))


def question(messages: Sequence[Mapping[str, Any]]) -> str:
    """The last message of the user in a prompt, "" where there is none; of plain text all of it."""
    asked_by_user = [m["content"] or "" for m in messages if m["role"] == "user"]
    return asked_by_user[-1] if asked_by_user else "\n\n".join(m["content"] or "" for m in messages)


def _lists(counts: np.ndarray) -> pa.ListArray:
    n, width = counts.shape
    return pa.ListArray.from_arrays(np.arange(0, n * width + 1, width or 1, dtype=np.int32)[: n + 1], counts.ravel())


@dataclass(frozen=True)
class PatternCounts:
    """Of N pairs and P patterns, labels as the settings have them."""

    names: tuple[str, ...]  # of the patterns
    chosen: np.ndarray  # int32 [N, P], occurrences; 0 or 1 for patterns of presence
    rejected: np.ndarray
    chosen_words: np.ndarray  # int32 [N]
    rejected_words: np.ndarray

    def take(self, rows: np.ndarray) -> PatternCounts:
        """Some pairs, by mask or position."""
        parts = (self.chosen, self.rejected, self.chosen_words, self.rejected_words)
        return PatternCounts(self.names, *(part[rows] for part in parts))

    @property
    def u(self) -> np.ndarray:
        """int8 [N, P]: the pattern stands in chosen alone (+1), in rejected alone (-1), in both or neither (0)."""
        return (self.chosen > 0).astype(np.int8) - (self.rejected > 0).astype(np.int8)

    @property
    def rate_difference(self) -> np.ndarray:
        """float64 [N, P], occurrences per 100 words, chosen minus rejected; a response without words has rate 0."""
        sides = ((self.chosen, self.chosen_words), (self.rejected, self.rejected_words))
        chosen, rejected = (100.0 * counts / np.maximum(words, 1)[:, None] for counts, words in sides)
        return np.asarray(chosen - rejected)


def pattern_counts(run: Run, settings: AuditSettings) -> PatternCounts:
    """The stored counts of all pairs, in the order of pairs.parquet."""
    table = run.table(PATTERN_COUNTS_FILE)
    names = tuple(run.table(PATTERNS_FILE, ["pattern"])["pattern"].to_pylist())

    def matrix(side: str) -> np.ndarray:
        values: np.ndarray = table[side].combine_chunks().flatten().to_numpy()
        return values.reshape(len(table), len(names))

    chosen, rejected = matrix("chosen"), matrix("rejected")
    words = [table[f"{side}_words"].to_numpy() for side in ("chosen", "rejected")]
    swap = label_swap(run, settings)
    if swap is not None:
        chosen, rejected = np.where(swap[:, None], rejected, chosen), np.where(swap[:, None], chosen, rejected)
        words = [np.where(swap, words[1 - side], words[side]) for side in (0, 1)]
    return PatternCounts(names, chosen, rejected, words[0], words[1])


def _row(pattern: Pattern) -> dict[str, Any]:
    values = asdict(pattern)
    return {field.name: values["name" if field.name == "pattern" else field.name] for field in PATTERNS}


def stored_patterns(run: Run) -> dict[str, Pattern]:
    """Name to pattern, as they were counted in this run: the user's file may have changed since."""
    patterns = {}
    for row in run.table(PATTERNS_FILE).to_pylist():
        name, rewriter = row.pop("pattern"), tuple(Rewrite(**step) for step in row.pop("rewriter"))
        matches, misses = (tuple(Example(**example) for example in row.pop(f)) for f in ("matches", "misses"))
        patterns[name] = Pattern(name=name, rewriter=rewriter, matches=matches, misses=misses, **row)
    return patterns


def pattern_tokens(run: Run, requests: Sequence[tuple[str, str]], turned: set[str]) -> list[PairTokens]:
    """For every (pair_id, pattern): both responses cut at the matches, 1 on a match and 0 elsewhere.

    `turned`: pairs whose responses have changed places.
    """
    patterns = stored_patterns(run)
    pairs = run.table(PAIRS_FILE, ["pair_id", "prompt", "chosen", "rejected"])
    needed = {pair_id for pair_id, _ in requests}
    rows = np.flatnonzero([pair_id in needed for pair_id in pairs["pair_id"].to_pylist()])
    texts = {
        row["pair_id"]: (question(row["prompt"]), answer_text(row["chosen"]), answer_text(row["rejected"]))
        for row in pairs.take(pa.array(rows)).to_pylist()
    }
    tokens = []
    for pair_id, name in requests:
        prompt, chosen, rejected = texts[pair_id]
        sides = [_pieces(patterns[name], text, prompt) for text in (chosen, rejected)]
        if pair_id in turned:
            sides.reverse()
        tokens.append(PairTokens(*sides[0], *sides[1]))
    return tokens


def _pieces(pattern: Pattern, text: str, prompt: str) -> tuple[list[str], list[float]]:
    pieces: list[str] = []
    acts: list[float] = []
    end = 0
    for start, stop in spans(pattern, text, prompt):
        if start > end:
            pieces.append(text[end:start])
            acts.append(0.0)
        pieces.append(text[start:stop])
        acts.append(1.0)
        end = stop
    if end < len(text):
        pieces.append(text[end:])
        acts.append(0.0)
    return pieces, acts
