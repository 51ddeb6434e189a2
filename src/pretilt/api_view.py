"""The front door's functions that show runs: in a browser, and side by side."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pretilt.api_kit import AnyRun, open_run
from pretilt.events import Events, watching

if TYPE_CHECKING:
    from pretilt.comparison.step import ComparisonResult


def compare(run: AnyRun, other: AnyRun, *, events: Events | None = None) -> ComparisonResult:
    """What the labels of `other` select that those of `run` do not: every effect over all pairs, side by side.

    For two versions of a dataset, two sources, a dataset before and after it was changed. Compared are patterns that
    both count alike, and concepts with the same features where both were read through the same lens. Pairs and prompts
    that both hold count once in the error of a difference. Where the runs have forecasts and verifications, these stand
    beside the effects. Nothing is written. Raises UserError for runs that have no concept in common.

        pretilt.compare("runs/v1", "runs/v2").to_pandas()
    """
    from pretilt.comparison.step import compare_runs

    return compare_runs(open_run(run).run, open_run(other).run, events=events)


def export_atlas(run: AnyRun, out: str | Path, *, force: bool = False, events: Events | None = None) -> Path:
    """Write the training pairs as one Parquet file for embedding-atlas: `out`, which ends in .parquet. Returns it.

    Texts, source, group, the place on the viewer's map (`x`, `y`), and for the surest concepts which side shows them.
    `force` replaces a file. Raises UserError for a run that has not finished.

        pretilt.export_atlas("runs/pairs", "pairs.parquet")
    """
    from pretilt.view.atlas import export_atlas as write_atlas

    n_pairs = write_atlas(open_run(run).run, Path(out), force=force)
    watching(events).say(
        f"{n_pairs:,} pairs. Look at them: embedding-atlas {shlex.quote(str(out))} --text prompt --x x --y y"
    )
    return Path(out)


def export_site(
    run: AnyRun,
    out: str | Path,
    *,
    against: AnyRun | None = None,
    force: bool = False,
    events: Events | None = None,
) -> Path:
    """Write the viewer of a run into the folder `out`: it opens from disk, without a server and without a network.

    Everything in it but deciding and renaming works as in `view`. `out` is a new or empty folder, or one that holds
    such a site; `force` writes beside other files. `against`: a run to compare with (`compare`). Returns the page.
    Raises UserError for a run that has not finished.

        pretilt.export_site("runs/pairs", "site")  # site/index.html
    """
    from pretilt.view.site.export import PAGE
    from pretilt.view.site.export import export_site as write_site

    other = None if against is None else open_run(against).run
    write_site(open_run(run).run, Path(out), against=other, force=force, events=watching(events))
    return Path(out) / PAGE


def view(
    run: AnyRun,
    *,
    port: int = 0,
    plan: str | Path = "plan.yaml",
    against: AnyRun | None = None,
    ready: Callable[[str], None] | None = None,
    events: Events | None = None,
) -> None:
    """Serve the viewer of a run to this machine's browsers until interrupted.

    `port` 0 takes a free one. `plan` is where decisions are read from and saved. `against`: a run to compare with
    (`compare`). `ready` is called with the address, which holds a token without which nothing is answered. Raises
    UserError where another viewer has the run open.

        pretilt.view("runs/pairs", ready=print)
    """
    from pretilt.view.site.server import viewer

    events = watching(events)
    other = None if against is None else open_run(against).run
    with viewer(open_run(run).run, Path(plan), port=port, against=other, events=events) as server:
        (ready or events.say)(server.address)
        server.serve_forever()
