"""`forecast` on a run in which it is known what training does: signs, three answers, nulls, the seal, a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from children import Child
from forecast_runs import N_TRAIN, NAMES, answers, write_run
from harms import HARMS

from pretilt.api import forecast as forecast_run
from pretilt.artifacts import read_sealed
from pretilt.audit.result import open_run
from pretilt.errors import UserError
from pretilt.forecast import tables
from pretilt.forecast.inputs import concept_bank, pair_deltas, pairs_of_prompts, prompts_in, rollouts_of
from pretilt.forecast.step import ForecastResult
from pretilt.rollouts.step import open_rollouts
from pretilt.run import Run, file_hash, write_json
from pretilt.schema import FORECAST, FORECAST_HALVES, FORECAST_SHUFFLED, IN_GROUPS, OVER_ALL_PAIRS, VIEWS
from pretilt.settings import AuditSettings

DRAWS = 30
PRAISE, APOLOGY, COMPANION, LOCAL, UNHEARD = range(5)
PLAIN = (5, 6, 7)

# Stops for ever as soon as it has written the file that is named, so that it can be killed at exactly that moment.
CHILD = """
import json, sys, time
import pretilt.run
from pretilt.api import forecast as forecast_run
write = pretilt.run.write_table
def write_and_stop(path, *rest):
    write(path, *rest)
    if path.name == sys.argv[2]:
        print("stopped", flush=True)
        time.sleep(3600)
pretilt.run.write_table = write_and_stop
forecast_run(sys.argv[1], **json.loads(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> ForecastResult:
    """Forecast with rollouts of the untrained model."""
    path = tmp_path_factory.mktemp("planted") / "run"
    write_run(path)
    answers(path)
    return forecast_run(path, draws=DRAWS)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> ForecastResult:
    """Forecast from the pairs alone."""
    path = tmp_path_factory.mktemp("bare") / "run"
    write_run(path)
    return forecast_run(path, draws=DRAWS)


@pytest.fixture
def run(bare: ForecastResult, tmp_path: Path) -> Path:
    """A run of its own with a forecast from the pairs alone."""
    return Path(shutil.copytree(bare.run.path, tmp_path / "run"))


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_damaged_forecast_is_made_again_to_the_same_bytes(run: Path, harm: Callable[[Path], None]) -> None:
    written = Run(run).manifest["stages"]["forecast"]["files"]
    for name in written:
        harm(run / name)
    forecast_run(run, draws=DRAWS)
    assert {name: file_hash(run / name) for name in written} == written


def columns(result: ForecastResult, view: str = "global", where: int = -1) -> dict[str, Any]:
    """The rows of one set by concept_id, NaN for null."""
    table = result.table
    rows = table.filter(pc.and_(pc.equal(table["view"], view), pc.equal(table["where"], where)))
    return {name: np.array(rows[name].to_pylist(), float) for name in rows.column_names if name != "view"}


def test_what_is_planted_is_foreseen(planted: ForecastResult) -> None:
    found = columns(planted)
    assert found["concept_id"].tolist() == list(range(len(NAMES)))
    assert found["n_in"].tolist() == [N_TRAIN] * len(NAMES)
    # Said more in chosen, said by the model, so it will move; and the other way.
    assert found["shift_lo"][PRAISE] > 0 and found["rewarded_lo"][PRAISE] > 0
    assert found["shift_hi"][APOLOGY] < 0 and found["rewarded_hi"][APOLOGY] < 0
    for number in (8, 10):
        assert found["shift_lo"][number] > 0, NAMES[number]
    assert found["shift_hi"][9] < 0
    # Comes along: in these pairs nobody chose it, in the model it goes with praise.
    assert abs(found["mean"][COMPANION]) < 0.1
    assert found["shift_lo"][COMPANION] > 0
    assert found["rewarded_lo"][COMPANION] < 0 < found["rewarded_hi"][COMPANION]
    # Rewarded, but never said: training has nothing to amplify.
    assert found["mean"][UNHEARD] > 0.3 and found["rewarded_lo"][UNHEARD] > 0
    assert found["shift"][UNHEARD] == found["tilt"][UNHEARD] == found["one_step"][UNHEARD] == 0
    biggest = max(abs(found["shift"][list(PLAIN)]))
    assert min(abs(found["shift"][[PRAISE, APOLOGY, COMPANION]])) > biggest


def test_the_declared_rung_is_the_forecast(planted: ForecastResult, bare: ForecastResult) -> None:
    assert planted.report["rung"] == planted.report["cells_rung"] == "converged"
    assert bare.report["rung"] == "mean"
    for result in (planted, bare):
        found = columns(result)
        np.testing.assert_array_equal(found["shift"], found[result.report["rung"]])
        assert np.isnan(found["contrast"]).all()
        assert result.table.schema.equals(FORECAST)


def test_what_the_model_expresses(planted: ForecastResult) -> None:
    found = columns(planted)
    reading = open_rollouts(planted.run, "reference").reading.to_pylist()
    counted = [row for row in reading if row["status"] in ("read", "empty")]
    assert len(counted) == len(reading) - 1 == planted.report["rollouts_read"] == 319
    assert found["prevalence"][COMPANION] == pytest.approx(sum(4 in row["feature_id"] for row in counted) / 319)
    assert found["prevalence_upper"][COMPANION] > found["prevalence"][COMPANION]
    # Never in 319 answers: at most 1 - 0.05^(1/319) = 0.9347 %, surely under 1 %.
    assert found["prevalence"][UNHEARD] == 0
    assert found["prevalence_upper"][UNHEARD] == pytest.approx(0.009347, abs=1e-6)
    assert found["needs_sft"].nonzero()[0].tolist() == [UNHEARD]
    assert not found["unclear"].any()
    # Within-prompt variance of companion: the mean over prompts of the variance of its 0/1 scores.
    scores: dict[str, list[float]] = {}
    for row in counted:
        scores.setdefault(row["rollout_id"].split(":")[0], []).append(float(4 in row["feature_id"]))
    assert found["variance"][COMPANION] == pytest.approx(np.mean([np.var(s, ddof=1) for s in scores.values()]))
    assert found["prevalence_only"][COMPANION] == pytest.approx(np.mean([np.mean(s) for s in scores.values()]))


def test_the_level_stands_between_the_responses_that_differ(planted: ForecastResult) -> None:
    found = columns(planted)["level"]
    run = planted.run
    features = dict(enumerate(run.table("concepts.parquet", ["feature_ids"])["feature_ids"].to_pylist()))
    split = run.table("pairs.parquet")["split"].to_pylist()
    said = {
        side: [set(ids) for f in sorted((run.path / "features").glob(f"{side}-*"))
               for ids in pq.read_table(f)["feature_id"].to_pylist()]
        for side in ("chosen", "rejected")
    }  # fmt: skip
    several = [m for m in range(8) if len(features[m]) > 1]
    assert several
    for m in range(8):
        shares = [
            [len(one[i] & set(features[m])) / len(features[m]) for i, part in enumerate(split) if part == "train"]
            for one in said.values()
        ]
        top = sum((a - b) ** 2 * (a + b) / 2 for a, b in zip(*shares, strict=True))
        assert found[m] == pytest.approx(top / sum((a - b) ** 2 for a, b in zip(*shares, strict=True)))
    assert found[several] != pytest.approx(0.5, abs=1e-6)
    assert found[COMPANION] == 0.5  # of one feature, said or not
    assert not found[8:].any()  # shift concepts have scores without an upper end


def test_a_rollout_that_says_nothing_counts_and_one_that_was_not_read_does_not(planted: ForecastResult) -> None:
    run = planted.run
    rollouts = rollouts_of(run, "reference", concept_bank(run), "presence")
    assert len(rollouts.c) == 319
    of_first = rollouts.c[rollouts.prompt == rollouts.prompt_ids.tolist().index("q320")]
    assert len(of_first) == 3  # the second of its four answers was not read
    assert not of_first[0].any() and of_first[1:].any(axis=1).all()
    assert rollouts.n_units == 40  # prompts of one family are one unit
    assert pairs_of_prompts(run, "reference", ["q321", "q320"]) == [f"{321:020x}", f"{320:020x}"]


def test_without_rollouts_what_needs_them_is_null(bare: ForecastResult) -> None:
    found = columns(bare)
    for name in ("tilt", "prevalence", "prevalence_upper", "variance", "length_only", "prevalence_only"):
        assert np.isnan(found[name]).all(), name
    assert bare.table["needs_sft"].null_count == bare.table["unclear"].null_count == len(bare.table)
    assert bare.report["rollouts"] is None
    for name in ("mean", "one_step", "converged", "shuffled", "rewarded"):
        assert np.isfinite(found[name]).all(), name
    # The mean, counted by hand from the features: in how many more chosen than rejected responses it fires.
    run = open_run(bare.run.path)
    fires = [run.span(side).fire_count.toarray()[:N_TRAIN] > 0 for side in ("chosen", "rejected")]
    excess = (fires[0].sum(axis=0) - fires[1].sum(axis=0).astype(float)) / N_TRAIN
    assert found["mean"][APOLOGY] == pytest.approx(excess[3])
    assert found["mean"][PRAISE] == pytest.approx(excess[[0, 1, 2]].mean())


def test_in_groups_what_moves_there(bare: ForecastResult) -> None:
    everywhere, here, there = columns(bare), columns(bare, "group", 1), columns(bare, "group", 2)
    silent = columns(bare, "group", 0)
    assert here["n_in"][0] + there["n_in"][0] == N_TRAIN and not silent["n_in"].any()
    assert np.isnan(silent["shift"]).all()
    assert here["concept_id"].tolist() == list(range(8))  # communities and features, no shifts
    assert here["shift_lo"][LOCAL] > 0 > there["shift_hi"][LOCAL]
    assert here["contrast"][LOCAL] == pytest.approx(here["mean"][LOCAL] - there["mean"][LOCAL])
    assert here["contrast"][LOCAL] == pytest.approx(-there["contrast"][LOCAL])
    assert here["contrast"][LOCAL] > 0.5 > abs(here["contrast"][PRAISE])
    weighted = here["n_in"] * here["mean"] + there["n_in"] * there["mean"]
    np.testing.assert_allclose(weighted / N_TRAIN, everywhere["mean"][:8])
    assert np.isnan(here["rewarded"]).all() and np.isnan(here["tilt"]).all()


def test_sets_of_prompts_by_their_own_statistic(planted: ForecastResult) -> None:
    assert columns(planted, "prompt_max", 0)["concept_id"].tolist() == [8, 9]
    assert columns(planted, "prompt_freq", 2)["concept_id"].tolist() == [10, 11]
    assert columns(planted, "prompt_max", 0)["n_in"].tolist() == [80, 80]
    assert columns(planted, "prompt_max", 1)["n_in"].tolist() == [20, 20]  # 80 of its 100 are held out
    pairs = pair_deltas(
        planted.run, AuditSettings(**planted.run.manifest["settings"]), concept_bank(planted.run), "presence"
    )[1]
    found = prompts_in(planted.run, pairs["pair_id"].to_pylist())
    assert found["prompt_max"][0].tolist() == list(range(80))
    assert found["prompt_max"][1].tolist() == list(range(300, 320))
    assert found["prompt_freq"][2].tolist() == list(range(40, 60))
    assert found["group"][0].tolist() == []
    # Its 80 held-out prompts are all that were answered: inside is the whole.
    inside = columns(planted, "prompt_max", 1)
    np.testing.assert_allclose(inside["converged"], columns(planted)["converged"][[8, 9]])
    assert np.isfinite(inside["shift_lo"]).all()


def test_halves_are_those_of_the_declared_rung(planted: ForecastResult) -> None:
    halves = planted.halves
    assert halves.schema.equals(FORECAST_HALVES)
    assert len(halves) == 20 * 2 * len(NAMES)
    values = np.full((20, 2, len(NAMES)), np.nan)
    values[halves["split"].to_numpy(), halves["half"].to_numpy(), halves["concept_id"].to_numpy()] = halves["value"]
    found = columns(planted)["shift"]
    assert np.isfinite(values).all()
    assert (values[:, 0] != values[:, 1]).any(axis=1).all()
    assert (np.sign(values[:, :, PRAISE]) == np.sign(found[PRAISE])).all()
    assert (values[:, :, UNHEARD] == 0).all()


def test_shuffled_labels_are_drawn_99_times(planted: ForecastResult) -> None:
    table = planted.shuffled
    assert table.schema.equals(FORECAST_SHUFFLED)
    values = np.full((99, len(NAMES)), np.nan)
    values[table["draw"].to_numpy(), table["concept_id"].to_numpy()] = table["value"]
    np.testing.assert_array_equal(values[0], columns(planted)["shuffled"])
    assert len({tuple(row) for row in values.tolist()}) == 99
    truth, spread = columns(planted)["shift"][PRAISE], values[:, PRAISE].std()
    assert abs(values[:, PRAISE].mean()) < 3 * spread / np.sqrt(99) < truth / 3  # as often up as down


def test_labels_that_say_nothing_foretell_nothing(planted: ForecastResult, tmp_path: Path) -> None:
    assert abs(columns(planted)["shuffled"][PRAISE]) < columns(planted)["shift"][PRAISE] / 3
    write_run(tmp_path / "run", baseline="shuffled-labels")
    found = forecast_run(tmp_path / "run", draws=DRAWS)
    column = columns(found)
    assert abs(column["shift"][PRAISE]) < 0.15  # 0.45 with the labels; sd of the mean about 0.03, a copy not counted
    known = (column["shift_lo"] > 0) | (column["shift_hi"] < 0)
    assert known.sum() <= 3
    assert found.report["auc_heldout"] < 0.6 < 0.9 < planted.report["auc_heldout"]
    first, again = concept_bank(planted.run), concept_bank(found.run)
    assert first.kind == again.kind and first.concept_ids.tolist() == again.concept_ids.tolist()


def test_the_same_call_gives_what_is_sealed(run: Path, bare: ForecastResult) -> None:
    before = (run / "forecast.parquet").stat().st_mtime_ns
    again = forecast_run(run, draws=DRAWS)
    assert again.report == bare.report
    assert (run / "forecast.parquet").stat().st_mtime_ns == before
    assert again.report["sha256"] == file_hash(run / "forecast.parquet")
    assert again.report["sealed_before_training"] is True
    assert [entry["sha256"] for entry in again.run.manifest["forecasts"]] == [again.report["sha256"]]


def test_another_forecast_is_refused_and_a_replaced_one_kept(run: Path, bare: ForecastResult) -> None:
    first = (run / "forecast.parquet").read_bytes()
    with pytest.raises(UserError, match=r"sealed forecast.*rung mean there, one_step here.*--replace") as refused:
        forecast_run(run, draws=DRAWS, rung="one_step")
    assert bare.report["written"] in str(refused.value)
    assert (run / "forecast.parquet").read_bytes() == first
    second = forecast_run(run, draws=DRAWS, rung="one_step", replace=True)
    kept = run / f"forecast-{bare.report['sha256'][:8]}.parquet"
    assert kept.read_bytes() == first
    assert json.loads(kept.with_suffix(".json").read_text()) == bare.report
    listed = second.run.manifest["forecasts"]
    assert [(one["sha256"], one["rung"]) for one in listed] == [
        (bare.report["sha256"], "mean"),
        (file_hash(run / "forecast.parquet"), "one_step"),
    ]
    assert Run(run).manifest["forecasts"] == listed
    # Made once more after a training has begun, the first is what it was, and still of the time it was written.
    write_json(run / "trained" / "train.json", {})
    back = forecast_run(run, draws=DRAWS, replace=True)
    assert (run / "forecast.parquet").read_bytes() == first
    assert back.report == bare.report and Run(run).manifest["forecasts"] == listed


def test_written_after_training_it_says_so(run: Path) -> None:
    write_json(run / "trained" / "train.json", {"finished": False})
    late = forecast_run(run, draws=DRAWS, form="freq", replace=True)
    assert late.report["sealed_before_training"] is False
    assert [one["sealed_before_training"] for one in late.run.manifest["forecasts"]] == [True, False]


def test_a_changed_file_is_put_right(run: Path, bare: ForecastResult) -> None:
    changed = bare.table.to_pandas()
    changed["shift"] = 1.0
    with (run / "forecast.parquet").open("wb") as file:
        changed.to_parquet(file)
    assert forecast_run(run, draws=DRAWS).report == bare.report
    assert file_hash(run / "forecast.parquet") == bare.report["sha256"]


def test_killed_it_ends_with_the_same_bytes(run: Path, bare: ForecastResult, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    write_run(fresh)
    moments: dict[str, tuple[Path, str, dict[str, Any]]] = {
        "a first one": (fresh, "forecast_halves.parquet", {"draws": DRAWS}),
        "one that replaces": (run, "forecast.parquet", {"draws": DRAWS, "rung": "one_step", "replace": True}),
    }
    children = {}
    for name, (path, last, options) in moments.items():
        children[name] = Child(CHILD, path, last, json.dumps(options))
    for child in children.values():
        child.wait_for_line("stopped")
        child.kill()
    assert "forecasts" not in Run(fresh).manifest
    assert forecast_run(fresh, draws=DRAWS).report["sha256"] == bare.report["sha256"]
    assert [len(Run(path).manifest["forecasts"]) for path in (fresh, run)] == [1, 1]
    replaced = forecast_run(run, draws=DRAWS, rung="one_step", replace=True)
    kept = run / f"forecast-{bare.report['sha256'][:8]}.parquet"
    assert file_hash(kept) == bare.report["sha256"]
    assert len(Run(run).manifest["forecasts"]) == 2
    again = forecast_run(fresh, draws=DRAWS, rung="one_step", replace=True)
    assert again.report["sha256"] == replaced.report["sha256"]


def test_a_kill_before_the_list_is_mended(run: Path, bare: ForecastResult) -> None:
    manifest = read_sealed((run / "run.json").read_bytes())
    listed = manifest.pop("forecasts")
    (run / "run.json").write_text(json.dumps(manifest))
    other = forecast_run(run, draws=DRAWS, form="freq", replace=True)
    assert other.run.manifest["forecasts"][0] == listed[0]
    assert len(other.run.manifest["forecasts"]) == 2


def test_which_rollouts_are_used(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    answers(tmp_path / "run", "before", n_prompts=20)
    only = forecast_run(tmp_path / "run", draws=2)
    assert (only.report["rollouts"], only.report["rollouts_disjoint"]) == ("before", False)
    answers(tmp_path / "run", "reference", n_prompts=30, model={"sha256": "0ther"})
    both = forecast_run(tmp_path / "run", draws=2, replace=True)
    assert (both.report["rollouts"], both.report["rollouts_disjoint"]) == ("reference", True)
    assert (only.report["rollouts_by_own_model"], both.report["rollouts_by_own_model"]) == (True, False)
    assert both.report["prompts"] == 30
    again = forecast_run(tmp_path / "run", draws=2, rollouts="before", replace=True)
    assert again.report["sha256"] == only.report["sha256"]


def test_many_cells_leave_single_features_out_and_say_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_CELLS", 20)
    few = forecast_run(run, draws=DRAWS, form="paper", replace=True)
    assert few.report["cells_left_out"] == 3 * 7
    assert columns(few, "group", 1)["concept_id"].tolist() == [0]
    assert len(columns(few)["concept_id"]) == len(NAMES)


def test_a_real_audit_with_real_rollouts(shared_run: Any, tmp_path: Path) -> None:
    """240 pairs through a tiny lens, of which every third chosen response thanks: what no fixture of ours made up."""
    from pretilt.api import rollouts as rollouts_run

    path = shutil.copytree(shared_run.path, tmp_path / "run")
    rollouts_run(path, "reference", per_prompt=2, max_new_tokens=12)
    made = forecast_run(path, draws=10)
    found, run = columns(made), open_run(path)
    assert (made.report["rollouts"], made.report["rollouts_by_own_model"]) == ("reference", True)
    tested = np.unique(run.hypotheses["concept_id"].to_numpy())
    assert found["concept_id"].tolist() == tested.tolist()
    for name in ("mean", "one_step", "converged", "tilt", "shift_lo", "rewarded", "prevalence", "variance", "shuffled"):
        assert np.isfinite(found[name]).all(), name
    # In the audit's own form of u, the mean is the audit's own.
    paper = forecast_run(path, form="paper", rung="mean", draws=2, replace=True)
    of_audit = dict(zip(run.concepts["concept_id"].to_pylist(), run.concepts["mean_u_paper"].to_pylist(), strict=True))
    for concept, mean in zip(tested.tolist(), columns(paper)["mean"], strict=True):
        if of_audit[concept] is not None:
            assert mean == pytest.approx(of_audit[concept], abs=1e-12)
    # So are the means in sets; and the contrasts of prompt concepts (in those of groups the audit has no silent pairs).
    in_sets = [h for h in run.hypotheses.to_pylist() if h["view"] not in OVER_ALL_PAIRS]
    audited = {(h["view"], h["where"], h["concept_id"]): h for h in in_sets}
    cells = {(c["view"], c["where"], c["concept_id"]): c for c in paper.table.to_pylist() if c["view"] != "global"}
    assert audited.keys() <= cells.keys() and {view for view, _, _ in audited} == set(VIEWS) - {
        *OVER_ALL_PAIRS,
        "detector_group",
    }
    for place, hypothesis in audited.items():
        assert cells[place]["n_in"] == hypothesis["n_in"]
        assert cells[place]["mean"] == pytest.approx(hypothesis["mean_in"], abs=1e-6)
        if place[0] not in IN_GROUPS:
            assert cells[place]["contrast"] == pytest.approx(hypothesis["delta"], abs=1e-6)
