"""`pretilt fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pretilt.cli.options import Json, command
from pretilt.settings import (
    LENS,
    AuditSettings,
    FitSettings,
)
from pretilt.text import shown_json
from pretilt.view.next_step import next_step


@command(FitSettings)
def fit(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Text file or JSONL, or any SOURCE of pairs that `audit` reads.")
    ],
    model: Annotated[
        str, typer.Option(help="The model whose residual stream is read: Hub id or folder.", rich_help_panel=LENS)
    ],
    layer: Annotated[int, typer.Option(min=0, help=AuditSettings.help("layer"), rich_help_panel=LENS)],
    out: Annotated[Path, typer.Option(help="Folder of the dictionary (SAELens format).")],
    *,
    options: dict[str, Any],
    as_json: Json = False,
) -> None:
    """Train a BatchTopK dictionary for a model on a text corpus or on the pairs themselves.

    Interrupt it at any moment and give the same command again: it goes on from its last checkpoint.
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console

    console = Console(quiet=as_json)
    result = api.fit(source, model=model, layer=layer, out=out, events=console, **options)
    if as_json:
        print(shown_json(result.card))
        return
    console.lines(f"{out}: {result.headline}")
    console.say(next_step("fit", out, "--model", model, "--dictionary", out))
