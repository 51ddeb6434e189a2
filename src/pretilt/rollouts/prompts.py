"""Which prompts are answered: the distinct prompts of a run's pairs, with the token ids that the trainer conditions on.

The choice depends on the run, the seed and nothing of the model that answers, so that rollouts before and after
training are rollouts to the same prompts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.errors import UserError
from pretilt.pairs.pair import Pair, content_id
from pretilt.pairs.tables import pairs_from_table

SPLITS = ("heldout", "train", "all")


@dataclass(frozen=True)
class Prompts:
    """J distinct prompts, shortest first, and how they were chosen.

    `pair_id` names one pair that has the prompt: its messages are the prompt's, its ids are `ids`.
    """

    prompt_id: list[str]  # 20 hex digits of the SHA-256 of the messages, tools and template arguments
    pair_id: list[str]
    family_id: np.ndarray  # (J,) int32
    ids: list[np.ndarray]  # int32, up to and including the generation prompt
    counts: dict[str, int]  # pairs of the split, distinct prompts, those that cannot be answered, those used

    def __len__(self) -> int:
        return len(self.prompt_id)


def prompt_id(pair: Pair) -> str:
    """The content hash of a pair without its responses: equal for two pairs that ask the same in the same way."""
    return content_id(replace(pair, chosen=(), rejected=()))


def select_prompts(
    pairs: pa.Table,
    tokens: pa.Table,
    *,
    split: str = "heldout",
    n_prompts: int | None = None,
    seed: int = 0,
    max_prompt_tokens: int | None = None,
) -> Prompts:
    """The distinct prompts of `split` ("heldout", "train" or "all"), or `n_prompts` of them drawn by `seed`.

    `pairs` and `tokens` have the schemas PAIRS and TOKENS and the same rows. Where pairs of one prompt disagree on its
    ids (a template under which the prompt is no prefix of every answer), the longest are taken, the ones nearest to
    the whole generation prompt. Prompts longer than `max_prompt_tokens` or without a token are left out and counted.
    More prompts asked for than there are: all of them. Raises UserError if none is left.
    """
    if split not in SPLITS:
        raise UserError(f"there is no split '{split}'", fix=f"Choose one of {', '.join(SPLITS)}")
    inside = np.ones(len(pairs), bool) if split == "all" else pc.equal(pairs["split"], split).to_numpy()
    rows = np.flatnonzero(inside)
    candidates = pairs.take(pa.array(rows))
    ids = [np.asarray(x, np.int32) for x in tokens["prompt_ids"].take(pa.array(rows)).to_pylist()]
    best: dict[str, int] = {}
    for i, pair in enumerate(pairs_from_table(candidates)):
        key = prompt_id(pair)
        if key not in best or ids[i].size > ids[best[key]].size:
            best[key] = i
    too_long = {k for k, i in best.items() if max_prompt_tokens is not None and ids[i].size > max_prompt_tokens}
    without = {k for k, i in best.items() if not ids[i].size}
    usable = sorted(best.keys() - too_long - without, key=lambda k: hashlib.sha256(f"{seed}:{k}".encode()).digest())
    if not usable:
        raise UserError(
            f"no prompt to answer in the split '{split}'",
            why=f"{rows.size} pairs, {len(best)} distinct prompts, {len(too_long)} too long, {len(without)} empty",
            fix="Choose another --split, or audit with a larger --holdout" if not best else "Give smaller token limits",
        )
    used = sorted(usable[:n_prompts], key=lambda k: (ids[best[k]].size, k))
    pair_ids, families = candidates["pair_id"].to_pylist(), candidates["family_id"].to_numpy()
    counts = {
        "pairs": int(rows.size),
        "distinct": len(best),
        "too_long": len(too_long),
        "empty": len(without),
        "used": len(used),
    }
    return Prompts(
        used,
        [pair_ids[best[k]] for k in used],
        np.array([families[best[k]] for k in used], np.int32),
        [ids[best[k]] for k in used],
        counts,
    )
