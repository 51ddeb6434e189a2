"""`pretilt view` and `pretilt export-site`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretilt.cli.options import RunFolder

Against = Annotated[
    Path | None, typer.Option(metavar="OTHER", help="Hold the run against another: a view of what differs.")
]


def view(
    run: RunFolder,
    port: Annotated[int, typer.Option(help="Port of 127.0.0.1. Default: a free one.", min=0, max=65535)] = 0,
    plan: Annotated[Path, typer.Option(help="Where decisions are read from and saved.")] = Path("plan.yaml"),
    against: Against = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")] = False,
) -> None:
    """Look at a run in the browser, and decide: a page that answers this machine alone. Ctrl-C ends it.

    Examples:

      pretilt view runs/my-pairs

      pretilt view runs/my-pairs --no-browser --port 8300

      pretilt view runs/v1 --against runs/v2
    """
    from pretilt import api
    from pretilt.view.terminal.console import Console

    console = Console()

    def ready(address: str) -> None:
        console.lines(address)
        console.say("the address holds a secret: give it to nobody. Ctrl-C ends the viewer")
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    console.say("reading the run")
    try:
        api.view(run, port=port, plan=plan, against=against, ready=ready, events=console)
    except KeyboardInterrupt:
        console.say("the viewer has ended")


def export_site(
    run: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the site; new, empty, or an older site.")],
    against: Against = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds other things too.")] = False,
) -> None:
    """Write the viewer as a folder that opens from disk, without a server and without a network.

    Examples:

      pretilt export-site runs/my-pairs site
    """
    from pretilt import api
    from pretilt.view.next_step import next_step
    from pretilt.view.terminal.console import Console

    console = Console()
    page = api.export_site(run, out, against=against, force=force, events=console)
    n_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    console.lines(f"{page}: {n_bytes / 1e6:.1f} MB. It holds the dataset's texts: hand it on as you would the dataset")
    console.say(next_step("export-site", run))
