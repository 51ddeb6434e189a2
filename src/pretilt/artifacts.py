"""Files that are whole or not there: hashes, atomic writing, what JSON can hold, and one line where a disk refuses."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretilt.errors import UserError

KEY = b"pretilt.key"  # of a table's metadata: the key of the stage that made it
PARTIAL = ".partial"
SEAL = "sha256"  # of a JSON file: the hash of all the rest of it
_RACY_NS = 2 * 10**9  # a file changed twice within the clock of its file system may carry one time
_hashes: dict[tuple[int, ...], str] = {}

_OTHER_FOLDER = "Give --out a folder you can write to"
_SPACE = "Free some space or give --out on another disk; finished shards are kept"
_REASONS = {
    errno.ENOSPC: ("the disk is full", _SPACE),
    errno.EDQUOT: ("the disk quota is used up", _SPACE),
    errno.EFBIG: (
        "the file is larger than this process or disk allows",
        "Raise the limit (`ulimit -f unlimited`), or give --out on another disk; finished shards are kept",
    ),
    errno.EROFS: ("the file system is read-only", _OTHER_FOLDER),
    errno.EACCES: ("no permission to write here", _OTHER_FOLDER),
    errno.EPERM: ("no permission to write here", _OTHER_FOLDER),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Give --out another folder"),
    errno.EEXIST: ("a file with that name is in the way", "Give --out another folder"),
    errno.ENOENT: ("the folder cannot be made, or was removed meanwhile", "Give --out another folder"),
    errno.ENAMETOOLONG: ("the name is too long", "Give --out a shorter name"),
    errno.ELOOP: ("its links lead in a circle", "Give --out another folder"),
    errno.EMFILE: ("too many files are open", "Raise the limit (`ulimit -n 4096`) and give the same command again"),
    errno.EISDIR: ("a folder is in the place of the file", "Move it away and give the same command again"),
    errno.ENOTEMPTY: ("a folder is in the place of the file", "Move it away and give the same command again"),
}


def content_hash(value: Any) -> str:
    """SHA-256 of a JSON-able value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, read once per process as long as the file is not touched. Raises OSError."""
    with path.open("rb") as f:
        status = os.fstat(f.fileno())
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if identity not in _hashes:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
            if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _RACY_NS:
                return digest
            _hashes[identity] = digest

    return _hashes[identity]


def cannot_write(error: OSError, path: Path, what: str = "cannot write the run folder") -> UserError:
    """The one line that a user sees when a disk refuses."""
    reason = (error.strerror or str(error), "Look after the disk, or give --out elsewhere; finished shards are kept")
    why, fix = _REASONS.get(error.errno or 0, reason)
    return UserError(what, file=shortened(path), why=why, fix=fix)


def shortened(path: Path) -> str:
    """The path as text for a message: one of thousands of characters would hide the message."""
    text = str(path)
    return text if len(text) <= 300 else f"{text[:100]}…{text[-100:]}"


def check_name(path: Path) -> None:
    """Raise UserError for a path that no file can have, or whose name no report could quote."""
    try:
        whole = str(path).encode()
    except UnicodeEncodeError:
        whole = b"\0"
    if b"\0" in whole:
        raise UserError(
            "the folder's name is not text", file=ascii(shortened(path)), fix="Give --out a name of plain characters"
        )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, of this process alone; rename it onto `path` once complete and on disk.

    An empty folder in the file's place makes way. Every OSError is raised as UserError, and leaves nothing behind.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as f:
            os.fsync(f.fileno())
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise cannot_write(error, path) from error


def discard_partials(folder: Path) -> None:
    """Remove what interrupted processes have left half-written directly in the folder."""
    for path in folder.glob(f"*.[0-9]*{PARTIAL}"):
        with contextlib.suppress(OSError):
            path.unlink()


def write_table(path: Path, table: pa.Table, key: str) -> None:
    """Write a table as Parquet, atomically, with the key of the stage that made it. Same table and key, same bytes."""
    stamped = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: key.encode()})
    with writing(path) as partial:
        pq.write_table(stamped, partial, compression="zstd", compression_level=3)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object with the hash of its own content as "sha256"; `read_sealed` gives it back."""
    write_json(path, {**value, SEAL: content_hash(json.loads(json.dumps(value)))})


def read_sealed(text: bytes) -> dict[str, Any]:
    """The object that `write_sealed` wrote. Raises ValueError for a damaged one; one without a hash is believed."""
    try:
        value = json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    seal = value.pop(SEAL, None)
    if seal is not None and seal != content_hash(value):
        raise ValueError("its content is not what was written")
    return value


def write_text(path: Path, text: str) -> None:
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def jsonable(value: Any) -> Any:
    """The value with NaN and infinities as None and NumPy scalars as Python's."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def finite(value: Any) -> float | None:
    """The number, or None if there is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
