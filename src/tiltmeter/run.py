"""The run folder: the only place that knows file names, content hashes and caching.

A stage is a function from artifacts to artifacts. Its key is the hash of its name, version, configuration and of the
bytes it read; its files are believed only if the manifest `run.json`, written last and by atomic rename, holds that
key and their hashes. A shard carries the key in its own metadata, so that an interrupted stage loses one shard at most.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tiltmeter.errors import UserError

FORMAT_VERSION = 2
MANIFEST = "run.json"
_KEY = b"tiltmeter.key"


def content_hash(value: Any) -> str:
    """SHA-256 of a JSON-able value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _explain(error: OSError, path: Path) -> UserError | None:
    reasons = {
        errno.ENOSPC: ("the disk is full", "Free some space or give --out on another disk; finished shards are kept"),
        errno.EDQUOT: (
            "the disk quota is used up",
            "Free some space or give --out elsewhere; finished shards are kept",
        ),
        errno.EROFS: ("the file system is read-only", "Give --out a folder you can write to"),
        errno.EACCES: ("no permission to write here", "Give --out a folder you can write to"),
        errno.EPERM: ("no permission to write here", "Give --out a folder you can write to"),
        errno.ENOTDIR: ("a part of the path is a file, not a folder", "Give --out another folder"),
        errno.EEXIST: ("a file with that name is in the way", "Give --out another folder"),
        errno.ENAMETOOLONG: ("the name is too long", "Give --out a shorter name"),
        errno.ENOENT: ("no folder can be made there", "Give --out another folder"),
        errno.EINVAL: ("the file system does not accept the name", "Give --out another folder"),
    }
    if error.errno not in reasons:
        return None
    why, fix = reasons[error.errno]
    return UserError("cannot write the run folder", file=path, why=why, fix=fix)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it onto `path` once it is complete and on disk."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as f:
            os.fsync(f.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise (_explain(error, path) or error) from error


def write_table(path: Path, table: pa.Table, key: str) -> None:
    """Write a table as Parquet, atomically, with the key of the stage that made it. Same table and key, same bytes."""
    stamped = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: key.encode()})
    with writing(path) as partial:
        pq.write_table(stamped, partial, compression="zstd", compression_level=3)


def write_json(path: Path, value: Any) -> None:
    with writing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")


class Shards:
    """The files of one sharded artifact: `folder/<part>-<number>.parquet`, every one stamped with the stage's key."""

    def __init__(self, folder: Path, key: str, parts: Sequence[str]) -> None:
        self.folder, self.key, self.parts = folder, key, tuple(parts)

    def path(self, part: str, number: int) -> Path:
        return self.folder / f"{part}-{number:05d}.parquet"

    def has(self, number: int) -> bool:
        """True if every part of the shard is whole and was made under this key."""
        return all(self._stamp(self.path(part, number)) == self.key for part in self.parts)

    def write(self, number: int, tables: Mapping[str, pa.Table]) -> None:
        """Write one shard; `tables` maps every part to its table."""
        if set(tables) != set(self.parts):
            raise ValueError(f"shard {number}: expected parts {self.parts}, got {sorted(tables)}")
        for part in self.parts:
            write_table(self.path(part, number), tables[part], self.key)

    def count(self) -> int:
        return len(list(self.folder.glob(f"{self.parts[0]}-*.parquet")))

    def read(self, part: str, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        return pq.read_table(self.path(part, number), columns=list(columns) if columns else None)

    def discard_others(self) -> None:
        """Remove files that another key made, and leftovers of interrupted writes."""
        for path in sorted(self.folder.glob("*")) if self.folder.is_dir() else []:
            if path.name.endswith(".partial") or (path.suffix == ".parquet" and self._stamp(path) != self.key):
                path.unlink()

    @staticmethod
    def _stamp(path: Path) -> str | None:
        try:
            metadata = pq.read_schema(path).metadata or {}
        except (OSError, pa.ArrowInvalid):
            return None
        return metadata.get(_KEY, b"").decode() or None


class Stage:
    """One step of a run, open for writing; see `Run.stage`."""

    def __init__(self, run: Run, name: str, key: str, done: bool) -> None:
        self.run, self.name, self.key, self.done = run, name, key, done
        self.files: set[str] = set()

    def write(self, name: str, table: pa.Table) -> None:
        write_table(self.run.path / name, table, self.key)
        self.files.add(name)

    def write_json(self, name: str, value: Any) -> None:
        write_json(self.run.path / name, value)
        self.files.add(name)

    def write_text(self, name: str, text: str) -> None:
        write_text(self.run.path / name, text)
        self.files.add(name)

    def shards(self, folder: str, parts: Sequence[str]) -> Shards:
        shards = Shards(self.run.path / folder, self.key, parts)
        if not self.done:
            shards.discard_others()
        return shards

    def add_shards(self, shards: Shards) -> None:
        """Put every shard file into the manifest: call when the last one is written."""
        self.files.update(str(p.relative_to(self.run.path)) for p in sorted(shards.folder.glob("*.parquet")))


class Run:
    """A run folder. `Run(path)` opens or begins one; nothing is written before the first stage."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            if "\0" in str(path):
                raise ValueError("it holds a NUL character")
            str(path).encode()
            exists = (self.path / MANIFEST).exists()
        except ValueError as error:  # half of a surrogate pair, too
            raise UserError("the folder's name cannot be written", why=str(error), fix="Give --out another") from error
        except OSError as error:
            raise (_explain(error, self.path) or error) from error
        self.manifest: dict[str, Any] = {"format_version": FORMAT_VERSION, "stages": {}}
        manifest = self.path / MANIFEST
        if exists:
            try:
                found = json.loads(manifest.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UserError(
                    "the run's manifest cannot be read",
                    file=manifest,
                    why=str(error),
                    fix="Remove it to rebuild the run",
                ) from error
            if found.get("format_version") != FORMAT_VERSION:
                raise UserError(
                    f"the run folder has format version {found.get('format_version')}, ours is {FORMAT_VERSION}",
                    file=manifest,
                    fix="Give --out a new folder",
                )
            self.manifest = found

    @contextlib.contextmanager
    def stage(
        self, name: str, *, version: int, config: Mapping[str, Any], reads: Sequence[str] = (), inputs: Any = None
    ) -> Iterator[Stage]:
        """Open a stage that reads the files of the stages `reads` and outside `inputs` (JSON-able, hashed).

        `stage.done` tells that its files are there already, under the same key and with the same bytes; then write
        nothing. On a clean exit the files written are hashed into the manifest; after an error nothing is recorded.
        """
        stages = self.manifest["stages"]
        read = {r: content_hash(stages[r]["files"]) for r in reads}
        key = content_hash({"stage": name, "version": version, "config": dict(config), "reads": read, "inputs": inputs})
        recorded = stages.get(name, {})
        stage = Stage(self, name, key, done=recorded.get("key") == key and self._intact(recorded["files"]))
        start = time.monotonic()
        yield stage
        if stage.done:
            return
        stages[name] = {
            "key": key,
            "version": version,
            "config": dict(config),
            "seconds": round(time.monotonic() - start, 3),
            "files": {f: file_hash(self.path / f) for f in sorted(stage.files)},
        }
        write_json(self.path / MANIFEST, self.manifest)

    def record(self, name: str, value: Any) -> None:
        """Put a JSON-able fact about the whole run (resolved settings, versions, measurement id) into the manifest."""
        if self.manifest.get(name) != value:
            self.manifest[name] = value
            write_json(self.path / MANIFEST, self.manifest)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        path = self.path / name
        if not path.exists():
            raise UserError(
                "the run holds no such artifact",
                file=path,
                why="its stage has not finished",
                fix="Run `tiltmeter audit` again: it continues where it stopped",
            )
        return pq.read_table(path, columns=list(columns) if columns else None)

    def json(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def _intact(self, files: Mapping[str, str]) -> bool:
        return all((self.path / f).exists() and file_hash(self.path / f) == digest for f, digest in files.items())


Progress = Callable[[int, int], None]
"""Called with (tokens done, tokens in all) after each batch."""
