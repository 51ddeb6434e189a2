"""A run folder that was damaged: every reader says so in one line, and the command that wrote a file mends it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process
from harms import HARMS, empty, flip, folder_in_its_place, truncate
from tiny_lens import artifacts

import pretilt
from pretilt.artifacts import read_sealed
from pretilt.errors import UserError
from pretilt.run import Run


@pytest.fixture
def copied(shared_run: pretilt.AuditResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared_run.path, tmp_path / "run"))


def audit_again(shared_run: pretilt.AuditResult, copied: Path, lens: dict[str, str]) -> None:
    pretilt.audit(shared_run.path.parent / "pairs.jsonl", out=copied, **lens)


def one_line_of(arguments: tuple[object, ...]) -> str:
    result = in_process(*arguments)
    assert result.returncode == 2, result.stderr
    line: str = result.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ") and "Traceback" not in result.stderr
    return line


def test_every_artifact_harmed_in_every_way_is_one_line(copied: Path) -> None:
    names = [name for stage in Run(copied).manifest["stages"].values() for name in stage["files"]]
    assert len(names) > 20
    for name in names:
        content = (copied / name).read_bytes()
        for harm in HARMS:
            harm(copied / name)
            with pytest.raises(UserError, match=rf"the run is damaged \(.*{name}\): .*pretilt audit.*rebuilds"):
                Run(copied).file(name)
            shutil.rmtree(copied / name) if (copied / name).is_dir() else (copied / name).unlink(missing_ok=True)
            (copied / name).write_bytes(content)
        assert Run(copied).file(name)


@pytest.mark.parametrize(
    ("harmed", "command"),
    [
        ("pairs.parquet", ("doctor",)),
        ("features/chosen-00000.parquet", ("forecast",)),
        ("features/rejected-00000.parquet", ("trace", "global:*:0", "--no-tokens")),
        ("concepts.parquet", ("describe",)),
        ("tokens.parquet", ("rollouts", "--n-prompts", "2", "--max-new-tokens", "4")),
        ("pairs.parquet", ("train",)),
        ("doctor.json", ("forecast",)),
        ("preflight.json", ("doctor",)),
    ],
)
def test_a_command_that_meets_a_damaged_file_names_it(copied: Path, harmed: str, command: tuple[str, ...]) -> None:
    flip(copied / harmed)
    line = one_line_of((command[0], copied, *command[1:]))
    assert harmed in line and "pretilt audit" in line


def test_the_audit_mends_everything_at_once(
    shared_run: pretilt.AuditResult, shared_lens: dict[str, str], copied: Path
) -> None:
    names = [name for stage in Run(copied).manifest["stages"].values() for name in stage["files"]]
    for number, name in enumerate(names):
        HARMS[number % len(HARMS)](copied / name)
    audit_again(shared_run, copied, shared_lens)
    assert artifacts(copied) == artifacts(shared_run.path)


def test_a_flipped_shard_of_an_unfinished_harvest_is_not_believed(
    shared_run: pretilt.AuditResult, shared_lens: dict[str, str], copied: Path
) -> None:
    (copied / "run.json").unlink()  # as after a kill before the first stage was recorded
    flip(copied / "features/chosen-00000.parquet")
    audit_again(shared_run, copied, shared_lens)
    assert artifacts(copied) == artifacts(shared_run.path)


def test_a_folder_with_files_in_the_place_of_one_is_left_alone(
    shared_run: pretilt.AuditResult, shared_lens: dict[str, str], copied: Path
) -> None:
    folder_in_its_place(copied / "groups.parquet")
    (copied / "groups.parquet" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"groups\.parquet.*a folder is in the place of the file.*Move it away"):
        audit_again(shared_run, copied, shared_lens)
    assert (copied / "groups.parquet" / "mine.txt").read_text() == "mine"


def _with(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the manifest as somebody would who knows that its hash has to go."""

    def harm(path: Path) -> None:
        manifest = read_sealed(path.read_bytes())
        changed = change(manifest)
        path.write_text(json.dumps(manifest if changed is None else changed))

    return harm


def _file(name: str, digest: Any) -> Callable[[Path], None]:
    return _with(lambda m: m["stages"]["pairs"]["files"].update({name: digest}))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        *((harm, "manifest is damaged") for harm in (flip, truncate, empty)),
        (Path.unlink, "not a run folder"),
        (folder_in_its_place, "cannot read the run folder"),
        (_with(lambda m: [m]), "no JSON object"),
        (lambda path: path.write_text("[" * 100_000), "damaged"),
        (_with(lambda m: m.update(format_version=6)), "format version 6, ours is 5.*Update pretilt"),
        (_with(lambda m: m.update(format_version=1)), "format version 1, ours is 5.*new folder"),
        (_with(lambda m: m.update(format_version=2)), "format version 2, ours is 5.*new folder"),
        (_with(lambda m: m.update(format_version=3)), "format version 3, ours is 5.*new folder"),
        (_with(lambda m: m.update(format_version=4)), "format version 4, ours is 5.*new folder"),
        (_with(lambda m: m.update(format_version="3")), "format version 3"),
        (_with(lambda m: m.pop("stages") and None), "stages: field required"),
        (_with(lambda m: m["stages"].update(pairs=[])), "stages.pairs: input should be a valid dict"),
        (_with(lambda m: m["stages"]["pairs"].pop("files") and None), "stages.pairs.files: field required"),
        (_file("pairs.parquet", 7), "files.pairs.parquet: input should be a valid string"),
        (_file("../outside", "ab"), "outside the run"),
        (_file("/etc/passwd", "ab"), "outside the run"),
        (_with(lambda m: m.update(lens=[])), "lens: input should be a valid dict"),
        (_with(lambda m: m.update(settings=3)), "settings: input should be a valid dict"),
        (_with(lambda m: m.pop("lens") and None), "holds no 'n_features'|holds no 'lens'"),
    ],
)
def test_a_manifest_that_is_damaged_or_made_up(copied: Path, harm: Callable[[Path], None], says: str) -> None:
    harm(copied / "run.json")
    import re

    assert re.search(says, one_line_of(("forecast", copied)))


def test_a_checkpointed_report_of_a_training_is_sealed(tmp_path: Path) -> None:
    from pretilt.train import folder

    folder.begin(tmp_path, "key", 1, {"forecast": None})
    assert folder.opened(tmp_path, "key", 1) is not None
    text = (tmp_path / "train.json").read_text()
    (tmp_path / "train.json").write_text(text.replace('"processes": 1', '"processes": 2'))
    with pytest.raises(UserError, match="not what was written"):
        folder.opened(tmp_path, "key", 1)


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("o" * 5000, "too long"),
        ("bad\ud800name", "not text"),
        ("nul\0name", "not text"),
        ("/proc/nowhere/run", "cannot be made"),
        ("{tmp}/file", "a file"),
        ("{tmp}/dangling", "in the way"),
        ("{tmp}/circle", "circle"),
    ],
)
def test_odd_names_of_the_folder_are_one_line(
    tmp_path: Path, shared_run: pretilt.AuditResult, shared_lens: dict[str, str], out: str, says: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(UserError, match=says) as caught:
        pretilt.audit(shared_run.path.parent / "pairs.jsonl", out=out.format(tmp=tmp_path), **shared_lens)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
