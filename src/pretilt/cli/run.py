"""Commands on a run folder that exists already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pretilt.errors import UserError
from pretilt.literals import parse_yaml
from pretilt.text import shown_json, visible
from pretilt.view.next_step import next_step

RunFolder = Annotated[Path, typer.Argument(help="Run folder of a finished audit.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def trace(
    run: RunFolder,
    what: Annotated[
        str,
        typer.Argument(
            help="A number of the audit's list (3), a hypothesis (global:7, group:12:7), a concept (concept:7 or its "
            "name) or a pair (pair:<pair_id>, row:<row of the source>)."
        ),
    ],
    number: Annotated[int, typer.Option("-n", "--number", min=0, help="How many of each list to show.")] = 10,
    no_tokens: Annotated[
        bool, typer.Option("--no-tokens", help="Do not load the lens to read which tokens fired.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(help="Write all training pairs in order of contribution: a .jsonl, .csv or .parquet file."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Export only the first N.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the exported file if it exists.")] = False,
    as_json: Json = False,
    show_text: Annotated[bool, typer.Option("--show-text", help="Print texts even where they may be harmful.")] = False,
) -> None:
    """Say which pairs and tokens an effect rests on, or what a pair teaches.

    Examples:

      pretilt trace runs/my-pairs 3

      pretilt trace runs/my-pairs group:12:7 --export responsible.jsonl --top 500

      pretilt trace runs/my-pairs pair:3f2c1a9be04d77a1c2e5
    """
    from pretilt.trace.step import trace as trace_run
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.trace import print_trace

    console = Console(quiet=as_json)
    options: dict[str, Any] = {"export": export, "top": top, "force": force, "events": console}
    told = trace_run(run, what, n=number, tokens=not no_tokens, **options)
    if as_json:
        print(shown_json(told.to_dict()))
    else:
        print_trace(told, console.out, show_text=show_text)
        console.say(next_step("trace", run))


def doctor(run: RunFolder, as_json: Json = False) -> None:
    """Check lens and data of a run: every figure with a verdict and what to do. Exit status 1 if anything is red."""
    from pretilt.audit.checks import any_red
    from pretilt.audit.doctor import checkup
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.doctor import checks_text

    console = Console(quiet=as_json)
    found = checkup(run, events=console)
    if as_json:
        print(shown_json([check.to_dict() for check in found]))
    else:
        console.lines(checks_text(found, console.out.width - 2))
    if any_red(found):
        raise typer.Exit(1)
    if not as_json:
        console.say(next_step("doctor", run))


def label(
    run: RunFolder,
    label_model: Annotated[
        str | None, typer.Option(help="Model that writes and judges labels. Default: none, only the offline labels.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible endpoint. Default: OPENAI_BASE_URL, or the SDK's own.")
    ] = None,
    api_key_env: Annotated[str, typer.Option(help="Environment variable that holds the key.")] = "OPENAI_API_KEY",
    top: Annotated[int, typer.Option(min=1, help="Label what the first N of each list name.")] = 50,
    max_requests: Annotated[int, typer.Option(min=0, help="Hard limit on requests.")] = 1000,
    max_tokens: Annotated[int, typer.Option(min=0, help="Hard limit on tokens, prompts and answers.")] = 2_000_000,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 4,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask again, whatever the cache holds.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before requests are sent.")] = False,
    as_json: Json = False,
) -> None:
    """Label concepts, groups and hypotheses, and score every label on families that it was not written from.

    Without --label-model nothing is sent anywhere: the offline labels are scored. No statistic reads a label.
    """
    from pretilt.api import label as label_run
    from pretilt.labels.step import Estimate
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.labels import labels_text

    console = Console(quiet=as_json)

    def confirm(estimate: Estimate) -> bool:
        told = f"{estimate.n_requests:,} requests, about {estimate.n_tokens:,} tokens, to {estimate.model}"
        return typer.confirm(visible(f"{told} at {estimate.host}. Send them?"), err=True)

    result = label_run(
        run, label_model=label_model, base_url=base_url, api_key_env=api_key_env, max_requests=max_requests,
        max_tokens=max_tokens, concurrency=concurrency, top=top, refresh=refresh, yes=yes, confirm=confirm,
        events=console,
    )  # fmt: skip
    if as_json:
        print(shown_json(result.to_dict()))
    else:
        console.lines(labels_text(result.labels, console.out.width - 2, str(run)))
        console.say(next_step("label", run))


def rollouts(
    run: RunFolder,
    role: Annotated[
        str, typer.Option(help='"before", or a name that begins with "after" for a trained model.')
    ] = "before",
    model: Annotated[
        str | None, typer.Option(help="Who answers: folder or Hub id. Default: the run's own model.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of that model on the Hub.")] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible server that answers instead.")] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="The model's name on that server.")] = None,
    api_key_env: Annotated[str, typer.Option(help="Environment variable that holds its key.")] = "OPENAI_API_KEY",
    n_prompts: Annotated[
        int | None, typer.Option(min=1, help="Prompts, drawn by the seed. Default: all held-out ones.")
    ] = None,
    per_prompt: Annotated[int | None, typer.Option(min=1, help="Rollouts of each. Default: 4.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a rollout. Default: 256.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Default: 1.")] = None,
    split: Annotated[str | None, typer.Option(help="heldout, train or all. Default: heldout.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Default: 0.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rollouts at a time. Default: 32.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device of sampling. Default: the run's.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace rollouts that were made otherwise.")] = False,
    reuse: Annotated[
        Path | None, typer.Option(help="Another run: the same model's answers to the same prompts are taken from it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sample answers to a run's held-out prompts and read them with the run's own, sealed measurement.

    Interrupt it at any moment and give the same command again: it goes on from its last shard.
    """
    from pretilt.rollouts.step import rollouts_run
    from pretilt.view.terminal.console import Console
    from pretilt.view.terminal.rollouts import rollouts_text

    console = Console(quiet=as_json)
    given: dict[str, Any] = {
        "n_prompts": n_prompts, "per_prompt": per_prompt, "max_new_tokens": max_new_tokens, "split": split,
        "temperature": temperature, "seed": seed, "batch_size": batch_size,
    }  # fmt: skip
    result = rollouts_run(
        run, role, model, revision=revision, base_url=base_url, endpoint_model=endpoint_model, api_key_env=api_key_env,
        device=device, replace=replace, reuse=reuse, events=console,
        **{k: v for k, v in given.items() if v is not None},
    )  # fmt: skip
    if as_json:
        print(shown_json(result.report))
    else:
        console.lines(rollouts_text(result.report))
        if role.startswith("after"):
            console.say(next_step("train", run, *(["--after", role] if role != "after" else [])))
        else:
            console.say(next_step("rollouts", run))


def train(
    run: RunFolder,
    model: Annotated[str | None, typer.Option(help="Model to train: folder or Hub id. Default: the run's own.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with trl.DPOConfig's own names, and lora.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the trained model. Default: trained/ in the run.")] = None,
    option: Annotated[list[str], typer.Option("--set", help="One more setting, as beta=0.1; may be repeated.")] = [],  # noqa: B006
    shuffled_labels: Annotated[
        bool, typer.Option("--shuffled-labels", help="Swap chosen and rejected for half of the families: a control.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model on the run's training pairs with TRL's own DPOTrainer, and say in which regime it ended.

    Interrupt it at any moment and give the same command again: it goes on from its last checkpoint.
    """
    from pretilt.train.step import train_model
    from pretilt.view.terminal.console import Console

    console = Console(quiet=as_json)
    given: dict[str, Any] = {}
    for entry in option:
        name, equals, value = entry.partition("=")
        if not equals:
            raise UserError(f"--set {entry} is not understood", fix="Write it as name=value")
        given[name] = parse_yaml(value, f"--set {entry}")
    if shuffled_labels:
        given["shuffled_labels"] = True
    result = train_model(run, model=model, config=config, out=out, events=console, **given)
    if as_json:
        print(shown_json(result.report))
    else:
        console.lines(f"{result.path}\n{result.report['regime']['words']}")
        elsewhere = [] if out is None else ["--trained", str(result.path)]
        console.say(next_step("train", run, *elsewhere))
