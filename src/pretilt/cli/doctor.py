"""`pretilt doctor`."""

from __future__ import annotations

import typer

from pretilt.cli.options import Json, RunFolder
from pretilt.text import shown_json
from pretilt.view.next_step import next_step


def doctor(run: RunFolder, as_json: Json = False) -> None:
    """Check lens and data of a run: every figure with a verdict and what to do. Exit status 1 if anything is red."""
    from pretilt import api
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.doctor import checks_text

    console = Console(quiet=as_json)
    result = api.doctor(run, events=console)
    if as_json:
        print(shown_json([check.to_dict() for check in result.checks]))
    else:
        console.lines(checks_text(result.checks, console.out.width - 2))
    if result.verdict == "red":
        raise typer.Exit(1)
    if not as_json:
        console.say(next_step("doctor", run))
