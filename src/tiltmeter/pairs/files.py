"""Local data files, read row by row so that every error names file, line, row and column.

JSON, JSON Lines, CSV and TSV are parsed here; Parquet and Arrow IPC through pyarrow. Nothing is unpickled or executed.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tiltmeter.errors import UserError

Row = dict[str, Any]

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
READABLE = ".jsonl .json .parquet .csv .tsv .arrow, also with .gz .bz2 .xz .zst"
BATCH_ROWS = 1000
_UNPACKERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_WRAPPERS = ("data", "rows", "examples", "instances", "train")  # keys under which a .json file may hold its rows
_MAX_FIELD_CHARS = 2**31 - 1  # csv's own limit of 131,072 characters is below many a transcript


def file_kind(path: Path) -> str | None:
    """What a file name says it holds: a value of KINDS, or None; a compression suffix is looked through."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return KINDS.get(suffixes[-1]) if suffixes else None


def read_file(path: Path) -> Iterator[Row]:
    """Rows of one file, in order. Raises UserError for an unknown kind, an empty or damaged file or a bad row."""
    kind = file_kind(path)
    if kind is None:
        raise UserError("unknown file type", file=path, fix=f"Tiltmeter reads {READABLE}")
    with _named_errors(path):
        if path.stat().st_size == 0:
            raise UserError("the file is empty", file=path, why="it holds 0 bytes")
        if kind == "jsonl":
            yield from _json_lines(path)
        elif kind == "json":
            yield from _json(path)
        elif kind in ("csv", "tsv"):
            yield from _csv(path, "," if kind == "csv" else "\t")
        elif kind == "parquet":
            yield from _parquet(path)
        else:
            yield from _arrow(path)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system and the decompressors raise into a UserError with the file's name."""
    try:
        yield
    except PermissionError as error:
        raise UserError("no permission to read the file", file=path) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        if path.suffix.lower() in COMPRESSIONS and error.errno is None:
            raise _damaged(path, str(error)) from error
        raise UserError("the file cannot be read", file=path, why=_first_line(error)) from error


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        "the compressed file is truncated or damaged",
        file=path,
        why=why,
        fix="Download or compress it again",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as held:
        suffix = path.suffix.lower()
        if suffix == ".zst":
            with io.BufferedReader(pa.input_stream(held, compression="zstd")) as unpacked:  # type: ignore[arg-type]
                yield unpacked
        elif suffix in _UNPACKERS:
            with _UNPACKERS[suffix](held) as unpacked:
                yield unpacked
        else:
            yield held


def _text_lines(stream: IO[bytes], path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, text with its line ending); a byte-order mark at the start is skipped."""
    for number, raw in enumerate(stream, 1):
        if number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UserError("the file is UTF-16, not UTF-8", file=path, line=1, fix="Save it as UTF-8")
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            yield number, raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                "the text is not UTF-8",
                file=path,
                line=number,
                why=f"byte 0x{raw[error.start]:02x} at position {error.start + 1} of the line",
                fix="Save the file as UTF-8",
            ) from error


def _parse(text: str, path: Path, first_line: int, row: int | None) -> Any:
    try:
        return json.loads(text.rstrip())  # an error at the end of a line is on that line
    except json.JSONDecodeError as error:
        raise UserError(
            "invalid JSON",
            file=path,
            line=first_line + error.lineno - 1,
            row=row,
            why=f"{error.msg}, character {error.colno}",
        ) from error
    except (RecursionError, ValueError) as error:  # nested too deep; an integer of thousands of digits
        raise UserError("invalid JSON", file=path, line=first_line, row=row, why=_first_line(error)) from error


def _json_lines(path: Path) -> Iterator[Row]:
    with _open(path) as stream:
        row = 0
        for line, text in _text_lines(stream, path):
            if not text.strip():
                continue
            value = _parse(text, path, line, row)
            if not isinstance(value, dict):
                fix = "If the file is one JSON array, name it .json" if isinstance(value, list) else ""
                raise UserError(
                    "the line is not a JSON object", file=path, line=line, row=row, why=f"found {_kind(value)}", fix=fix
                )
            yield value
            row += 1


def _json(path: Path) -> Iterator[Row]:
    """A .json file: JSON Lines under another name, an array of objects, or an object that wraps such an array."""
    if _looks_like_lines(path):
        yield from _json_lines(path)
        return
    with _open(path) as stream:
        text = "".join(t for _, t in _text_lines(stream, path))
    if not text.strip():
        return
    value = _parse(text, path, 1, None)
    if isinstance(value, dict):
        wrapped = [v for k, v in value.items() if k in _WRAPPERS and isinstance(v, list)]
        value = wrapped[0] if len(wrapped) == 1 else [value]
    if not isinstance(value, list):
        raise UserError("the file holds no rows", file=path, why=f"found {_kind(value)} instead of an array of objects")
    for row, item in enumerate(value):
        if not isinstance(item, dict):
            raise UserError("the row is not a JSON object", file=path, row=row, why=f"found {_kind(item)}")
        yield item


def _looks_like_lines(path: Path) -> bool:
    """True if the first line is one whole JSON object and another line follows it."""
    with _open(path) as stream:
        lines = list(itertools.islice((t for _, t in _text_lines(stream, path) if t.strip()), 2))
    if len(lines) < 2 or not lines[0].lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(lines[0]), dict)
    except ValueError:
        return lines[1].lstrip().startswith('{"')  # a broken first line of JSON Lines, reported as such


def _csv(path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_MAX_FIELD_CHARS)
    with _open(path) as stream:
        reader = csv.reader((text for _, text in _text_lines(stream, path)), delimiter=delimiter, strict=True)
        names: list[str] = []
        row = 0
        while True:
            start = reader.line_num + 1
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise UserError("invalid CSV", file=path, line=start, row=row, why=str(error)) from error
            if fields is None:
                return
            if not fields:
                continue
            if not names:
                names = fields
                twice = sorted({n for n in names if names.count(n) > 1})
                if twice:
                    raise UserError("a column name appears twice", file=path, line=start, column=twice[0])
                continue
            if len(fields) != len(names):
                raise UserError(
                    "the row has the wrong number of fields",
                    file=path,
                    line=start,
                    row=row,
                    why=f"{len(fields)} fields under {len(names)} column names",
                    fix="Quote fields that hold the separator or line breaks",
                )
            yield dict(zip(names, fields, strict=True))
            row += 1


@contextmanager
def _open_arrow(path: Path) -> Iterator[pa.NativeFile]:
    """Random access, which Parquet and Arrow need: a compressed file is read into memory."""
    if path.suffix.lower() in COMPRESSIONS:
        with _open(path) as stream:
            held = stream.read()
        yield pa.BufferReader(held)
    else:
        with pa.memory_map(str(path)) as mapped:
            yield mapped


def _parquet(path: Path) -> Iterator[Row]:
    try:
        with _open_arrow(path) as source:
            for batch in pq.ParquetFile(source).iter_batches(batch_size=BATCH_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError("the Parquet file is damaged or not Parquet", file=path, why=_first_line(error)) from error


def _arrow(path: Path) -> Iterator[Row]:
    """Arrow IPC: the file format, or the stream format that `datasets` writes."""
    try:
        with _open_arrow(path) as source:
            try:
                reader: Any = pa.ipc.open_file(source)
                batches: Iterator[pa.RecordBatch] = (reader.get_batch(i) for i in range(reader.num_record_batches))
            except pa.ArrowInvalid:
                source.seek(0)
                batches = iter(pa.ipc.open_stream(source))
            for batch in batches:
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield from batch.slice(start, BATCH_ROWS).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError("the Arrow file is damaged or not Arrow", file=path, why=_first_line(error)) from error


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "true/false", type(None): "null"}
    return names.get(type(value), "a number")
