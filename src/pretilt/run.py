"""The run folder: the only place that knows file names, content hashes and caching.

A stage is a function from artifacts to artifacts. Its key is the hash of its name, version, configuration and of the
bytes it read; its files are believed only if the manifest `run.json`, written last and by atomic rename, holds that
key and their hashes. A shard carries the key in its own metadata, and a file of hashes lies beside it, so that an
interrupted stage loses one shard at most and believes no damaged one.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pretilt.artifacts import (
    KEY,
    PARTIAL,
    cannot_write,
    check_name,
    content_hash,
    file_hash,
    read_sealed,
    shortened,
    write_json,
    write_sealed,
    write_table,
    write_text,
    writing,
)
from pretilt.errors import UserError
from pretilt.reports import check_report
from pretilt.schema import MANIFEST

__all__ = ["Progress", "Run", "Shards", "Stage", "content_hash", "file_hash"]
__all__ += ["write_json", "write_table", "write_text", "writing"]

FORMAT_VERSION = 5
_COMMANDS = (
    (r"forecast", "forecast {run}"),
    (r"labels", "describe {run}"),
    (r"reference-logps", "export {run} OUT --reference"),
    (r"outcome-(?P<name>.*)", "verify {run} --plan {name}"),
    (r"shape-(?P<name>.*)", "shape {run} --plan PLAN --name {name}"),
    (r"methods-(?P<name>.*)", "shape {run} --plan PLAN --name {name} --compare"),
    (r"detector-(?P<name>.*?)(-scores|-card)?", "detector {run} --name {name}"),
    (r"verification(-(?P<name>.*))?", "verify {run}"),
    (r"rollout-scores-(?P<role>.*):.*", "rollouts {run} --role {role}"),
    (r"rollouts-(?P<role>.*)-(own|other-\w+)", "verify {run} --importance"),
    (r"rollouts-(?P<role>.*?)(-features)?", "rollouts {run} --role {role}"),
)


class Shards:
    """The files of one sharded artifact: `folder/<part>-<number>.parquet`, every one stamped with the stage's key.

    `folder/<number>.sha256` holds the hashes of a shard's files, in the form that `sha256sum -c` reads. `verify`
    makes a reader's files sure (`Run.shards`), `n_shards` is their number; a stage that writes has neither.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        parts: Sequence[str],
        *,
        verify: Callable[[Path], Path] | None = None,
        n_shards: int | None = None,
    ) -> None:
        self.folder, self.key, self.parts = folder, key, tuple(parts)
        self._verify, self._n_shards = verify, n_shards

    def path(self, part: str, number: int) -> Path:
        return self.folder / f"{part}-{number:05d}.parquet"

    def has(self, number: int) -> bool:
        """True if every part of the shard was made under this key and has the bytes that it was written with."""
        try:
            lines = self._sums(number).read_text(encoding="utf-8").splitlines()
            whole = lines == self._lines(number)
        except (OSError, ValueError):
            return False
        return whole and all(self._stamp(self.path(part, number)) == self.key for part in self.parts)

    def write(self, number: int, tables: Mapping[str, pa.Table]) -> None:
        """Write one shard; `tables` maps every part to its table."""
        if set(tables) != set(self.parts):
            raise ValueError(f"shard {number}: expected parts {self.parts}, got {sorted(tables)}")
        for part in self.parts:
            write_table(self.path(part, number), tables[part], self.key)
        try:
            lines = self._lines(number)
        except OSError as error:
            raise cannot_write(error, self.folder) from error
        write_text(self._sums(number), "\n".join(lines) + "\n")

    def count(self) -> int:
        if self._n_shards is not None:
            return self._n_shards
        return len(list(self.folder.glob(f"{self.parts[0]}-*.parquet")))

    def read(self, part: str, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        path = self.path(part, number)
        if self._verify is not None:
            path = self._verify(path)
        return pq.read_table(path, columns=list(columns) if columns else None)

    def of_others(self) -> list[Path]:
        """Files of the first part that can be read and were made under another key."""
        paths = sorted(self.folder.glob(f"{self.parts[0]}-*.parquet"))
        return [path for path in paths if self._stamp(path) not in (None, self.key)]

    def discard_others(self) -> None:
        """Remove files that another key made, and leftovers of interrupted writes. Raises UserError if it cannot."""
        for path in sorted(self.folder.glob("*")) if self.folder.is_dir() else []:
            if path.name.endswith(PARTIAL) or (path.suffix == ".parquet" and self._stamp(path) != self.key):
                number = path.stem.rpartition("-")[2]
                try:
                    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
                    (self.folder / f"{number}.sha256").unlink(missing_ok=True)
                except OSError as error:
                    raise cannot_write(error, path) from error

    def _sums(self, number: int) -> Path:
        return self.folder / f"{number:05d}.sha256"

    def _lines(self, number: int) -> list[str]:
        paths = [self.path(part, number) for part in self.parts]
        return [f"{file_hash(path)}  {path.name}" for path in paths]

    @staticmethod
    def _stamp(path: Path) -> str | None:
        try:
            metadata = pq.read_schema(path).metadata or {}
            return metadata.get(KEY, b"").decode() or None
        except (OSError, ValueError):  # Arrow's own errors are among them
            return None


class Stage:
    """One step of a run, open for writing; see `Run.stage`."""

    def __init__(self, run: Run, name: str, key: str, done: bool) -> None:
        self.run, self.name, self.key, self.done = run, name, key, done
        self.files: set[str] = set()

    def write(self, name: str, table: pa.Table) -> None:
        write_table(self.run.path / name, table, self.key)
        self._add(name)

    def write_json(self, name: str, value: Any) -> None:
        """Raises ValueError for a report that is not as its model has it (`pretilt.reports`)."""
        if trouble := check_report(name, value):
            raise ValueError(f"{name}: {trouble}")
        write_json(self.run.path / name, value)
        self._add(name)

    def write_text(self, name: str, text: str) -> None:
        write_text(self.run.path / name, text)
        self._add(name)

    def write_bytes(self, name: str, data: bytes) -> None:
        with writing(self.run.path / name) as partial:
            partial.write_bytes(data)
        self._add(name)

    def shards(self, folder: str, parts: Sequence[str]) -> Shards:
        shards = Shards(self.run.path / folder, self.key, parts)
        if not self.done:
            shards.discard_others()
        return shards

    def add_shards(self, shards: Shards) -> None:
        """Put every shard file into the manifest: call when the last one is written."""
        self.files.update(str(p.relative_to(self.run.path)) for p in sorted(shards.folder.glob("*.parquet")))

    def _add(self, name: str) -> None:
        self.files.add(name)
        self.run._written.add(name)


class _Facts(dict[str, Any]):
    """An object of run.json: a name that is not there is one line, not a KeyError."""

    def __missing__(self, name: str) -> Any:
        raise UserError(
            f"{MANIFEST} holds no '{name}'",
            why="a step of the run has not finished, or another version wrote it",
            fix="Run the same `pretilt audit` again: it continues where it stopped",
        )


class Run:
    """A run folder. `Run(path)` opens or begins one; nothing is written before the first stage.

    `is_new`: the folder holds no manifest. Raises UserError for one that is damaged or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest: dict[str, Any] = _Facts(format_version=FORMAT_VERSION, stages=_Facts())
        self._written: set[str] = set()  # by this process, recorded or not
        check_name(self.path)
        manifest = self.path / MANIFEST
        try:
            text = manifest.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self.is_new = True
            return
        except OSError as error:
            raise UserError(
                "cannot read the run folder",
                file=shortened(manifest),
                why=error.strerror or "",
                fix="Give --out another folder that can be read",
            ) from error
        self.is_new = False
        self.manifest = _checked(text, manifest)

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
        intact = recorded.get("key") == key and not any(self._damage(f, d) for f, d in recorded["files"].items())
        stage = Stage(self, name, key, done=intact)
        start = time.monotonic()
        yield stage
        if stage.done:
            return
        try:
            files = {f: file_hash(self.path / f) for f in sorted(stage.files)}
        except OSError as error:
            raise cannot_write(error, self.path) from error
        stages[name] = {
            "key": key,
            "version": version,
            "config": dict(config),
            "seconds": round(time.monotonic() - start, 3),
            "files": files,
        }
        self._save()

    def record(self, name: str, value: Any) -> None:
        """Put a JSON-able fact about the whole run (resolved settings, versions, measurement id) into the manifest."""
        if self.manifest.get(name) != value:
            self.manifest[name] = value
            self._save()

    def holds(self, name: str) -> bool:
        """True if a finished stage wrote the file: whether it is still whole, reading it will tell."""
        return any(name in stage["files"] for stage in self.manifest["stages"].values())

    def is_whole(self, name: str) -> bool:
        """True if a finished stage wrote the file, and it has the bytes that it had then."""
        files = [stage["files"] for stage in self.manifest["stages"].values()]
        return any(name in some and not self._damage(name, some[name]) for some in files)

    def file(self, name: str) -> Path:
        """The path of an artifact with the bytes that its stage wrote: everything that reads a run reads this.

        Raises UserError, with the command that makes it or mends it, for one that is not there or is damaged.
        """
        path, damage, command = self.path / name, "", "audit"
        for stage, recorded in self.manifest["stages"].items():
            if name in recorded["files"]:
                damage, command = self._damage(name, recorded["files"][name]), self._command(stage)
                if not damage:
                    return path
        if damage:
            raise UserError(
                "the run is damaged", file=path, why=damage, fix=f"Run {command} again: it rebuilds this file"
            )
        if name in self._written:
            return path
        raise UserError(
            "the run holds no such artifact",
            file=path,
            why="its stage has not finished",
            fix="Run `pretilt audit` again: it continues where it stopped",
        )

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        return pq.read_table(self.file(name), columns=list(columns) if columns else None)

    def json(self, name: str) -> Any:
        """A report of the run. Raises UserError where the file is damaged, or holds other fields than are read here."""
        report = json.loads(self.file(name).read_text(encoding="utf-8"))
        if trouble := check_report(name, report):
            what = "the report has other fields than this version reads"
            raise UserError(what, file=self.path / name, why=trouble, fix=self._remedy(name))
        return report

    def shards(self, stage: str, folder: str, parts: Sequence[str]) -> Shards:
        """The shards of a finished stage, every file checked before it is read."""
        recorded = self.manifest["stages"][stage]
        first = re.compile(re.escape(f"{folder}/{parts[0]}-") + r"\d+\.parquet")
        return Shards(
            self.path / folder,
            recorded["key"],
            parts,
            verify=lambda path: self.file(path.relative_to(self.path).as_posix()),
            n_shards=sum(map(bool, map(first.fullmatch, recorded["files"]))),
        )

    def _save(self) -> None:
        if trouble := check_report(MANIFEST, self.manifest):
            raise ValueError(f"{MANIFEST}: {trouble}")
        write_sealed(self.path / MANIFEST, self.manifest)

    def _damage(self, name: str, digest: str) -> str:
        """What is wrong with a recorded file, "" for nothing."""
        try:
            return "" if file_hash(self.path / name) == digest else "its bytes are not those that were written"
        except FileNotFoundError:
            return "the file is missing"
        except OSError as error:
            return error.strerror or str(error)

    def _command(self, stage: str) -> str:
        """The command that makes a stage's files."""
        for pattern, command in _COMMANDS:
            if match := re.fullmatch(pattern, stage):
                return f"the same `pretilt {command.format(run=self.path, **match.groupdict())}`"
        return f"the same `pretilt audit … --out {self.path}`"

    def _remedy(self, name: str) -> str:
        """What mends a report of another version; an audit's is made anew only with all that rests on it."""
        stages = self.manifest["stages"]
        stage = next((stage for stage in stages if name in stages[stage]["files"]), "")
        is_of_audit = not any(re.fullmatch(pattern, stage) for pattern, _ in _COMMANDS)
        again = "`pretilt audit` again into a new folder" if is_of_audit else f"{self._command(stage)} again"
        return f"Run {again}, or read it with the version that wrote it"


def _checked(text: bytes, path: Path) -> dict[str, Any]:
    """The manifest. Raises UserError unless it has our format, the structure that all else relies on, and its hash."""
    try:
        manifest = read_sealed(text)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        fix = "Update pretilt, or give --out a new folder" if newer else "Give --out a new folder"
        raise UserError(f"the run folder has format version {version}, ours is {FORMAT_VERSION}", file=path, fix=fix)
    wrong = check_report(MANIFEST, manifest) or _file_outside(manifest["stages"])
    if wrong:
        raise _damaged(path, wrong)
    facts = _Facts({**manifest, "stages": _Facts(manifest["stages"])})
    if "lens" in facts:
        facts["lens"] = _Facts(facts["lens"])
    return facts


def _file_outside(stages: Mapping[str, Any]) -> str:
    """The first recorded file that lies outside the run folder, as a sentence; "" for none."""
    for name, stage in stages.items():
        for file in stage["files"]:
            if "\0" in file or PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
                return f"file '{file}' of stage '{name}' lies outside the run"
    return ""


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        "the run's manifest is damaged",
        file=path,
        why=why,
        fix="Put a copy of it back, or remove it and run the same `pretilt audit` again: whole shards are kept",
    )


Progress = Callable[[int, int], None]
"""Called with (tokens done, tokens in all) after each batch."""
