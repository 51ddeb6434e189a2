"""`pretilt mark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretilt.cli.options import RunFolder
from pretilt.view.next_step import next_step


def mark(
    run: RunFolder,
    decision: Annotated[str, typer.Argument(metavar="DECISION", help="suppress, amplify, keep or protect.")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="pattern:bold, concept:7, group:12:7, group:12, source:NAME …")
    ],
    plan: Annotated[Path, typer.Option(help="The plan; it is begun where it is missing.")] = Path("plan.yaml"),
    method: Annotated[str | None, typer.Option(help="How. Default: chosen by forecast.")] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="How far: base, half, double or a share of the shift, 25%; with a plain training '+5 points' or none."
        ),
    ] = None,
    strength: Annotated[float | None, typer.Option(help="In the method's own unit, instead of --to.")] = None,
    gate: Annotated[str | None, typer.Option(help="Only there: group:12, prompt_has:list …; not:group:12")] = None,
    by: Annotated[
        str | None, typer.Option(help="Whose score drives the method: detector:NAME, logit:NAME … Default: TARGET's.")
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(help="A sentence that asks for the concept; offset and inoculate read it.")
    ] = None,
    note: Annotated[str, typer.Option(help="Why, for whoever reads the plan.")] = "",
) -> None:
    """Write a decision about a concept, an effect or a set of pairs into a plan.

    Examples:

      pretilt mark runs/my-pairs suppress pattern:bold --to base

      pretilt mark runs/my-pairs protect pattern:numbered-list
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console

    console = Console()
    path = api.mark(
        run, decision, target, plan=plan, method=method, to=to, strength=strength, gate=gate, by=by,
        instruction=instruction, note=note,
    )  # fmt: skip
    console.lines(path.read_text(encoding="utf-8").rstrip())
    console.say(next_step("mark", run, "--plan", path))
