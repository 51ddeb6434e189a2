"""What became of sampled rollouts, in words: nothing that was not read goes unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretilt.text import counted

MUCH_SILENCE = 0.1  # share of empty answers from which something is likely to be wrong


def rollouts_text(report: Mapping[str, Any]) -> str:
    """`report`: rollouts-<role>.json."""
    prompts, answers = report["prompts"], report["rollouts"]
    sampled = answers["sampled"]
    parts = [f"{answers['read']:,} read"]
    parts += [f"{answers['empty']:,} empty"] * (answers["empty"] > 0)
    parts += [f"{n:,} not read ({why.replace('_', ' ')})" for why, n in answers["dropped"].items()]
    text = f"{counted(prompts['used'], 'prompt')}, {counted(sampled, 'rollout')}: {', '.join(parts)}; "
    text += f"{answers['finished']:,} finished, {answers['cut']:,} cut at the limit"
    if answers["empty"] >= MUCH_SILENCE * sampled > 0:
        text += f"\nThe model says nothing in {100 * answers['empty'] / sampled:.0f} % of its answers. "
        text += (
            "Are the prompts in the form that it was trained on?\n"
            "Prompts that are plain strings reach it without its chat template, as in TRL."
        )
    return text
