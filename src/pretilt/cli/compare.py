"""`pretilt compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretilt.cli.options import Json, RunFolder
from pretilt.text import shown_json
from pretilt.view.next_step import next_step


def compare(
    run: RunFolder,
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="Folder of the run to hold against it.")],
    as_json: Json = False,
) -> None:
    """Hold two runs against each other: what do the labels of OTHER select that those of RUN do not?

    Two versions of a dataset, two sources, a dataset before and after it was changed.

    Examples:

      pretilt compare runs/v1 runs/v2

      pretilt view runs/v1 --against runs/v2
    """
    from pretilt import api
    from pretilt.view.terminal.compare import print_comparison
    from pretilt.view.terminal.console import Console

    console = Console(quiet=as_json)
    result = api.compare(run, other, events=console)
    if as_json:
        print(shown_json(result.report))
        return
    print_comparison(result, console.out)
    if result.report["differing"]:
        console.say(next_step("compare", other, f"concept:{result.report['differing'][0]['other_id']}"))
