"""The whole audit on a tiny lens: tables that hang together, the same bytes after a kill, the same from Python."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from children import COMMAND_LINE, Child, run_child
from command_line import in_process
from tiny_lens import artifacts, rows, write_rows

import pretilt
from pretilt import schema
from pretilt.errors import UserError

Audit = subprocess.Popen[bytes]

SCHEMAS = {
    "pairs": schema.PAIRS,
    "tokens": schema.TOKENS,
    "dropped": schema.DROPPED,
    "concepts": schema.CONCEPTS,
    "groups": schema.GROUPS,
    "prompt_concepts": schema.PROMPT_CONCEPTS,
    "prompt_members": schema.PROMPT_MEMBERS,
    "hypotheses": schema.HYPOTHESES,
    "evidence": schema.EVIDENCE,
}


@pytest.fixture(scope="module")
def lens(shared_lens: dict[str, str]) -> dict[str, Any]:
    return dict(shared_lens)


@pytest.fixture(scope="module")
def finished(shared_run: pretilt.AuditResult) -> pretilt.AuditResult:
    return shared_run


def test_every_table_has_its_schema(finished: pretilt.AuditResult) -> None:
    for name, expected in SCHEMAS.items():
        assert getattr(finished, name).schema.remove_metadata() == expected, name


def test_concepts_have_names_with_contexts_and_those_alike_are_listed(finished: pretilt.AuditResult) -> None:
    from pretilt.concepts.judged_names import KINDS

    rows = finished.concepts.filter(pc.field("kind") != "pattern").to_pylist()
    assert {row["name_kind"] for row in rows} <= set(KINDS)
    assert all(row["name_score"] is None or 0.6 <= row["name_score"] <= 1 for row in rows)
    assert any(row["contexts"] for row in rows) and max(len(row["contexts"]) for row in rows) <= 3
    alike = finished.run.table("alike.parquet")
    assert alike.schema.remove_metadata() == schema.ALIKE
    assert all(row["concept_id"] < row["other_id"] and row["correlation"] >= 0.9 for row in alike.to_pylist())


def test_every_pair_is_accounted_for(finished: pretilt.AuditResult) -> None:
    kept = set(finished.pairs["row_index"].to_pylist())
    assert kept | set(finished.dropped["row_index"].to_pylist()) == set(range(240))
    assert finished.tokens["pair_id"].equals(finished.pairs["pair_id"])
    assert finished.group_members["pair_id"].equals(finished.pairs["pair_id"])
    assert finished.span("chosen").fire_count.shape == (len(finished.pairs), 96)


def test_the_planted_word_is_found_with_its_pairs(finished: pretilt.AuditResult) -> None:
    """`Thank you!` ends a third of the chosen responses and no rejected one: some concept must lead, traced to them.

    Of the listed pairs a third would hold it by chance; dictionaries fitted with six seeds gave 63 to 88 %.
    """
    table = finished.hypotheses
    first = table.filter(
        (pc.field("view") == "global") & (pc.field("direction") == "amplify") & (pc.field("rank") == 1)
    )
    assert first["ci_lo"][0].as_py() > 0
    found = finished.evidence.filter(pc.field("hypothesis_id") == first["hypothesis_id"][0])
    responses = ["".join(pieces) for pieces in found["chosen_pieces"].to_pylist()]
    assert np.mean(["Thank you" in text for text in responses]) > 0.6
    assert all(max(acts) > 0 for acts in found["chosen_acts"].to_pylist())


def test_heldout_pairs_were_never_fitted(finished: pretilt.AuditResult) -> None:
    n_train = pc.sum(pc.equal(finished.pairs["split"], "train")).as_py()
    assert 0 < n_train < len(finished.pairs)
    everywhere = finished.hypotheses.filter(pc.field("view") == "global")
    assert set(everywhere["n_in"].to_pylist()) == {n_train}
    assert pc.sum(finished.groups["size"]).as_py() == n_train


def test_a_second_run_keeps_everything(finished: pretilt.AuditResult, lens: dict[str, Any], tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished.path, tmp_path / "run"))
    before = artifacts(out)
    seconds = {name: s["seconds"] for name, s in finished.run.manifest["stages"].items()}
    source = finished.path.parent / "pairs.jsonl"
    again = pretilt.audit(source, out=out, **lens)
    assert artifacts(again.path) == before
    assert {name: s["seconds"] for name, s in again.run.manifest["stages"].items()} == seconds  # no stage ran
    assert again.summary == finished.summary


def test_in_memory_rows_give_the_same_numbers(
    finished: pretilt.AuditResult, lens: dict[str, Any], tmp_path: Path
) -> None:
    """The second call in one process, and from a list of dicts: `pretilt.audit` stays callable and the same."""
    other = pretilt.audit(rows(), out=tmp_path / "run", **lens)
    assert other.hypotheses.equals(finished.hypotheses)
    assert other.evidence.equals(finished.evidence)


def test_a_handful_of_rows_ends_in_a_summary(lens: dict[str, Any], tmp_path: Path) -> None:
    """Of five pairs nothing is sure, and the terminal promises no sure hypothesis."""
    source = write_rows(tmp_path / "pairs.jsonl", rows(12))
    named = ["--model", lens["model"], "--dictionary", lens["dictionary"]]
    result = in_process("audit", source, "--limit", 5, "--out", tmp_path / "run", *named)
    assert result.returncode == 0, result.stderr
    assert "every sure" not in result.stdout
    assert json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))["trust"]["n_sure"] == 0
    assert not (tmp_path / "run" / "report.html").exists()


def test_another_seed_is_another_run(finished: pretilt.AuditResult, lens: dict[str, Any], tmp_path: Path) -> None:
    other = pretilt.audit(rows(), out=tmp_path / "run", seed=1, holdout=0.2, **lens)
    assert other.pairs["pair_id"].equals(finished.pairs["pair_id"])
    assert not other.pairs["split"].equals(finished.pairs["split"])


def test_paper_mode_tests_communities_alone(
    finished: pretilt.AuditResult, lens: dict[str, Any], tmp_path: Path
) -> None:
    paper = pretilt.audit(rows(), out=tmp_path / "run", paper=True, **lens)
    assert "feature" not in paper.concepts["kind"].to_pylist()
    assert paper.run.manifest["settings"]["graph"] == "paper"
    assert paper.run.manifest["measurement_id"] == finished.run.manifest["measurement_id"]


def test_the_random_baseline_is_another_measurement(
    finished: pretilt.AuditResult, lens: dict[str, Any], tmp_path: Path
) -> None:
    random = pretilt.audit(rows(), out=tmp_path / "run", baseline="random-dictionary", **lens)
    assert random.run.manifest["measurement_id"] != finished.run.manifest["measurement_id"]
    # calibrated to fire as often: the mean number of features per token stays
    assert random.run.manifest["lens"]["l0"] == pytest.approx(finished.run.manifest["lens"]["l0"], rel=0.15)


def _arguments(source: Path, out: Path, lens: dict[str, Any]) -> list[str]:
    named = ["--model", lens["model"], "--dictionary", lens["dictionary"]]
    return ["audit", str(source), "--out", str(out), "--json", *named]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, lens: dict[str, Any]) -> Iterator[tuple[Path, Audit]]:
    """The folder and the process at work in it, beside which the others are killed.

    A new interpreter: its hashes of strings, by which sets are ordered, are not those of the ones that are killed.
    """
    folder = tmp_path_factory.mktemp("undisturbed")
    source = write_rows(folder / "pairs.jsonl", rows(120))
    command = [sys.executable, "-m", "pretilt", *_arguments(source, folder / "run", lens)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        yield folder, process
        process.kill()  # it has ended, unless a test failed before


@pytest.mark.parametrize("after", [0.0, 0.7])
def test_killed_anywhere_it_ends_with_the_same_bytes(
    undisturbed: tuple[Path, Audit], lens: dict[str, Any], tmp_path: Path, after: float
) -> None:
    """SIGKILL once the first shard is written, and a little later; then the same command to the end."""
    (folder, whole), out = undisturbed, tmp_path / "run"
    arguments = _arguments(folder / "pairs.jsonl", out, lens)
    child = Child(COMMAND_LINE, *arguments)
    while not child.has_ended and not list(out.glob("features/*.parquet*")):
        time.sleep(0.005)
    time.sleep(after)
    child.kill()
    again = run_child(COMMAND_LINE, *arguments)
    assert again.status == 0, again.output
    assert whole.wait() == 0
    assert artifacts(out) == artifacts(folder / "run")


def test_a_dry_run_stops_before_the_model_reads(lens: dict[str, Any], tmp_path: Path) -> None:
    result = pretilt.audit(rows(60), out=tmp_path / "run", dry_run=True, **lens)
    assert result.summary["preflight"]["estimate"]["tokens"] == result.preflight["tokens"]["read"] > 0
    assert not (tmp_path / "run" / "features").exists()
    with pytest.raises(UserError, match=r"hypotheses\.parquet"):
        _ = result.hypotheses


def test_the_tables_open_without_pretilt(finished: pretilt.AuditResult) -> None:
    """Plain Arrow reads every Parquet file, and the documented join works."""
    code = (
        "import sys, pyarrow.parquet as pq, pathlib\n"
        f"folder = pathlib.Path({str(finished.path)!r})\n"
        "print(sum(pq.read_table(p).num_rows > 0 for p in folder.rglob('*.parquet')), 'pretilt' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split()[1] == "False"
    table: pa.Table = finished.hypotheses.join(finished.concepts.select(["concept_id", "name"]), "concept_id")
    assert table["name"].null_count == 0


def test_every_file_of_the_run_is_documented(finished: pretilt.AuditResult) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "artifacts.md").read_text(encoding="utf-8")
    for path in finished.path.rglob("*"):
        if path.is_file():
            name = path.relative_to(finished.path).as_posix()
            for span in schema.SPANS:
                name = name.replace(f"features/{span}-", "features/<span>-")
            assert f"`{name}`" in documented, name


def test_offline_and_without_a_home(lens: dict[str, Any], tmp_path: Path) -> None:
    """Nothing reaches for the network: with proxies that refuse and no cache, the audit runs."""
    dead = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        "HTTP_PROXY": dead,
        "HTTPS_PROXY": dead,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "none"),
    }
    source = write_rows(tmp_path / "pairs.jsonl", rows(60))
    command = [sys.executable, "-m", "pretilt", "audit", str(source), "--out", str(tmp_path / "run"), "--json"]
    command += ["--model", lens["model"], "--dictionary", lens["dictionary"]]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert json.loads(shown.stdout)["read"]["pairs"] > 0


def test_a_source_that_is_not_there_is_refused_before_a_lens_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a lens was asked")

    monkeypatch.setattr(importlib.import_module("pretilt.audit.step"), "choose_lens", never)
    with pytest.raises(UserError, match=r"no such file or folder.*nowhere\.jsonl"):
        pretilt.audit(tmp_path / "nowhere.jsonl", out=tmp_path / "run")
