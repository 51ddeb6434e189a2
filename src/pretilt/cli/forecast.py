"""Commands that say what training will do, and whether it did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pretilt.text import shown_json
from pretilt.view.next_step import next_step

RunFolder = Annotated[Path, typer.Argument(help="Run folder of a finished audit.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def forecast(
    run: RunFolder,
    rung: Annotated[
        str | None,
        typer.Option(
            help="Which predictor is the forecast: mean, one_step, converged or tilt (docs/forecast.md). "
            "Default: converged with rollouts, else mean."
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="What a response's score is: presence, paper, count2 or freq. Default: presence.")
    ] = None,
    rollouts: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE",
            help='Rollouts of the untrained model to use. Default: "reference" if the run has it, else "before".',
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make another forecast; the sealed one is kept beside it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what training on the pairs will do, and seal it: written and hashed before training, never changed after.

    Examples:

      pretilt forecast runs/my-pairs

      pretilt rollouts runs/my-pairs --role reference; pretilt forecast runs/my-pairs
    """
    from pretilt.forecast.step import forecast_run
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.forecast import forecast_told, print_forecast

    console = Console(quiet=as_json)
    given: dict[str, Any] = {"rung": rung, "form": form, "rollouts": rollouts}
    result = forecast_run(run, replace=replace, events=console, **{k: v for k, v in given.items() if v is not None})
    if as_json:
        print(shown_json(result.report))
    else:
        print_forecast(forecast_told(result), console.out)
        console.say(next_step("forecast", run))


def verify(
    run: RunFolder,
    after: Annotated[
        str,
        typer.Option(
            metavar="ROLE|PATH",
            help="Rollouts of the trained model, or the model itself: a folder or Hub id, which is then sampled. "
            "Default: the rollouts 'after', else the model in the run's trained/.",
        ),
    ] = "after",
    before: Annotated[
        str, typer.Option(metavar="ROLE", help="Rollouts of the untrained model; sampled where they are missing.")
    ] = "before",
    trained: Annotated[
        Path | None, typer.Option(help="Folder with the training's train.json. Default: trained/ in the run.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Sets this verification apart from others of the run: verification-<name>.")
    ] = None,
    importance: Annotated[
        bool,
        typer.Option("--importance", help="Also score answers before training under both models: why did it miss?"),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say whether the forecast came true, by the answers of the trained model.

    Interrupt it at any moment and give the same command again: it goes on from its last shard.

    Examples:

      pretilt verify runs/my-pairs

      pretilt verify runs/my-pairs --after models/my-dpo --name my-dpo
    """
    from pretilt.api import verify as verify_run
    from pretilt.labels.described import named_table
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.verification import print_verification

    console = Console(quiet=as_json)
    result = verify_run(
        run, after=after, before=before, trained=trained, name=name, importance=importance, events=console
    )
    if as_json:
        print(shown_json(result.report))
    else:
        concepts = named_table(result.run, "concepts", ["concept_id", "name", "kind"])
        print_verification(result.report, concepts, console.out, page_path=result.page)
        headline = result.report["sets"][result.report["verdict"]["set"]]
        for row in (headline["hits"] + headline["misses"])[:1]:
            console.say(next_step("verify", run, f"concept:{row['concept_id']}"))
