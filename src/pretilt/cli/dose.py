"""`pretilt dose`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pretilt.cli.options import Json, RunFolder, command
from pretilt.settings import LENS, DoseSettings
from pretilt.text import shown_json
from pretilt.view.next_step import next_step


@command(DoseSettings)
def dose(
    run: RunFolder,
    detector: Annotated[str, typer.Option(help="Name of the detector whose direction is followed.")],
    *,
    options: dict[str, Any],
    model: Annotated[
        str | None,
        typer.Option(help="Who answers: folder or Hub id. Default: the run's own model.", rich_help_panel=LENS),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Sets this one apart: dose-<detector>-<name>. With --model: trained.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Steer a model along a detector's direction by several amounts, and say what it then shows: dose and response.

    Asked before and after training, it says whether the direction still does what it did.

    Examples:

      pretilt dose runs/my-pairs --detector flattery

      pretilt dose runs/my-pairs --detector flattery --model runs/my-pairs/trained
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.dose import print_dose

    console = Console(quiet=as_json)
    result = api.dose(run, detector, model=model, name=name, events=console, **options)
    if as_json:
        print(shown_json(result.report))
        return
    print_dose(result, console.out)
    console.say(next_step("dose", run, "suppress", f"detector:{detector}", "--method", "steer-policy"))
