"""`pretilt shape`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pretilt.cli.options import Json, RunFolder, command
from pretilt.settings import ShapeSettings
from pretilt.text import shown_json
from pretilt.view.next_step import next_step


@command(ShapeSettings)
def shape(
    run: RunFolder,
    *,
    options: dict[str, Any],
    plan: Annotated[Path, typer.Option(help="The plan (docs/shaping.md).")] = Path("plan.yaml"),
    name: Annotated[str | None, typer.Option(help="Name of the compiled plan. Default: the file's.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Every method that applies, side by side, for each item.")
    ] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Each item at other strengths: how far it goes, and what else moves.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compile a plan to actions on pairs, and say what it would change, before training.

    Examples:

      pretilt shape runs/my-pairs --plan plan.yaml

      pretilt shape runs/my-pairs --plan plan.yaml --compare --sweep
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.shape import print_shape

    console = Console(quiet=as_json)
    result = api.shape(run, plan, name=name, compare=compare, sweep=sweep, events=console, **options)
    if as_json:
        print(shown_json(result.report))
    else:
        print_shape(result, console.out)
        is_text = result.report["measurement_id"] is None
        console.say(next_step("shape of text" if is_text else "shape", run, "--plan", plan))
