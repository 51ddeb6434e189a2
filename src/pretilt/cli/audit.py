"""`pretilt audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pretilt.cli.options import Json, ShowText, command
from pretilt.settings import (
    AuditSettings,
)
from pretilt.text import shown_json
from pretilt.view.next_step import next_step

if TYPE_CHECKING:
    from pretilt.audit.result import AuditResult
    from pretilt.view.terminal.console import Console


def say_next(console: Console, result: AuditResult) -> None:
    """Name the trace of the first row, or the doctor where no list has a row."""
    from pretilt.schema import LISTS

    has_rows = any(result.summary[name] for name in LISTS)
    console.say(next_step("page", result.path))
    console.say(next_step("audit", result.path, "1") if has_rows else next_step("empty audit", result.path))


@command(AuditSettings)
def audit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Hub id, a .jsonl/.json/.parquet/.csv/.arrow file (also compressed), or a save_to_disk folder.",
        ),
    ],
    *,
    options: dict[str, Any],
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: runs/<name of the source>.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with any of these options by name.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop after the pre-flight, with token and time estimates.")
    ] = False,
    as_json: Json = False,
    show_text: ShowText = False,
) -> None:
    """Read SOURCE through a lens and rank what its labels select.

    Examples:

      pretilt audit my-pairs.jsonl

      pretilt audit org/preferences --split train_prefs --model org/my-sft --dictionary my-sae --layer 20

      pretilt audit my-pairs.parquet --dry-run
    """
    settings = AuditSettings.load(config, **options)
    from pretilt import api
    from pretilt.view.summary import summary_of
    from pretilt.view.terminal.console import Console

    console = Console(quiet=as_json, show_text=show_text)
    result = api.audit(source, settings=settings, out=out, dry_run=dry_run, events=console)
    if as_json:
        print(shown_json(result.summary))
    elif dry_run:
        if not result.summary["preflight"]["refused"]:
            console.say("next: the same command without --dry-run reads these pairs and ranks what they teach")
    else:
        console.summary(summary_of(result.run))
        say_next(console, result)
