"""`pretilt describe`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pretilt.cli.options import Json, RunFolder, command
from pretilt.settings import (
    ENDPOINT,
    DescribeSettings,
)
from pretilt.text import shown_json, visible
from pretilt.view.next_step import next_step

if TYPE_CHECKING:
    from pretilt.labels.step import Estimate


@command(DescribeSettings)
def describe(
    run: RunFolder,
    *,
    options: dict[str, Any],
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask again, whatever the cache holds.", rich_help_panel=ENDPOINT)
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before requests are sent.", rich_help_panel=ENDPOINT)
    ] = False,
    as_json: Json = False,
) -> None:
    """Name concepts, groups and hypotheses, and score every name on families that it was not written from.

    Without --model nothing is sent anywhere: the names that the audit made are scored. No statistic reads a name.
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.labels import labels_text

    console = Console(quiet=as_json)

    def confirm(estimate: Estimate) -> bool:
        cost = f"{estimate.n_requests:,} requests, about {estimate.n_tokens:,} tokens, to {estimate.model}"
        return typer.confirm(visible(f"{cost} at {estimate.host}. Send them?"), err=True)

    result = api.describe(run, refresh=refresh, yes=yes, confirm=confirm, events=console, **options)
    if as_json:
        print(shown_json(result.to_dict()))
    else:
        console.lines(labels_text(result.labels, console.out.width - 2, str(run)))
        console.say(next_step("describe", run))
