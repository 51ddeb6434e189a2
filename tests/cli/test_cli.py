"""The command line as a user types it: results on standard output, one line for every mistake, never a traceback."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process, of_its_own
from tiny_lens import rows, write_lens, write_rows


@pytest.fixture(scope="module")
def lens(shared_lens: dict[str, str]) -> list[str]:
    return ["--model", shared_lens["model"], "--dictionary", shared_lens["dictionary"]]


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The one line on standard error that begins with `error:`."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


def test_the_summary_says_what_was_found_and_how_to_see_it(lens: list[str], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", rows(90))
    result = in_process("audit", source, "--out", tmp_path / "run", *lens)
    assert result.returncode == 0, result.stderr
    for words in (
        "Pre-flight",
        "Most amplified",
        "Most suppressed",
        "90 pairs",
    ):
        assert words in result.stdout.replace("\n", " ") or words in result.stdout
    assert f"pretilt view {tmp_path / 'run'}" in result.stderr and "pretilt export-site RUN DIR" in result.stderr
    assert not list((tmp_path / "run").glob("*.html"))


def test_json_is_all_there_is_on_standard_output(lens: list[str], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", rows(40))
    result = of_its_own("audit", source, "--out", tmp_path / "run", "--json", *lens)
    summary = json.loads(result.stdout)
    assert summary["read"]["pairs"] == 40
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())


def test_the_bundled_lens_is_named_when_none_is_given(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", rows(30))
    result = in_process("audit", source, "--out", tmp_path / "run", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "bundled lens" in result.stderr


def test_a_configuration_file_and_the_command_line_over_it(lens: list[str], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", rows(60))
    config = tmp_path / "run.yaml"
    config.write_text("limit: 50\nseed: 4\n")
    result = in_process("audit", source, "--out", tmp_path / "run", "--config", config, "--limit", 40, "--json", *lens)
    assert result.returncode == 0, result.stderr
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert (settings["limit"], settings["seed"]) == (40, 4)


def test_rows_that_cannot_be_used_are_counted_and_listed(lens: list[str], tmp_path: Path) -> None:
    some = rows(40)
    some[3]["rejected"] = some[3]["chosen"]
    some[7]["chosen"][0]["content"] = "  "
    result = in_process(
        "audit", write_rows(tmp_path / "pairs.jsonl", some), "--out", tmp_path / "run", "--dry-run", *lens
    )
    assert "identical" in result.stdout and "empty" in result.stdout
    import pyarrow.parquet as pq

    dropped = pq.read_table(tmp_path / "run" / "dropped.parquet")
    assert dict(zip(dropped["row_index"].to_pylist(), dropped["reason"].to_pylist(), strict=True)) == {
        3: "identical",
        7: "empty",
    }


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


GOOD = json.dumps(rows(1)[0]).encode() + b"\n"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.jsonl", b'{"question": "a", "good": "b", "bad": "c"}\n', ["question", "good", "bad", "--column"]),
        ("p.jsonl", GOOD * 2 + GOOD.replace(b'"chosen": [', b'"chosen": 7, "was": ['), ["row 2", "chosen"]),
        ("p.jsonl", GOOD + b'{"prompt": \n', ["line 2", "JSON"]),
        ("p.jsonl", b"", ["empty"]),
        ("p.jsonl.gz", gzip.compress(GOOD * 400)[:-40], ["p.jsonl.gz"]),
        ("p.jsonl", GOOD + GOOD.replace(b"number", b"num\xff\xfeber"), ["line 2", "UTF-8"]),
        ("p.jsonl", b'{"prompt": "a", "completion": "b", "label": true}\n', ["unpaired"]),
        ("p.jsonl", b'{"prompt": "a", "chosen": "b", "rejected": "c", "images": ["x.png"]}\n', ["image"]),
    ],
    ids=["missing column", "wrong type", "invalid JSON", "empty", "truncated gzip", "not UTF-8", "unpaired", "images"],
)
def test_a_bad_file_is_one_line(lens: list[str], tmp_path: Path, name: str, content: bytes, says: list[str]) -> None:
    line = refused(in_process("audit", _write(tmp_path / name, content), "--out", tmp_path / "run", *lens))
    assert name in line
    for words in says:
        assert words.lower() in line.lower(), line


def test_a_source_that_does_not_exist(lens: list[str], tmp_path: Path) -> None:
    assert "nowhere.jsonl" in refused(in_process("audit", tmp_path / "nowhere.jsonl", "--out", tmp_path / "run", *lens))


def test_an_unknown_hub_id_while_offline(lens: list[str], tmp_path: Path) -> None:
    line = refused(in_process("audit", "nobody/no-such-pairs", "--out", tmp_path / "run", *lens))
    assert "nobody/no-such-pairs" in line
    assert "offline" in line.lower()


def test_a_model_without_a_chat_template(tmp_path: Path) -> None:
    model, dictionary = write_lens(tmp_path / "lens", template=False, trained=False)
    source = write_rows(tmp_path / "pairs.jsonl", rows(30))
    line = refused(in_process("audit", source, "--out", tmp_path / "run", "--model", model, "--dictionary", dictionary))
    assert "chat template" in line


def test_a_layer_that_does_not_exist(lens: list[str], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", rows(30))
    line = refused(in_process("audit", source, "--out", tmp_path / "run", "--layer", 44, *lens))
    assert "--layer 44 is not the layer of the dictionary" in line
    assert "layers are counted from 0" in line


def test_a_dictionary_of_another_width_and_one_without_a_threshold(lens: list[str], tmp_path: Path) -> None:
    import torch

    from pretilt.lens.dictionary import Dictionary
    from pretilt.lens.folder import save_dictionary

    source = write_rows(tmp_path / "pairs.jsonl", rows(30))
    wide = Dictionary(
        "jumprelu",
        W_enc=torch.ones(48, 8),
        b_enc=torch.zeros(8),
        W_dec=torch.ones(8, 48),
        b_dec=torch.zeros(48),
        threshold=torch.ones(8),
        metadata={"hook_name": "blocks.1.hook_resid_post"},
    )
    save_dictionary(wide, tmp_path / "wide")
    model = lens[:2]
    line = refused(in_process("audit", source, "--out", tmp_path / "a", *model, "--dictionary", tmp_path / "wide"))
    assert "48" in line and "32" in line
    config = json.loads((tmp_path / "wide" / "cfg.json").read_text())
    config["architecture"] = "batchtopk"
    (tmp_path / "wide" / "cfg.json").write_text(json.dumps(config))
    line = refused(in_process("audit", source, "--out", tmp_path / "a", *model, "--dictionary", tmp_path / "wide"))
    assert "threshold" in line


def test_a_model_without_a_dictionary_asks_for_one(lens: list[str], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", rows(30))
    assert "--dictionary is missing" in refused(in_process("audit", source, "--out", tmp_path / "run", *lens[:2]))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_keeps_what_is_there(lens: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot grow: /dev/full in place of the temporary file of the first table."""
    source = write_rows(tmp_path / "pairs.jsonl", rows(30))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f"pairs.parquet.{os.getpid()}.partial").symlink_to("/dev/full")
    with monkeypatch.context() as kept:
        kept.setattr("pretilt.lock.discard_partials", lambda folder: None)  # else the link is gone at the start
        line = refused(in_process("audit", source, "--out", tmp_path / "run", *lens))
    assert "the disk is full" in line
    assert in_process("audit", source, "--out", tmp_path / "run", *lens).returncode == 0  # and on it goes


def test_an_output_that_cannot_be_written(lens: list[str], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", rows(30))
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    assert str(blocked) in refused(in_process("audit", source, "--out", blocked / "run", *lens))
    # /sys takes no new folders, not even from the superuser, for whom permissions mean nothing
    line = refused(in_process("audit", source, "--out", "/sys/pretilt", *lens))
    assert "/sys/pretilt" in line


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("--turns", "sideways", "turns"), ("--holdout", "1.5", "holdout"), ("--column", "chosen", "our_name=source_name")],
)
def test_an_option_out_of_range(lens: list[str], tmp_path: Path, option: str, value: str, says: str) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", rows(30))
    assert says in refused(in_process("audit", source, option, value, "--out", tmp_path / "run", *lens))


def test_an_unknown_name_in_the_configuration(lens: list[str], tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("lmit: 3\n")
    line = refused(in_process("audit", "x.jsonl", "--config", config, *lens))
    assert "lmit" in line
    assert "limit" in line


def test_fit_trains_a_dictionary_that_audit_reads(lens: list[str], tmp_path: Path) -> None:
    source: Any = write_rows(tmp_path / "pairs.jsonl", rows(120))
    fitted = ["--model", lens[1], "--layer", 1, "--out", tmp_path / "d", "--features", 64, "--active", 6, "--epochs", 1]
    result = in_process("fit", source, *fitted, "--json")
    assert result.returncode == 0, result.stderr
    card = json.loads(result.stdout)
    assert card["n_features"] == 64
    assert 0 < card["heldout"]["l0"] < 64
    result = in_process(
        "audit", source, "--out", tmp_path / "run", "--model", lens[1], "--dictionary", tmp_path / "d", "--json",
        "--despite-doctor",  # one epoch on 120 pairs: it does not explain enough
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
