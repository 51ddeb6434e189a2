"""Names for display: the description by a language model, where its score passes, before the own name.

No statistic reads them.
"""

from __future__ import annotations

import pyarrow as pa

from pretilt.labels.table import descriptions
from pretilt.run import Run
from pretilt.schema import LABELS_FILE
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


def named_table(run: Run, name: str, columns: list[str] | None = None) -> pa.Table:
    """concepts, groups or prompt_concepts of the run, `name` being "description (own name)" where there is one."""
    table, texts = run.table(f"{name}.parquet", columns), described(run)
    if not texts:
        return table
    ids, own_names = table[KEYS[name]].to_pylist(), table["name"].to_pylist()
    both = zip((texts.get(f"{name[:-1]}:{i}") for i in ids), own_names, strict=True)
    names = [n if text is None else f"{text} ({n})" if n else text for text, n in both]
    return table.set_column(
        table.schema.get_field_index("name"), table.schema.field("name"), pa.array(names, pa.string())
    )
