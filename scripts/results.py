"""Put the stored tables of the benchmarks into docs/results: python scripts/results.py, or make results.

A page holds `<!-- table: planted/a-plants -->` … `<!-- /table -->`; what stands between the two is made from
benchmarks/results/planted/a-plants.csv, and is never edited by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from stored import RESULTS, stored  # noqa: E402 - the benchmarks are no package

PAGES = ROOT / "docs" / "results"
MARKED = re.compile(r"^<!-- table: (?P<page>[\w-]+)/(?P<table>[\w-]+) -->\n.*?^<!-- /table -->$", re.M | re.S)
BEGIN = re.compile(r"^<!-- table:", re.M)


def markdown(lines: list[list[str]]) -> str:
    """A Markdown table of lines of cells, the header first."""
    rows = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rows.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def filled(text: str, folder: Path = RESULTS) -> str:
    """A page's text with every marked table made anew from the files of `folder`.

    Raises ValueError where a marker is not closed, and FileNotFoundError where a table is not stored.
    """
    if len(BEGIN.findall(text)) != len(MARKED.findall(text)):
        raise ValueError("a marker is not of the form <!-- table: page/table --> … <!-- /table -->")

    def table(marked: re.Match[str]) -> str:
        page, name = marked["page"], marked["table"]
        return f"<!-- table: {page}/{name} -->\n\n{markdown(stored(page, name, folder))}\n\n<!-- /table -->"

    return MARKED.sub(table, text)


def shown(text: str) -> list[str]:
    """The tables that a page shows, as `page/table`."""
    return [f"{marked['page']}/{marked['table']}" for marked in MARKED.finditer(text)]


def main() -> None:
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            path.write_text(new, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
