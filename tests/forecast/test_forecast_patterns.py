"""Patterns in the forecast: the planted one is forecast to rise, and a rollout is scored by what stands in its text."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from text_pairs import planted_rows, write_planted

import pretilt
from pretilt.forecast.inputs import _pattern_scores, concept_bank, pair_deltas
from pretilt.settings import settings_of


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> pretilt.AuditResult:
    folder = tmp_path_factory.mktemp("text")
    return pretilt.audit(write_planted(folder / "pairs.jsonl", planted_rows(300)), out=folder / "run", no_lens=True)


def test_a_run_without_a_lens_is_forecast_from_its_pairs(audited: pretilt.AuditResult, tmp_path: Path) -> None:
    run = shutil.copytree(audited.path, tmp_path / "run")
    result = pretilt.forecast(run)
    assert result.report["rung"] == "mean" and result.report["measurement_id"] is None
    assert list(result.report["families_of_concepts"]) == ["patterns"]
    name = dict(zip(*(audited.concepts[c].to_pylist() for c in ("concept_id", "pattern")), strict=True))
    rows = {name[r["concept_id"]]: r for r in result.table.to_pylist() if r["view"] == "global"}
    assert rows["bold"]["shift_lo"] > 0 and rows["apology"]["shift_hi"] < 0
    assert rows["semicolon"]["shift_lo"] < 0 < rows["semicolon"]["shift_hi"]
    assert max(rows, key=lambda pattern: rows[pattern]["shift"]) == "bold"


def test_deltas_are_differences_of_presence(audited: pretilt.AuditResult) -> None:
    bank = concept_bank(audited.run)
    deltas, ids = pair_deltas(audited.run, settings_of(audited.run), bank, "presence")
    pairs = {row["pair_id"]: row for row in audited.pairs.to_pylist()}
    column = [audited.concepts["pattern"][int(i)].as_py() for i in bank.concept_ids].index("bold")
    expected = [
        float("**" in pairs[p]["chosen"][0]["content"]) - float("**" in pairs[p]["rejected"][0]["content"])
        for p in ids["pair_id"].to_pylist()
    ]
    assert deltas.u[:, column].tolist() == expected


def test_an_answer_is_scored_by_its_text_and_the_prompt_it_answers(audited: pretilt.AuditResult) -> None:
    bank = concept_bank(audited.run)
    names = [audited.concepts["pattern"][int(i)].as_py() for i in bank.concept_ids]
    pair_id = audited.pairs["pair_id"][0].as_py()
    texts = ["It is **bold**.", "I am sorry; it is not.", ""]
    samples = pa.table({"pair_id": [pair_id] * 3, "text": texts})
    scores = _pattern_scores(audited.run, bank, samples)
    assert scores.shape == (3, len(names)) and set(np.unique(scores)) <= {0.0, 1.0}
    assert scores[:, names.index("bold")].tolist() == [1, 0, 0]
    assert scores[:, names.index("apology")].tolist() == [0, 1, 0]
    assert scores[:, names.index("semicolon")].tolist() == [0, 1, 0]
