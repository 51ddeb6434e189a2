"""`pretilt forecast`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pretilt.cli.options import Json, RunFolder, command
from pretilt.settings import (
    ForecastSettings,
)
from pretilt.text import shown_json
from pretilt.view.next_step import next_step


@command(ForecastSettings)
def forecast(
    run: RunFolder,
    *,
    options: dict[str, Any],
    replace: Annotated[
        bool, typer.Option("--replace", help="Make another forecast; the sealed one is kept beside it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what training on the pairs will do, and seal it: written and hashed before training, never changed after.

    Examples:

      pretilt forecast runs/my-pairs

      pretilt rollouts runs/my-pairs --role reference; pretilt forecast runs/my-pairs
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.forecast import forecast_told, print_forecast

    console = Console(quiet=as_json)
    result = api.forecast(run, replace=replace, events=console, **options)
    if as_json:
        print(shown_json(result.report))
    else:
        print_forecast(forecast_told(result), console.out)
        is_text = result.report["measurement_id"] is None
        console.say(next_step("trace of text" if is_text else "forecast", run))
