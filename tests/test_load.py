"""Rows from files, folders, memory and the Hub: the same whatever holds them, and one-line errors that say where."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import subprocess
import sys
import tracemalloc

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiltmeter.errors import UserError
from tiltmeter.pairs.hub import HubName, open_hub, parse_hub_name, pick_split
from tiltmeter.pairs.load import load_rows
from tiltmeter.pairs.normalise import normalise

ROWS = [
    {
        "prompt": [{"role": "user", "content": f"Frage {i}: größer als 你好?\n"}],
        "chosen": [{"role": "assistant", "content": f"Ja, {i}\u2028 🙂"}],
        "rejected": [{"role": "assistant", "content": f"Nein, {i}"}],
        "score_chosen": i / 3,
    }
    for i in range(7)
]
TEXT_ROWS = [{"prompt": f'say "{i}",\n', "chosen": f"a,{i}\r\nb", "rejected": f"c {i}"} for i in range(4)]


def jsonl(rows=ROWS):
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()


def write(path, data):
    path.write_bytes(data)
    return path


def rows_of(source, **options):
    return [row for _, row in load_rows(source, **options).rows]


def refused(source, **options):
    with pytest.raises(UserError) as caught:
        list(load_rows(source, **options).rows)
    text = str(caught.value)
    assert "\n" not in text
    return text


# ---- the same rows from every kind of source ------------------------------------------------------------------------


def arrow_file(rows):
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue().to_pybytes()


def arrow_stream(rows):
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue().to_pybytes()


def parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=3)
    return sink.getvalue().to_pybytes()


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
    assert "did you mean 'train_prefs'? splits: train_prefs, train_sft" in text


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


# ---- bad input: one line, with file, line, row, column --------------------------------------------------------------


BROKEN_FILES = [
    (
        "a.jsonl",
        jsonl(ROWS[:2]) + b'\n{"prompt": nope}\n',
        ["invalid JSON", "a.jsonl, line 4, row 2", "Expecting value, character 12"],
    ),
    ("a.json", b'{"prompt": nope}\n{"prompt": "b"}\n', ["invalid JSON", "a.json, line 1, row 0"]),
    ("a.json", b'[\n {"a": 1},\n {"a": 1,,}\n]', ["invalid JSON", "a.json, line 3"]),
    ("a.json", b'[{"a": 1}, 7]', ["the row is not a JSON object", "a.json, row 1", "found a number"]),
    ("a.json", b'"text"', ["the file holds no rows", "found a text"]),
    ("a.json", b"[]", ["the source holds no rows", "a.json"]),
    (
        "a.jsonl",
        jsonl(ROWS[:1]) + b"[1, 2]\n",
        ["the line is not a JSON object", "line 2, row 1", "found an array", "name it .json"],
    ),
    ("a.jsonl", b'{"a": 1}\n"text"\n', ["the line is not a JSON object", "line 2, row 1", "found a text"]),
    ("a.jsonl", b'{"a": ' + b"9" * 5000 + b"}\n", ["invalid JSON", "line 1, row 0", "digits"]),
    ("a.jsonl", b'{"a": ' + b"[" * 200_000 + b"}\n", ["invalid JSON", "line 1, row 0"]),
    ("a.jsonl", b"", ["the file is empty", "a.jsonl"]),
    ("a.jsonl", b"\n \n", ["the source holds no rows", "a.jsonl"]),
    ("a.csv", b"", ["the file is empty", "a.csv"]),
    ("a.csv", b"prompt,chosen,rejected\n", ["the source holds no rows", "a.csv"]),
    (
        "a.csv",
        b"prompt,chosen,rejected\na,b,c\na,b\n",
        ["wrong number of fields", "a.csv, line 3, row 1", "2 fields under 3"],
    ),
    ("a.csv", b'prompt,chosen\n"a"b,c\n', ["invalid CSV", "a.csv, line 2, row 0"]),
    ("a.csv", b'prompt,chosen\na,"open\nand on\n', ["invalid CSV", "a.csv, line 2, row 0"]),
    ("a.csv", b"prompt,chosen,prompt\na,b,c\n", ["a column name appears twice", "line 1, column 'prompt'"]),
    ("a.csv", "prompt,chosen\nß,b\n".encode("latin-1"), ["not UTF-8", "a.csv, line 2", "byte 0xdf at position 1"]),
    (
        "a.jsonl",
        b'{"a": "b"}\n{"a": "caf\xe9"}\n',
        ["not UTF-8", "a.jsonl, line 2", "byte 0xe9 at position 11", "Save the file as UTF-8"],
    ),
    ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), ["UTF-16, not UTF-8", "line 1"]),
    (
        "a.jsonl.gz",
        gzip.compress(jsonl() * 50)[:-20],
        ["truncated or damaged", "a.jsonl.gz", "Download or compress it again"],
    ),
    ("a.jsonl.gz", jsonl(), ["truncated or damaged", "a.jsonl.gz", "Not a gzipped file"]),
    ("a.jsonl.bz2", bz2.compress(jsonl())[:-9], ["truncated or damaged", "a.jsonl.bz2"]),
    ("a.jsonl.xz", lzma.compress(jsonl())[:-30], ["truncated or damaged", "a.jsonl.xz"]),
    ("a.jsonl.zst", pa.compress(jsonl(), codec="zstd", asbytes=True)[:-9], ["truncated or damaged", "a.jsonl.zst"]),
    ("a.jsonl.zst", jsonl(), ["truncated or damaged", "a.jsonl.zst"]),
    ("a.parquet", parquet(ROWS)[:-9], ["the Parquet file is damaged or not Parquet", "a.parquet"]),
    ("a.parquet", parquet([]), ["the source holds no rows", "a.parquet"]),
    ("a.parquet.gz", gzip.compress(parquet(ROWS))[:-12], ["truncated or damaged", "a.parquet.gz"]),
    ("a.arrow", arrow_file(ROWS)[: len(arrow_file(ROWS)) // 2], ["Arrow file is damaged or not Arrow", "a.arrow"]),
    ("a.arrow", b"not arrow at all", ["Arrow file is damaged or not Arrow", "a.arrow"]),
    ("a.txt", b"x", ["unknown file type", "a.txt", ".jsonl .json .parquet"]),
    ("a.pkl", b"x", ["unknown file type", "a.pkl"]),
]


@pytest.mark.parametrize(
    ("name", "data", "expected"), BROKEN_FILES, ids=lambda v: v[0] if isinstance(v, list) else None
)
def test_broken_files(name, data, expected, tmp_path):
    text = refused(write(tmp_path / name, data))
    for part in expected:
        assert part in text


def test_a_gzip_that_breaks_off_late_is_found_while_reading(tmp_path):
    whole = gzip.compress(
        b"".join(jsonl([{"prompt": str(i), "chosen": os.urandom(9).hex(), "rejected": "b"}]) for i in range(3000))
    )
    loaded = load_rows(write(tmp_path / "a.jsonl.gz", whole[: len(whole) * 3 // 4]))
    with pytest.raises(UserError, match="truncated or damaged"):
        normalise(loaded)


def test_a_wrong_type_in_a_file_names_the_file(tmp_path):
    path = write(tmp_path / "a.jsonl", jsonl([*ROWS, {**ROWS[0], "chosen": 3}]))
    with pytest.raises(UserError, match=r"wrong type \(.*a\.jsonl, row 7, column 'chosen'\): found a number"):
        normalise(load_rows(path))


def test_a_missing_column_in_a_file_names_the_file(tmp_path):
    path = write(tmp_path / "a.jsonl", jsonl([{"prompt": "q", "chosen": "a"}]))
    with pytest.raises(UserError, match=r"no column 'rejected' \(.*a\.jsonl, column 'rejected'\)"):
        normalise(load_rows(path))


def test_places_that_are_not_there(tmp_path):
    assert "no such file or folder" in refused(tmp_path / "a.jsonl")
    assert "no such file or folder" in refused("./org/name")
    assert "no such file or folder (data/pairs.parquet)" in refused("data/pairs.parquet")
    assert "no such file or folder" in refused("justaname")
    assert "no such file or folder" in refused("x" * 5000)
    assert "the folder holds no data files" in refused(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = write(tmp_path / "a.jsonl", jsonl())
    path.chmod(0)
    assert "no permission to read the file" in refused(path)


@pytest.mark.parametrize("source", [7, None, {"prompt": ["a"]}, b"bytes", object()])
def test_sources_that_are_no_tables(source):
    assert f"cannot read rows from {type(source).__name__}" in refused(source)


def test_rows_that_are_no_rows():
    assert "the row is not a mapping of columns to values (row 1): found str" in refused([{"a": 1}, "text"])
    assert "the source holds no rows" in refused([])
    assert "the source holds no rows" in refused(datasets.Dataset.from_dict({"prompt": []}))
    assert "a single table" in refused(ROWS, split="test")


def test_options_that_do_not_fit(tmp_path):
    path = write(tmp_path / "a.jsonl", jsonl())
    assert "a single file has no splits" in refused(path, split="test")
    assert "a local path has no config and no revision" in refused(path, revision="main")


# ---- the Hub --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", HubName("org/name")),
        ("org/name:default", HubName("org/name", "default")),
        ("org/name:default/test_prefs@v1.0", HubName("org/name", "default", "test_prefs", "v1.0")),
        ("org/name:/train[:5%]", HubName("org/name", None, "train[:5%]")),
        ("org/name@refs/pr/2", HubName("org/name", None, None, "refs/pr/2")),
        ("hf://datasets/org/name@abc", HubName("org/name", None, None, "abc")),
        ("name", None),
        ("a/b/c", None),
        ("/org/name", None),
    ],
)
def test_hub_names(text, expected):
    assert parse_hub_name(text) == expected


def test_an_existing_path_wins_over_a_hub_id(tmp_path, monkeypatch):
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name").mkdir()
    write(tmp_path / "org" / "name" / "a.jsonl", jsonl())
    monkeypatch.chdir(tmp_path)
    assert rows_of("org/name") == ROWS


@pytest.mark.parametrize(
    ("names", "wanted", "expected"),
    [
        (["train", "test"], None, "train"),
        (["train", "test"], "test", "test"),
        (["default"], None, "default"),
        (["train_sft", "test_sft", "train_gen", "test_gen", "train_prefs", "test_prefs"], None, "train_prefs"),
    ],
)
def test_which_split(names, wanted, expected):
    assert pick_split(names, wanted, "org/name") == expected


def test_unclear_splits_are_listed():
    names = ["train_iteration_1", "train_iteration_2", "test_iteration_1"]
    with pytest.raises(
        UserError, match=r"which split is meant.*train_iteration_1, train_iteration_2, test_iteration_1"
    ):
        pick_split(names, None, "org/name")


def test_a_hub_dataset(monkeypatch):
    """What `load_dataset` would give, without a network: the arguments it is called with and the split that is read."""
    asked = {}

    def load_dataset(**arguments):
        asked.update(arguments)
        found = datasets.Dataset.from_list(ROWS)
        found.info.download_checksums = {f"hf://datasets/org/name@{'a1' * 20}/data/train.parquet": {}}
        return datasets.DatasetDict(train_prefs=found, train_sft=found.select([0]))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    loaded = load_rows("org/name:extra@main")
    assert asked == {"path": "org/name", "name": "extra", "revision": "main"}
    assert [r for _, r in loaded.rows] == ROWS
    assert loaded.info == {
        "kind": "hub",
        "id": "org/name",
        "config": "extra",
        "split": "train_prefs",
        "revision": "main",
        "commit": "a1" * 20,
    }
    assert loaded.description == f"org/name extra train_prefs {'a1' * 20}"
    assert "two splits are given: 'x' in 'org/name:/x' and 'y' beside it" in refused("org/name:/x", split="y")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'org/name' doesn't exist on the Hub"),
            "private or gated: Dataset 'org/name'",
        ),
        (ConnectionError("Couldn't reach"), "the Hub cannot be reached and it is not in the local cache"),
        (
            ValueError("BuilderConfig 'x' not found.\nAvailable: ['a', 'b']"),
            "BuilderConfig 'x' not found. Available: ['a', 'b']",
        ),
        (RuntimeError("Dataset scripts are no longer supported, but found name.py"), "scripts are no longer supported"),
    ],
)
def test_errors_of_the_hub_become_one_line(error, expected, monkeypatch):
    def load_dataset(**arguments):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError) as caught:
        open_hub(HubName("org/name"))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_hub_id_while_offline(tmp_path):
    """In a process of its own, with the real library: HF_HUB_OFFLINE is read at import."""
    code = (
        "from tiltmeter.pairs.load import load_rows\n"
        "from tiltmeter.errors import UserError\n"
        "try:\n    load_rows('no-such-org/no-such-data')\n"
        "except UserError as error:\n    print(error)\n"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == (
        "cannot load the dataset 'no-such-org/no-such-data': HF_HUB_OFFLINE is set and it is not in the local cache. "
        "Go online once, or give a local file or folder"
    )


def test_one_file_of_the_hub(monkeypatch):
    asked = {}

    def load_dataset(**arguments):
        asked.update(arguments)
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    url = "hf://datasets/org/name@main/data/part-1.jsonl.gz"
    assert rows_of(url) == ROWS
    assert asked == {"path": "json", "data_files": url, "split": "train"}


def test_media_are_not_decoded():
    table = {"image": [{"bytes": b"not an image", "path": None}], "prompt": ["q"], "chosen": ["a"], "rejected": ["b"]}
    dataset = datasets.Dataset.from_dict(table).cast_column("image", datasets.Image())
    with pytest.raises(UserError, match=r"images or other media \(row 0, column 'image'\)"):
        normalise(load_rows(dataset))
