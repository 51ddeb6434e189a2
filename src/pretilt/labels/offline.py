"""Labels without a language model: the labellers of `concepts`, given the half of the texts that labels are made from.

The names in concepts.parquet are made from every response. A name that is to be scored must not have seen the texts
that score it, so here the same code reads the marked places of the texts drawn from the writing half, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.sparse import csc_array, eye_array

from pretilt.concepts.group_names import name_groups
from pretilt.concepts.names import ConceptName, name_concepts
from pretilt.labels.judge import PhraseMatcher
from pretilt.labels.table import OFFLINE, LabelRow, scored_row
from pretilt.labels.texts import Subject, strong
from pretilt.schema import PEAKS, TOKEN_COUNTS, Concepts

_OTHERS = 2000  # prompts that a prompt concept's terms are told apart from


@dataclass(frozen=True)
class Reading:
    """Activations of a concept on the content tokens of one response: `acts` (n_content_tokens,) >= 0."""

    pair_id: str
    side: str  # "chosen" | "rejected"
    acts: Sequence[float]


def concept_labels(
    readings: Sequence[Sequence[Reading]], tokens: pa.Table, n_vocabulary: int, decode: Callable[[list[int]], str]
) -> list[ConceptName]:
    """Names by `name_concepts` for concepts of which only some responses were read, in order.

    `readings[i]` are those of concept i; `tokens` (TOKENS) are the pairs of the writing half: the background against
    which a token is typical. Only the tokens with at least half of a response's strongest activation count.
    """
    row = {pair_id: i for i, pair_id in enumerate(tokens["pair_id"].to_pylist())}
    columns = {side: (tokens[f"{side}_ids"], tokens[f"{side}_content"]) for side in ("chosen", "rejected")}

    fired: list[tuple[int, int, int]] = []
    peaks: list[dict[str, object]] = []
    for concept, read in enumerate(readings):
        for reading in read:
            ids, content = (column[row[reading.pair_id]].as_py() for column in columns[reading.side])
            positions = np.flatnonzero(content)
            if positions.size != len(reading.acts):
                raise ValueError(
                    f"{len(reading.acts)} activations for {positions.size} tokens of pair {reading.pair_id}"
                )
            for at in np.flatnonzero(strong(reading.acts)).tolist():
                position = int(positions[at])
                fired.append((concept, ids[position], 1))
                place = {
                    "pair_id": reading.pair_id,
                    "span": reading.side,
                    "position": position,
                    "act": float(reading.acts[at]),
                }
                peaks.append({"feature_id": concept, **place})

    totals = np.zeros(n_vocabulary, dtype=np.int64)
    for ids, content in columns.values():
        flat = ids.combine_chunks().flatten().to_numpy()
        is_content = content.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        totals += np.bincount(flat[is_content], minlength=n_vocabulary)

    n = len(readings)
    counts = pa.Table.from_pylist(
        [dict(zip(TOKEN_COUNTS.names, cell, strict=True)) for cell in fired], schema=TOKEN_COUNTS
    )
    one_each = Concepts(csc_array(eye_array(n)), np.ones(n, dtype=bool))  # a concept stands for its features here
    table = pa.Table.from_pylist(peaks, schema=PEAKS)
    return name_concepts(one_each, counts, totals, table, tokens, decode, peaks_per_feature=64) if peaks else []


def group_labels(prompts: Sequence[str], group_id: np.ndarray, n_groups: int) -> list[tuple[str, list[str]]]:
    """(name, terms) of the groups 0 … n_groups - 1 from the writing half's prompts."""
    return name_groups(prompts, group_id, n_groups)


def prompt_concept_label(prompts: Sequence[str], inside: np.ndarray, seed: int) -> tuple[str, list[str]]:
    """(name, terms) of what the prompts `inside` (bool) share and a sample of the others lacks."""
    rng = np.random.default_rng(seed)
    members, non_members = np.flatnonzero(inside), np.flatnonzero(~inside)
    rows = np.concatenate([rng.permutation(members)[:_OTHERS], rng.permutation(non_members)[:_OTHERS]])
    return name_groups([prompts[i] for i in rows], inside[rows].astype(np.int64), 2)[1]


def offline_row(subject: Subject, name: str, phrases: Sequence[str], n_fit: int) -> LabelRow:
    """The row of an offline label, judged by whether a text holds one of its phrases; the number is how many it holds.

    Phrases that most of the writing half's texts without the concept hold as well ("." or "a") do not count, unless
    there are no others. `n_fit`: texts that the label was made from.
    """
    if not phrases:
        why = "nothing tells its texts from the others"
        return LabelRow(subject.kind, subject.id, name or None, OFFLINE, "unscored", why, n_fit=n_fit)

    across = subject.kind != "concept"
    without = [text.content for text in subject.fit if not text.shows]
    distinctive = [
        p for p in phrases if 2 * sum(PhraseMatcher([p], across=across).count(t) for t in without) < len(without)
    ]
    matcher = PhraseMatcher(distinctive or phrases, across=across)

    counts = [matcher.count(text.content) for text in subject.score]
    shows = [text.shows for text in subject.score]
    return scored_row(
        subject.kind, subject.id, name, OFFLINE, n_fit, shows, [n > 0 for n in counts], [float(n) for n in counts]
    )
