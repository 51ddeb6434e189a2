"""A detector on a small run: fitted, scored in shards, tested as a concept, traced, and refused where it must be."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from command_line import in_process
from detector_examples import contrast
from rich.console import Console
from tiny_lens import artifacts, rows

import pretilt
from pretilt.artifacts import file_hash
from pretilt.detectors import step, stored
from pretilt.run import Run
from pretilt.schema import FORECAST, FORECAST_FILE
from pretilt.view.concept_map import concept_map
from pretilt.view.summary import summary_of
from pretilt.view.terminal.audit import print_summary


def planted(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """bool [n_pairs]: chosen ends in `Thank you!`; and which pairs are of the training split."""
    pairs = run.table("pairs.parquet", ["chosen", "split"])
    ends = [messages[-1]["content"].endswith("Thank you!") for messages in pairs["chosen"].to_pylist()]
    return np.array(ends), pc.equal(pairs["split"], "train").to_numpy(zero_copy_only=False)


def test_the_card_and_the_effect_of_a_planted_trait(detected: Path) -> None:
    run = Run(detected)
    card = run.json("detector-thanks.json")
    assert card["made_from"] == "contrast" and card["origin"] == "rows in memory"
    assert card["families_of_parts"] == {"train": 24, "validation": 8, "heldout": 8}
    assert card["kinds"][card["kind"]]["response"]["auroc"] == 1.0
    assert card["kinds"][card["kind"]]["token"] is None

    holds, train = planted(run)
    chosen, rejected = stored.presence(run, ["thanks"])
    assert (chosen[:, 0] == holds).mean() > 0.97  # no pair of the run was among the examples
    assert rejected.mean() < 0.03
    effects = run.table("hypotheses.parquet").filter(pc.field("view") == "detector").to_pylist()
    assert len(effects) == 1
    u = chosen[train, 0].astype(float) - rejected[train, 0]
    assert effects[0]["delta"] == pytest.approx(u.mean())
    assert effects[0]["n_in"] == train.sum()
    assert run.json("statistics.json")["n_tested"]["detector"] == 1


def test_what_leaks_is_the_traits_own_pattern(detected: Path) -> None:
    """Every planted response holds an exclamation mark and a "you": both move exactly with the trait's presence."""
    card = Run(detected).json("detector-thanks.json")
    leaks = {leak["name"]: leak["leakage"] for leak in card["leakage"]}
    assert leaks["exclamation marks"] == pytest.approx(1.0, abs=0.1)
    table = Run(detected).table("detectors/thanks-leakage.parquet")
    assert len(table) == card["n_concepts_compared"] == len(Run(detected).table("concepts.parquet")) - 1
    size = np.abs(table["leakage"].to_numpy()[: len(card["leakage"])])
    assert (np.diff(size) <= 0).all()


def test_scores_of_responses_are_the_largest_of_their_tokens(detected: Path) -> None:
    run = Run(detected)
    chosen, rejected = stored.response_scores(run, "thanks")
    tokens = stored.token_scores(run, "thanks")
    pairs = run.table("pairs.parquet", ["pair_id", "n_chosen_tokens", "n_rejected_tokens"])
    assert [len(c) for c, _ in tokens] == pairs["n_chosen_tokens"].to_pylist()
    assert [len(r) for _, r in tokens] == pairs["n_rejected_tokens"].to_pylist()
    np.testing.assert_array_equal(chosen, [c.max() for c, _ in tokens])
    np.testing.assert_array_equal(rejected, [r.max() for _, r in tokens])
    some = [pairs["pair_id"][i].as_py() for i in (200, 3, 77)]
    for asked, i in zip(stored.token_scores(run, "thanks", some), (200, 3, 77), strict=True):
        np.testing.assert_array_equal(asked[0], tokens[i][0])
    direction = stored.direction(run, "thanks")
    assert direction.shape == (32,) and direction.dtype == np.float32
    assert np.linalg.norm(direction) == pytest.approx(1.0, rel=1e-5)


def test_a_trace_marks_the_tokens(detected: Path) -> None:
    trace = pretilt.trace(detected, "detector:thanks", number=3)
    assert trace.kind == "detector" and trace.direction == "amplify"
    for contribution in trace.responsible:
        assert contribution.pair.chosen.endswith("Thank you!")
        assert contribution.chosen_fired and not contribution.rejected_fired
    with pytest.raises(pretilt.UserError, match=r"no detector 'thank'.*Did you mean detector:thanks"):
        pretilt.trace(detected, "detector:thank")


def test_the_same_call_again_and_an_audit_again_change_nothing(copied: Path, shared_lens: dict[str, str]) -> None:
    before = artifacts(copied)
    pretilt.detector(copied, "thanks", contrast=contrast())
    source = str(Run(copied).manifest["source"])
    assert artifacts(copied) == before
    assert source == "pairs"
    pretilt.audit(rows(), out=copied, **shared_lens)  # the same rows from memory
    assert "detector" in Run(copied).table("concepts.parquet")["kind"].to_pylist()


def test_a_pass_that_was_stopped_ends_with_the_same_bytes(
    shared_run: pretilt.AuditResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "PAIRS_PER_SHARD", 64)
    monkeypatch.setattr(stored, "PAIRS_PER_SHARD", 64)
    whole, stopped = (Path(shutil.copytree(shared_run.path, tmp_path / name)) for name in ("whole", "stopped"))
    pretilt.detector(whole, "thanks", contrast=contrast(), kind="linear")

    write = step.Shards.write
    with monkeypatch.context() as patched:

        def stop_at_the_third(shards: Any, number: int, tables: Any) -> None:
            if number == 2:
                raise KeyboardInterrupt
            write(shards, number, tables)

        patched.setattr(step.Shards, "write", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            pretilt.detector(stopped, "thanks", contrast=contrast(), kind="linear")
    first = stopped / "detectors" / "thanks" / "scores-00000.parquet"
    written = first.stat().st_mtime_ns
    assert stored.detector_names(Run(stopped)) == []

    pretilt.detector(stopped, "thanks", contrast=contrast(), kind="linear")
    assert first.stat().st_mtime_ns == written  # a whole shard is not made again
    assert artifacts(stopped) == artifacts(whole)


def test_two_detectors_share_a_pass(copied: Path, monkeypatch: pytest.MonkeyPatch, shared_lens: dict[str, str]) -> None:
    before = artifacts(copied)
    for name in ("thanks", "other"):
        if name == "other":
            pretilt.detector(copied, "other", contrast=contrast(), kind="difference")
    run = Run(copied)
    assert stored.detector_names(run) == ["other", "thanks"]
    assert {name: h for name, h in artifacts(copied).items() if name.startswith("detectors/thanks/")} == {
        name: h for name, h in before.items() if name.startswith("detectors/thanks/")
    }
    shutil.rmtree(copied / "detectors" / "thanks")
    shutil.rmtree(copied / "detectors" / "other")
    passes = []
    read = step.response_states
    monkeypatch.setattr(step, "response_states", lambda *a, **k: passes.append(1) or read(*a, **k))
    pretilt.audit(rows(), out=copied, **shared_lens)
    assert len(passes) == 1  # one shard, read once for both
    assert (
        file_hash(copied / "detectors/thanks/scores-00000.parquet") == before["detectors/thanks/scores-00000.parquet"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "made from one source.*none is given"),
        ({"contrast": [], "trait": "warm"}, "made from one source.*2 are given"),
        ({"trait": "  "}, "the trait is not described"),
        ({"from_pattern": "exclamation-marks"}, r"no pattern 'exclamation-marks'.*Did you mean exclamation-mark"),
        ({"from_pattern": "table"}, "'table' stands in 0 training pairs"),
        ({"contrast": contrast(4)}, "4 families of examples are too few"),
        ({"contrast": contrast(6), "per_token": True}, "--per-token needs --from-pattern"),
        ({"from_hypothesis": "pair:" + "0" * 20}, "there is no pair"),
        ({"contrast": "nowhere.jsonl"}, "no such file"),
        ({"contrast": contrast(6), "kind": "quadratic"}, "option 'kind'"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(
    shared_run: pretilt.AuditResult, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = Path(shutil.copytree(shared_run.path, tmp_path / "run"))
    before = artifacts(path)
    with pytest.raises(pretilt.UserError, match=message):
        pretilt.detector(path, "thanks", **options)
    assert artifacts(path) == before


def test_examples_beyond_the_memory_are_refused_before_they_are_read(
    detected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "MOST_BYTES", 1 << 14)
    with pytest.raises(pretilt.UserError, match=r"as activations.*Give --pairs \d+"):
        pretilt.detector(detected, "other", contrast=contrast())


@pytest.mark.parametrize("name", ["Thanks", "a" * 41, "", "12", "bold", "x-scores", "../x"])
def test_a_name_that_is_none_is_one_line(detected: Path, name: str) -> None:
    with pytest.raises(pretilt.UserError, match=r"cannot name a detector|is the name of a pattern"):
        pretilt.detector(detected, name, contrast=contrast(6))


def test_examples_in_a_file_are_errors_with_a_place(detected: Path, tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    lines = [json.dumps(row) for row in contrast(8)]
    file.write_text("\n".join([*lines[:3], '{"prompt": "a", "positive": "b"', *lines[3:]]) + "\n")
    with pytest.raises(pretilt.UserError, match=r"examples.jsonl.*line 4"):
        pretilt.detector(detected, "other", contrast=file)
    file.write_text("\n".join(json.dumps({"prompt": "a", "positive": "b", "bad": "c"}) for _ in range(3)) + "\n")
    with pytest.raises(pretilt.UserError, match="negative"):
        pretilt.detector(detected, "other", contrast=file)


def test_another_detector_of_the_name_needs_replace(copied: Path) -> None:
    with pytest.raises(pretilt.UserError, match=r"another detector 'thanks'.*rows in memory.*--replace"):
        pretilt.detector(copied, "thanks", from_pattern="exclamation-mark")
    replaced = pretilt.detector(copied, "thanks", from_pattern="exclamation-mark", per_token=True, replace=True)
    card = replaced.report
    assert card["per_token"] and card["made_from"] == "pattern"
    assert card["kinds"][card["kind"]]["token"]["auroc"] > 0.99
    examples = replaced.to_pandas()
    assert (examples["n_labelled"] > 0).tolist() == examples["label"].tolist()
    ends = examples["text"].str.endswith("Thank you!")
    assert ends.tolist() == examples["label"].tolist()


def test_a_sealed_forecast_is_not_made_stale_by_chance(copied: Path) -> None:
    run = Run(copied)
    with run.stage("forecast", version=1, config={}) as stage:
        stage.write(FORECAST_FILE, FORECAST.empty_table())
    with pytest.raises(pretilt.UserError, match=r"forecast of this run is sealed.*--replace"):
        pretilt.detector(copied, "other", contrast=contrast())


def test_a_hypothesis_gives_its_pairs_as_examples(copied: Path) -> None:
    result = pretilt.detector(copied, "traced", from_hypothesis="pattern:exclamation-mark", kind="difference")
    examples = result.to_pandas()
    assert examples["label"].sum() * 2 == len(examples)  # one response of every pair
    assert examples[examples["label"]]["text"].str.contains("!").all()
    assert result.report["target"] == "the hypothesis' concept"


def test_a_trait_in_words_is_sampled_from_the_model(copied: Path) -> None:
    """The tiny model says nothing that means anything; the card says where its examples come from."""
    options = {"n_prompts": 12, "max_new_tokens": 6, "kind": "difference"}
    result = pretilt.detector(copied, "warmth", trait="warm and kind", **options)
    assert "not checked by anyone" in result.report["how"]
    assert result.report["origin"] == "warm and kind"
    assert result.report["n_pairs"] <= 12


def test_a_damaged_detector_is_named_and_made_again(copied: Path) -> None:
    weights = copied / "detectors" / "thanks.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-4] + b"abcd")
    with pytest.raises(pretilt.UserError, match=r"the run is damaged.*pretilt detector .* --name thanks"):
        stored.direction(Run(copied), "thanks")
    pretilt.detector(copied, "thanks", contrast=contrast())
    assert weights.read_bytes() == good


def test_the_summary_tells_detectors_from_what_grep_can_recount(
    detected: Path, shared_run: pretilt.AuditResult
) -> None:
    for path, is_told in ((detected, True), (shared_run.path, False)):
        out = io.StringIO()
        print_summary(summary_of(Run(path)), Console(file=out, width=120), show_text=False)
        assert ("reach a detector's threshold" in out.getvalue()) == is_told
        assert ("thanks (detector)" in out.getvalue()) == is_told


def test_the_command_prints_the_card(copied: Path, tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in contrast(12)))
    shown = in_process("detector", copied, "--name", "again", "--from", file, "--kind", "difference")
    assert shown.returncode == 0, shown.stderr
    assert "detector 'again'" in shown.stdout and "difference *" in shown.stdout
    assert "detector:again" in shown.stderr
    as_json = in_process("detector", copied, "--name", "again", "--from", file, "--kind", "difference", "--json")
    assert json.loads(as_json.stdout)["kind"] == "difference"
    refused = in_process("detector", copied, "--name", "again")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1


def test_a_detector_has_a_place_on_the_viewers_map(detected: Path) -> None:
    run = Run(detected)
    names = run.table("concepts.parquet").sort_by("concept_id")["detector"].to_pylist()
    points = concept_map(run).points
    assert points.shape == (len(names), 2) and np.isfinite(points[names.index("thanks")]).all()
