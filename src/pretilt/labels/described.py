"""Names for display: what a person called it; else the description by a language model, where its score passes, before
the audit's own name.

Everything that a person reads gets its names here. No statistic reads them, and no stage writes them: what is stored
holds the audit's own names beside the ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from pretilt.concepts.curation import given_names
from pretilt.labels.table import descriptions
from pretilt.run import Run
from pretilt.schema import CONCEPTS_FILE, LABELS_FILE
from pretilt.text import one_line

KEYS = {"concepts": "concept_id", "groups": "group_id", "prompt_concepts": "prompt_concept_id"}
LONGEST = 80  # characters of a description


def described(run: Run) -> dict[str, str]:
    """`kind:id` ("concept", "group", "prompt_concept") to the description on one line; {} where none passed."""
    if "labels" not in run.manifest["stages"]:
        return {}
    labels = descriptions(run.table(LABELS_FILE))
    lines = {key: one_line(text) for key, text in labels.items()}
    return {key: line if len(line) <= LONGEST else line[: LONGEST - 1] + "…" for key, line in lines.items()}


def named_table(run: Run, name: str, columns: list[str] | None = None, *, as_audited: bool = False) -> pa.Table:
    """concepts, groups or prompt_concepts of the run, `name` being the one for display: what a person called it, or
    "description (own name)" where there is one. `as_audited`: without what people did, for what a stage writes."""
    table, texts = run.table(f"{name}.parquet", columns), described(run)
    by_hand = given_names(run) if name == "concepts" and not as_audited else {}
    if not texts and not by_hand:
        return table
    ids, own_names = table[KEYS[name]].to_pylist(), table["name"].to_pylist()
    names = []
    for number, own in zip(ids, own_names, strict=True):
        text = texts.get(f"{name[:-1]}:{number}")
        labelled = own if text is None else f"{text} ({own})" if own else text
        names.append(by_hand.get(number, labelled))
    return table.set_column(
        table.schema.get_field_index("name"), table.schema.field("name"), pa.array(names, pa.string())
    )


def renamed(run: Run, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a stored report, with `concept_id` and `name`, under the names for display.

    What stands behind the audit's own name (" on group 12") stays; a row without a concept stays as it is.
    """
    stored = run.table(CONCEPTS_FILE, ["concept_id", "name"]).to_pylist()
    shown = named_table(run, "concepts", ["concept_id", "name"])["name"].to_pylist()
    names = {
        row["concept_id"]: (one_line(row["name"] or f"concept {row['concept_id']}"), name)
        for row, name in zip(stored, shown, strict=True)
    }
    result = []
    for row in rows:
        own, name = names.get(row["concept_id"], ("", None))
        text = str(row["name"])
        if name and own and text.startswith(own):
            text = one_line(name) + text.removeprefix(own)
        result.append({**row, "name": text})
    return result
