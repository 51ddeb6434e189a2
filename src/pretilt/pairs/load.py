"""Rows of any source: an in-memory table, local files, a `save_to_disk` folder or a dataset of the Hub.

An existing path always wins over a Hub id. Rows are streamed; the only thing kept is a small sample from the start.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pretilt.errors import UserError
from pretilt.pairs.facts import plain, writable
from pretilt.pairs.files import MAX_ROW_MB, READABLE, Row, arrow_rows, file_kind, read_file, refuse_twins
from pretilt.pairs.hub import (
    HubName,
    dataset_rows,
    is_hub_file,
    open_hub,
    open_hub_file,
    open_saved,
    parse_hub_name,
    pick_split,
)

SAMPLE_ROWS = 500
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
}
_NOT_DATA = {"dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json", "config.json"}


class LoadedRows:
    """The rows of one source, to be read as often as needed.

    `description` is one line for the reader, `info` a JSON-able record of where the rows come from (kind, path or id,
    config, split, revision and commit where known), `file` the name used in errors, `sample` the first SAMPLE_ROWS
    rows, `columns` their column names in order of appearance.
    """

    def __init__(
        self,
        open_rows: Callable[[], Iterator[Row]],
        *,
        description: str,
        info: dict[str, Any],
        file: object = None,
        limit: int | None = None,
    ) -> None:
        self._open, self._limit = open_rows, None if limit is None else min(limit, sys.maxsize)
        self.description, self.file = writable(description), file
        self.info = {k: writable(v) if isinstance(v, str) else v for k, v in info.items()}
        self._fingerprint: str | None = None
        self._n_rows: int | None = None
        self.padded = self._is_padded()
        self.sample: list[Row] = [row for _, row in itertools.islice(self._checked(), SAMPLE_ROWS)]
        if not self.sample:
            raise UserError("the source holds no rows", file=file if file is not None else description)
        self.columns: tuple[str, ...] = tuple(dict.fromkeys(name for row in self.sample for name in row))

    def _is_padded(self) -> bool:
        """True if the rows come from Arrow, which gives every object the keys of all others, with null in them."""
        kind = self.info["kind"]
        if kind in ("file", "folder"):
            names = self.info.get("files", [self.info["path"]])
            return any(file_kind(Path(name)) in ("parquet", "arrow") for name in names)
        return kind != "memory" or self.info["type"] != "rows in memory"

    @property
    def rows(self) -> Iterator[tuple[int, Row]]:
        """(row_index from 0, row), the first `limit` rows of the source, in its order."""
        digest = hashlib.sha256()
        count = 0
        for index, row in self._checked():
            digest.update(canonical_row(row))
            count += 1
            yield index, row
        self._fingerprint, self._n_rows = digest.hexdigest(), count

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the rows that are read, in order: the same rows have the same one, whatever they come from."""
        if self._fingerprint is None:
            for _ in self.rows:
                pass
        assert self._fingerprint is not None
        return self._fingerprint

    @property
    def n_rows(self) -> int:
        """Rows that are read, at most `limit`."""
        if self._n_rows is None:
            _ = self.fingerprint
        assert self._n_rows is not None
        return self._n_rows

    def _checked(self) -> Iterator[tuple[int, Row]]:
        for index, row in enumerate(itertools.islice(self._open(), self._limit)):
            if not isinstance(row, Mapping):
                raise UserError(
                    "the row is not a mapping of columns to values",
                    file=self.file,
                    row=index,
                    why=f"found {type(row).__name__}",
                )
            yield index, row if type(row) is dict else dict(row)


def canonical_row(row: Mapping[str, Any]) -> bytes:
    """The bytes of a row for hashing: JSON with sorted keys; values JSON has no word for enter as their text."""
    row = {k: v for k, v in row.items() if v is not None}  # Arrow fills in columns that a JSON line leaves out
    try:
        text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=plain)
    except (TypeError, ValueError, RecursionError):  # keys of several types, a value that contains itself
        text = json.dumps(plain(row), sort_keys=True, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def load_rows(
    source: Any,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
    max_row_mb: int = MAX_ROW_MB,
) -> LoadedRows:
    """Open a source of rows.

    `source` is a path (file, folder of files, `save_to_disk` folder), a Hub id (`org/name`, also
    `org/name:config/split@revision` or `hf://datasets/…`), or in memory: `datasets.Dataset`, `DatasetDict` or
    `IterableDataset`, list of dicts, pandas DataFrame, pyarrow Table. `limit` keeps the first rows only;
    `max_row_mb` bounds the rows of local files (see `read_file`).

    Raises UserError for everything the user can mend: no such file or dataset, an unclear split, damaged files.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}", why="it must be at least 1 row")
    if not isinstance(source, (str, Path)):
        return _in_memory(source, split, limit)

    check_source(source)
    text = str(source)
    path = Path(text).expanduser()
    if _exists(path):
        if config or revision:
            raise UserError("a local path has no config and no revision", file=path, why="they belong to Hub ids")
        return _local(path, split, limit, max_row_mb)

    if is_hub_file(text):
        dataset, info = open_hub_file(text)
        return LoadedRows(lambda: dataset_rows(dataset, text), description=text, info=info, file=text, limit=limit)

    name = parse_hub_name(text)
    assert name is not None, "check_source let it through"
    name = HubName(
        name.id,
        _single_value(config, name.config, "config", text),
        _single_value(split, name.split, "split", text),
        _single_value(revision, name.revision, "revision", text),
    )

    dataset, info = open_hub(name)
    parts = [name.id, info["config"], info["split"], info["commit"] or info["revision"]]
    description = " ".join(str(p) for p in parts if p)
    return LoadedRows(
        lambda: dataset_rows(dataset, name.id), description=description, info=info, file=name.id, limit=limit
    )


def check_source(source: Any) -> None:
    """Raise UserError for a path that does not exist. Whether a dataset is on the Hub its reading will tell."""
    if not isinstance(source, (str, Path)):
        return
    text = str(source)
    path = Path(text).expanduser()
    if _exists(path) or is_hub_file(text):
        return
    if parse_hub_name(text) is None or isinstance(source, Path) or _is_meant_as_path(text):
        raise UserError("no such file or folder", file=path, fix="Give a path that exists or a Hub id like org/name")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system is no path
        return False


def _is_meant_as_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or (file_kind(Path(text)) is not None and not text.startswith("hf://"))


def _single_value(option_value: str | None, written: str | None, what: str, source: str) -> str | None:
    if option_value is not None and written is not None and option_value != written:
        raise UserError(f"two {what}s are given", why=f"'{written}' in '{source}' and '{option_value}' beside it")
    return option_value if option_value is not None else written


def _local(path: Path, split: str | None, limit: int | None, max_row_mb: int) -> LoadedRows:
    if path.is_dir():
        if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            dataset, chosen = open_saved(path, split)
            info = {"kind": "save_to_disk", "path": str(path), "split": chosen}
            described = f"{path} {chosen}" if chosen else str(path)
            return LoadedRows(
                lambda: dataset_rows(dataset, path), description=described, info=info, file=path, limit=limit
            )
        return _folder(path, split, limit, max_row_mb)

    if split is not None:
        raise UserError(f"there is no split '{split}'", file=path, why="a single file has no splits")
    info = {"kind": "file", "path": str(path)}
    return LoadedRows(
        lambda: read_file(path, max_row_mb=max_row_mb), description=str(path), info=info, file=path, limit=limit
    )


def _folder(path: Path, split: str | None, limit: int | None, max_row_mb: int) -> LoadedRows:
    """The data files of a folder, in the order of their names; words in the names tell the splits (train, test, …)."""
    inside = [p for p in sorted(path.rglob("*")) if p.is_file() and p.name not in _NOT_DATA]
    files = [p for p in inside if file_kind(p) and not any(x.startswith(".") for x in p.relative_to(path).parts)]
    if not files:
        raise UserError("the folder holds no data files", file=path, fix=f"Pretilt reads {READABLE}")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.relative_to(path)), []).append(file)
    if list(by_split) == [""] and split is None:
        chosen = ""
    else:
        chosen = pick_split([s or "(other files)" for s in by_split], split, path)
    picked = by_split["" if chosen == "(other files)" else chosen]
    info = {
        "kind": "folder",
        "path": str(path),
        "split": chosen or None,
        "files": [str(f.relative_to(path)) for f in picked],
    }
    description = f"{path} {chosen}".strip() + f" ({len(picked)} file{'s' if len(picked) > 1 else ''})"

    def rows() -> Iterator[Row]:
        return itertools.chain.from_iterable(read_file(f, max_row_mb=max_row_mb) for f in picked)

    return LoadedRows(rows, description=description, info=info, file=path, limit=limit)


def _split_of(name: Path) -> str:
    words = re.split(r"[^a-z]+", str(name.with_suffix("")).lower())
    return next((_SPLIT_WORDS[w] for w in reversed(words) if w in _SPLIT_WORDS), "")


def _in_memory(source: Any, split: str | None, limit: int | None) -> LoadedRows:
    module = type(source).__module__.split(".")[0]
    if module == "datasets" and isinstance(source, Mapping):  # DatasetDict, IterableDatasetDict
        split = pick_split([str(s) for s in source], split, "the DatasetDict")
        source = source[split]
    elif split is not None:
        raise UserError(f"there is no split '{split}'", why="the source is a single table in memory")

    open_rows: Callable[[], Iterator[Row]]
    if module == "datasets":
        name, open_rows = "datasets.Dataset", lambda: dataset_rows(source)
    elif module == "pandas" and hasattr(source, "itertuples"):
        name, open_rows = "pandas DataFrame", lambda: _pandas_rows(source)
    elif isinstance(source, pa.Table):
        name, open_rows = "pyarrow Table", lambda: _table_rows(source)
    elif isinstance(source, Iterable) and not isinstance(source, (Mapping, bytes, bytearray)):
        held = source if isinstance(source, (list, tuple)) else list(source)
        name, open_rows = "rows in memory", lambda: (_plain_cells(row) for row in held)
    else:
        raise UserError(
            f"cannot read rows from {type(source).__name__}",
            fix="Give a list of rows, a datasets.Dataset, a pandas DataFrame or a pyarrow Table",
        )

    info = {"kind": "memory", "type": name, "split": split}
    loaded = LoadedRows(open_rows, description=name, info=info, limit=limit)
    if module == "datasets" and "Json(" in str(source.features):  # holds every object as it was written
        loaded.padded = False
    return loaded


def _table_rows(table: pa.Table) -> Iterator[Row]:
    start = 0
    for batch in table.to_batches():
        yield from arrow_rows(batch, "pyarrow Table", start=start)
        start += batch.num_rows


def _pandas_rows(frame: Any) -> Iterator[Row]:
    """Rows of a DataFrame; its marks for "missing" become None, NumPy values plain Python ones."""
    names = [str(c) for c in frame.columns]
    refuse_twins(names, "pandas DataFrame")
    for values in frame.itertuples(index=False, name=None):
        yield {n: _plain(v) for n, v in zip(names, values, strict=True)}


def _plain_cells(row: Any) -> Any:
    """A row whose cells are no NumPy values and no NaN, as those of `DataFrame.to_dict("records")` are."""
    if not isinstance(row, dict):
        return row
    odd = [k for k, v in row.items() if type(v).__module__ == "numpy" or (isinstance(v, float) and v != v)]
    return {**row, **{k: _plain(row[k]) for k in odd}} if odd else row


def _plain(value: Any) -> Any:
    if type(value).__module__ == "numpy":
        value = value.tolist()
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value
