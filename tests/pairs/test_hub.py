"""Rows from the Hub: names, splits, what the library is asked, and its errors in one line."""

import os
import subprocess
import sys

import datasets
import pytest
from huggingface_hub.utils import httpx
from source_files import ROWS, jsonl, refused, rows_of, write

from pretilt.errors import UserError
from pretilt.pairs.hub import HubName, open_hub, parse_hub_name, pick_split
from pretilt.pairs.load import load_rows
from pretilt.pairs.normalise import normalise


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
        (httpx.ReadTimeout("The read operation timed out"), "The read operation timed out"),
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
        "from pretilt.pairs.load import load_rows\n"
        "from pretilt.errors import UserError\n"
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
