"""Exports of a trace: every training pair in order, nothing replaced unasked, no folder of others touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from trace_reference import Dense, first

import pretilt
from pretilt.api import trace
from pretilt.errors import UserError
from pretilt.run import Run


def _read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    if path.suffix == ".csv":
        return pyarrow.csv.read_csv(path)
    return pa.Table.from_pylist([json.loads(line) for line in path.read_text().splitlines()])


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("view", ["group", "prompt_max"])
def test_an_export_is_every_training_pair_in_order(
    finished: pretilt.AuditResult, dense: Dense, tmp_path: Path, suffix: str, view: str
) -> None:
    row = first(finished, view, "suppress")
    target = tmp_path / f"out{suffix}"
    trace(finished.path, row["hypothesis_id"], tokens=False, export=target)
    table = _read(target)
    assert table.schema.names == ["pair_id", "row_index", "contribution", "u", "inside", "family_id"]
    found = table.to_pylist()
    assert sorted(one["pair_id"] for one in found) == sorted(dense.pair_ids)
    contributions = [one["contribution"] for one in found]
    assert contributions == sorted(contributions)  # a suppressed effect: the most negative first
    assert sum(contributions) == pytest.approx(row["delta"], abs=1e-9)
    about = {p["pair_id"]: p for p in finished.pairs.select(["pair_id", "row_index", "family_id"]).to_pylist()}
    shares = dense.shares(view, row["where"], row["concept_id"])
    for one in found:
        assert (one["row_index"], one["family_id"]) == tuple(
            about[one["pair_id"]][c] for c in ("row_index", "family_id")
        )
        assert one["contribution"] == pytest.approx(shares[one["pair_id"]], abs=1e-6)
    assert sum(one["inside"] for one in found) == row["n_in"]
    nothing = [one["pair_id"] for one in found if one["contribution"] == 0]
    assert nothing == sorted(nothing)


def test_an_export_replaces_nothing_unasked(
    finished: pretilt.AuditResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what, target = first(finished, "global")["hypothesis_id"], tmp_path / "out.csv"
    options: dict[str, Any] = {"tokens": False, "export": target}
    trace(finished.path, what, top=3, **options)
    before = target.read_bytes()
    assert before.count(b"\n") == 4
    with pytest.raises(UserError, match="the file exists"):
        trace(finished.path, what, **options)
    assert target.read_bytes() == before

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pyarrow.csv, "write_csv", full)
        with pytest.raises(UserError, match=r"cannot write the export.*the disk is full"):
            trace(finished.path, what, force=True, **options)
    assert target.read_bytes() == before and list(tmp_path.iterdir()) == [target]
    trace(finished.path, what, force=True, **options)
    assert target.read_bytes().count(b"\n") == 1 + sum(s == "train" for s in finished.pairs["split"].to_pylist())


@pytest.mark.parametrize(
    ("name", "says"),
    [("out.xlsx", r"\.jsonl, \.csv, \.parquet"), ("run/pairs.parquet", "run's own"), ("dir.csv", "folder")],
)
def test_an_export_that_must_not_be(finished: pretilt.AuditResult, tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "run").symlink_to(finished.path)
    (tmp_path / "dir.csv").mkdir()
    with pytest.raises(UserError, match=says):
        trace(finished.path, "global:1", export=tmp_path / name, force=True, tokens=False)
    with pytest.raises(UserError, match="no list of pairs"):
        trace(finished.path, finished.pairs["pair_id"][0].as_py(), export=tmp_path / "out.csv", tokens=False)
    assert Run(finished.path).table("pairs.parquet").equals(finished.pairs)
