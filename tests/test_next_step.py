"""What follows on a command can be typed as it stands."""

from __future__ import annotations

import shlex

from tiltmeter.view.next_step import NEXT, next_step


def test_the_next_command_survives_a_shell() -> None:
    folder = "runs/it's $HOME *"
    assert shlex.split(next_step("forecast", folder))[1:4] == ["tiltmeter", "train", folder]
    order = ["audit"]
    while order[-1] in NEXT:
        order.append(NEXT[order[-1]][0][0])
    assert order == ["audit", "trace", "rollouts", "forecast", "train", "verify"]
