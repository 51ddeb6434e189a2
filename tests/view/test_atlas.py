"""The Parquet file for embedding-atlas: every training pair once, effects that can be counted, mistakes in a line."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from command_line import in_process

import pretilt
from pretilt.run import Run
from pretilt.schema import PAIRS_FILE


def test_every_training_pair_stands_in_it_once_with_its_texts(viewer_run_folder: Path, tmp_path: Path) -> None:
    out = pretilt.export_atlas(viewer_run_folder, tmp_path / "pairs.parquet")
    table = pq.read_table(out)
    pairs = Run(viewer_run_folder).table(PAIRS_FILE).to_pylist()
    train = [row for row in pairs if row["split"] == "train"]
    assert table["pair_id"].to_pylist() == [row["pair_id"] for row in train]
    assert table["chosen"].to_pylist() == [row["chosen"][0]["content"] for row in train]
    assert all(0 <= value <= 1 for name in ("x", "y") for value in table[name].to_pylist())
    assert table["length_difference"].to_pylist() == [r["n_chosen_tokens"] - r["n_rejected_tokens"] for r in train]


def test_effects_are_columns_that_can_be_counted(viewer_run_folder: Path, tmp_path: Path) -> None:
    """Bold stands in chosen alone, apologies in rejected alone, and semicolons, by a coin, have no column."""
    table = pq.read_table(pretilt.export_atlas(viewer_run_folder, tmp_path / "pairs.parquet"))
    rows = table.to_pylist()
    assert {row["bold text"] for row in rows if "**" in row["chosen"] and "**" not in row["rejected"]} == {
        "more in chosen"
    }
    assert {row["apologies"] for row in rows if row["rejected"].startswith("I am sorry")} == {"more in rejected"}
    assert "semicolons" not in table.column_names


def test_as_typed(viewer_run_folder: Path, tmp_path: Path) -> None:
    typed = ("export", viewer_run_folder, tmp_path / "my pairs.parquet", "--parquet-for", "embedding-atlas")
    shown = in_process(*typed)
    assert shown.returncode == 0 and f"embedding-atlas '{tmp_path / 'my pairs.parquet'}' --text prompt" in shown.stderr
    again = in_process(*typed)
    assert again.returncode == 2 and "the file exists" in again.stderr and again.stderr.count("\n") == 1
    assert in_process(*typed, "--force").returncode == 0
    wrong = in_process("export", viewer_run_folder, tmp_path / "x.csv", "--parquet-for", "embedding-atlas")
    assert wrong.returncode == 2 and ".parquet" in wrong.stderr
    inside = in_process("export", viewer_run_folder, viewer_run_folder / "x.parquet", *typed[3:])
    assert inside.returncode == 2 and "Export to another folder" in inside.stderr
    tool = in_process("export", viewer_run_folder, tmp_path / "x.parquet", "--parquet-for", "other")
    assert tool.returncode == 2 and "'embedding-atlas' alone" in " ".join(tool.stderr.split())
