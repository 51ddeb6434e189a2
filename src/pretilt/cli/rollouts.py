"""`pretilt rollouts`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pretilt.cli.options import Json, RunFolder, command
from pretilt.settings import (
    ENDPOINT,
    LENS,
    RolloutSettings,
)
from pretilt.text import shown_json
from pretilt.view.next_step import judged_by, next_step


@command(RolloutSettings)
def rollouts(
    run: RunFolder,
    *,
    options: dict[str, Any],
    role: Annotated[
        str,
        typer.Option(
            help='"before", or a name that begins with "after" for a trained model. [default: before]',
            show_default=False,
        ),
    ] = "before",
    model: Annotated[
        str | None,
        typer.Option(
            help="Who answers: folder or Hub id. Default: the run's own model, as 'after' the one in its trained/.",
            rich_help_panel=LENS,
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Revision of that model on the Hub.", rich_help_panel=LENS)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Torch device of sampling. Default: the run's.", rich_help_panel=LENS)
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server that answers instead.", rich_help_panel=ENDPOINT)
    ] = None,
    endpoint_model: Annotated[
        str | None, typer.Option(help="The model's name on that server.", rich_help_panel=ENDPOINT)
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds its key.", rich_help_panel=ENDPOINT)
    ] = "OPENAI_API_KEY",
    replace: Annotated[bool, typer.Option("--replace", help="Replace rollouts that were made otherwise.")] = False,
    reuse: Annotated[
        Path | None, typer.Option(help="Another run: the same model's answers to the same prompts are taken from it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sample answers to a run's held-out prompts and read them with the run's own, sealed measurement.

    Options that are not given are as they were when this role, else "before", was sampled. Interrupt it at any moment
    and give the same command again: it goes on from its last shard.
    """
    from pretilt import api
    from pretilt.schema import FORECAST_REPORT, TRAINED_FOLDER
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.rollouts import rollouts_text

    console = Console(quiet=as_json)
    result = api.rollouts(
        run, role, model=model, revision=revision, base_url=base_url, endpoint_model=endpoint_model,
        api_key_env=api_key_env, device=device, replace=replace, reuse=reuse, events=console, **options,
    )  # fmt: skip
    if as_json:
        print(shown_json(result.report))
        return
    console.lines(rollouts_text(result.report))
    if role.startswith("after"):
        console.say(next_step("train", run, *judged_by(role, result.run.manifest["stages"])))
    elif result.run.holds(FORECAST_REPORT) and (result.run.path / TRAINED_FOLDER).is_dir():
        console.say(next_step("train", run))
    else:
        console.say(next_step("rollouts", run))
