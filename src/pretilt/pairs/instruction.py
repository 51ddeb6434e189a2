"""An instruction put before the prompts of pairs: as a system turn, or in front of the first turn's text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pretilt.errors import UserError
from pretilt.pairs.chat import PairTokens, tokenise
from pretilt.pairs.pair import Drop, Message, Pair


def instructed(
    pairs: Sequence[Pair], instruction: str, tokenizer: Any, *, max_length: int | None = None
) -> list[tuple[Pair, PairTokens]]:
    """Every pair with the instruction in its prompt, and its tokens.

    It is the system turn of a conversation that has none and whose chat template takes one; else it stands in front of
    the first turn's text. Raises UserError where the template refuses both, and where with `max_length` nothing of a
    response is left.
    """
    read: list[tuple[Pair, PairTokens] | None] = [None] * len(pairs)
    refusals: dict[int, str] = {}
    for place in (_as_system_turn, _before_the_text):
        open_rows = [i for i, both in enumerate(read) if both is None]
        changed = [(i, place(pairs[i], instruction)) for i in open_rows]
        candidates = [(i, pair) for i, pair in changed if pair is not None]
        all_tokens = tokenise([pair for _, pair in candidates], tokenizer, max_length=max_length)
        for (i, pair), tokens in zip(candidates, all_tokens, strict=True):
            if isinstance(tokens, Drop):
                refusals[i] = tokens.reason
            else:
                read[i] = pair, tokens
    if missing := [i for i, both in enumerate(read) if both is None]:
        raise UserError(
            f"{len(missing):,} of {len(pairs):,} prompts do not take the instruction",
            why=f"pair {pairs[missing[0]].pair_id}: {refusals[missing[0]]}",
            fix="Give a shorter instruction, or a larger max_length",
        )
    return [both for both in read if both is not None]


def _as_system_turn(pair: Pair, instruction: str) -> Pair | None:
    if not pair.is_chat or not pair.prompt or pair.prompt[0].role == "system":
        return None
    return replace(pair, prompt=(Message("system", instruction), *pair.prompt))


def _before_the_text(pair: Pair, instruction: str) -> Pair:
    first = pair.prompt[0]
    return replace(pair, prompt=(replace(first, content=f"{instruction}\n\n{first.content}"), *pair.prompt[1:]))
