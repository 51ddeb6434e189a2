"""The training pairs as one Parquet file for embedding-atlas: texts, where they come from, places on the map, effects.

    embedding-atlas pairs.parquet --text prompt --x x --y y

A column for each of the surest concepts says which side of the pair shows it, so that the map can be coloured by it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pretilt.artifacts import check_name, writing
from pretilt.audit.evidence import scores_of
from pretilt.errors import UserError
from pretilt.labels.described import named_table
from pretilt.lens.blocks import train_rows
from pretilt.pairs.transcript import transcript
from pretilt.run import Run
from pretilt.schema import GROUP_MEMBERS_FILE, HYPOTHESES_FILE, OVER_ALL_PAIRS, PAIRS_FILE
from pretilt.settings import settings_of
from pretilt.stats.sure import sure_rows
from pretilt.text import mask_slurs, one_line
from pretilt.trace.export import check_target
from pretilt.view.pair_map import pair_map

SUREST = 20  # concepts with a column of their own
SIDES = ("chosen", "rejected")
KEPT = ("pair_id", "row_index", "source", "chosen_model", "rejected_model", "family_id")


def export_atlas(run: Run, out: Path, *, force: bool = False) -> int:
    """Write the file; returns the number of pairs. Raises UserError for a name that is no Parquet file, or taken."""
    _check(run, out, force)
    table = _pairs(run)
    with writing(out) as partial:
        pq.write_table(table, partial, compression="zstd")
    return table.num_rows


def _check(run: Run, out: Path, force: bool) -> None:
    check_name(out)
    if out.suffix != ".parquet":
        raise UserError("embedding-atlas reads one Parquet file", file=out, fix="End its name in .parquet")
    check_target(out, run, force=force)


def _pairs(run: Run) -> pa.Table:
    """pair_id … family_id, prompt, chosen, rejected as texts, group, x and y in [0, 1], length_difference in content
    tokens, and of the surest concepts 'more in chosen', 'more in rejected' or 'alike'."""
    train = train_rows(run)
    table = run.table(PAIRS_FILE).filter(pa.array(train))
    drawn = pair_map(run)
    columns: dict[str, Any] = {name: table[name] for name in KEPT}
    is_chat = table["is_chat"].to_pylist()
    for name in ("prompt", *SIDES):
        turns = zip(table[name].to_pylist(), is_chat, strict=True)
        columns[name] = [transcript(messages, is_chat=name == "prompt" and chat) for messages, chat in turns]
    columns["group"] = _group_names(run, train)
    columns["x"], columns["y"] = drawn.points[:, 0], drawn.points[:, 1]
    columns["length_difference"] = pc.subtract(table["n_chosen_tokens"], table["n_rejected_tokens"])
    return pa.table({**columns, **_effects(run, train, set(columns))})


def _group_names(run: Run, train: np.ndarray) -> list[str]:
    groups = named_table(run, "groups", ["group_id", "name"]).to_pylist()
    name_of = {row["group_id"]: mask_slurs(one_line(row["name"] or f"group {row['group_id']}")) for row in groups}
    members = run.table(GROUP_MEMBERS_FILE, ["group_id"])["group_id"].to_numpy()[train]
    return [name_of.get(int(group), f"group {group}") for group in members]


def _effects(run: Run, train: np.ndarray, taken: set[str]) -> dict[str, pa.Array]:
    """A column for each of the surest concepts over all pairs, largest effect in its standard errors first."""
    rows = run.table(HYPOTHESES_FILE)
    rows = rows.filter(pc.is_in(rows["view"], pa.array(OVER_ALL_PAIRS)))
    rows = rows.filter(pa.array(sure_rows(rows)))
    size = np.abs(rows["delta"].to_numpy() / np.maximum(rows["se_moderated"].to_numpy(), 1e-300))
    ids = rows["concept_id"].to_numpy()[np.argsort(-size, kind="stable")[:SUREST]].tolist()
    scores = scores_of(run, settings_of(run), ids, train) if ids else {}
    named = named_table(run, "concepts", ["concept_id", "name"]).to_pylist()
    name_of = {row["concept_id"]: row["name"] for row in named}

    columns: dict[str, pa.Array] = {}
    words = pa.array(["more in rejected", "alike", "more in chosen"])
    for concept in ids:
        name = mask_slurs(one_line(name_of.get(concept) or f"concept {concept}"))
        if name in taken or name in columns:
            name = f"{name} ({concept})"
        columns[name] = words.take(pa.array(1 + np.sign(scores[concept][0]).astype(int)))
    return columns
