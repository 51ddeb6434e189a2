"""Where a benchmark keeps a table that the documentation prints: benchmarks/results/<page>/<table>.csv.

    store("speed", "harvest", ["", "tokens per second"], [["bare forward", "1,191"]])

A file holds the cells as a reader sees them, the header first. `scripts/results.py` puts them into docs/results/.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def store(page: str, table: str, head: Sequence[str], rows: Iterable[Sequence[object]], folder: Path = RESULTS) -> Path:
    """Write a table in one piece and return its path; every row has as many cells as the header.

    Cells are stored as `str` gives them. Raises ValueError for a row of another length or a cell of several lines, of
    which no Markdown table can be made.
    """
    lines = [[str(cell) for cell in line] for line in (head, *rows)]
    for line in lines:
        if len(line) != len(head) or any("\n" in cell for cell in line):
            raise ValueError(f"{page}/{table}: {line} does not fit under {list(head)}")

    path = folder / page / f"{table}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    partial.replace(path)
    print(f"stored {path}")
    return path


def stored(page: str, table: str, folder: Path = RESULTS) -> list[list[str]]:
    """The lines of a stored table, the header first."""
    with (folder / page / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))
