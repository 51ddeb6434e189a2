"""Datasets that the `datasets` library opens: Hub ids, `hf://` files, `save_to_disk` folders; which split is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pretilt.errors import UserError, did_you_mean
from pretilt.pairs.files import BATCH_ROWS, Row, file_kind, refuse_twins

_HUB_PATH = r"[A-Za-z0-9][\w.-]*/[\w.-]+"
_HUB_ID = re.compile(
    rf"(?:hf://datasets/)?(?P<id>{_HUB_PATH})(?::(?P<config>[^/@]*)(?:/(?P<split>[^@]+))?)?(?:@(?P<revision>.+))?"
)
_HF_FILE = re.compile(rf"hf://datasets/{_HUB_PATH}(?:@[^/]+)?/.+")
# What `datasets` and Arrow raise for data that are damaged, hostile or of another structure than they say.
_LIBRARY = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    OverflowError,
    AssertionError,
    pa.ArrowException,
)
_BUILDERS = {"jsonl": "json", "json": "json", "csv": "csv", "parquet": "parquet", "arrow": "arrow"}


@dataclass(frozen=True)
class HubName:
    """What `org/name:config/split@revision` says; everything after `org/name` may be left out."""

    id: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None


def parse_hub_name(text: str) -> HubName | None:
    """Read a Hub id in its short or long form; None if the text is not one."""
    match = _HUB_ID.fullmatch(text)
    if match is None:
        return None
    return HubName(match["id"], match["config"] or None, match["split"], match["revision"])


def is_hub_file(text: str) -> bool:
    """True for `hf://datasets/org/name[@revision]/path/file.parquet`."""
    return _HF_FILE.fullmatch(text) is not None and file_kind(Path(text)) in _BUILDERS


def pick_split(names: list[str], requested: str | None, where: object) -> str:
    """The split to read: the one asked for, `train`, the only one, or the only one whose name starts "train_pref".

    Raises UserError that lists the splits when the choice is not plain.
    """
    listed = ", ".join(names)
    if requested is not None:
        if requested in names:
            return requested
        fix = did_you_mean(requested, names)
        raise UserError(f"there is no split '{requested}'", file=where, why=f"splits: {listed}", fix=fix)

    if "train" in names:
        return "train"

    for candidates in (
        names,
        [n for n in names if n.startswith("train_pref")],
    ):  # e.g. H4's train_prefs beside train_sft
        if len(candidates) == 1:
            return candidates[0]
    raise UserError(
        "which split is meant?", file=where, why=f"there is no 'train'; splits: {listed}", fix="Give --split"
    )


def open_hub(name: HubName) -> tuple[Any, dict[str, Any]]:
    """A dataset of the Hub or of its local cache: (datasets.Dataset, where it comes from). No remote code is run.

    Raises UserError when the id is unknown, private, offline and not cached, or needs a config or split.
    """
    import datasets

    # Slices such as "train[:100]" are the library's own syntax: leave them to it.
    sliced = name.split if name.split and "[" in name.split else None
    dataset = _load(name.id, {"path": name.id, "name": name.config, "revision": name.revision, "split": sliced})
    split = sliced or name.split
    if isinstance(dataset, Mapping):
        split = pick_split([str(s) for s in dataset], name.split, name.id)
        dataset = dataset[split]
    assert isinstance(dataset, datasets.Dataset)
    return dataset, {
        "kind": "hub",
        "id": name.id,
        "config": name.config,
        "split": split,
        "revision": name.revision,
        "commit": _commit(dataset),
    }


def open_hub_file(url: str) -> tuple[Any, dict[str, Any]]:
    """One data file of a Hub repository."""
    kind = _BUILDERS[str(file_kind(Path(url)))]
    dataset = _load(url, {"path": kind, "data_files": url, "split": "train"})
    return dataset, {"kind": "hub file", "url": url, "commit": _commit(dataset)}


def _load(shown: str, arguments: dict[str, Any]) -> Any:
    import datasets
    import huggingface_hub.errors as hub_errors
    from huggingface_hub.utils import httpx  # the HTTP library that this version of the Hub's client uses

    offline = datasets.config.HF_HUB_OFFLINE
    try:
        return datasets.load_dataset(**{k: v for k, v in arguments.items() if v is not None})
    except datasets.exceptions.DatasetNotFoundError as error:
        raise UserError(
            f"there is no dataset '{shown}' on the Hub, or it is private or gated",
            why=_reason(error),
            fix="Check the name, or log in with `hf auth login`; a local path must exist",
        ) from error
    except ConnectionError as error:
        why = (
            "HF_HUB_OFFLINE is set and it is not in the local cache"
            if offline
            else "the Hub cannot be reached and it is not in the local cache"
        )
        raise UserError(
            f"cannot load the dataset '{shown}'", why=why, fix="Go online once, or give a local file or folder"
        ) from error
    except (*_LIBRARY, datasets.exceptions.DatasetsError, hub_errors.HfHubHTTPError, httpx.HTTPError) as error:
        raise UserError(f"cannot load the dataset '{shown}'", why=_reason(error.__cause__ or error)) from error


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__


def _commit(dataset: Any) -> str | None:
    """The Hub commit the rows come from, as recorded in the names of the downloaded files; None if not recorded."""
    for url in dataset.info.download_checksums or {}:
        match = re.search(r"@([0-9a-f]{40})/", str(url))
        if match:
            return match[1]
    return None


def open_saved(folder: Path, split: str | None) -> tuple[Any, str | None]:
    """A `save_to_disk` folder: (datasets.Dataset, split or None)."""
    import datasets

    try:
        dataset = datasets.load_from_disk(str(folder))
    except _LIBRARY as error:
        raise UserError("the save_to_disk folder is incomplete or damaged", file=folder, why=_reason(error)) from error
    if isinstance(dataset, Mapping):
        split = pick_split([str(s) for s in dataset], split, folder)
        dataset = dataset[split]
    elif split is not None:
        raise UserError(f"there is no split '{split}'", file=folder, why="the folder holds a single dataset")
    try:
        dataset.data.table.validate(full=True)  # a flipped bit in an offset would end the process, not raise
    except pa.ArrowException as error:
        raise UserError("the save_to_disk folder is incomplete or damaged", file=folder, why=_reason(error)) from error
    return dataset, split


def dataset_rows(dataset: Any, file: object = None) -> Iterator[Row]:
    """Rows of a `datasets.Dataset` or `IterableDataset` as plain Python values, in its own order; images stay bytes.

    Raises UserError for what the library cannot turn into values, with the first row of the batch it stands in.
    """
    import datasets

    n_rows = 0
    try:
        plain = dataset.with_format(None)
        for name, feature in (plain.features or {}).items():
            if isinstance(feature, (datasets.Image, datasets.Audio, datasets.Video)):
                plain = plain.cast_column(name, type(feature)(decode=False))  # never decode hostile media
        if isinstance(plain, datasets.IterableDataset):
            for row in plain:
                yield row
                n_rows += 1
            return
        refuse_twins(plain.column_names, file)
        for batch in plain.iter(batch_size=BATCH_ROWS):
            names = list(batch)
            for values in zip(*(batch[n] for n in names), strict=True):
                yield dict(zip(names, values, strict=True))
                n_rows += 1
    except _LIBRARY as error:
        raise UserError("the rows cannot be read", file=file, row=n_rows, why=_reason(error)) from error
