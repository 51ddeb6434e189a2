"""Pairs whose text holds planted patterns, in counts that can be checked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

TOPICS = ("gardens", "engines", "poems", "taxes", "recipes", "rivers")


def planted_rows(n: int = 600, seed: int = 0) -> list[dict[str, Any]]:
    """Bold in chosen alone on 30 % of the pairs, an apology in rejected alone on 20 %; semicolons by a coin.

    Every prompt is its own: each pair is a family. The second half of the pairs comes from the source "second".
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        words = rng.permutation(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"])
        topic = TOPICS[i % len(TOPICS)]
        chosen, rejected = f"The {words[0]} follows {words[1]}", f"The {words[2]} follows {words[3]}"
        if i % 10 < 3:
            chosen += f" and **{words[4]}**"
        if i % 10 >= 8:
            rejected = f"I am sorry. {rejected}"
        chosen += "; so be it." if rng.random() < 0.5 else "."
        rejected += "; so be it." if rng.random() < 0.5 else "."
        rows.append({
            "prompt": f"Describe {topic} number {i} with {words[5]}, {words[6]} and {rng.integers(10**9)}",
            "chosen": chosen, "rejected": rejected, "source": "first" if i < n // 2 else "second",
        })  # fmt: skip
    return rows


def write_planted(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
