"""Rows from files, folders and memory: the same whatever holds them."""

import bz2
import gzip
import hashlib
import json
import lzma
import tracemalloc

import datasets
import pandas as pd
import pyarrow as pa
import pytest
from source_files import ROWS, TEXT_ROWS, arrow_file, arrow_stream, jsonl, parquet, refused, rows_of, write

from pretilt.pairs.load import load_rows
from pretilt.pairs.normalise import normalise

# ---- the same rows from every kind of source ------------------------------------------------------------------------


FILES = {
    "a.jsonl": jsonl,
    "a.ndjson": jsonl,
    "lines.json": jsonl,
    "array.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "one_line.json": lambda rows: json.dumps(rows).encode(),
    "wrapped.json": lambda rows: json.dumps({"version": 1, "data": rows}).encode(),
    "marked.jsonl": lambda rows: b"\xef\xbb\xbf" + jsonl(rows),
    "blank_lines.jsonl": lambda rows: jsonl(rows).replace(b"\n", b"\r\n\n"),
    "no_last_break.jsonl": lambda rows: jsonl(rows).rstrip(b"\n"),
    "a.parquet": parquet,
    "a.arrow": arrow_file,
    "stream.arrow": arrow_stream,
    "a.jsonl.gz": lambda rows: gzip.compress(jsonl(rows)),
    "two.jsonl.gz": lambda rows: gzip.compress(jsonl(rows[:2])) + gzip.compress(jsonl(rows[2:])),
    "a.jsonl.bz2": lambda rows: bz2.compress(jsonl(rows)),
    "a.json.xz": lambda rows: lzma.compress(jsonl(rows)),
    "a.jsonl.zst": lambda rows: pa.compress(jsonl(rows), codec="zstd", asbytes=True),
    "a.parquet.gz": lambda rows: gzip.compress(parquet(rows)),
    "a.arrow.zst": lambda rows: pa.compress(arrow_stream(rows), codec="zstd", asbytes=True),
    "UPPER.JSONL": jsonl,
}


@pytest.mark.parametrize("name", FILES)
def test_files_hold_the_same_rows(name, tmp_path):
    path = write(tmp_path / name, FILES[name](ROWS))
    loaded = load_rows(str(path))
    assert list(loaded.rows) == list(enumerate(ROWS))
    assert list(loaded.rows) == list(enumerate(ROWS))  # and again
    assert loaded.columns == ("prompt", "chosen", "rejected", "score_chosen")
    assert loaded.n_rows == 7
    assert loaded.fingerprint == load_rows(ROWS).fingerprint
    assert loaded.info == {"kind": "file", "path": str(path)}


@pytest.mark.parametrize("separator", [",", "\t"])
def test_csv_with_line_breaks_and_quotes(separator, tmp_path):
    import csv

    path = tmp_path / ("a.csv" if separator == "," else "a.tsv")
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, TEXT_ROWS[0].keys(), delimiter=separator)
        writer.writeheader()
        writer.writerows(TEXT_ROWS)
    assert rows_of(path) == TEXT_ROWS
    assert not normalise(load_rows(path)).pairs[0].is_chat


def test_csv_cells_longer_than_the_csv_module_allows_by_itself(tmp_path):
    path = write(tmp_path / "a.csv", b"prompt,chosen,rejected\nq," + b"x" * 200_000 + b",b\n")
    assert len(rows_of(path)[0]["chosen"]) == 200_000


def in_memory():
    dataset = datasets.Dataset.from_list(ROWS)
    yield "list", ROWS
    yield "tuple", tuple(ROWS)
    yield "generator", (row for row in ROWS)
    yield "Dataset", dataset
    yield "Dataset, selected", datasets.Dataset.from_list([*ROWS[3:], *ROWS[:3]]).select([4, 5, 6, 0, 1, 2, 3])
    yield "Dataset, NumPy format", dataset.with_format("numpy")
    yield "DatasetDict", datasets.DatasetDict(train=dataset, test=dataset.select([0]))
    yield "IterableDataset", dataset.to_iterable_dataset()
    yield "pyarrow Table", pa.Table.from_pylist(ROWS)
    yield "pandas DataFrame", pd.DataFrame(ROWS)


@pytest.mark.parametrize(("name", "source"), list(in_memory()), ids=lambda v: v if isinstance(v, str) else "")
def test_memory_holds_the_same_rows(name, source):
    loaded = load_rows(source)
    assert list(loaded.rows) == list(enumerate(ROWS))
    assert loaded.fingerprint == load_rows(ROWS).fingerprint
    assert [p.pair_id for p in normalise(loaded).pairs] == [p.pair_id for p in normalise(load_rows(ROWS)).pairs]


def test_pandas_values_become_plain_ones(tmp_path):
    path = write(
        tmp_path / "a.parquet", parquet([{**ROWS[0], "note": None, "day": 1.5}, {**ROWS[1], "note": "x", "day": None}])
    )
    row = rows_of(pd.read_parquet(path))[0]  # lists come as NumPy arrays, missing values as NaN
    assert row == {**ROWS[0], "note": None, "day": 1.5}


def test_records_of_a_data_frame(tmp_path):
    path = write(tmp_path / "a.parquet", parquet([*ROWS, {**ROWS[0], "score_chosen": None}]))
    records = pd.read_parquet(path).to_dict("records")
    assert load_rows(records).fingerprint == load_rows(path).fingerprint
    assert len(normalise(load_rows(records)).pairs) == 8


def test_a_json_feature_in_memory_and_in_parquet(tmp_path):
    calls = [{"type": "function", "function": {"name": "f", "arguments": {"city": "Rome"}}}]
    turn = {"role": "assistant", "content": "", "tool_calls": calls}
    other = {"role": "assistant", "content": "no", "tool_calls": None}
    rows = [{"prompt": [{"role": "user", "content": "q"}], "chosen": [turn], "rejected": [other]}]
    turns = datasets.List(
        {"role": datasets.Value("string"), "content": datasets.Value("string"), "tool_calls": datasets.Json()}
    )
    text = datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")})
    dataset = datasets.Dataset.from_list(
        rows, features=datasets.Features({"prompt": text, "chosen": turns, "rejected": turns})
    )
    dataset.to_parquet(tmp_path / "a.parquet")
    for source in (dataset, tmp_path / "a.parquet"):
        pair = normalise(load_rows(source)).pairs[0]
        assert pair.chosen[0].as_dict() == turn
        assert pair.rejected[0].as_dict() == {"role": "assistant", "content": "no"}


def test_saved_to_disk(tmp_path):
    dataset = datasets.Dataset.from_list(ROWS)
    dataset.select(range(6, -1, -1)).save_to_disk(tmp_path / "one")
    assert rows_of(tmp_path / "one") == ROWS[::-1]
    datasets.DatasetDict(train_prefs=dataset, train_sft=dataset.select([0])).save_to_disk(tmp_path / "two")
    assert rows_of(tmp_path / "two") == ROWS
    assert rows_of(tmp_path / "two", split="train_sft") == ROWS[:1]
    text = refused(tmp_path / "two", split="train_pref")
    assert "there is no split 'train_pref'" in text
    assert "splits: train_prefs, train_sft. Did you mean train_prefs" in text


def test_damaged_save_to_disk(tmp_path):
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "d")
    for file in (tmp_path / "d").glob("*.arrow"):
        file.unlink()
    assert "the save_to_disk folder is incomplete or damaged" in refused(tmp_path / "d")


def test_a_folder_of_files(tmp_path):
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / ".cache").mkdir()
    write(folder / "train-00000-of-00002.parquet", parquet(ROWS[:3]))
    write(folder / "sub" / "train-00001-of-00002.jsonl.gz", gzip.compress(jsonl(ROWS[3:])))
    write(folder / "test.jsonl", jsonl(ROWS[:1]))
    write(folder / "README.md", b"words")
    write(folder / "dataset_infos.json", b"{}")
    write(folder / ".cache" / "x.jsonl", b"broken")
    assert sorted(r["score_chosen"] for r in rows_of(folder)) == [r["score_chosen"] for r in ROWS]
    assert rows_of(folder, split="test") == ROWS[:1]
    assert "there is no split 'dev'" in refused(folder, split="dev")


def test_limit_reads_no_further(tmp_path):
    path = write(tmp_path / "a.jsonl", jsonl() + b"broken\n")
    assert rows_of(path, limit=7) == ROWS
    assert load_rows(path, limit=3).n_rows == 3
    assert load_rows(path, limit=3).fingerprint == load_rows(ROWS[:3]).fingerprint
    assert "limit is 0" in refused(path, limit=0)


def test_the_fingerprint_is_of_content():
    base = load_rows(ROWS).fingerprint
    assert base != load_rows(ROWS[::-1]).fingerprint
    assert base != load_rows(ROWS[:-1]).fingerprint
    assert base != load_rows([*ROWS[:-1], {**ROWS[-1], "score_chosen": 9.0}]).fingerprint
    assert base == load_rows([dict(reversed(r.items())) for r in ROWS]).fingerprint
    assert base == load_rows([{**r, "more": None} for r in ROWS]).fingerprint
    line = json.dumps({"a": "ü", "b": 1}, ensure_ascii=False) + "\n"
    assert load_rows([{"b": 1, "a": "ü"}]).fingerprint == hashlib.sha256(line.encode()).hexdigest()


def test_rows_are_streamed(tmp_path):
    """15 MB of rows pass through a few: what is held is the sample at the start."""
    path = tmp_path / "big.jsonl.gz"
    filler = "x" * 10_000
    with gzip.open(path, "wt", compresslevel=1) as f:
        for i in range(1500):
            f.write(json.dumps({"prompt": str(i), "chosen": filler, "rejected": "b"}) + "\n")
    loaded = load_rows(path)
    tracemalloc.start()
    assert sum(1 for _ in loaded.rows) == 1500
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_500_000
