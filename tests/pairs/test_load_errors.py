"""Sources that cannot be read: one line that says where."""

import bz2
import gzip
import lzma
import os

import datasets
import pyarrow as pa
import pytest
from source_files import ROWS, arrow_file, jsonl, parquet, refused, write

from pretilt.errors import UserError
from pretilt.pairs.load import load_rows
from pretilt.pairs.normalise import normalise

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
