"""The documentation is where it says it is, and says what there is."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from stored import store

import pretilt
from pretilt import schema
from pretilt.settings import AuditSettings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"(?m)^    .*$|(`+) .*? \1", "", page.read_text(encoding="utf-8"))  # code holds no links
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_file_named_in_the_docs_exists(page: Path) -> None:
    for name in re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./-]+)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"make ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8"))) <= targets


def test_the_house_in_the_guide_is_the_house_that_is_tested() -> None:
    from test_house import FLOORS

    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for room in set().union(*FLOORS) - {"__main__"}:
        assert re.search(rf"\b{room}\b", guide), room


def test_every_option_of_audit_is_on_the_command_line_with_its_help() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "pretilt", "audit", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for name in AuditSettings.model_fields:
        option = {"columns": "--column"}.get(name, f"--{name.replace('_', '-')}")
        assert option in shown, option


def test_every_drop_reason_is_documented() -> None:
    from pretilt.pairs.pair import DROP_REASONS

    formats = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for reason in DROP_REASONS:
        assert f"`{reason}`" in formats, reason


def test_every_column_of_the_hypotheses_is_in_the_statistics_page() -> None:
    statistics = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    for name in set(schema.HYPOTHESES.names) - {"hypothesis_id", "view", "concept_id", "shown"}:  # ids and a flag
        assert f"`{name}`" in statistics, name


def script(name: str) -> ModuleType:
    """A program of scripts/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_and_the_schemas_are_what_the_source_says() -> None:
    module = script("reference")
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert page == module.reference(), "run: python scripts/reference.py"
    folder = ROOT / "docs" / "schemas"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == module.schema_files()
    assert set(module.FUNCTIONS) == {name for name in pretilt.__all__ if name.islower() and not name.startswith("_")}


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "results").glob("*.md")), ids=lambda p: p.name)
def test_the_tables_of_a_results_page_are_the_stored_ones(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == script("results").filled(text), "run: make results"


def test_every_stored_table_is_shown_once() -> None:
    results = script("results")
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "results").glob("*.md")]
    files = [f"{path.parent.name}/{path.stem}" for path in results.RESULTS.rglob("*.csv")]
    assert sorted(table for page in pages for table in results.shown(page)) == sorted(files)


def test_a_table_is_stored_and_shown_as_it_is(tmp_path: Path) -> None:
    results = script("results")
    store("page", "table", ["name", "|z|"], [['"a", "b"', 1.5], ["", "x"]], folder=tmp_path)
    marked = "# Page\n\n<!-- table: page/table -->\nold\n<!-- /table -->\nend\n"
    rows = '| name | \\|z\\| |\n| --- | --- |\n| "a", "b" | 1.5 |\n|  | x |'
    page = f"# Page\n\n<!-- table: page/table -->\n\n{rows}\n\n<!-- /table -->\nend\n"
    assert results.filled(marked, tmp_path) == page
    assert results.filled(page, tmp_path) == page


def test_a_table_that_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    results = script("results")
    with pytest.raises(ValueError, match="does not fit"):
        store("page", "table", ["a", "b"], [["1"]], folder=tmp_path)
    with pytest.raises(ValueError, match="does not fit"):
        store("page", "table", ["a"], [["1\n2"]], folder=tmp_path)
    assert not list(tmp_path.rglob("*.csv"))
    with pytest.raises(ValueError, match="marker"):
        results.filled("<!-- table: page/table -->\nnever closed\n", tmp_path)
    with pytest.raises(FileNotFoundError):
        results.filled("<!-- table: page/none -->\n<!-- /table -->\n", tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_prose_has_at_most_100_columns(page: Path) -> None:
    """Tables, code and pictures may be wider; anything else is folded for a terminal and for a diff."""
    in_code = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        in_code ^= line.startswith("```")
        is_wide = in_code or line.startswith(("|", "    ", "!["))
        assert is_wide or len(line) <= 100, f"{page.name}:{number} has {len(line)} columns"
