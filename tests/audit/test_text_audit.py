"""`audit --no-lens`: planted traits of the text are found, nulls are not, and every number can be recounted."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from command_line import in_process, of_its_own
from text_pairs import planted_rows, write_planted

import pretilt
from pretilt.errors import UserError
from pretilt.settings import AuditSettings
from pretilt.view.plain_words import opening
from pretilt.view.summary import summary_of


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> pretilt.AuditResult:
    folder = tmp_path_factory.mktemp("text")
    return pretilt.audit(write_planted(folder / "pairs.jsonl", planted_rows()), out=folder / "run", no_lens=True)


def of_pattern(result: pretilt.AuditResult, name: str, view: str = "pattern") -> list[dict[str, Any]]:
    concepts = {row["pattern"]: row["concept_id"] for row in result.concepts.to_pylist()}
    rows = result.hypotheses.to_pylist()
    return [row for row in rows if row["view"] == view and row["concept_id"] == concepts[name]]


def test_what_was_planted_is_found_and_a_coin_is_not(audited: pretilt.AuditResult) -> None:
    pairs = audited.pairs.to_pylist()
    train = [row for row in pairs if row["split"] == "train"]
    bold, apology, semicolon = (of_pattern(audited, name)[0] for name in ("bold", "apology", "semicolon"))
    share = sum("**" in row["chosen"][0]["content"] for row in train) / len(train)
    assert bold["delta"] == pytest.approx(share) and bold["direction"] == "amplify" and bold["rank"] == 1
    sorry = sum("sorry" in row["rejected"][0]["content"] for row in train) / len(train)
    assert apology["delta"] == pytest.approx(-sorry) and apology["direction"] == "suppress" and apology["rank"] == 1
    assert max(bold["lfsr"], apology["lfsr"], bold["q_value"], apology["q_value"]) < 1e-6
    assert semicolon["q_value"] > 0.05


def test_shares_are_those_of_a_recount(audited: pretilt.AuditResult) -> None:
    train = [row for row in audited.pairs.to_pylist() if row["split"] == "train"]
    concept = next(row for row in audited.concepts.to_pylist() if row["pattern"] == "semicolon")
    for side in ("chosen", "rejected"):
        holds = [bool(re.search(";", row[side][0]["content"])) for row in train]
        assert concept[f"share_{side}"] == pytest.approx(np.mean(holds))
    words = {side: sum(len(row[side][0]["content"].split()) for row in train) for side in ("chosen", "rejected")}
    assert {
        side: int(audited.run.table("pattern_counts.parquet")[f"{side}_words"].to_numpy().sum()) for side in words
    } == {side: sum(len(row[side][0]["content"].split()) for row in audited.pairs.to_pylist()) for side in words}


def test_a_run_without_a_lens_holds_no_token_and_no_model(audited: pretilt.AuditResult) -> None:
    assert not (audited.path / "tokens.parquet").exists() and not (audited.path / "features").exists()
    assert "lens" not in audited.run.manifest and "measurement_id" not in audited.run.manifest
    assert set(audited.concepts["kind"].to_pylist()) == {"pattern"}
    assert audited.summary["read"]["unit"] == "words"
    assert set(audited.hypotheses["view"].to_pylist()) == {"pattern", "pattern_group"}


def test_the_opening_says_what_a_product_manager_asks(audited: pretilt.AuditResult) -> None:
    first = audited.summary["opening"][0]
    assert first.startswith("Training on these pairs would make the model use bold text (in 30 % of chosen and 0 % of")
    assert "It would use apologies (in 0 % of chosen and 21 % of rejected answers) and first person" in first


def test_the_opening_says_what_speaks_against_a_trait(audited: pretilt.AuditResult) -> None:
    effect = next(e for e in summary_of(audited.run).amplified_patterns if e.pattern == "bold")
    doubted = replace(effect, cautions=["near-duplicates", "length or source"])
    assert opening([doubted], [], {}, {}, 90, None)[0].endswith(
        "of rejected answers; most of it may be length or source) more."
    )


def test_each_source_alone(audited: pretilt.AuditResult) -> None:
    rows = {row["value"]: row for row in audited.summary["sources"]}
    train = [row for row in audited.pairs.to_pylist() if row["split"] == "train"]
    assert list(rows) == ["first", "second"] or list(rows) == ["second", "first"]
    for value, row in rows.items():
        of_source = [pair for pair in train if pair["source"] == value]
        assert row["n_pairs"] == len(of_source)
        taught = {p["pattern"]: p for p in row["patterns"]}
        assert taught["bold"]["delta"] == pytest.approx(np.mean(["**" in p["chosen"][0]["content"] for p in of_source]))
        assert "semicolon" not in taught
        longer = [p["n_chosen_tokens"] - p["n_rejected_tokens"] for p in of_source]
        assert row["length_difference"] == pytest.approx(np.mean(longer))
        by_family: dict[int, float] = {}
        for pair, difference in zip(of_source, longer, strict=True):
            off = difference - row["length_difference"]
            by_family[pair["family_id"]] = by_family.get(pair["family_id"], 0.0) + off
        square = sum(total**2 for total in by_family.values()) * len(by_family) / (len(by_family) - 1)
        assert row["length_error"] == pytest.approx(square**0.5 / len(longer))


def test_nothing_is_sure_of_shuffled_labels(tmp_path: Path) -> None:
    source = write_planted(tmp_path / "pairs.jsonl", planted_rows())
    result = pretilt.audit(source, out=tmp_path / "run", no_lens=True, baseline="shuffled-labels")
    assert result.summary["trust"]["n_sure"] == 0
    opening = " ".join(result.summary["opening"])
    assert opening.startswith("Nothing that stands in the text of the answers is surely favoured")
    assert re.search(r"a difference of \d+\.\d percentage points .* four of five cases", opening)


def test_the_difference_that_would_have_been_seen_is_that_of_the_first_test_of_its_view(tmp_path: Path) -> None:
    source = write_planted(tmp_path / "pairs.jsonl", planted_rows())
    result = pretilt.audit(source, out=tmp_path / "run", no_lens=True, baseline="shuffled-labels")
    statistics = result.run.json("statistics.json")
    rows = [row for row in result.hypotheses.to_pylist() if row["view"] == "pattern"]
    assert len(rows) == statistics["n_tested"]["pattern"] and min(row["q_value"] for row in rows) > 0.05
    needed = NormalDist().inv_cdf(1 - 0.05 / 2 / (len(rows) * 2))  # two views
    expected = (needed + NormalDist().inv_cdf(0.8)) * np.median([row["se_moderated"] for row in rows])
    assert statistics["views"]["pattern"]["smallest_visible"] == pytest.approx(expected)


def test_the_trace_marks_what_matched(audited: pretilt.AuditResult) -> None:
    traced = pretilt.trace(audited, "pattern:bold", number=3)
    assert traced.id.startswith("pattern:") and traced.direction == "amplify"
    for contribution in traced.responsible:
        start, end = contribution.chosen_fired[0][:2]
        assert contribution.pair.chosen[start:end].startswith("**") and contribution.u == 1
    with pytest.raises(UserError, match=r"there is no pattern 'bolt'.*Did you mean pattern:bold"):
        pretilt.trace(audited, "pattern:bolt")


def test_the_same_call_again_changes_nothing_and_a_pattern_of_ones_own_is_counted(
    audited: pretilt.AuditResult, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[[pattern]]\nname = "alpha-word"\ntitle = "alpha"\nphrase = "the word alpha"\ncounts = "presence"\n'
        'expression = \'\\balpha\\b\'\nmatches = ["an alpha", "alpha", "alpha."]\n'
        'misses = ["alphabet", "beta", "Alph"]\n'
    )
    source = audited.path.parent / "pairs.jsonl"
    before = audited.run.manifest["stages"]["audit"]["key"]
    again = pretilt.audit(source, out=audited.path, no_lens=True)
    assert again.run.manifest["stages"]["audit"]["key"] == before
    extended = pretilt.audit(source, out=tmp_path / "run", no_lens=True, patterns=str(mine))
    row = next(row for row in extended.concepts.to_pylist() if row["pattern"] == "alpha-word")
    train = [row for row in extended.pairs.to_pylist() if row["split"] == "train"]
    assert row["share_chosen"] == pytest.approx(np.mean(["alpha" in p["chosen"][0]["content"] for p in train]))
    mine.write_text("nothing that was counted")  # the run keeps what it counted with
    assert pretilt.trace(extended, "pattern:bold", number=1).responsible


def test_options_that_name_a_model_are_refused_beside_it() -> None:
    with pytest.raises(UserError, match="--no-lens reads no model: leave model, layer out"):
        AuditSettings.load(no_lens=True, model="org/model", layer=3)


def test_as_typed_and_without_torch(tmp_path: Path) -> None:
    source = write_planted(tmp_path / "pairs.jsonl", planted_rows(120))
    done = in_process("audit", source, "--no-lens", "--out", tmp_path / "run")
    assert done.returncode == 0 and "In the text" in done.stdout and "By source" in done.stdout
    assert "through the lens" not in done.stderr + done.stdout and "Most amplified  chosen" not in done.stdout
    assert "pattern:bold" in done.stdout and "next: pretilt trace" in done.stderr + done.stdout
    script = (
        "import sys, pretilt\n"
        f"pretilt.audit({str(source)!r}, out={str(tmp_path / 'other')!r}, no_lens=True)\n"
        "print('torch' in sys.modules)"
    )
    import subprocess

    fresh = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert fresh.stdout.splitlines()[-1] == "False"


def test_commands_that_need_a_lens_say_so(audited: pretilt.AuditResult) -> None:
    for command in ("doctor", "describe", "rollouts", "train", "verify"):
        done = in_process(command, audited.path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, command
        assert f"`pretilt {command}` needs a lens, and this run was audited with --no-lens" in done.stderr
        assert "Audit the pairs into another folder with --model and --dictionary" in done.stderr


def test_too_few_pairs(tmp_path: Path) -> None:
    done = of_its_own(
        "audit", write_planted(tmp_path / "p.jsonl", planted_rows(3)), "--no-lens", "--out", tmp_path / "r"
    )
    assert done.returncode == 0 and "Nothing was tested" in done.stdout and "Traceback" not in done.stderr
