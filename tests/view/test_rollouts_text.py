"""The line that `pretilt rollouts` ends with."""

from __future__ import annotations

from typing import Any

from pretilt.view.terminal.rollouts import rollouts_text


def report(**rollouts: Any) -> dict[str, Any]:
    counts = {"sampled": 40, "finished": 39, "cut": 1, "read": 40, "empty": 0, "dropped": {}}
    return {"prompts": {"used": 10}, "rollouts": {**counts, **rollouts}}


def test_all_read() -> None:
    assert rollouts_text(report()) == "10 prompts, 40 rollouts: 40 read; 39 finished, 1 cut at the limit"


def test_every_rollout_that_was_not_read_is_said() -> None:
    told = rollouts_text(report(read=37, empty=1, dropped={"no_chat_end": 2}))
    assert "37 read, 1 empty, 2 not read (no chat end);" in told
    assert "chat template" not in told


def test_much_silence_raises_suspicion() -> None:
    told = rollouts_text(report(read=36, empty=4))
    assert "says nothing in 10 % of its answers" in told and "without its chat template" in told
