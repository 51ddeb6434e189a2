"""Score of the local plants: are they found by prompts of the right kind, through the pairs that were planted?

A local plant stands only on prompts of one kind. It counts as found at the rank of the first hypothesis of a
prompt-conditioned list whose prompt concept is the right one (most of the pairs it selects have a prompt of that kind)
and whose most responsible pairs are planted ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

MAX_LOCAL_RANK = 5
MIN_CONTEXT_PRECISION = 0.5
MIN_TRACED, N_TRACED = 0.8, 10  # of the first ten responsible pairs
LOOKED_AT = 50  # ranks of each list


def score_local(
    rules: Mapping[str, Any],
    plants: np.ndarray,
    kinds: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    selected: Mapping[int, np.ndarray],
    responsible: Callable[[Mapping[str, Any]], np.ndarray],
    own_u: Callable[[Mapping[str, Any]], np.ndarray],
) -> list[dict[str, Any]]:
    """One dict per local plant: `rank` (0: not among the first 50), `view`, `list_length`, `hypothesis_id`, `where`,
    `concept_id`, `context_precision` (share of the prompt concept's pairs on prompts of the plant's kind), `found`,
    `tracing_precision` and `own_precision` (of the planted pairs it selects, when so many are taken).

    `rows`: shown hypotheses of the prompt-conditioned views, each a dict with `list_length` beside its own columns.
    `selected[k]`: rows of the pairs of prompt concept k. `responsible(row)`: pairs of a hypothesis inside its prompt
    concept, most responsible first; `own_u(row)`: u of its concept, signed by its direction, per pair.
    """
    scores = []
    for name, rule in rules.items():
        if rule["role"] != "plant" or rule.get("only_on") is None or not (plants == name).any():
            continue
        planted, context = plants == name, kinds == rule["only_on"]

        precision = {k: float(context[pairs].mean()) for k, pairs in selected.items() if len(pairs)}
        directions = {"amplify" if sign > 0 else "suppress" for sign in rule["directions"]}
        row: dict[str, Any] = {"plant": name, "rank": 0, "found": False, "view": None, "context_precision": math.nan}
        for hypothesis in sorted(rows, key=lambda r: (r["rank"], r["view"], r["direction"])):
            right = precision.get(hypothesis["where"], 0.0) >= MIN_CONTEXT_PRECISION
            if hypothesis["rank"] > LOOKED_AT or not right or hypothesis["direction"] not in directions:
                continue

            order = responsible(hypothesis)
            if not len(order) or planted[order[:N_TRACED]].mean() < MIN_TRACED:
                continue
            inside = selected[hypothesis["where"]]
            n = int(planted[inside].sum())
            by_u = inside[np.argsort(-own_u(hypothesis)[inside], kind="stable")]

            names = ("rank", "view", "direction", "list_length", "hypothesis_id", "where", "concept_id", "q_value")
            row |= {
                **{key: hypothesis[key] for key in names},
                "context_precision": precision[hypothesis["where"]],
                "n_inside": n,
                "tracing_precision": float(planted[order[:n]].sum()) / n,
                "own_precision": float(planted[by_u[:n]].mean()),
                "found": hypothesis["rank"] <= MAX_LOCAL_RANK,
            }
            break
        scores.append(row)

    return scores


def render_local(rows: Sequence[Mapping[str, Any]], concepts: Mapping[int, str], prompts: Mapping[int, str]) -> str:
    """The rows as a plain-text table for a terminal."""
    lines = [
        f"{'local plant':16} {'rank by prompt concept':38} {'context':>7} {'traced / own u':14}  concept | prompts"
    ]

    for row in rows:
        if not row["rank"]:
            lines.append(f"{row['plant']:16} not among the first {LOOKED_AT} of any list")
            continue
        place = f"{row['rank']} of {row['list_length']} {row['view']}, {row['direction']}"
        traced = f"{row['tracing_precision']:4.2f} / {row['own_precision']:4.2f}"
        names = f"{concepts.get(row['concept_id'], '?')} | {prompts.get(row['where'], '?')}"
        lines.append(f"{row['plant']:16} {place:38} {row['context_precision']:7.2f} {traced:14}  {names}")

    n_found = sum(row["found"] for row in rows)
    lines.append(f"found {n_found} of {len(rows)} local plants at rank {MAX_LOCAL_RANK} or better")
    return "\n".join(lines)
