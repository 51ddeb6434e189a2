"""What a pasted text holds: patterns by its text, features and detectors through the run's lens; which training pairs
teach most of the same, or of the contrary, and which places of the run a prompt belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pretilt.concepts.pattern_step import pattern_counts, stored_patterns
from pretilt.concepts.patterns import count
from pretilt.errors import UserError
from pretilt.lens.blocks import train_rows
from pretilt.run import Run
from pretilt.schema import CONCEPTS_FILE, PATTERNS_FILE
from pretilt.settings import settings_of
from pretilt.view.site.shards import short

if TYPE_CHECKING:  # torch comes with it
    from pretilt.rollouts.pasted import PastedReader

SIDES = ("chosen", "rejected")
LONGEST = 200_000  # characters of a pasted text
MOST_PAIRS = 12  # of each kind


def texts_of(body: Any) -> tuple[str, str, str]:
    """Prompt, chosen and rejected of {"prompt", "chosen", "rejected"}: texts; what is left out is "".

    Raises UserError where all are empty, for one that is no text and for one that is too long.
    """
    values = [body.get(name, "") if isinstance(body, Mapping) else None for name in ("prompt", *SIDES)]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values) or not any(texts):
        raise UserError("there is nothing to read", why="no text is given", fix="Paste a prompt, an answer, or a pair")
    if max(map(len, texts)) > LONGEST:
        raise UserError("the text is too long", why=f"more than {LONGEST:,} characters", fix="Paste a part of it")
    return texts[0], texts[1], texts[2]


def read_through_lens(reader: PastedReader, body: Any) -> dict[str, Any]:
    """{"concepts": [{"concept_id", "u"}], "group", "prompt_concepts": ids, the strongest first, "truncated"}: see
    `rollouts.pasted.Pasted`. Raises UserError."""
    pasted_texts = reader.read(*texts_of(body))
    return {
        "concepts": [{"concept_id": concept, "u": short(u)} for concept, u in pasted_texts.u.items()],
        "group": pasted_texts.group_id,
        "prompt_concepts": list(pasted_texts.prompt_concepts),
        "truncated": pasted_texts.truncated,
    }


def pasted(run: Run, body: Any) -> dict[str, Any]:
    """{"patterns": [{"concept_id", "chosen", "rejected", "u"}], "same": pairs, "contrary": pairs}.

    How often each pattern that stands in either answer stands in both, and the training pairs of `alike`. `body` as
    `texts_of` takes it. Raises UserError.
    """
    texts = texts_of(body)
    if not run.holds(PATTERNS_FILE):
        return {"patterns": [], "same": [], "contrary": []}
    patterns = stored_patterns(run)
    table = run.table(CONCEPTS_FILE, ["concept_id", "pattern"]).to_pylist()
    concept_of = {row["pattern"]: row["concept_id"] for row in table if row["pattern"] is not None}
    names = [name for name in patterns if name in concept_of]
    counts = count([patterns[name] for name in names], texts[1:], [texts[0]] * 2)
    counts[[not text for text in texts[1:]]] = 0  # an answer that is not given is not an empty one
    u = (counts[0] > 0).astype(float) - (counts[1] > 0)
    return {
        **alike(run, dict(zip(names, u.tolist(), strict=True))),
        "patterns": [
            {
                "concept_id": concept_of[name],
                "chosen": int(chosen),
                "rejected": int(rejected),
                "u": int(chosen > 0) - int(rejected > 0),
            }
            for name, chosen, rejected in zip(names, counts[0], counts[1], strict=True)
            if chosen or rejected
        ],
    }


def alike(run: Run, u: Mapping[str, float]) -> dict[str, list[dict[str, Any]]]:
    """The training pairs that teach most of the same as `u`, patterns to u, and of the contrary: {"same", "contrary"},
    each at most `MOST_PAIRS` of {"pair": place in pairs.parquet, "patterns": in how many of them, "weight"}.

    Weight: sum over the patterns of u times the pair's own, each divided by the variance of u over the training pairs,
    so that what is rare counts more. It says where the data teach this, not how much of an effect a pair carries.
    """
    counts = pattern_counts(run, settings_of(run))
    rows = np.flatnonzero(train_rows(run))
    own = counts.take(rows).u.astype(np.float64)
    wanted = np.array([u.get(name, 0.0) for name in counts.names])
    variance = own.var(axis=0)
    weights = np.divide(wanted, variance, out=np.zeros_like(wanted), where=variance > 0)
    weight, shared = own @ weights, own * np.sign(wanted)

    def listed(sign: int) -> list[dict[str, Any]]:
        order = np.argsort(-sign * weight, kind="stable")[:MOST_PAIRS]
        return [
            {"pair": int(rows[i]), "patterns": int((shared[i] * sign > 0).sum()), "weight": float(weight[i])}
            for i in order
            if sign * weight[i] > 0
        ]

    return {"same": listed(1), "contrary": listed(-1)}
