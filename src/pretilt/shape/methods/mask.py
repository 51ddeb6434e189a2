"""Leave the tokens that carry a concept out of the loss: of the chosen responses (suppress) or the rejected (amplify).

For a pattern they are the tokens that a match touches, for a concept of features those on which one of them fires, for
a detector those whose score reaches the threshold of a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pretilt.concepts.patterns import covered_pieces
from pretilt.detectors.stored import thresholds, token_scores
from pretilt.schema import CONCEPTS_FILE
from pretilt.shape.methods.work import Work
from pretilt.train.actions import SIDES, Action

UNIT = "share of the teaching pairs whose tokens are masked, the strongest first, 0 to 1"


def rows(work: Work, strength: float) -> list[Action]:
    """Masked runs of tokens."""
    side = "chosen" if work.suppresses else "rejected"
    chosen = sorted(work.first(work.teaching(against=not work.suppresses), strength))
    if not chosen:
        return []
    carrying = _of_pattern if work.driver.pattern else _of_detector if work.driver.detector else _of_features
    reason = f"carries {work.driver.name}"
    return [
        Action(row, work.number, "mask", side=side, start=start, stop=stop, reason=reason)
        for row, tokens in zip(chosen, carrying(work, chosen, side), strict=True)
        for start, stop in runs(tokens)
    ]


def runs(is_carrying: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of the runs of True in a bool array."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_carrying.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _of_pattern(work: Work, chosen: Sequence[int], side: str) -> list[np.ndarray]:
    """bool per token of the response: a match of the pattern touches it."""
    from pretilt.lens.tokens import token_pieces

    pattern, tokenizer = work.data.patterns[str(work.driver.pattern)], work.data.lens.tokenizer
    table = work.data.tokens(chosen)
    carrying = []
    for row, ids, content in zip(
        chosen, table[f"{side}_ids"].to_pylist(), table[f"{side}_content"].to_pylist(), strict=True
    ):
        is_content = np.asarray(content, bool)
        pieces = token_pieces(tokenizer, np.asarray(ids)[is_content])
        tokens = np.zeros(len(ids), bool)
        tokens[is_content] = covered_pieces(pattern, pieces, work.data.question(row))
        carrying.append(tokens)
    return carrying


def _of_detector(work: Work, chosen: Sequence[int], side: str) -> list[np.ndarray]:
    """bool per token of the response: the detector's score reaches the threshold of a token."""
    name = str(work.driver.detector)
    threshold = thresholds(work.data.run, name)[1]
    scores = token_scores(work.data.run, name, [work.data.sets.pair_ids[row] for row in chosen])
    table = work.data.tokens(chosen)
    carrying = []
    for content, both in zip(table[f"{side}_content"].to_pylist(), scores, strict=True):
        is_content = np.asarray(content, bool)
        tokens = np.zeros(is_content.size, bool)
        tokens[is_content] = both[SIDES.index(side)] >= threshold
        carrying.append(tokens)
    return carrying


def _of_features(work: Work, chosen: Sequence[int], side: str) -> list[np.ndarray]:
    """bool per token of the response: a feature of the concept fires on it."""
    from pretilt.lens.measure import token_activations
    from pretilt.lens.packing import Rows

    table = work.data.run.table(CONCEPTS_FILE, ["feature_ids"])
    features = [np.asarray(table["feature_ids"][work.driver.concept_id].as_py())]
    tokens = work.data.tokens(chosen)
    block = Rows.from_table(tokens)
    lens = work.data.lens.lens(tokens)
    carrying = []
    for i, by_set in enumerate(token_activations(lens, block, [features] * len(chosen))):
        content = np.asarray(tokens[f"{side}_content"][i].as_py(), bool)
        fires = np.zeros(content.size, bool)
        fires[content] = np.asarray(by_set[0][side]) > 0
        carrying.append(fires)
    return carrying
