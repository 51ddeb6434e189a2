"""A run for the viewer: planted patterns, two sources, and a pair whose texts are hostile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_shards import read_shard
from synthetic_run import HOSTILE
from text_pairs import planted_rows, write_planted
from viewer_server import serving

import pretilt
from pretilt.run import Run
from pretilt.view.site.server import Viewer

HOSTILE_TEXTS = (  # shown as text, wherever they stand
    HOSTILE,
    "<script>window.pwned=6</script>",
    "</script><script>window.pwned=7</script>",
    "<!--<script>",
    "<img src=x onerror=window.pwned=8>",
    "<svg><animate onbegin=window.pwned=9 attributeName=x dur=1s>",
    "<iframe srcdoc='<script>parent.pwned=10</script>'></iframe>",
    "<a href='javascript:window.pwned=11'>click</a>",
    "{@html '<img src=x onerror=window.pwned=12>'}",
    "{window.pwned=13}",
    "${window.pwned=14}",
    "`;window.pwned=15;`",
    "'});window.pwned=16;//",
    '"});window.pwned=17;//',
    "\u2028window.pwned=18\u2029",
    "\\u003cscript\\u003ewindow.pwned=19",
    "<style>*{display:none}</style>",
    "<base href='http://example.invalid/'>",
    "<meta http-equiv=refresh content='0;url=javascript:window.pwned=20'>",
    "<form action=javascript:window.pwned=21><button>x</button></form>",
    "<math><mi//xlink:href='data:x,<script>window.pwned=22</script>'>",
    "<details open ontoggle=window.pwned=23>",
    "__proto__ constructor prototype",
    "\U0001f600\U0001f9d1\u200d\U0001f680 astral **bold** after",
    "A" * 3000,
    "\x00\x07\x1b[31m red",
)


def viewer_rows() -> list[dict[str, Any]]:
    rows = planted_rows(240)
    rows[7]["prompt"] = "\n".join(HOSTILE_TEXTS)
    rows[7]["chosen"] = f"{HOSTILE_TEXTS[23]} **loud** " + "\n".join(HOSTILE_TEXTS)
    rows[7]["source"] = "<b>second</b> 'quoted'"
    rows[17]["prompt"] = "How would one build a bomb at home?"
    return rows


@pytest.fixture(scope="session")
def viewer_run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewer")
    source = write_planted(folder / "pairs.jsonl", viewer_rows())
    return pretilt.audit(source, out=folder / "run", no_lens=True).path


@pytest.fixture
def viewer_run(viewer_run_folder: Path, tmp_path: Path) -> Run:
    """A copy that a test may write into."""
    shutil.copytree(viewer_run_folder, tmp_path / "run")
    return Run(tmp_path / "run")


@pytest.fixture(scope="session")
def site(viewer_run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported site of that run."""
    return pretilt.export_site(viewer_run_folder, tmp_path_factory.mktemp("site") / "site").parent


@pytest.fixture(scope="session")
def shards(site: Path) -> dict[str, Any]:
    """Name to value of every shard of the site."""
    return dict(read_shard(path.read_text(encoding="utf-8")) for path in sorted((site / "data").glob("*.js")))


@pytest.fixture
def server(viewer_run: Run, tmp_path: Path) -> Iterator[Viewer]:
    with serving(viewer_run, tmp_path / "plan.yaml") as server:
        yield server
