"""The pairs behind an effect as a plain dataset, for whoever wants to drop, weigh or read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pretilt.errors import UserError
from pretilt.run import Run, writing
from pretilt.stats.evidence import Direction, Tracer

SUFFIXES = (".jsonl", ".csv", ".parquet")


def check_target(path: Path, run: Run, *, force: bool) -> None:
    """Raises UserError, before anything is computed, for a file that must not or cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError("the export's format is not known", file=path, fix=f"End its name in {', '.join(SUFFIXES)}")
    if path.resolve().is_relative_to(run.path.resolve()):
        raise UserError("the run folder holds the run's own artifacts alone", file=path, fix="Export to another folder")
    if path.is_dir():
        raise UserError("there is a folder of that name", file=path, fix="Give the export another name")
    if path.exists() and not force:
        raise UserError("the file exists", file=path, fix="Give --force to replace it, or another name")


def export_pairs(
    path: Path,
    tracer: Tracer,
    cell: tuple[str, int, int],
    direction: Direction,
    numbers: pa.Table,
    top: int | None,
) -> None:
    """Write pair_id, row_index, contribution, u, inside, family_id of the training pairs, in order of contribution.

    First the pairs that carry the effect in its direction, largest share first, last those that pull hardest the other
    way; `top` keeps the first so many. `numbers` (row_index, family_id) in the tracer's order. Replaced in one step.
    """
    rows = ordered(tracer, cell, direction)[:top]
    table = pa.table(
        {
            "pair_id": pa.array(tracer.pair_ids, pa.string()).take(pa.array(rows)),
            "row_index": numbers["row_index"].take(pa.array(rows)),
            "contribution": tracer.contributions(*cell)[rows],
            "u": tracer.u(cell[2])[rows],
            "inside": tracer.places.inside(*cell[:2])[rows],
            "family_id": numbers["family_id"].take(pa.array(rows)),
        }
    )
    try:
        with writing(path) as partial:
            _write(partial, table, path.suffix.lower())
    except UserError as error:  # it speaks of the run folder
        raise UserError(
            "cannot write the export", file=path, why=error.why, fix="Give --export another place"
        ) from error


def ordered(tracer: Tracer, cell: tuple[str, int, int], direction: Direction) -> np.ndarray:
    """Every row, by contribution in the direction; equal ones as the tracer ranks them, those of nothing by pair_id."""
    opposite: Direction = "suppress" if direction == "amplify" else "amplify"
    share = tracer.contributions(*cell) * (1.0 if direction == "amplify" else -1.0)
    nothing = np.flatnonzero(share == 0)
    by_name = np.argsort(np.asarray(tracer.pair_ids, dtype=str)[nothing], kind="stable")
    rows = np.concatenate(
        [
            tracer.ranked(*cell, direction, inside_only=False),
            nothing[by_name],
            tracer.ranked(*cell, opposite, inside_only=False)[::-1],
        ]
    )
    in_order: np.ndarray = rows[np.argsort(-share[rows], kind="stable")]
    return in_order


def _write(path: Path, table: pa.Table, suffix: str) -> None:
    if suffix == ".parquet":
        pq.write_table(table, path, compression="zstd")
    elif suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        with path.open("w", encoding="utf-8") as f:
            f.writelines(json.dumps(row) + "\n" for row in table.to_pylist())
