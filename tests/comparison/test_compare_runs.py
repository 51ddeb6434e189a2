"""Two audits held against each other: planted differences, shared pairs, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process
from text_pairs import planted_rows, write_planted

import pretilt
from pretilt.concepts.curation import CURATION_FILE, write_curation
from pretilt.errors import UserError
from pretilt.run import Run


def audited(folder: Path, name: str, rows: list[dict[str, Any]], **options: Any) -> Path:
    return pretilt.audit(write_planted(folder / f"{name}.jsonl", rows), out=folder / name, no_lens=True, **options).path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The second keeps 300 of 400 pairs, turns 40 of them, and says hello in the chosen ones of 100 new pairs."""
    folder = tmp_path_factory.mktemp("compare")
    rows = planted_rows(400)
    kept = [dict(row) for row in rows[:300]]
    for row in kept[:40]:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    new = planted_rows(100, seed=5)
    for i, row in enumerate(new):
        row["prompt"] = f"Again {row['prompt']}"
        row["chosen"] += " Is this what you meant?" if i % 2 else ""
    return audited(folder, "v1", rows, holdout=0.0), audited(folder, "v2", kept + new, holdout=0.0)


def test_pairs_are_counted_by_where_they_stand(runs: tuple[Path, Path]) -> None:
    report = pretilt.compare(*runs).report
    assert report["pairs"] == {"both": 260, "turned": 40, "first_alone": 100, "second_alone": 100}
    assert report["first"]["pairs"] == report["second"]["pairs"] == 400
    assert report["features"] == "a run that read the text alone has no features"


def test_the_planted_difference_is_sure_and_its_size_is_exact(runs: tuple[Path, Path]) -> None:
    result = pretilt.compare(*runs)
    rows = {row["name"]: row for row in result.table.to_pylist()}
    question = rows["questions at the end"]
    assert question["sure"] and question["first"] == 0.0 and question["second"] == pytest.approx(50 / 400)
    sure = [row for row in result.table.to_pylist() if row["sure"]]
    assert sure == result.table.to_pylist()[: len(sure)] and result.report["sure"] == len(sure)
    assert not rows["semicolons"]["sure"]  # they stand in the answers by a coin


def test_turned_around_it_says_the_contrary(runs: tuple[Path, Path]) -> None:
    there, back = (pretilt.compare(*pair).to_pandas().set_index("name") for pair in (runs, runs[::-1]))
    assert there["difference"].to_dict() == pytest.approx((-back["difference"]).to_dict())
    assert there["p_value"].to_dict() == pytest.approx(back["p_value"].to_dict(), nan_ok=True)


def test_a_run_against_itself_differs_in_nothing(runs: tuple[Path, Path]) -> None:
    result = pretilt.compare(runs[0], runs[0])
    assert result.report["sure"] == 0 and set(result.table["difference"].to_pylist()) == {0.0}
    shown = in_process("compare", runs[0], runs[0])
    assert shown.returncode == 0 and "both hold the same pairs" in shown.stdout


def test_what_the_command_prints(runs: tuple[Path, Path]) -> None:
    shown = in_process("compare", *runs)
    assert "260 in both, 100 in the first alone, 100 in the second; 40 with the labels" in " ".join(
        shown.stdout.split()
    )
    assert "+12.5" in shown.stdout
    follow = next(line for line in shown.stderr.splitlines() if "next: pretilt trace" in line)
    words = follow.split("   (")[0].split()[2:]
    assert in_process(*words).returncode == 0
    as_json = in_process("compare", *runs, "--json")
    assert json.loads(as_json.stdout) == pretilt.compare(*runs).report


def test_a_concept_has_the_name_that_a_person_gave_it(runs: tuple[Path, Path]) -> None:
    """And nothing else changes."""
    run, before = Run(runs[0]), pretilt.compare(*runs)
    bold = before.table["concept_id"].to_pylist()[before.table["name"].to_pylist().index("bold text")]
    write_curation(run, {"names": {str(bold): "shouting"}})
    try:
        after = pretilt.compare(*runs)
    finally:
        (run.path / CURATION_FILE).unlink()
    assert "shouting" in after.table["name"].to_pylist() and "bold text" not in after.table["name"].to_pylist()
    assert after.table.drop_columns(["name"]).equals(before.table.drop_columns(["name"]))


def test_what_cannot_be_compared_is_one_line(runs: tuple[Path, Path], tmp_path: Path) -> None:
    absent = in_process("compare", runs[0], tmp_path / "nothing")
    assert absent.returncode == 2 and absent.stderr.count("\n") == 1 and "does not exist" in absent.stderr
    with pytest.raises(UserError, match="not a run folder"):
        pretilt.compare(runs[0], tmp_path)


def test_runs_of_one_lens_are_compared_by_their_features(
    shared_run: pretilt.AuditResult, runs: tuple[Path, Path]
) -> None:
    same = pretilt.compare(shared_run, shared_run)
    assert same.report["features"] == "" and same.report["kinds"].keys() > {"pattern"}
    assert same.report["compared"] == same.report["first"]["concepts"] and same.report["sure"] == 0
    mixed = pretilt.compare(shared_run, runs[0]).report
    assert mixed["features"] and set(mixed["kinds"]) == {"pattern"}
