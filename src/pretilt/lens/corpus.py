"""What a dictionary is trained on: token sequences, with the tokens whose activations count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

TokenSequence = tuple[np.ndarray, np.ndarray]
"""(ids int32 [n], keep bool [n]): the model reads all ids, the dictionary those to keep."""


def text_sequences(texts: Iterable[str], tokenizer: Any, *, max_tokens: int = 512) -> list[TokenSequence]:
    """Plain texts, cut into windows of at most `max_tokens`; special tokens are read and not kept."""
    sequences = []
    for text in texts:
        ids = np.asarray(tokenizer(text)["input_ids"], dtype=np.int32)
        keep = ~np.isin(ids, tokenizer.all_special_ids)
        sequences += [(ids[i : i + max_tokens], keep[i : i + max_tokens]) for i in range(0, len(ids), max_tokens)]
    return sequences


def pair_sequences(tokens: pa.Table) -> list[TokenSequence]:
    """The pairs of a TOKENS table: prompt + chosen, and prompt + rejected, where the prompt is not kept again."""
    columns = {name: tokens[name].combine_chunks() for name in tokens.column_names if name != "pair_id"}

    def cell(name: str, row: int) -> np.ndarray:
        return columns[name][row].values.to_numpy(zero_copy_only=False)

    sequences = []
    for row in range(tokens.num_rows):
        prompt, content = cell("prompt_ids", row), cell("prompt_content", row)
        for response, keep in (("chosen", content), ("rejected", np.zeros_like(content))):
            ids = np.concatenate([prompt, cell(f"{response}_ids", row)])
            sequences.append((ids, np.concatenate([keep, cell(f"{response}_content", row)])))
    return sequences


def split_heldout(
    sequences: Sequence[TokenSequence], share: float, *, seed: int = 0
) -> tuple[list[TokenSequence], list[TokenSequence]]:
    """(training, held-out): about `share` of the sequences, by a hash of their ids, so that copies stay together."""
    parts: tuple[list[TokenSequence], list[TokenSequence]] = ([], [])
    for ids, keep in sequences:
        digest = hashlib.sha256(seed.to_bytes(8, "little") + np.asarray(ids, dtype=np.int32).tobytes()).digest()
        parts[int.from_bytes(digest[:8], "little") < share * 2**64].append((ids, keep))
    return parts
