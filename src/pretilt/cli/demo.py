"""`pretilt demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretilt.cli.audit import say_next
from pretilt.cli.options import Json
from pretilt.settings import (
    DATA,
)
from pretilt.text import shown_json


def demo(
    out: Annotated[Path, typer.Option(help="Run folder. [default: demo-run]", show_default=False)] = Path("demo-run"),
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Read only the first N pairs, and score no plants.", rich_help_panel=DATA),
    ] = None,
    as_json: Json = False,
) -> None:
    """Audit the bundled planted pairs with the bundled lens, say which plants were found, and write the viewer."""
    from pretilt.demo.step import run_demo
    from pretilt.view.summary import summary_of
    from pretilt.view.terminal.console import Console

    console = Console(quiet=as_json)
    result = run_demo(out, limit=limit, events=console)
    if as_json:
        print(shown_json(result.to_dict()))
        return
    console.summary(summary_of(result.audit.run))
    score = result.score.text if result.score else "Not scored: a slice holds too few pairs of every plant."
    console.lines(f"What was planted, and what was found\n{score}\n\nThe viewer, opened from disk: {result.page}")
    say_next(console, result.audit)
