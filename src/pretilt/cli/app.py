"""The command line: one thin command per step. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pretilt.cli import forecast as cli_forecast
from pretilt.cli import run as cli_run
from pretilt.errors import UserError
from pretilt.settings import AuditSettings
from pretilt.text import one_line, shown_json, visible
from pretilt.version import __version__
from pretilt.view.next_step import next_step

if TYPE_CHECKING:
    from pretilt.audit.result import AuditResult
    from pretilt.view.terminal.console import Console

app = typer.Typer(
    name="pretilt",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Read a preference dataset through the model about to be trained on it: what will DPO amplify or suppress, "
    "and which pairs are responsible?",
)

_help = AuditSettings.help
_UsageError: Any = typer.BadParameter.__base__  # of the click that typer uses, its own or the installed one
_INTERRUPTED = 130  # the exit status of a process that Ctrl-C ended


def _columns(given: list[str]) -> dict[str, str] | None:
    """`--column chosen=better` as a mapping, None where nothing was given."""
    for entry in given:
        if "=" not in entry:
            raise UserError(f"--column {entry} is not understood", fix="Write it as our_name=source_name")
    return dict(entry.split("=", 1) for entry in given) or None


def _follow_up(console: Console, result: AuditResult) -> None:
    """Name the trace of the first row, or the doctor where no list has a row."""
    from pretilt.schema import LISTS

    has_rows = any(result.summary[name] for name in LISTS)
    console.say(next_step("audit", result.path, "1") if has_rows else next_step("empty audit", result.path))


Out = Annotated[Path | None, typer.Option("--out", help="Run folder. Default: runs/<name of the source>.")]
Config = Annotated[Path | None, typer.Option("--config", help="YAML file with any of these options by name.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on standard output.")]


def audit(
    source: Annotated[
        str,
        typer.Argument(
            help="Hub id, a .jsonl/.json/.parquet/.csv/.arrow file (also compressed), or a save_to_disk folder."
        ),
    ],
    model: Annotated[str | None, typer.Option(help=_help("model"))] = None,
    dictionary: Annotated[str | None, typer.Option(help=_help("dictionary"))] = None,
    layer: Annotated[int | None, typer.Option(help=_help("layer"))] = None,
    norm_scaling_factor: Annotated[float | None, typer.Option(help=_help("norm_scaling_factor"))] = None,
    out: Out = None,
    limit: Annotated[int | None, typer.Option(help=_help("limit"))] = None,
    max_row_mb: Annotated[int | None, typer.Option(help=_help("max_row_mb") + " Default: 64.")] = None,
    seed: Annotated[int | None, typer.Option(help=_help("seed") + " Default: 0.")] = None,
    holdout: Annotated[float | None, typer.Option(help=_help("holdout") + " Default: 0.1.")] = None,
    config: Config = None,
    paper: Annotated[bool, typer.Option("--paper", help=_help("paper"))] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop after the pre-flight, with token and time estimates.")
    ] = False,
    as_json: Json = False,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Print example text even where it may be harmful.")
    ] = False,
    source_config: Annotated[str | None, typer.Option(help=_help("source_config"))] = None,
    split: Annotated[str | None, typer.Option(help=_help("split"))] = None,
    revision: Annotated[str | None, typer.Option(help=_help("revision"))] = None,
    column: Annotated[list[str], typer.Option(help="Column by hand, as our_name=source_name; may be repeated.")] = [],  # noqa: B006
    turns: Annotated[str | None, typer.Option(help=_help("turns") + " Default: drop.")] = None,
    k_wise: Annotated[str | None, typer.Option(help=_help("k_wise") + " Default: best-worst.")] = None,
    max_length: Annotated[int | None, typer.Option(help=_help("max_length") + " Default: 1024.")] = None,
    model_revision: Annotated[str | None, typer.Option(help=_help("model_revision"))] = None,
    device: Annotated[str | None, typer.Option(help=_help("device") + " Default: cpu.")] = None,
    dtype: Annotated[str | None, typer.Option(help=_help("dtype") + " Default: float32.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(help=_help("batch_tokens") + " Default: 1024.")] = None,
    graph: Annotated[str | None, typer.Option(help=_help("graph") + " Default: mutual-knn.")] = None,
    resolution: Annotated[float | None, typer.Option(help=_help("resolution"))] = None,
    disparity: Annotated[str | None, typer.Option(help=_help("disparity") + " Default: paper.")] = None,
    freq_threshold: Annotated[float | None, typer.Option(help=_help("freq_threshold") + " Default: 0.01.")] = None,
    groups: Annotated[int | None, typer.Option(help=_help("groups"))] = None,
    baseline: Annotated[str | None, typer.Option(help=_help("baseline") + " Default: none.")] = None,
    despite_doctor: Annotated[bool, typer.Option("--despite-doctor", help=_help("despite_doctor"))] = False,
) -> None:
    """Read SOURCE through a lens and rank what its labels select.

    Examples:

      pretilt audit my-pairs.jsonl

      pretilt audit org/preferences --split train_prefs --model org/my-sft --dictionary my-sae --layer 20

      pretilt audit my-pairs.parquet --dry-run
    """
    options = {name: value for name, value in locals().items() if name in AuditSettings.model_fields}
    # a flag that was not given leaves the configuration file's value
    options |= {"paper": paper or None, "despite_doctor": despite_doctor or None}
    settings = AuditSettings.load(config, columns=_columns(column), **options)
    from pretilt import api
    from pretilt.view.summary import summary_of
    from pretilt.view.terminal.console import Console

    console = Console(quiet=as_json, show_text=show_text)
    result = api.audit(source, settings=settings, out=out, dry_run=dry_run, events=console)
    if as_json:
        print(shown_json(result.summary))
    elif not dry_run:
        console.summary(summary_of(result.run), result.report)
        _follow_up(console, result)


def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("demo-run"),
    limit: Annotated[int | None, typer.Option(min=1, help="Read only the first N pairs, and score no plants.")] = None,
    as_json: Json = False,
) -> None:
    """Audit the bundled planted pairs with the bundled lens and say which plants were found."""
    from pretilt.demo.step import run_demo
    from pretilt.view.summary import summary_of
    from pretilt.view.terminal.console import Console

    console = Console(quiet=as_json)
    found = run_demo(out, limit=limit, events=console)
    if as_json:
        print(shown_json(found.to_dict()))
    else:
        console.summary(summary_of(found.audit.run), found.audit.report)
        score = found.score.text if found.score else "Not scored: a slice holds too few pairs of every plant."
        console.lines(f"What was planted, and what was found\n{score}\n\nReport: {found.audit.report}")
        _follow_up(console, found.audit)


def fit(
    text: Annotated[str, typer.Argument(help="Text file or JSONL, or any SOURCE of pairs that `audit` reads.")],
    model: Annotated[str, typer.Option(help="The model whose residual stream is read: Hub id or folder.")],
    layer: Annotated[int, typer.Option(min=0, help=_help("layer"))],
    out: Annotated[Path, typer.Option(help="Folder of the dictionary (SAELens format).")],
    features: Annotated[
        int | None, typer.Option(min=1, help="Number of features. Default: 8 × the model's width.")
    ] = None,
    active: Annotated[int, typer.Option(min=1, help="Features active per token while training (BatchTopK's k).")] = 32,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the activations.")] = 4,
    max_length: Annotated[int, typer.Option(min=8, help="Tokens per document or conversation.")] = 1024,
    limit: Annotated[int | None, typer.Option(min=1, help="Read only the first N rows.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of every random choice.")] = 0,
    device: Annotated[str, typer.Option(help=_help("device"))] = "cpu",
    as_json: Json = False,
) -> None:
    """Train a BatchTopK dictionary for a model on a text corpus or on the pairs themselves.

    Interrupt it at any moment and give the same command again: it goes on from its last checkpoint.
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console

    console = Console(quiet=as_json)
    card = api.fit(
        text, model=model, layer=layer, out=out, n_features=features, active=active, epochs=epochs,
        max_length=max_length, limit=limit, seed=seed, device=device, events=console,
    )  # fmt: skip
    if as_json:
        print(shown_json(card))
    else:
        held = card["heldout"]
        told = f"held-out: explained variance {held['explained_variance']:.3f}, L0 {held['l0']:.1f}" if held else ""
        console.lines(f"{out}: {card['n_features']:,} features of layer {layer}\n{told}")
        console.say(next_step("fit", out, "--model", model, "--dictionary", out))


# In the order of the work: a training that comes before the forecast costs its seal.
for command in (
    demo, fit, audit, cli_run.doctor, cli_run.trace, cli_run.label, cli_run.rollouts, cli_forecast.forecast,
    cli_run.train, cli_forecast.verify,
):  # fmt: skip
    app.command()(command)


def _version(asked: bool) -> None:
    if asked:
        print(f"pretilt {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Shared options."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line. Exit status: 0 done, 2 a mistake the user can mend, 130 interrupted."""
    # Progress bars and advice of the libraries below would mix with ours.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        try:
            status = app(args=argv, standalone_mode=False)
        finally:
            sys.stdout.flush()
        if status == _INTERRUPTED:
            raise KeyboardInterrupt
        if status:
            sys.exit(status)
    except _UsageError as error:  # it quotes what was typed
        text = io.StringIO()
        error.show(text)
        print(visible(text.getvalue()), end="", file=sys.stderr)
        sys.exit(error.exit_code)
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("\ninterrupted: give the same command again and it goes on from the last finished shard", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at exit
        sys.exit(0)
    except OSError as error:  # of a disk or a system: what read or wrote knew no better line
        where = "" if error.filename is None else f" ({error.filename})"
        print(f"error: {one_line(f'the system refuses{where}: {error.strerror or error}')}", file=sys.stderr)
        if error.filename is None:  # standard output itself, perhaps: the interpreter must not try again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
