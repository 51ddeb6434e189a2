"""The README of an exported dataset: what its columns mean, and what each trainer can honour of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pretilt.text import one_line
from pretilt.version import __version__

MEANING = {
    "weight": "factor on the pair's loss",
    "offset": "added to the margin: −log σ(β D + offset). Above 0 the preference counts as explained already",
    "margin": "−offset: losses of the form −log σ(β D − margin) take it as it is",
    "ref_chosen_logps": "log-probability of chosen under the reference, nats, summed over the response",
    "ref_rejected_logps": "the same of rejected",
    "chosen_masked": "ranges [start, stop) of tokens of the chosen response that leave the loss, from its first",
    "rejected_masked": "the same of rejected",
    "chosen_instruction": "what the policy reads before the prompt of the chosen response, and the reference does not",
    "rejected_instruction": "the same of rejected",
    "tools": "the tools of the conversation, JSON",
    "chat_template_kwargs": "arguments of the chat template",
}
# What a trainer does with a column, as of the versions that were looked at in 2026.
_TRAINERS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "TRL DPOTrainer",
        {
            "weight": "not honoured; `pretilt train --plan` does it with one subclass",
            "offset": "not read from the data. Build the trainer with `precompute_ref_log_probs=True`, then "
            'shift: `trainer.train_dataset = trainer.train_dataset.map(lambda row: {"ref_chosen_logps": '
            'row["ref_chosen_logps"] - row["offset"] / beta})`',
            "ref_chosen_logps": "own columns given beforehand are refused or ignored: put them in after construction",
            "chosen_masked": "not honoured; `pretilt train --plan` does it",
            "chosen_instruction": "not honoured: policy and reference read one prompt; `pretilt train --plan` does it",
        },
    ),
    ("axolotl", {"*": "prompt, chosen and rejected only (`type: chat_template.default`)"}),
    ("LLaMA-Factory", {"*": "prompt, chosen and rejected only (`ranking: true` in dataset_info.json)"}),
    (
        "open-instruct",
        {"*": "chosen and rejected as whole conversations: join the prompt to each"},
    ),
    ("NeMo-RL", {"*": "prompt, chosen and rejected only (binary preference dataset)"}),
)


def readme(source: str, n_train: int, columns: Sequence[str], beta: float | None, facts: Mapping[str, Any]) -> str:
    """Markdown. `facts`: name of the plan or None, and how many pairs it dropped, swapped and rewrote."""
    written = f"{n_train:,} training pairs of `{one_line(source).replace('`', '')}`, written by pretilt {__version__}."
    lines = ["# Preference pairs", "", written]
    if facts["name"] is not None:
        changed = f"{facts['dropped']:,} pairs left out, {facts['swapped']:,} with chosen and rejected exchanged"
        lines += ["", f"Under the plan `{facts['name']}`: {changed}, {facts['rewritten']:,} with a rewritten response."]
        lines += ["These changes are in the rows themselves: every trainer honours them."]
    lines += ["", "`train.jsonl` has a pair on each line, `heldout.jsonl` the held-out pairs, untouched."]
    if not columns:
        return "\n".join([*lines, "", "No column beside the pair is needed: any trainer reads this.", ""])
    lines += ["", "| column | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {MEANING[name]} |" for name in columns]
    if beta is not None:
        shift = f"−offset/β for β = {beta:g} and a loss of summed log-probabilities (`sigmoid`)"
        lines += ["", f"`ref_chosen_logps` hold the offsets already, shifted by {shift}: do not apply them again."]
    lines += ["", "## What each trainer can honour", "", "| trainer | column | what to do |", "|---|---|---|"]
    for trainer, honours in _TRAINERS:
        for name, words in honours.items():
            if name == "*" or name in columns:
                lines.append(f"| {trainer} | {'all' if name == '*' else f'`{name}`'} | {words} |")
    return "\n".join([*lines, ""])
