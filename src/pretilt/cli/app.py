"""The command line: one thin command per step. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Any

import typer

from pretilt.cli.audit import audit
from pretilt.cli.compare import compare
from pretilt.cli.demo import demo
from pretilt.cli.describe import describe
from pretilt.cli.detector import detector
from pretilt.cli.doctor import doctor
from pretilt.cli.dose import dose
from pretilt.cli.export import export
from pretilt.cli.fit import fit
from pretilt.cli.forecast import forecast
from pretilt.cli.mark import mark
from pretilt.cli.options import PanelCommand
from pretilt.cli.rollouts import rollouts
from pretilt.cli.shape import shape
from pretilt.cli.trace import trace
from pretilt.cli.train import train
from pretilt.cli.verify import verify
from pretilt.cli.view import export_site, view
from pretilt.errors import UserError
from pretilt.text import one_line, visible
from pretilt.version import __version__

app = typer.Typer(
    name="pretilt",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Read a preference dataset through the model about to be trained on it: what will DPO amplify or suppress, "
    "and which pairs are responsible?",
)

_UsageError: Any = typer.BadParameter.__base__  # of the click that typer uses, its own or the installed one
_INTERRUPTED = 130  # the exit status of a process that Ctrl-C ended


# In the order of the work: a training that comes before the forecast costs its seal.
for command in (
    *(
        demo,
        fit,
        audit,
        doctor,
        view,
        trace,
        compare,
        detector,
        describe,
        rollouts,
        forecast,
        mark,
        shape,
        export,
        train,
        verify,
        dose,
    ),
    export_site,
):
    app.command(cls=PanelCommand)(command)


def _version(is_given: bool) -> None:
    if is_given:
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
