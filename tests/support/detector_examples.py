"""Contrastive pairs of a trait that the tiny lens can see."""

from __future__ import annotations

from typing import Any

from tiny_lens import rows


def contrast(n: int = 40) -> list[dict[str, Any]]:
    """Responses that end in `Thank you!` against others, to prompts that the run does not have."""
    some = rows(n, seed=5)
    return [
        {
            "prompt": row["prompt"],
            "positive": [{"role": "assistant", "content": row["rejected"][0]["content"] + " Thank you!"}],
            "negative": [{"role": "assistant", "content": rows(n, seed=6)[i]["rejected"][0]["content"]}],
        }
        for i, row in enumerate(some)
    ]
