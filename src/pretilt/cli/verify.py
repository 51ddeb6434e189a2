"""`pretilt verify`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pretilt.cli.options import Json, RunFolder, command
from pretilt.settings import (
    VerifySettings,
)
from pretilt.text import shown_json
from pretilt.view.next_step import next_step


@command(VerifySettings)
def verify(
    run: RunFolder,
    *,
    options: dict[str, Any],
    plan: Annotated[
        str | None,
        typer.Option(help="Judge a plan by its name or file: the model trained under it against the plain one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether the forecast came true, by the answers of the trained model.

    Interrupt it at any moment and give the same command again: it goes on from its last shard.

    Examples:

      pretilt verify runs/my-pairs

      pretilt verify runs/my-pairs --after models/my-dpo --name my-dpo

      pretilt verify runs/my-pairs --plan less-bold
    """
    from pretilt import api
    from pretilt.labels.described import named_table
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.outcome import print_outcome
    from pretilt.view.terminal.verification import print_verification

    console = Console(quiet=as_json)
    if plan is not None:
        outcome = api.verify_plan(run, plan, events=console, **options)
        if as_json:
            print(shown_json(outcome.report))
        else:
            print_outcome(outcome, console.out)
        return
    result = api.verify(run, events=console, **options)
    if as_json:
        print(shown_json(result.report))
        return
    concepts = named_table(result.run, "concepts", ["concept_id", "name", "kind"])
    print_verification(result.report, concepts, console.out)
    console.say(next_step("page", run))
    headline = result.report["sets"][result.report["verdict"]["set"]]
    for row in (headline["hits"] + headline["misses"])[:1]:
        console.say(next_step("verify", run, f"concept:{row['concept_id']}"))
