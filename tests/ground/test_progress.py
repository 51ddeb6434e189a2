"""Progress in words: a rate where there is one, and the noun of its number."""

from __future__ import annotations

import re
import sys

import pytest
import rich.console

from pretilt import events
from pretilt.events import Watched


@pytest.mark.parametrize(
    ("per_second", "words"),
    [(12.4, "12 pairs/s"), (1.0, "1 pairs/s"), (0.2857, "3.5 s per pair"), (0.01, "100 s per pair"), (0.0, "")],
)
def test_slower_than_one_in_a_second_is_seconds_for_one(per_second: float, words: str) -> None:
    assert events._rate(per_second, "pairs") == words


def test_the_last_line_counts_one_as_one_and_names_no_rate_of_a_moment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.5, 10.0, 24.0])
    monkeypatch.setattr(events.time, "monotonic", lambda: next(clock))
    watched = Watched()
    watched.progress("reading", 0, 1, "shards")
    watched.progress("reading", 1, 1, "shards")
    watched.progress("rollouts", 0, 4, "rollouts")
    watched.progress("rollouts", 4, 4, "rollouts")
    lines = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()]
    assert lines == ["reading: 1 shard in 0 s", "rollouts: 4 rollouts in 14 s, 3.5 s per rollout"]


def test_a_long_note_breaks_between_words_and_a_command_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    watched = Watched()
    watched.err = rich.console.Console(file=sys.stderr, force_terminal=True, no_color=True, width=40)
    watched.say("statistics: what the label selects, everywhere and in groups of pairs")
    watched.say("next: pretilt trace runs/a-rather-long-name-of-a-run 1   (which pairs the row rests on)")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err).splitlines()
    assert [line.strip() for line in lines[:2]] == [
        "statistics: what the label selects,",
        "everywhere and in groups of pairs",
    ]
    assert lines[2].strip().startswith("next: pretilt trace runs/a-rather-long-name-of-a-run 1")
