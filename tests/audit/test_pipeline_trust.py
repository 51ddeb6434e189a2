"""The audit's trust, end to end on a tiny lens: all views, contributions that add up, a doctor that says no."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tiny_lens import rows, write_lens

import pretilt
from pretilt.audit.evidence import make_tracer
from pretilt.cli.app import main
from pretilt.errors import UserError
from pretilt.run import Run
from pretilt.schema import VIEWS
from pretilt.settings import AuditSettings

OF_AN_AUDIT = [view for view in VIEWS if not view.startswith("detector")]  # a run has detectors when it is given some


@pytest.fixture(scope="module")
def lens(shared_lens: dict[str, str]) -> dict[str, Any]:
    return dict(shared_lens)


@pytest.fixture(scope="module")
def finished(shared_run: pretilt.AuditResult) -> pretilt.AuditResult:
    return shared_run


def test_all_views_are_in_one_table(finished: pretilt.AuditResult) -> None:
    views = set(finished.hypotheses["view"].to_pylist())
    assert views == set(OF_AN_AUDIT)
    kinds = dict(zip(finished.concepts["concept_id"].to_pylist(), finished.concepts["kind"].to_pylist(), strict=True))
    prompts = dict(
        zip(
            finished.prompt_concepts["prompt_concept_id"].to_pylist(),
            finished.prompt_concepts["statistic"].to_pylist(),
            strict=True,
        )
    )
    for row in finished.hypotheses.select(["view", "where", "concept_id"]).to_pylist():
        q = row["view"].removeprefix("prompt_")
        if q in ("max", "freq"):
            assert (prompts[row["where"]], kinds[row["concept_id"]]) == (q, f"shift_{q}")
        else:
            of_view = ("pattern",) if row["view"].startswith("pattern") else ("community", "feature")
            assert kinds[row["concept_id"]] in of_view
    assert finished.hypotheses.num_rows == sum(finished.run.json("statistics.json")["n_tested"].values())


def test_contributions_sum_to_the_effect_in_every_view(finished: pretilt.AuditResult) -> None:
    table = finished.hypotheses
    settings = AuditSettings(**finished.run.manifest["settings"])
    picked = []
    for view in OF_AN_AUDIT:
        picked += table.filter(pc.and_(pc.equal(table["view"], view), table["shown"])).slice(0, 12).to_pylist()
    assert {row["view"] for row in picked} == set(OF_AN_AUDIT)
    tracer = make_tracer(finished.run, settings, sorted({row["concept_id"] for row in picked}))
    for row in picked:
        shares = tracer.contributions(row["view"], row["where"], row["concept_id"])
        # response scores are kept in single precision, their sums are not
        tolerance = 1e-9 if row["view"] in ("global", "group") else 1e-9 * max(1.0, np.abs(shares).sum())
        assert shares.sum() == pytest.approx(row["delta"], abs=tolerance), row["hypothesis_id"]


def test_selected_pairs_score_highest(finished: pretilt.AuditResult) -> None:
    members, prompts = finished.prompt_members, finished.prompt_concepts
    split = dict(zip(finished.pairs["pair_id"].to_pylist(), finished.pairs["split"].to_pylist(), strict=True))
    for k, n, cutoff in zip(
        prompts["prompt_concept_id"].to_pylist(),
        prompts["n_selected"].to_pylist(),
        prompts["cutoff"].to_pylist(),
        strict=True,
    ):
        mine = members.filter(pc.equal(members["prompt_concept_id"], k)).to_pylist()
        assert sum(split[row["pair_id"]] == "train" for row in mine) == n
        assert all(row["score"] >= cutoff > 0 for row in mine)


def test_the_planted_word_is_sure_and_a_shuffled_one_is_not(
    finished: pretilt.AuditResult, lens: dict[str, Any], tmp_path: Path
) -> None:
    def sure(result: pretilt.AuditResult) -> int:
        table = result.hypotheses
        return int(pc.sum(pc.and_(pc.equal(table["view"], "global"), pc.less(table["q_value"], 0.01))).as_py())

    shuffled = pretilt.audit(
        Path(finished.path).parent / "pairs.jsonl", out=tmp_path / "run", baseline="shuffled-labels", **lens
    )
    assert sure(finished) > 0
    assert sure(shuffled) == 0
    # the same measurement, read with other labels
    assert shuffled.run.manifest["measurement_id"] == finished.run.manifest["measurement_id"]
    total = [r.hypotheses.filter(pc.equal(r.hypotheses["view"], "global")) for r in (finished, shuffled)]
    assert np.abs(total[1]["delta"].to_numpy()).max() < np.abs(total[0]["delta"].to_numpy()).max()


def test_an_untrained_lens_is_refused_before_anything_is_ranked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, dictionary = write_lens(tmp_path / "lens", trained=False)
    named = {"model": str(model), "dictionary": str(dictionary)}
    with pytest.raises(UserError, match="doctor") as refused:
        pretilt.audit(rows(80), out=tmp_path / "run", **named)
    assert "--despite-doctor" in str(refused.value)
    verdicts = {
        check["name"]: check["verdict"] for check in json.loads((tmp_path / "run/doctor.json").read_text())["checks"]
    }
    assert verdicts["explained variance"] == "red"
    assert (tmp_path / "run/features").is_dir()  # what was read is kept
    assert not (tmp_path / "run/hypotheses.parquet").exists()
    over = pretilt.audit(rows(80), out=tmp_path / "run", despite_doctor=True, **named)
    assert over.hypotheses.num_rows > 0
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(tmp_path / "run")])
    assert ended.value.code == 1
    assert "explained variance" in capsys.readouterr().out


def test_families_are_in_the_pairs_and_in_the_preflight(finished: pretilt.AuditResult) -> None:
    report = finished.preflight["families"]
    family = finished.pairs["family_id"].to_numpy()
    assert report["n_families"] == np.unique(family).size
    sizes = np.bincount(family)
    assert report["kish_n_eff"] == pytest.approx(len(family) ** 2 / (sizes**2).sum())
    inside = finished.hypotheses.filter(pc.equal(finished.hypotheses["view"], "global"))["family_n"].to_numpy()
    train = pc.equal(finished.pairs["split"], "train").to_numpy()
    assert set(inside.tolist()) == {np.unique(family[train]).size}


def test_labels_change_no_number_and_are_scored(
    finished: pretilt.AuditResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(finished.path, tmp_path / "run"))
    before = (path / "hypotheses.parquet").read_bytes()
    main(["describe", str(path), "--top", "2", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["requests"] == 0
    assert {row["labeller"] for row in told["labels"]} == {"offline"}
    scored = [row["detection_balanced_accuracy"] for row in told["labels"]]
    assert all(score is None or 0 <= score <= 1 for score in scored)
    assert (path / "hypotheses.parquet").read_bytes() == before
    assert isinstance(Run(path).table("labels.parquet"), pa.Table)
