"""`pretilt export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretilt.cli.options import RunFolder
from pretilt.view.next_step import next_step


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the dataset; new or empty.")],
    plan: Annotated[Path | None, typer.Option(help="As this plan has them (docs/shaping.md).")] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="With log-probabilities under the run's model, for any trainer.")
    ] = False,
    beta: Annotated[
        float | None, typer.Option(help="The loss' beta: the plan's offsets are put into ref_chosen_logps.")
    ] = None,
) -> None:
    """Write the pairs as a plain preference dataset: as they are, or as a plan has them.

    Examples:

      pretilt export runs/my-pairs data/with-reference --reference

      pretilt export runs/my-pairs data/less-bold --plan less-bold.yaml
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console

    console = Console()
    result = api.export(run, out, plan=plan, reference=reference, beta=beta, events=console)
    console.lines(result.headline)
    console.say(f"what each trainer can honour of it: {out / 'README.md'}")
    if result.has_lens:
        console.say(next_step("export", run))
