"""`pretilt detector`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pretilt.cli.options import Json, RunFolder, command
from pretilt.settings import DETECTION, DetectorSettings
from pretilt.text import shown_json
from pretilt.view.next_step import next_step


@command(DetectorSettings)
def detector(
    run: RunFolder,
    name: Annotated[
        str,
        typer.Option(help="Name of the detector: small letters, digits and -.", rich_help_panel=DETECTION),
    ],
    *,
    options: dict[str, Any],
    contrast: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Contrastive pairs: rows with prompt, positive and negative.",
            rich_help_panel=DETECTION,
        ),
    ] = None,
    from_pattern: Annotated[
        str | None,
        typer.Option(help="Name of a pattern, whose matches are the examples.", rich_help_panel=DETECTION),
    ] = None,
    from_hypothesis: Annotated[
        str | None,
        typer.Option(help="A hypothesis (group:12:7), whose traced pairs are the examples.", rich_help_panel=DETECTION),
    ] = None,
    trait: Annotated[
        str | None,
        typer.Option(
            help="The trait in words: the run's model gives examples under two instructions.", rich_help_panel=DETECTION
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Lose a detector of that name; a forecast of the run goes stale.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit a direction or probe to examples of a trait, and make it a concept of the run.

    Examples:

      pretilt detector runs/my-pairs --name flattery --from flattery.jsonl

      pretilt detector runs/my-pairs --name bold-probe --from-pattern bold --per-token

      pretilt detector runs/my-pairs --name third-row --from-hypothesis 3

      pretilt detector runs/my-pairs --name warmth --trait "warm and personal towards the user"
    """
    from pretilt import api
    from pretilt.labels.described import renamed
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.detector import print_card

    console = Console(quiet=as_json)
    result = api.detector(
        run,
        name,
        contrast=contrast,
        from_pattern=from_pattern,
        from_hypothesis=from_hypothesis,
        trait=trait,
        replace=replace,
        events=console,
        **options,
    )
    if as_json:
        print(shown_json(result.report))
        return
    print_card({**result.report, "leakage": renamed(result.run, result.report["leakage"])}, console.out)
    console.say(next_step("detector", run, f"detector:{name}"))
