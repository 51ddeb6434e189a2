"""Dose and response: what is steered by how much, and what is counted of the answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process
from detector_examples import contrast

import pretilt
from pretilt.detectors.stored import load_detector
from pretilt.errors import UserError
from pretilt.forecast.inputs import concept_bank, rollouts_of
from pretilt.rollouts.step import open_rollouts
from pretilt.run import Run
from pretilt.verify.dose import DoseResult

QUICK = {"n_prompts": 8, "per_prompt": 2, "max_new_tokens": 6, "amounts": "-0.5,3"}


@pytest.fixture(scope="module")
def dosed(tmp_path_factory: pytest.TempPathFactory, shared_run: pretilt.AuditResult) -> DoseResult:
    path = Path(shutil.copytree(shared_run.path, tmp_path_factory.mktemp("dose") / "run"))
    pretilt.detector(path, "thanks", contrast=contrast())
    return pretilt.dose(path, "thanks", **QUICK)


def test_every_amount_is_sampled_steered_and_said_so(dosed: DoseResult) -> None:
    """0 is always among them, and is the plain model; the others are pushed in the residual stream's own units."""
    assert dosed.report["amounts"] == [-0.5, 0.0, 3.0]
    roles = dict(zip(dosed.table["amount"].to_pylist(), dosed.table["role"].to_pylist(), strict=True))
    reports = {amount: dosed.run.json(f"rollouts-{role}.json") for amount, role in roles.items()}
    assert reports[0.0].get("steered") is None
    assert reports[3.0]["steered"]["amount"] == pytest.approx(3 * dosed.report["residual_length"])
    assert reports[-0.5]["steered"]["amount"] == pytest.approx(-0.5 * dosed.report["residual_length"])
    texts = {a: open_rollouts(dosed.run, role).samples["text"].to_pylist() for a, role in roles.items()}
    assert texts[3.0] != texts[0.0]


def test_rates_and_slopes_are_those_of_the_answers(dosed: DoseResult) -> None:
    bank = concept_bank(dosed.run)
    column = bank.concept_ids.tolist().index(dosed.report["target"]["concept_id"])
    roles = [f"dose-thanks-{tag}" for tag in ("minus-0_5", "plus-0", "plus-3")]
    means = np.array([rollouts_of(dosed.run, r, bank, "presence").means[:, column] for r in roles])
    points = dosed.report["target"]["points"]
    assert [point["mean"] for point in points] == pytest.approx(means.mean(axis=1))
    fitted = [np.polyfit([-0.5, 0.0, 3.0], of_prompt, 1)[0] for of_prompt in means.T]
    assert dosed.report["target"]["slope"] == pytest.approx(np.mean(fitted))


def test_the_same_call_reads_what_is_there(dosed: DoseResult) -> None:
    before = (dosed.run.path / "dose-thanks.parquet").stat().st_mtime_ns
    assert pretilt.dose(dosed.run, "thanks", **QUICK).report == dosed.report
    assert (dosed.run.path / "dose-thanks.parquet").stat().st_mtime_ns == before


def test_another_model_stands_beside_it(dosed: DoseResult) -> None:
    model = Run(dosed.run.path).manifest["settings"]["model"]
    other = pretilt.dose(dosed.run, "thanks", model=model, **QUICK)
    assert other.name == "thanks-trained" and other.report["amounts"] == dosed.report["amounts"]
    assert (dosed.run.path / "dose-thanks.json").exists() and (dosed.run.path / "dose-thanks-trained.json").exists()


def test_the_screen_shows_rates_with_their_errors(dosed: DoseResult) -> None:
    options = [word for key, value in QUICK.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    shown = in_process("dose", str(dosed.run.path), "--detector", "thanks", *options)
    assert "±" in shown.stdout and "thanks" in shown.stdout and "next: pretilt mark" in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [({"amounts": "much"}, "much"), ({"amounts": "0"}, "numbers between commas"), ({"amounts": "99"}, "-10 to 10"),
     ({"name": "A b"}, "cannot name")],
)  # fmt: skip
def test_mistakes_are_one_line(dosed: DoseResult, options: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        pretilt.dose(dosed.run, "thanks", **options)


def test_a_detector_that_is_not_there_is_one_line(dosed: DoseResult) -> None:
    with pytest.raises(UserError, match="no detector 'flattery'"):
        pretilt.dose(dosed.run, "flattery")
    assert load_detector(dosed.run, "thanks")[0].direction.size
