"""The run folder: what is believed, what is rebuilt, what is an error."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pyarrow as pa
import pytest

from pretilt import run as run_module
from pretilt.errors import UserError
from pretilt.run import Run, Shards, content_hash, file_hash, write_table

TABLE = pa.table({"x": [1, 2, 3]})


def build(path: Path, value: int, config: int = 0) -> tuple[bool, bool]:
    """Two stages, the second reading the first; returns which of them were found done."""
    run = Run(path)
    with run.stage("first", version=1, config={"c": config}) as first:
        if not first.done:
            first.write("first.parquet", pa.table({"x": [value]}))
    with run.stage("second", version=1, config={}, reads=["first"]) as second:
        if not second.done:
            second.write("second.parquet", pa.table({"y": run.table("first.parquet")["x"]}))
    return first.done, second.done


def test_a_finished_stage_is_skipped(tmp_path: Path) -> None:
    assert build(tmp_path, 1) == (False, False)
    assert build(tmp_path, 1) == (True, True)


def test_a_changed_setting_rebuilds_what_reads_it_only_if_the_bytes_differ(tmp_path: Path) -> None:
    build(tmp_path, 1)
    assert build(tmp_path, 2, config=1) == (False, False)
    # other setting and key, but the same value: the stamp differs, so the reader is rebuilt and stays correct
    assert build(tmp_path, 2, config=1) == (True, True)


def test_a_tampered_file_is_rebuilt(tmp_path: Path) -> None:
    build(tmp_path, 1)
    (tmp_path / "first.parquet").write_bytes(b"nonsense")
    assert build(tmp_path, 1) == (False, True)  # rebuilt to the same bytes, so its reader still holds


def test_an_interrupted_stage_records_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(KeyboardInterrupt), run.stage("first", version=1, config={}) as stage:
        stage.write("first.parquet", TABLE)
        raise KeyboardInterrupt
    assert not (tmp_path / "run.json").exists()


def test_same_table_and_key_give_the_same_bytes(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", TABLE, "key")
    write_table(tmp_path / "b.parquet", TABLE, "key")
    assert file_hash(tmp_path / "a.parquet") == file_hash(tmp_path / "b.parquet")


def test_a_shard_of_another_key_or_half_written_is_not_believed(tmp_path: Path) -> None:
    ours, theirs = Shards(tmp_path, "ours", ["a", "b"]), Shards(tmp_path, "theirs", ["a", "b"])
    theirs.write(0, {"a": TABLE, "b": TABLE})
    ours.write(1, {"a": TABLE, "b": TABLE})
    assert [ours.has(0), ours.has(1)] == [False, True]
    whole = ours.path("b", 1).read_bytes()
    ours.path("b", 1).write_bytes(whole[: len(whole) // 2])
    assert not ours.has(1)
    (tmp_path / "a-00002.parquet.partial").write_bytes(b"")
    ours.discard_others()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-00001.parquet"]


def test_a_shard_must_have_every_part(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shard 0"):
        Shards(tmp_path, "key", ["a", "b"]).write(0, {"a": TABLE})


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "no permission"),
        (errno.EFBIG, "larger than .* allows"),
        (errno.EIO, "refused"),
        (errno.EMFILE, "too many files"),
        (errno.ESTALE, "refused"),
    ],
)
def test_a_disk_that_takes_no_more_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    def refuse(table: pa.Table, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(number, "refused", str(path))

    monkeypatch.setattr(run_module.pq, "write_table", refuse)
    with pytest.raises(UserError, match=says) as caught:
        write_table(tmp_path / "a.parquet", TABLE, "key")
    assert str(tmp_path / "a.parquet") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []  # nothing half-written stays


def test_an_unknown_manifest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"format_version": 99}))
    with pytest.raises(UserError, match="format version 99"):
        Run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="manifest is damaged"):
        Run(tmp_path)


def test_a_missing_artifact_says_which(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hypotheses\.parquet"):
        Run(tmp_path).table("hypotheses.parquet")


def test_content_hash_ignores_the_order_of_keys() -> None:
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1}) != content_hash({"a": 2, "b": 1})
