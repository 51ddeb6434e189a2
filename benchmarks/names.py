"""What the first concepts of an audit are called: by their tokens alone, and by what detects them best.

python benchmarks/names.py RUN --name hh    # --store keeps the table

The first effects over all pairs of each direction, as the lists give them: with the names that the words and phrases of
the firing tokens make without any score, and with those that held-out detection chose, alike concepts as one row.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import pyarrow as pa
from stored import store

import pretilt
from pretilt.concepts.names import name_concepts
from pretilt.concepts.step import membership, naming_inputs
from pretilt.events import Events
from pretilt.lens.choice import choose_lens
from pretilt.run import Run
from pretilt.schema import LISTED
from pretilt.settings import settings_of
from pretilt.stats.sure import is_sure
from pretilt.view.clear_names import is_vague
from pretilt.view.effects import merged, shown_rows
from pretilt.view.summary import report_tables
from pretilt.view.tables import ReportTables

HEAD = ("", "tokens alone", "judged by detection", "score", "more like it")
FIRST = 10  # rows of each direction


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--name", required=True, help="of the table")
    parser.add_argument("--store", action="store_true", help="keep the table for the documentation")
    arguments = parser.parse_args()

    run = pretilt.open_run(arguments.run).run
    tables = report_tables(run)
    rows = table_of(by_tokens(run, tables), tables)
    for row in rows:
        print(" | ".join(row))
    if arguments.store:
        store("names", arguments.name, HEAD, rows)


def by_tokens(run: Run, tables: ReportTables) -> ReportTables:
    """The tables with names of communities and single features that no score has judged, none alike another."""
    lens = choose_lens(settings_of(run), Events())
    _, concepts = membership(run)
    names = [name.name for name in name_concepts(concepts, *naming_inputs(run, lens.tokenizer))]
    names += tables.concepts["name"].to_pylist()[len(names) :]
    columns = {name: tables.concepts[name] for name in tables.concepts.column_names if name != "name_score"}
    return replace(tables, concepts=pa.table({**columns, "name": names}), alike=None)


def first_rows(tables: ReportTables, direction: str) -> list[dict[str, Any]]:
    """The first rows of a direction, sure or not: those without a clear name last, as the lists fold them."""
    concepts = {concept["concept_id"]: concept for concept in tables.concepts.to_pylist()}
    rows = shown_rows(tables, ["global"], direction, LISTED)
    if tables.alike is not None:
        rows = merged(rows, concepts, tables.alike)
    rows.sort(key=lambda row: (is_vague(concepts[row["concept_id"]]), not is_sure(row)))
    return rows[:FIRST]


def table_of(before: ReportTables, after: ReportTables) -> list[list[str]]:
    """The first rows of each direction, the k-th of both side by side."""
    rows = []
    for direction, mark in (("amplify", "▲"), ("suppress", "▼")):
        lists = [first_rows(tables, direction) for tables in (before, after)]
        concepts = [{row["concept_id"]: row for row in tables.concepts.to_pylist()} for tables in (before, after)]
        for k in range(max(map(len, lists))):
            cells = [mark, *("" for _ in HEAD[1:])]
            if k < len(lists[0]):
                cells[1] = concepts[0][lists[0][k]["concept_id"]]["name"]
            if k < len(lists[1]):
                concept = concepts[1][lists[1][k]["concept_id"]]
                score = concept["name_score"]
                cells[2:] = [
                    concept["name"],
                    "" if score is None else f"{score:.2f}",
                    str(len(lists[1][k].get("alike", ()))),
                ]
            rows.append(cells)
    return rows


if __name__ == "__main__":
    main()
