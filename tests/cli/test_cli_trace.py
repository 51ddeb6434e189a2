"""`pretilt trace` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc
import pytest
from command_line import in_process, of_its_own
from tiny_lens import rows

import pretilt


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_lens: dict[str, str]) -> pretilt.AuditResult:
    folder = tmp_path_factory.mktemp("traced")
    some = rows(90)
    for i, row in enumerate(some):  # whatever is responsible, some of it is hidden
        row["chosen"][0]["content"] += " He was murdered." if i % 3 == 0 else ""
    out = folder / "run"
    return pretilt.audit(some, out=out, despite_doctor=True, **shared_lens)


@pytest.fixture(scope="module")
def hypothesis(finished: pretilt.AuditResult) -> str:
    here = (pc.field("view") == "global") & (pc.field("direction") == "amplify") & (pc.field("rank") == 1)
    found: str = finished.hypotheses.filter(here)["hypothesis_id"][0].as_py()
    return found


def test_an_effect_with_its_tokens_and_an_export(
    finished: pretilt.AuditResult, hypothesis: str, tmp_path: Path
) -> None:
    result = in_process("trace", finished.path, hypothesis, "-n", 3, "--export", tmp_path / "out.jsonl", "--top", 20)
    assert result.returncode == 0, result.stderr
    assert f"trace of {hypothesis}" in result.stdout and "«" in result.stdout
    quoted = result.stdout.split("Most responsible")[1]  # the concept's own name is never hidden
    assert "[hidden: --show-text]" in quoted and "murdered" not in quoted
    exported = [json.loads(line)["pair_id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(exported) == 20
    again = in_process(
        "trace", finished.path, hypothesis, "-n", 3, "--show-text", "--no-tokens", "--export", tmp_path / "out.jsonl"
    )
    assert again.returncode == 2 and "the file exists" in again.stderr
    shown = in_process("trace", finished.path, hypothesis, "-n", 3, "--show-text", "--no-tokens")
    assert "murdered" in shown.stdout.split("Most responsible")[1] and "«" not in shown.stdout
    assert exported[0] in shown.stdout


def test_json_is_all_there_is_on_standard_output(finished: pretilt.AuditResult, hypothesis: str) -> None:
    told = json.loads(of_its_own("trace", finished.path, hypothesis, "--json", "-n", 2).stdout)
    assert told["trace"] == "effect" and told["id"] == hypothesis and len(told["responsible"]) == 2
    pair_id = told["responsible"][0]["pair"]["pair_id"]
    back = json.loads(in_process("trace", finished.path, pair_id, "--json", "--no-tokens").stdout)
    assert back["trace"] == "pair" and back["pair"]["pair_id"] == pair_id
    assert hypothesis in [lesson["hypothesis_id"] for lesson in back["everywhere"]]


def test_a_wrong_id_is_one_line(finished: pretilt.AuditResult) -> None:
    result = of_its_own("trace", finished.path, "gruop:1:2")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: 'gruop:1:2' is no id and no name of a concept. Did you mean group:1:2")
    assert result.stderr.count("\n") == 1


def test_the_help_names_the_ids() -> None:
    shown = in_process("trace", "--help").stdout
    for words in ("group:12:7", "concept:7", "pair:", "--export", "--no-tokens"):
        assert words in shown
