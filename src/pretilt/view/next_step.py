"""The command that comes next, as it can be typed."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

NEXT: dict[str, tuple[tuple[str, ...], str]] = {
    "fit": (("audit", "PAIRS"), "PAIRS: what the model will be trained on"),
    "audit": (("trace", "RUN"), "which pairs the row rests on"),
    "page": (
        ("view", "RUN"),
        "see all of it, and decide; to hand it on: pretilt export-site RUN DIR",
    ),
    "empty audit": (("doctor", "RUN"), "what the lens and the data are short of"),
    "trace of text": (("audit", "SOURCE", "--model", "MODEL", "--dictionary", "DICTIONARY"), "what the model sees too"),
    "view": (("trace", "RUN", "1"), "which pairs the first row of the audit rests on"),
    "export-site": (("view", "RUN"), "the same with a plan to make"),
    "doctor": (("trace", "RUN", "1"), "which pairs the first row of the audit rests on"),
    "trace": (("rollouts", "RUN", "--role", "reference"), "what the untrained model says, for the forecast"),
    "compare": (("trace", "RUN"), "which pairs of the second run teach it"),
    "detector": (("trace", "RUN"), "which pairs and tokens show the trait"),
    "describe": (("trace", "RUN", "1"), "the first row of the audit, with its description"),
    "rollouts": (("forecast", "RUN"), "seal what training will do, before it begins"),
    "forecast": (("train", "RUN"), "train on these pairs"),
    "mark": (("shape", "RUN"), "what it would change, before training"),
    "shape": (("train", "RUN"), "train under the plan"),
    "shape of text": (("export", "RUN", "OUT"), "a dataset for any trainer; training here needs an audit with a lens"),
    "export": (("rollouts", "RUN", "--role", "after", "--model", "MODEL"), "the answers of what you train on it"),
    "train": (("verify", "RUN"), "did it come true?"),
    "shaped train": (("train", "RUN"), "the plain model, to compare with"),
    "dose": (("mark", "RUN"), "let training explain it away along this direction"),
    "verify": (("trace", "RUN"), "which pairs taught it"),
}


def next_step(command: str, run: str | Path, *more: str | Path) -> str:
    """`pretilt …` that follows on `command`, quoted for a shell, and what it is for; `more` arguments end it."""
    words, purpose = NEXT[command]
    typed = ["pretilt", *(str(run) if word == "RUN" else word for word in words), *map(str, more)]
    return f"next: {shlex.join(typed)}   ({purpose})"


def towards_verdict(stages: Collection[str], *, is_trained: bool) -> str:
    """The command that comes next on the way to the verification of a run with a lens; "" where it is verified.

    `stages`: those that the run holds. `is_trained`: `pretilt train RUN` has ended.
    """
    if any(stage.startswith("verification") for stage in stages):
        return ""
    if "forecast" in stages:
        return "pretilt verify RUN" if is_trained else "pretilt train RUN"
    sampled = any(stage.startswith(("rollouts-before", "rollouts-reference")) for stage in stages)
    return "pretilt forecast RUN" if sampled else "pretilt rollouts RUN"


def judged_by(role: str, stages: Collection[str]) -> tuple[str, ...]:
    """What `verify` is given for the answers of a trained model's role: the plan that it was trained under, or it."""
    plan = role.removeprefix("after-")
    if f"shape-{plan}" in stages:
        return ("--plan", plan)
    return () if role == "after" else ("--after", role)
