"""The command that comes next, as it can be typed."""

from __future__ import annotations

import shlex
from pathlib import Path

NEXT: dict[str, tuple[tuple[str, ...], str]] = {
    "audit": (("trace", "RUN", "1"), "which pairs the first row rests on"),
    "trace": (("rollouts", "RUN", "--role", "reference"), "what the untrained model says, for the forecast"),
    "rollouts": (("forecast", "RUN"), "seal what training will do, before it begins"),
    "forecast": (("train", "RUN"), "train on these pairs"),
    "train": (("verify", "RUN"), "did it come true?"),
}


def next_step(command: str, run: str | Path) -> str:
    """`tiltmeter …` that follows on `command`, quoted for a shell, and what it is for."""
    words, purpose = NEXT[command]
    return f"next: {shlex.join(['tiltmeter', *(str(run) if word == 'RUN' else word for word in words)])}   ({purpose})"
