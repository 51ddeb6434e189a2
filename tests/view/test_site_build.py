"""The page that is shipped is that of its sources, small, and one classic script."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIST, WEB = ROOT / "src" / "pretilt" / "view" / "site" / "dist", ROOT / "web"


def test_the_built_page_is_that_of_its_sources(tmp_path: Path) -> None:
    if shutil.which("npx") is None or not (WEB / "node_modules").is_dir():
        pytest.skip("node or web/node_modules is missing: run `make web`")
    built = subprocess.run(
        ["npx", "vite", "build", "--outDir", str(tmp_path), "--logLevel", "error"],
        cwd=WEB,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    for name in ("viewer.js", "viewer.css"):
        assert (tmp_path / name).read_bytes() == (DIST / name).read_bytes(), f"{name}: run `make web`"


def test_it_is_one_small_classic_script_that_loads_nothing_from_elsewhere() -> None:
    script, style = ((DIST / name).read_text(encoding="utf-8") for name in ("viewer.js", "viewer.css"))
    assert {path.name for path in DIST.iterdir()} == {"viewer.js", "viewer.css"}
    assert len(script.encode()) < 500_000
    assert not re.search(r"^\s*(import|export)\b|\bimport\(|\beval\(|new Function\(", script)
    assert not re.findall(r"https?://(?!svelte\.dev|www\.w3\.org)[\w.]+", script + style)
    assert "url(" not in style and "@import" not in style


def test_no_source_reads_text_as_markup() -> None:
    for path in (WEB / "src").rglob("*"):
        if path.suffix in (".svelte", ".ts"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\{@html|document\.write", text), path.name
