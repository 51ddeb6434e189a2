"""Verifications that are refused: what cannot be compared, and whose answers nobody knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from altered import record_anew
from verify_worlds import FAST, say, train_report

from pretilt.api import verify as verify_run
from pretilt.errors import UserError


def forget_forecast(run: Path) -> None:
    (run / "forecast.json").unlink()


def other_measurement_of_the_forecast(run: Path) -> None:
    about = json.loads((run / "forecast.json").read_text())
    (run / "forecast.json").write_text(json.dumps({**about, "measurement_id": "other"}))


def other_measurement_of_the_rollouts(run: Path) -> None:
    say(run, "after", 0.9, seed=2, measurement="other")


def other_prompts(run: Path) -> None:
    say(run, "after", 0.9, seed=2, split="heldout")


def other_concepts(run: Path) -> None:
    table = pq.read_table(run / "concepts.parquet")
    pq.write_table(table.slice(0, len(table) - 1), run / "concepts.parquet")
    record_anew(run)


def broken_forecast(run: Path) -> None:
    (run / "forecast.parquet").write_bytes(b"PAR1 no")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (forget_forecast, r"holds no forecast.*forecast\.json is missing.*pretilt forecast"),
        (broken_forecast, "forecast cannot be read"),
        (other_measurement_of_the_forecast, "lens is not the one that read the pairs"),
        (other_measurement_of_the_rollouts, "lens is not the one that read the pairs"),
        (other_prompts, "different prompts.*192 prompts only the first, 0 only the second, 48 both"),
        (other_concepts, "other concepts than the run holds"),
    ],
)
def test_what_cannot_be_compared_is_refused(run: Path, harm: Callable[[Path], None], says: str) -> None:
    harm(run)
    with pytest.raises(UserError, match=says):
        verify_run(run, **FAST)
    assert not list(run.glob("verification*"))


def test_whose_answers_is_asked_before_anything_is_sampled(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no rollouts 'after-3', and no trained model.*train\.json is missing"):
        verify_run(run, after="after-3")
    with pytest.raises(UserError, match="no rollouts 'later'"):
        verify_run(run, after="later")
    with pytest.raises(UserError, match="no folder of a trained model"):
        verify_run(run, trained=tmp_path)
    unfinished = train_report(tmp_path / "begun", run, finished=False)
    with pytest.raises(UserError, match="training has not ended"):
        verify_run(run, trained=unfinished)
    elsewhere = train_report(tmp_path / "other", run, pairs_sha256="0")
    with pytest.raises(UserError, match="trained on other pairs"):
        verify_run(run, trained=elsewhere)
    train_report(run / "trained", run, finished=False)  # it is there, but nobody named it
    assert verify_run(run, **FAST).report["seal"]["state"] == "not known"


def test_too_few_prompts(run: Path) -> None:
    samples = pq.read_table(run / "pairs.parquet").slice(0, 6)  # three families
    pq.write_table(samples.set_column(samples.schema.get_field_index("split"), "split", pa.array(["few"] * 6)),
                   run / "few.parquet")  # fmt: skip
    rest = pq.read_table(run / "pairs.parquet")
    split = pa.array(["few"] * 6 + rest["split"].to_pylist()[6:])
    original = rest
    pq.write_table(rest.set_column(rest.schema.get_field_index("split"), "split", split), run / "pairs.parquet")
    record_anew(run)
    say(run, "before", 0.5, seed=1, split="few")
    say(run, "after", 0.9, seed=2, split="few")
    pq.write_table(original, run / "pairs.parquet")
    record_anew(run)
    with pytest.raises(UserError, match="only 3 independent prompts"):
        verify_run(run, **FAST)
