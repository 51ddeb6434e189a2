"""Masks and rewritten texts read again with the run's own measurement, and detectors as targets."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from detector_examples import contrast

import pretilt
from pretilt.events import Events
from pretilt.run import Run
from pretilt.shape.data import ShapeData
from pretilt.shape.methods import METHODS
from pretilt.shape.methods.work import Work
from pretilt.shape.plan import plan_of
from pretilt.shape.reading import reread
from pretilt.train.actions import Action, Changes


@pytest.fixture(scope="module")
def detected(tmp_path_factory: pytest.TempPathFactory, shared_run: pretilt.AuditResult) -> Run:
    path = Path(shutil.copytree(shared_run.path, tmp_path_factory.mktemp("shaped") / "run"))
    pretilt.detector(path, "thanks", contrast=contrast())
    return Run(path)


@pytest.fixture(scope="module")
def data(detected: Run) -> ShapeData:
    return ShapeData(detected, "presence", None, Events())


def test_what_is_read_again_unchanged_is_what_was_read(data: ShapeData) -> None:
    """A mask of no token: every family gets back the deltas that the audit's own features give."""
    changes = Changes.of([Action(row, 1, "mask", side="chosen", start=0, stop=0) for row in (0, 3, 7)], len(data))
    reading = reread(data, changes)
    assert reading is not None and reading.rows.tolist() == [0, 3, 7]
    assert {family.name for family in data.families} >= {"features", "detectors"}
    for family in data.families:
        assert np.allclose(reading.u[family.name], family.pairs.u[reading.rows], atol=1e-6), family.name
        assert np.allclose(reading.nuisance[family.name], family.pairs.nuisance[reading.rows]), family.name


def test_a_response_whose_tokens_are_all_masked_shows_nothing(data: ShapeData) -> None:
    changes = Changes.of([Action(2, 1, "mask", side="chosen", start=0, stop=10**6)], len(data))
    reading = reread(data, changes)
    assert reading is not None
    features = next(family for family in data.families if family.name == "features")
    assert (reading.u["features"] <= 0).all()  # 0 of chosen less the rejected response's scores
    assert (reading.u["features"] < features.pairs.u[[2]]).any()


@pytest.mark.parametrize("kind", ["detector", "feature"])
def test_masked_tokens_are_those_that_carry_the_concept(data: ShapeData, kind: str) -> None:
    if kind == "detector":
        target = "detector:thanks"
    else:
        features = next(family for family in data.families if family.name == "features")
        strongest = int(np.argmax((features.pairs.u > 0).sum(axis=0)))
        target = f"concept:{features.bank.concept_ids[strongest]}"
    item = plan_of({"items": [{"suppress": target, "method": "mask", "strength": 1.0}]}).items[0]
    resolved = data.sets.target(item.target)
    work = Work(data, 1, item, resolved, resolved.rows)
    actions = METHODS["mask"].rows(work, 1.0)
    teaching = set(work.teaching().tolist())
    assert actions and {action.row for action in actions} <= teaching
    family = data.family_of(work.concept_id)
    before = family.pairs.u[:, family.column(work.concept_id)]
    reading = reread(data, Changes.of(actions, len(data)), [family])
    assert reading is not None
    after = reading.u[family.name][:, family.column(work.concept_id)]
    assert (after < before[reading.rows]).all() and after.max() <= 0


def test_a_detector_is_a_target_like_any_other(detected: Run) -> None:
    plan = {"items": [{"suppress": "detector:thanks", "method": "drop", "strength": 0.5}]}
    result = pretilt.shape(detected, plan)
    item = result.report["items"][0]
    assert item["concept_id"] is not None and item["pairs_touched"] > 0
    assert result.report["effects"].keys() >= {"features", "detectors"}
    assert item["shaped"] < item["plain"]


def test_a_kill_leaves_nothing_and_the_bytes_are_the_same(detected: Run, tmp_path: Path) -> None:
    """Stopped while the plan is being compiled, the run holds no plan; compiled again it has the bytes of another."""

    class Stopping(Events):
        def say(self, text: str) -> None:
            raise KeyboardInterrupt

    plan = {"items": [{"suppress": "detector:thanks", "method": "weight", "strength": 0.5}]}
    paths = [Path(shutil.copytree(detected.path, tmp_path / name)) for name in ("a", "b")]
    with pytest.raises(KeyboardInterrupt):
        pretilt.shape(paths[0], plan, name="less", events=Stopping())
    assert "shape-less" not in Run(paths[0]).manifest["stages"]
    results = [pretilt.shape(path, plan, name="less") for path in paths]
    for name in ("actions.parquet", "what_if.parquet"):
        first, second = ((path / "shape" / "less" / name).read_bytes() for path in paths)
        assert first == second
    damaged = paths[0] / "shape" / "less" / "actions.parquet"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-8])
    again = pretilt.shape(paths[0], plan, name="less")
    assert damaged.read_bytes() == whole and again.report == results[0].report
