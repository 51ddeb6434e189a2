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
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pretilt.errors import UserError
from pretilt.literals import from_json

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
MAX_ROW_MB = 64  # of text in one row: some 16 million tokens
HELD_ROWS = 16  # a file that has to be held whole (a JSON array, compressed Parquet) may be as large as so many rows
# What Arrow raises for values that Python has none for, or that break their own type's rules.
_UNREADABLE = (pa.ArrowException, ValueError, OverflowError, LookupError, TypeError, AttributeError)
_UNPACKERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_WRAPPERS = ("data", "rows", "examples", "instances", "train")  # keys under which a .json file may hold its rows
_RAISE = "If the data are meant to be so large, audit with a larger --max-row-mb"


def file_kind(path: Path) -> str | None:
    """What a file name says it holds: a value of KINDS, or None; a compression suffix is looked through."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return KINDS.get(suffixes[-1]) if suffixes else None


def read_file(path: Path, *, max_row_mb: int = MAX_ROW_MB) -> Iterator[Row]:
    """Rows of one file, in order. Raises UserError for an unknown kind, an empty or damaged file or a bad row.

    `max_row_mb` bounds a row, in megabytes as unpacked, so that a small file cannot fill the memory; what has to be
    held whole (a .json file that is one array, compressed Parquet and Arrow files) may have HELD_ROWS times as much.
    """
    kind, most = file_kind(path), max_row_mb * 2**20
    if kind is None:
        raise UserError("unknown file type", file=path, fix=f"Pretilt reads {READABLE}")
    with _named_errors(path):
        if path.stat().st_size == 0:
            raise UserError("the file is empty", file=path, why="it holds 0 bytes")
        if kind == "jsonl":
            yield from _json_lines(path, most)
        elif kind == "json":
            yield from _json(path, most)
        elif kind in ("csv", "tsv"):
            yield from _csv(path, "," if kind == "csv" else "\t", most)
        elif kind == "parquet":
            yield from _parquet(path, most)
        else:
            yield from _arrow(path, most)


def _too_large(what: str, path: object, most: int, **place: Any) -> UserError:
    return UserError(what, file=path, why=f"more than {most >> 20:,} MB", fix=_RAISE, **place)


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


def _text_lines(stream: IO[bytes], path: Path, most: int) -> Iterator[tuple[int, str]]:
    """(line number from 1, text with its line ending); a byte-order mark at the start is skipped.

    UserError for a line of more than `most` bytes, before more of it is unpacked.
    """
    for number in itertools.count(1):
        raw = stream.readline(most + 1)
        if not raw:
            return
        if len(raw) > most:
            raise _too_large("the line is too long", path, most, line=number)
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
        return from_json(text.rstrip())  # an error at the end of a line is on that line
    except json.JSONDecodeError as error:
        raise UserError(
            "invalid JSON",
            file=path,
            line=first_line + error.lineno - 1,
            row=row,
            why=f"{error.msg}, character {error.colno}",
        ) from error
    except ValueError as error:  # nested too deep; a key twice; an integer of thousands of digits
        raise UserError("invalid JSON", file=path, line=first_line, row=row, why=_first_line(error)) from error


def _json_lines(path: Path, most: int) -> Iterator[Row]:
    with _open(path) as stream:
        row = 0
        for line, text in _text_lines(stream, path, most):
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


def _json(path: Path, most: int) -> Iterator[Row]:
    """A .json file: JSON Lines under another name, an array of objects, or an object that wraps such an array."""
    if _looks_like_lines(path, most):
        yield from _json_lines(path, most)
        return
    with _open(path) as stream:
        held = _held(stream, path, most)
    try:
        text = held.decode("utf-8-sig")
    except UnicodeDecodeError:  # once more by lines, which names the line
        text = "".join(t for _, t in _text_lines(io.BytesIO(held), path, len(held)))
    del held
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


def _held(stream: IO[bytes], path: Path, most: int) -> bytes:
    held = stream.read(most * HELD_ROWS + 1)
    if len(held) > most * HELD_ROWS:
        raise _too_large("the file is too large to be held in memory", path, most * HELD_ROWS)
    return held


def _looks_like_lines(path: Path, most: int) -> bool:
    """True if the first line is one whole JSON object and another line follows it."""
    with _open(path) as stream:
        first = stream.readline(most + 1).removeprefix(b"\xef\xbb\xbf")
        if first.strip() and not (first.lstrip().startswith(b"{") and len(first) <= most):
            return False
    with _open(path) as stream:
        lines = list(itertools.islice((t for _, t in _text_lines(stream, path, most) if t.strip()), 2))
    if len(lines) < 2 or not lines[0].lstrip().startswith("{"):
        return False
    try:
        return isinstance(from_json(lines[0]), dict)
    except ValueError:
        return lines[1].lstrip().startswith('{"')  # a broken first line of JSON Lines, reported as such


def _csv(path: Path, delimiter: str, most: int) -> Iterator[Row]:
    csv.field_size_limit(most)  # the module's own limit of 131,072 characters is below many a transcript
    with _open(path) as stream:
        n_chars = 0  # of the row that is being read, which may go over many lines

        def texts() -> Iterator[str]:
            nonlocal n_chars
            for line, text in _text_lines(stream, path, most):
                n_chars += len(text)
                if n_chars > most:
                    raise _too_large("the row is too long", path, most, line=line)
                yield text

        reader = csv.reader(texts(), delimiter=delimiter, strict=True)
        names: list[str] = []
        row = 0
        while True:
            start, n_chars = reader.line_num + 1, 0
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
                refuse_twins(names, path, line=start)
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


def refuse_twins(names: Iterable[str], file: object, line: int | None = None) -> None:
    """UserError if two columns have one name: whichever were read, the other would be lost without a word."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        fix = "Rename one of them, or remove it"
        raise UserError("a column name appears twice", file=file, line=line, column=twice[0], fix=fix)


@contextmanager
def _open_arrow(path: Path, most: int) -> Iterator[pa.NativeFile]:
    """Random access, which Parquet and Arrow need: a compressed file is read into memory."""
    if path.suffix.lower() in COMPRESSIONS:
        with _open(path) as stream:
            held = _held(stream, path, most)
        yield pa.BufferReader(held)
    else:
        with pa.memory_map(str(path)) as mapped:
            yield mapped


def _parquet(path: Path, most: int) -> Iterator[Row]:
    try:
        with _open_arrow(path, most) as source:
            file = pq.ParquetFile(source)
            refuse_twins(file.schema_arrow.names, path)
            start = 0
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                if group.num_rows == 0:
                    continue
                chunks = [group.column(i) for i in range(group.num_columns)]
                if sum(c.total_uncompressed_size for c in chunks) / group.num_rows > most:
                    raise _too_large("the rows are too large", path, most, row=start)
                # Every row may repeat the largest text of a dictionary, which is no larger than its column.
                largest = max((c.total_uncompressed_size for c in chunks if c.has_dictionary_page), default=1)
                size = min(BATCH_ROWS, max(HELD_ROWS, most * HELD_ROWS // max(largest, 1)))
                for batch in file.iter_batches(batch_size=size, row_groups=[number]):
                    yield from arrow_rows(batch, path, most, start)
                    start += batch.num_rows
    except (pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise UserError("the Parquet file is damaged or not Parquet", file=path, why=_first_line(error)) from error


def _arrow(path: Path, most: int) -> Iterator[Row]:
    """Arrow IPC: the file format, or the stream format that `datasets` writes."""
    try:
        with _open_arrow(path, most) as source:
            try:
                reader: Any = pa.ipc.open_file(source)
                batches: Iterator[pa.RecordBatch] = (reader.get_batch(i) for i in range(reader.num_record_batches))
            except pa.ArrowInvalid:
                source.seek(0)
                batches = iter(pa.ipc.open_stream(source))
            start = 0
            for batch in batches:
                yield from arrow_rows(batch, path, most, start)
                start += batch.num_rows
    except (pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise UserError("the Arrow file is damaged or not Arrow", file=path, why=_first_line(error)) from error


def arrow_rows(batch: pa.RecordBatch, file: object, most: int = MAX_ROW_MB * 2**20, start: int = 0) -> Iterator[Row]:
    """Rows of a record batch as plain values; `start` is the number of its first row, for errors.

    UserError for two columns of one name, for rows of more than `most` bytes on average, and for a value that Python
    cannot hold (a date after the year 9999), with its column.
    """
    refuse_twins(batch.schema.names, file)
    if not batch.num_rows:
        return
    for i, name in enumerate(batch.schema.names):  # a flipped bit in an offset would end the process, not raise
        try:
            batch.column(i).validate(full=True)
        except pa.ArrowException as error:
            rows = range(batch.num_rows) if "UTF8" in str(error) else ()  # the offsets hold: the row can be named
            row = start + next((j for j in rows if not _has_value(batch.column(i), j)), 0)
            raise _unreadable(batch.column(i), name, file, row, error) from error

    n_bytes = batch.get_total_buffer_size()
    if batch.nbytes / batch.num_rows > most:
        raise _too_large("the rows are too large", file, most, row=start)

    # Rows that share a text, as in a dictionary, come apart here: few at a time where that text may be large.
    shared = any(word in str(field.type) for field in batch.schema for word in ("dictionary", "view", "run_end"))
    step = min(BATCH_ROWS, max(HELD_ROWS, most * HELD_ROWS // max(n_bytes, 1))) if shared else BATCH_ROWS
    for at in range(0, batch.num_rows, step):
        part = batch.slice(at, step)
        columns = [_values(part.column(i), name, file, start + at) for i, name in enumerate(part.schema.names)]
        if not columns:
            yield from ({} for _ in range(part.num_rows))
        for values in zip(*columns, strict=True):
            yield dict(zip(part.schema.names, values, strict=True))


def _values(column: pa.Array, name: str, file: object, start: int) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except _UNREADABLE as error:
        row = start + next((i for i in range(len(column)) if not _has_value(column, i)), 0)
        raise _unreadable(column, name, file, row, error) from error
    return values


def _unreadable(column: pa.Array, name: str, file: object, row: int, error: Exception) -> UserError:
    why = f"{_first_line(error)}; its type is {str(column.type)[:80]}"
    return UserError(
        "a value cannot be read", file=file, row=row, column=name, why=why, fix="Remove or convert the column"
    )


def _has_value(column: pa.Array, i: int) -> bool:
    try:
        column[i].as_py()
    except _UNREADABLE:
        return False
    return True


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "true/false", type(None): "null"}
    return names.get(type(value), "a number")
