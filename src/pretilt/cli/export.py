"""`pretilt export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretilt.cli.options import RunFolder
from pretilt.view.next_step import next_step

ATLAS = "embedding-atlas"


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the dataset; new or empty.")],
    plan: Annotated[Path | None, typer.Option(help="As this plan has them (docs/shaping.md).")] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="With log-probabilities under the run's model, for any trainer.")
    ] = False,
    parquet_for: Annotated[
        str | None,
        typer.Option(metavar="TOOL", help="One Parquet file OUT for a tool that draws maps: embedding-atlas."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the Parquet file.")] = False,
    beta: Annotated[
        float | None, typer.Option(help="The loss' beta: the plan's offsets are put into ref_chosen_logps.")
    ] = None,
) -> None:
    """Write the pairs as a plain preference dataset: as they are, or as a plan has them.

    Examples:

      pretilt export runs/my-pairs data/with-reference --reference

      pretilt export runs/my-pairs data/less-bold --plan less-bold.yaml

      pretilt export runs/my-pairs pairs.parquet --parquet-for embedding-atlas
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console

    console = Console()
    if parquet_for is not None:
        if parquet_for != ATLAS or plan is not None or reference or beta is not None:
            raise typer.BadParameter(
                f"there is '{ATLAS}' alone, and it goes without --plan, --reference and --beta",
                param_hint="--parquet-for",
            )
        console.lines(str(api.export_atlas(run, out, force=force, events=console)))
        return
    result = api.export(run, out, plan=plan, reference=reference, beta=beta, events=console)
    console.lines(result.headline)
    console.say(f"what each trainer can honour of it: {out / 'README.md'}")
    if result.has_lens:
        console.say(next_step("export", run))
