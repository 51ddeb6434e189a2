"""Detectors past the audit: rollouts are scored as responses are, and the forecast has a family of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from detector_examples import contrast

import pretilt
from pretilt.detectors import stored
from pretilt.events import Events
from pretilt.forecast.detector_leakage import moves_along, within_prompts
from pretilt.forecast.inputs import concept_bank, pair_deltas, rollouts_of
from pretilt.forecast.samples import Rollouts
from pretilt.lens.blocks import train_rows
from pretilt.lens.choice import choose_lens
from pretilt.pairs.tables import pairs_from_table
from pretilt.rollouts.detector_scores import rollout_scores_stage, score_rollouts, stored_rollout_scores
from pretilt.rollouts.sampling import ROLLOUTS
from pretilt.rollouts.step import open_rollouts
from pretilt.run import Run
from pretilt.settings import settings_of
from pretilt.verify.inputs import stored_forecast
from pretilt.verify.sets import masks


def test_a_rollout_is_scored_as_the_same_text_in_the_dataset(detected: Path) -> None:
    """The chosen responses of the run, as if they had been sampled to their own prompts; one is empty."""
    run = Run(detected)
    settings = settings_of(run)
    choice = choose_lens(settings, Events())
    pairs = pairs_from_table(run.table("pairs.parquet").slice(0, 6))
    texts = [pair.chosen[0].content for pair in pairs[:5]] + [""]
    samples = pa.Table.from_pylist(
        [
            {"rollout_id": f"r{i}", "prompt_id": f"p{i}", "pair_id": str(pair.pair_id), "family_id": i, "sample": 0,
             "prompt_ids": [1], "ids": [1], "text": text, "finished": True, "n_tokens": 1, "logprob": None}
            for i, (pair, text) in enumerate(zip(pairs, texts, strict=True))
        ],
        schema=ROLLOUTS,
    )  # fmt: skip
    detector, about = stored.load_detector(run, "thanks")
    tables = score_rollouts(
        samples,
        {str(pair.pair_id): pair for pair in pairs},
        choice.lens(run.table("tokens.parquet")),
        choice.tokenizer,
        {"thanks": (detector, about["token_threshold"])},
        max_length=settings.max_length,
        batch_tokens=settings.batch_tokens,
    )
    scores = tables["thanks"]["max"].to_pylist()
    expected = stored.response_scores(run, "thanks")[0][:5]
    np.testing.assert_allclose(scores[:5], expected, rtol=1e-4, atol=1e-4)
    assert scores[5] is None


@pytest.fixture
def forecast(copied: Path) -> Path:
    pretilt.forecast(copied, draws=20)
    return copied


def test_the_forecast_has_a_family_of_detectors(forecast: Path) -> None:
    run = Run(forecast)
    report = run.json("forecast.json")
    assert report["families_of_concepts"]["detectors"]["concepts"] == 1
    bank = concept_bank(run)
    assert bank.kind[-1] == "detector" and bank.detectors.sum() == 1
    deltas, _ = pair_deltas(run, settings_of(run), bank.take(bank.detectors), "presence")
    chosen, rejected = (side[train_rows(run), 0].astype(float) for side in stored.presence(run, ["thanks"]))
    np.testing.assert_array_equal(deltas.u[:, 0], chosen - rejected)
    whole, _ = pair_deltas(run, settings_of(run), bank, "presence")
    np.testing.assert_array_equal(whole.u[:, -1], chosen - rejected)

    rows = run.table("forecast.parquet").to_pylist()
    (everywhere,) = [r for r in rows if r["view"] == "global" and r["concept_id"] == bank.concept_ids[-1]]
    assert everywhere["shift_lo"] > 0  # a third of the chosen responses hold the trait, and no rejected one
    assert set(masks(stored_forecast(run))) >= {"patterns", "detectors"}


def test_rollouts_are_read_by_every_detector(copied: Path) -> None:
    pretilt.rollouts(copied, n_prompts=5, per_prompt=2, max_new_tokens=5, prompts_per_shard=2)
    run = Run(copied)
    assert rollout_scores_stage("before", "thanks") in run.manifest["stages"]
    samples = open_rollouts(run, "before").samples
    scores = stored_rollout_scores(run, "before", "thanks")
    assert scores.shape == (10,) and len(samples) == 10
    bank = concept_bank(run)
    answers = rollouts_of(run, "before", bank.take(bank.detectors), "presence")
    assert set(np.unique(answers.c)) <= {0.0, 1.0}


def test_a_detector_that_came_later_reads_the_rollouts_when_they_are_needed(copied: Path) -> None:
    pretilt.rollouts(copied, "other", n_prompts=5, per_prompt=2, max_new_tokens=5)
    pretilt.detector(copied, "later", contrast=contrast(), kind="difference")
    run = Run(copied)
    with pytest.raises(pretilt.UserError, match="'later' has not read the rollouts 'other'"):
        stored_rollout_scores(run, "other", "later")
    bank = concept_bank(run)
    answers = rollouts_of(run, "other", bank.take(bank.detectors), "presence")
    assert answers.c.shape[1] == 2
    assert rollout_scores_stage("other", "later") in Run(copied).manifest["stages"]


def test_the_covariance_within_prompts_by_hand() -> None:
    """Two prompts of two and three answers, one of a single one; the last column is the score."""
    c = np.array([[1, 4], [0, 2], [1, 3], [1, 0], [0, 0], [9, 9]], float)
    answers = Rollouts.of(c, np.array([0, 0, 1, 1, 1, 2]))
    first = (0.5 * 1 + -0.5 * -1) / 1
    second = ((1 / 3) * 2 + (1 / 3) * -1 + (-2 / 3) * -1) / 2
    np.testing.assert_allclose(within_prompts(answers), [(first + second) / 2])
    assert within_prompts(Rollouts.of(c, np.arange(6))) is None


def test_with_rollouts_the_leakage_is_among_them(copied: Path) -> None:
    pretilt.rollouts(copied, n_prompts=8, per_prompt=3, max_new_tokens=6)
    card = pretilt.detector(copied, "later", contrast=contrast(), kind="difference").report
    assert card["leakage_among"] in ("the rollouts 'before', within prompts", "the two responses of each training pair")
    run = Run(copied)
    along = moves_along(run, "before", "later")
    assert along is not None and along.concept_ids.size == len(concept_bank(run))
    bank = concept_bank(run)
    answers = rollouts_of(run, "before", bank, "presence", beside=stored_rollout_scores(run, "before", "later"))
    c = np.column_stack([answers.c[:, 3], answers.c[:, -1]])
    by_prompt = [np.cov(c[answers.prompt == j].T)[0, 1] for j in np.flatnonzero(answers.per_prompt >= 2)]
    assert along.covariance[3] == pytest.approx(np.mean(by_prompt))
