"""What `forecast` refuses: mistakes of the options, runs that cannot be forecast, a lens that is unfit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from forecast_runs import NAMES, answers, write_run

from pretilt.api import forecast as forecast_run
from pretilt.artifacts import read_sealed
from pretilt.errors import UserError


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("refused") / "run").path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rung": "best"}, r"'rung' is not accepted.*'mean', 'one_step', 'converged' or 'tilt'"),
        ({"form": "words"}, r"'form' is not accepted.*'presence'"),
        ({"rung": "tilt"}, r"'tilt' needs rollouts.*pretilt rollouts"),
        ({"rollouts": "reference"}, r"no rollouts 'reference'.*it has none"),
        ({"rollouts": "after"}, r"cannot use the rollouts 'after'.*trained model"),
        ({"draws": 1}, r"'draws' is not accepted.*greater than or equal to 2"),
        ({"seed": -1}, r"'seed' is not accepted.*greater than or equal to 0"),
    ],
)
def test_mistakes_are_named(audited: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        forecast_run(audited, **options)


def test_runs_that_cannot_be_forecast(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        forecast_run(tmp_path)
    run = write_run(tmp_path / "run")
    manifest = read_sealed((run.path / "run.json").read_bytes())
    audit = manifest["stages"].pop("audit")
    (run.path / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"has not finished.*pretilt audit"):
        forecast_run(run.path)
    manifest["stages"]["audit"] = audit
    (run.path / "run.json").write_text(json.dumps(manifest))
    answers(run.path, "greedy", n_prompts=80, per_prompt=1)
    with pytest.raises(UserError, match=r"'greedy' are too few.*--per-prompt 2"):
        forecast_run(run.path, rollouts="greedy")
    one_family = run.table("pairs.parquet").to_pandas().assign(family_id=np.int32(3))
    with run.stage("pairs", version=2, config={}) as stage:
        stage.write("pairs.parquet", pa.Table.from_pandas(one_family))
    with pytest.raises(UserError, match="1 families of pairs are too few"):
        forecast_run(run.path)


def test_behind_a_red_doctor_nothing_is_foretold(tmp_path: Path) -> None:
    write_run(tmp_path / "red", verdict="red")
    with pytest.raises(UserError, match=r"unfit: explained variance.*Fit another dictionary.*--despite-doctor"):
        forecast_run(tmp_path / "red")
    for name, settings in (("despite", {"despite_doctor": True}), ("broken", {"baseline": "random-dictionary"})):
        write_run(tmp_path / name, verdict="red", **settings)
        assert forecast_run(tmp_path / name, draws=2).report["concepts"] == len(NAMES)


def test_other_measurements_do_not_meet(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    answers(tmp_path / "run", measurement_id="other")
    with pytest.raises(UserError, match="not the one that read the pairs"):
        forecast_run(tmp_path / "run", draws=2)
