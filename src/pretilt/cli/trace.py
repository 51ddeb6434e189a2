"""`pretilt trace`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretilt.cli.options import Json, RunFolder, ShowText
from pretilt.text import shown_json
from pretilt.view.next_step import next_step


def trace(
    run: RunFolder,
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A number of the audit's list (3), a hypothesis (global:7, group:12:7), a concept (concept:7 or its "
            "name) or a pair (pair:<pair_id>, row:<row of the source>).",
        ),
    ],
    number: Annotated[int, typer.Option("-n", "--number", min=0, help="How many of each list to show.")] = 10,
    no_tokens: Annotated[
        bool, typer.Option("--no-tokens", help="Do not load the lens to read which tokens fired.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(help="Write all training pairs in order of contribution: a .jsonl, .csv or .parquet file."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Export only the first N.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the exported file if it exists.")] = False,
    as_json: Json = False,
    show_text: ShowText = False,
) -> None:
    """Say which pairs and tokens an effect rests on, or what a pair teaches.

    Examples:

      pretilt trace runs/my-pairs 3

      pretilt trace runs/my-pairs group:12:7 --export responsible.jsonl --top 500

      pretilt trace runs/my-pairs pair:3f2c1a9be04d77a1c2e5
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.trace import print_trace

    console = Console(quiet=as_json)
    result = api.trace(
        run, what, number=number, tokens=not no_tokens, export=export, top=top, force=force, events=console
    )
    if as_json:
        print(shown_json(result.to_dict()))
    else:
        print_trace(result, console.out, show_text=show_text)
        is_text = bool(api.open_run(run).run.manifest["settings"].get("no_lens"))
        console.say(next_step("trace of text" if is_text else "trace", run))
