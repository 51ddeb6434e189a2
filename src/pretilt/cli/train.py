"""`pretilt train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pretilt.cli.options import Json, RunFolder
from pretilt.errors import UserError
from pretilt.literals import parse_yaml
from pretilt.text import shown_json
from pretilt.view.next_step import next_step


def train(
    run: RunFolder,
    model: Annotated[str | None, typer.Option(help="Model to train: folder or Hub id. Default: the run's own.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with trl.DPOConfig's own names, and lora.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the trained model. Default: trained/ in the run.")] = None,
    option: Annotated[list[str], typer.Option("--set", help="One more setting, as beta=0.1; may be repeated.")] = [],  # noqa: B006
    shuffled_labels: Annotated[
        bool, typer.Option("--shuffled-labels", help="Swap chosen and rejected for half of the families: a control.")
    ] = False,
    plan: Annotated[Path | None, typer.Option(help="Train under this plan (docs/shaping.md).")] = None,
    as_json: Json = False,
) -> None:
    """Train a model on the run's training pairs with TRL's own DPOTrainer, and say in which regime it ended.

    Interrupt it at any moment and give the same command again: it goes on from its last checkpoint.
    """
    from pretilt import api
    from pretilt.schema import TRAIN_REPORT, TRAINED_FOLDER
    from pretilt.view.terminal.console import Console

    console = Console(quiet=as_json)
    options: dict[str, Any] = {}
    for entry in option:
        name, equals, value = entry.partition("=")
        if not equals:
            raise UserError(f"--set {entry} is not understood", fix="Write it as name=value")
        options[name] = parse_yaml(value, f"--set {entry}")
    if shuffled_labels:
        options["shuffled_labels"] = True
    result = api.train(run, model=model, config=config, out=out, plan=plan, events=console, **options)
    if as_json:
        print(shown_json(result.report))
    else:
        console.lines(f"{result.path}\n{result.report['regime']['words']}")
        if plan is not None and out is None:
            plain = (run / TRAINED_FOLDER / TRAIN_REPORT).is_file()
            follows = ["--plan", result.report["plan"]["name"]] if plain else []
            console.say(next_step("train" if plain else "shaped train", run, *follows))
        else:
            elsewhere = [] if out is None else ["--trained", str(result.path)]
            console.say(next_step("train", run, *elsewhere))
