"""The tokens of pairs as text, with the activations on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pretilt.events import Events

if TYPE_CHECKING:
    from pretilt.lens.lens import Lens


def pair_tokens(
    lens: Lens,
    tokenizer: Any,
    tokens: pa.Table,
    requests: Sequence[tuple[str, int]],
    features: Mapping[int, Sequence[int]],
    events: Events,
) -> list[PairTokens]:
    """For every (pair_id, concept_id): both responses' content tokens as text, and the concept's activation on each."""
    from pretilt.lens.measure import token_activations
    from pretilt.lens.packing import Rows

    position = {pair_id: i for i, pair_id in enumerate(tokens["pair_id"].to_pylist())}
    concepts_of_pair: dict[str, list[int]] = {}
    for pair_id, concept in requests:
        concepts_of_pair.setdefault(pair_id, []).append(concept)
    pair_ids = sorted(concepts_of_pair, key=lambda p: position[p])
    rows = Rows.from_table(tokens.take(pa.array([position[p] for p in pair_ids])))
    tokens_of_request: dict[tuple[str, int], PairTokens] = {}
    step = 128
    for start in range(0, len(pair_ids), step):
        part = slice(start, start + step)
        block = Rows(rows.span_names, rows.ids[part], rows.content[part])
        sets = [[np.asarray(features[c]) for c in concepts_of_pair[p]] for p in pair_ids[part]]
        for i, (pair_id, by_set) in enumerate(zip(pair_ids[part], token_activations(lens, block, sets), strict=True)):
            _, chosen, rejected = block.ids[i]
            _, chosen_content, rejected_content = block.content[i]
            pieces = [
                token_pieces(tokenizer, ids[content])
                for ids, content in ((chosen, chosen_content), (rejected, rejected_content))
            ]
            for concept, acts in zip(concepts_of_pair[pair_id], by_set, strict=True):
                tokens_of_request[pair_id, concept] = PairTokens(
                    pieces[0], acts["chosen"].tolist(), pieces[1], acts["rejected"].tolist()
                )
        events.progress("evidence", min(start + step, len(pair_ids)), len(pair_ids), "pairs")
    return [tokens_of_request[request] for request in requests]


def token_pieces(tokenizer: Any, ids: np.ndarray) -> list[str]:
    """One text per token; joined they are the decoded text. A character spread over tokens stands at its last one."""

    def decode(some: list[int]) -> str:
        return tokenizer.decode(some, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    token_ids = [int(i) for i in ids]
    whole, pieces = decode(token_ids), [decode([i]) for i in token_ids]
    if "".join(pieces) == whole:
        return pieces
    # Some tokenizers drop a leading space, and a character may span tokens: take growing beginnings instead.
    pieces, done = [], 0
    for end in range(1, len(token_ids) + 1):
        text = decode(token_ids[:end])
        stable = len(text) if end == len(token_ids) else len(text.rstrip("\ufffd"))
        pieces.append(text[done:stable])
        done = max(done, stable)
    return pieces


@dataclass(frozen=True)
class PairTokens:
    """Content tokens of both responses as text, and on each the summed activation of the concept's features (>= 0)."""

    chosen_pieces: Sequence[str]
    chosen_acts: Sequence[float]
    rejected_pieces: Sequence[str]
    rejected_acts: Sequence[float]
