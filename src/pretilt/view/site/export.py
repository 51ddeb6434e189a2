"""`export-site`: the viewer as a folder that opens from disk, without a server and without a network."""

from __future__ import annotations

import html
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from pretilt.artifacts import cannot_write, check_name, writing
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.run import Run
from pretilt.text import one_line
from pretilt.view.site.bundle import INDEX, Bundle

DATA = "data"
PAGE = "index.html"
ASSETS = ("viewer.js", "viewer.css")
POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def asset(name: str) -> bytes:
    """A built file of the page. Raises UserError in a checkout where it was not built."""
    try:
        return resources.files("pretilt.view.site").joinpath("dist", name).read_bytes()
    except FileNotFoundError as error:
        raise UserError(
            "the page was not built", why=f"{name} is missing", fix="Run `make web`, or install pretilt from a wheel"
        ) from error


def page(policy: str | None, *, server: bool = False, title: str = "pretilt") -> bytes:
    """The one HTML file. `policy`: of a page that has no server to send it; `server`: the page may ask Python."""
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n' if policy else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"{meta}"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{html.escape(one_line(title)[:200])} · pretilt</title>\n"
        '<link rel="stylesheet" href="viewer.css">\n'
        f'</head>\n<body data-server="{"true" if server else "false"}">\n'
        '<div id="app"><p class="boot">Loading …</p></div>\n'
        "<noscript><p>This page needs JavaScript. Everything in it is in the run folder too.</p></noscript>\n"
        '<script src="viewer.js"></script>\n</body>\n</html>\n'
    ).encode()


def export_site(
    run: Run, out: Path, *, against: Run | None = None, force: bool = False, events: Events
) -> dict[str, int]:
    """Write the folder, with a comparison where there is a run to hold `against`; returns {"files", "bytes", "pairs"}.

    Raises UserError for a folder that holds other things.
    """
    check_name(out)
    _check_folder(out, force)
    bundle = Bundle(run, against, events=events)
    sizes = {}
    # An old index would list shards that are being replaced.
    (out / DATA / f"{INDEX}.js").unlink(missing_ok=True)
    for name, data in _files(bundle, events):
        path = out / name
        with writing(path) as partial:
            partial.write_bytes(data)
        sizes[name] = len(data)
    _discard_others(out, set(sizes))
    return {"files": len(sizes), "bytes": sum(sizes.values()), "pairs": bundle.tables.pairs.num_rows}


def _files(bundle: Bundle, events: Events) -> Iterator[tuple[str, bytes]]:
    yield PAGE, page(POLICY, title=bundle.summary.title)
    for name in ASSETS:
        yield name, asset(name)
    names = bundle.names()
    for i, (name, data) in enumerate(bundle.shards()):
        if i % max(1, len(names) // 10) == 0:
            events.progress("export-site", i, len(names), "files")
        yield f"{DATA}/{name}.js", data
    events.progress("export-site", len(names), len(names), "files")


def _check_folder(out: Path, force: bool) -> None:
    """Raise UserError unless the folder is new, empty or an export."""
    try:
        entries = {path.name for path in out.iterdir()} if out.exists() else set()
    except OSError as error:
        raise cannot_write(error, out, "cannot write the site") from error
    if entries and not (entries <= {PAGE, *ASSETS, DATA} or force):
        other = min(entries - {PAGE, *ASSETS, DATA})
        raise UserError(
            "the folder holds something else", file=out, why=f"'{one_line(other)[:60]}' is no part of a site",
            fix="Give a new folder, or --force to write beside it",
        )  # fmt: skip


def _discard_others(out: Path, written: set[str]) -> None:
    """Shards of an older export that this one does not have."""
    for path in (out / DATA).glob("*.js"):
        if f"{DATA}/{path.name}" not in written:
            path.unlink()
