"""Did it come true: planted outcomes, the seal, what is refused, and numbers worked by hand."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from altered import record_anew
from harms import HARMS
from rich.console import Console
from verify_run_folder import FLATTERY, N_COMMUNITIES
from verify_worlds import FAST, TUNED, foresee, say, train_report

from pretilt import schema
from pretilt.api import verify as verify_run
from pretilt.audit import checks, doctor
from pretilt.models.load import model_identity
from pretilt.rollouts.log_ratio import LOGPROB, LOGPROBS
from pretilt.run import Run, file_hash
from pretilt.verify import step as verifying
from pretilt.verify.step import VerifyResult
from pretilt.verify.verdict import seal
from pretilt.view.terminal.verification import print_verification


@pytest.fixture(scope="module")
def verified(world: Path, tmp_path_factory: pytest.TempPathFactory) -> VerifyResult:
    return verify_run(shutil.copytree(world, tmp_path_factory.mktemp("verified") / "run"), **FAST)


def of(result: VerifyResult, name: str = "communities") -> Any:
    return result.report["sets"][name]


def printed(result: VerifyResult) -> str:
    """What the terminal shows, its white space collapsed."""
    console = Console(file=io.StringIO(), width=100)
    print_verification(result.report, result.run.table("concepts.parquet"), console)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def row(result: VerifyResult, forecast: str, name: str = "communities") -> Any:
    return next(one for one in of(result, name)["table"] if one["name"] == forecast)


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_damaged_verification_is_made_again(
    verified: VerifyResult, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    run = Path(shutil.copytree(verified.run.path, tmp_path / "run"))
    stages = Run(run).manifest["stages"]
    for name in stages["verification"]["files"]:
        harm(run / name)
    verify_run(run, **FAST)
    assert {name: file_hash(run / name) for name in stages["verification"]["files"]} == stages["verification"]["files"]


# --- planted outcomes -----------------------------------------------------------------------------------------------


def test_a_forecast_that_is_right_comes_true(verified: VerifyResult) -> None:
    said = verified.report["verdict"]
    assert said["name"] == "came true" and said["set"] == "communities"
    assert f"feature-conditioned, {N_COMMUNITIES} concepts, 240 prompts × 4" in said["sentence"]
    for name in ("communities", "features", "shift_max", "shift_freq"):
        overall = of(verified, name)["judgement"]["overall"]
        assert overall["r2"] > 0.8 and overall["rel_y"] > 0.8, name
    assert of(verified)["judgement"]["sign_accuracy"] == 1.0
    assert of(verified)["judgement"]["permutation_p"] == 1 / 400
    assert row(verified, "shuffled")["r2"] < 0.3
    assert of(verified)["against_shuffled"]["lo"] > 0.3
    assert row(verified, "zero")["r2"] is None and row(verified, "zero")["sign_accuracy"] == 0.0
    # After training the chosen response comes in 9 of 10 cases instead of 5: the shift is 0.4 u.
    assert of(verified)["scale"] == pytest.approx(0.4, abs=0.04)
    held = {s["claim"]: s["held"] for s in verified.report["statements"]}
    assert held["it comes from the labels"] is True
    assert of(verified)["can_be_said"] is True and "Not listed" not in printed(verified)
    assert held["noise explains what it misses: 95 % intervals of noise alone hold what is seen"] is True


def test_it_knows_in_which_context(verified: VerifyResult) -> None:
    """FLATTERY has an effect in group 1 alone; half of the other communities differ between groups as well."""
    within = verified.report["cells"]["group"]["in_out"]["within"]
    assert within["rel_y"] > 0.5 and within["r2"] > 0.25
    cell = (pc.field("view") == "group") & (pc.field("concept_id") == FLATTERY)
    cells = {r["where"]: r for r in verified.table.filter(cell).to_pylist()}
    assert cells[1]["observed"] > 0.08 and cells[1]["resolved"] and cells[1]["sign_right"]
    assert all(cells[k]["observed"] < cells[1]["observed"] / 2 for k in (0, 2, 3))
    assert cells[1]["predictive_lo"] is None and cells[1]["inside"] is None


def test_a_forecast_of_other_concepts_fails(run: Path) -> None:
    foresee(run, scramble=True)
    result = verify_run(run, **FAST)
    assert result.report["verdict"]["name"] == "failed"
    assert "no better than chance" in result.report["verdict"]["sentence"]
    assert of(result)["judgement"]["permutation_p"] > 0.05
    if of(result)["intervals_void"]:
        assert not of(result)["misses"] and not of(result)["hits"]
    else:
        assert len(of(result)["misses"]) > len(of(result)["hits"])


def test_of_a_model_that_stayed_as_it_was_nothing_can_be_said(run: Path) -> None:
    say(run, "after-2", 0.5, seed=7)
    result = verify_run(run, after="after-2", **FAST)
    assert result.name == "2" and result.run.holds("verification-2.json")
    said = result.report["verdict"]
    assert said["name"] == "nothing can be said" and "hardly moved" in said["sentence"]
    assert of(result)["judgement"]["overall"]["rel_y"] < 0.5
    named = {check["name"]: check["verdict"] for check in result.report["doctor"]}
    assert named["did the model move"] in ("amber", "red")
    assert not of(result)["hits"] and not of(result)["misses"]  # none stands under "nothing can be said"
    assert of(result)["can_be_said"] is False
    statements = result.report["statements"]
    assert len(statements) >= 7 and {one["held"] for one in statements} == {None}  # nor is any claim called held
    screen = printed(result)
    assert "Hits and misses Not listed: nothing can be said." in screen and "Came true" not in screen


def test_the_other_way_round_is_a_failure(run: Path) -> None:
    say(run, "after-2", 0.1, seed=7)
    result = verify_run(run, after="after-2", **FAST)
    assert result.report["verdict"]["name"] == "failed"
    assert of(result)["judgement"]["overall"]["r2"] < -0.9 and of(result)["scale"] < 0
    assert of(result)["judgement"]["sign_accuracy"] == 0.0
    assert "is not surely above 0" in of(result)["intervals_void"] and not of(result)["hits"]
    assert of(result)["coverage"]["even_prompts"] is None
    assert result.table["inside"].null_count == result.table["predictive_lo"].null_count == len(result.table)


# --- artifacts ------------------------------------------------------------------------------------------------------


def test_table_and_json_hold_every_number_once(verified: VerifyResult) -> None:
    table = verified.table
    assert table.schema.remove_metadata() == schema.VERIFICATION
    forecast = pq.read_table(verified.run.path / "forecast.parquet")
    key = ["view", "where", "concept_id"]
    assert sorted(map(tuple, table.select(key).to_pandas().values.tolist())) == sorted(
        map(tuple, forecast.select(key).to_pandas().values.tolist())
    )
    everywhere = table.filter(pc.field("view") == "global").to_pylist()
    said = forecast.filter(pc.field("view") == "global").to_pylist()
    shift = {one["concept_id"]: one["shift"] for one in said}
    for one in everywhere:
        assert one["predicted"] == shift[one["concept_id"]] and one["n_prompts"] == 240
        assert one["inside"] == (one["predictive_lo"] <= one["observed"] <= one["predictive_hi"])
        assert one["resolved"] == (abs(one["observed"]) > 2 * one["se"])
        assert one["sign_right"] == (one["predicted"] * one["observed"] > 0 if one["resolved"] else None)

    def strict(constant: str) -> None:
        raise AssertionError(constant)

    text = (verified.run.path / "verification.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=strict) == verified.report
    assert {f.name for f in verified.run.path.glob("verification*")} == {
        f"verification.{suffix}" for suffix in ("parquet", "json")
    }


def test_again_it_returns_what_is_there(verified: VerifyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "_Verification", lambda *_: pytest.fail("computed again"))
    assert verify_run(verified.run.path, **FAST).report == verified.report


def test_interrupted_it_ends_with_the_same_bytes(
    verified: VerifyResult, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Any, name: str | None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(verifying._Verification, "report", stop)
        with pytest.raises(KeyboardInterrupt):
            verify_run(run, **FAST)
    assert "verification" not in Run(run).manifest["stages"]
    verify_run(run, **FAST)
    for suffix in ("parquet", "json"):
        name = f"verification.{suffix}"
        assert file_hash(run / name) == file_hash(verified.run.path / name)


def test_another_forecast_is_judged_anew(run: Path) -> None:
    first = verify_run(run, **FAST).report["verdict"]["name"]
    foresee(run, scramble=True)
    assert (first, verify_run(run, **FAST).report["verdict"]["name"]) == ("came true", "failed")


# --- the seal -------------------------------------------------------------------------------------------------------


def model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text('{"model_type": "llama"}')
    (path / "model.safetensors").write_bytes(b"weights")
    return path


@pytest.mark.parametrize(
    ("then", "state"),
    [
        ("this", "sealed"),
        (None, "forecast written after training"),
        ("another", "changed since"),
        ("file", "changed since"),
        ("elsewhere", "not known"),
        ("no train.json", "not known"),
    ],
)
def test_the_seal(run: Path, then: str | None, state: str) -> None:
    folder = model_folder(run / "trained")
    say(run, "after", 0.9, seed=2, model=TUNED if then == "elsewhere" else model_folder_identity(folder))
    about = json.loads((run / "forecast.json").read_text())
    sha256 = "ab" * 32 if then == "another" else about["sha256"]
    if then != "no train.json":
        train_report(folder, run, forecast=None if then is None else {"sha256": sha256, "written": "earlier"})
    if then == "file":  # a number was changed after the fact
        table = pq.read_table(run / "forecast.parquet")
        column = table.schema.get_field_index("shift")
        pq.write_table(table.set_column(column, "shift", pc.multiply(table["shift"], 1.5)), run / "forecast.parquet")
    report = verify_run(run, **FAST).report
    assert report["seal"]["state"] == state
    assert report["verdict"]["text"].endswith(report["seal"]["words"])
    assert (report["training"] is None) == (then in ("elsewhere", "no train.json"))
    if then == "this":
        assert report["training"]["words"].startswith("linear") and report["training"]["mean_weight"] == 0.43
        assert "sealed before training" in report["verdict"]["text"]


def model_folder_identity(folder: Path) -> dict[str, Any]:
    return {**model_identity(folder), "dtype": "bfloat16"}  # sampled in another precision, it is the same model


def test_a_server_may_be_any_model() -> None:
    about = {"sha256": "aa"}
    trained = {"forecast": {"sha256": "aa", "written": "then"}}
    assert seal("aa", about, trained, same_model=True).state == "sealed"
    assert seal("aa", about, trained, same_model=None).state == "not known"
    assert seal("aa", about, {}, same_model=True).state == "not known"  # trained before forecasts were recorded


# --- the doctor -----------------------------------------------------------------------------------------------------


def test_the_doctor_uses_the_control_models(run: Path) -> None:
    say(run, "after-zero-step", 0.5, seed=11)
    say(run, "after-shuffled", 0.5, seed=12)
    found = {check["name"]: check for check in verify_run(run, **FAST).report["doctor"]}
    assert {name: check["verdict"] for name, check in found.items()} == {
        "index space of rollouts": "green",
        "zero-step control": "green",
        "shuffled-label training control": "green",
        "did the model move": "green",
    }
    assert found["zero-step control"]["figure"].endswith(f"of {N_COMMUNITIES} concepts")
    waiting = [checks.special_tokens(0), *checks.not_yet_run()]
    shown = doctor._with_verification(Run(run), waiting)
    assert [check.verdict for check in shown] == ["green"] * 5
    (run / "verification.json").unlink()
    record_anew(run)
    assert doctor._with_verification(Run(run), waiting) == waiting


def test_a_control_that_moves_is_red(run: Path) -> None:
    say(run, "after-zero-step", 0.9, seed=11)
    say(run, "after-shuffled", 0.9, seed=12)
    found = {check["name"]: check["verdict"] for check in verify_run(run, **FAST).report["doctor"]}
    assert found["zero-step control"] == found["shuffled-label training control"] == "red"


# --- the second estimator -------------------------------------------------------------------------------------------


def score(run: Path, role: str, chosen: float, other_chosen: float, sha256: str) -> None:
    """Log-probabilities of the role's rollouts under the model that drew them and another: chosen this often."""
    from pretilt.rollouts.step import folder, open_rollouts, samples_stage

    samples = open_rollouts(Run(run), role).samples
    is_chosen = np.array(samples["text"].to_pylist()) == "chosen"
    opened = Run(run)
    for place, share in (("own", chosen), (f"other-{sha256:.12}", other_chosen)):
        with opened.stage(f"{samples_stage(role)}-{place}", version=1, config={}, reads=[samples_stage(role)]) as stage:
            shards = stage.shards(f"{folder(role)}/{place}", (LOGPROB,))
            values = pa.array(np.where(is_chosen, np.log(share), np.log(1 - share)))
            shards.write(0, {LOGPROB: pa.table([samples["rollout_id"], values], schema=LOGPROBS)})
            stage.add_shards(shards)


def test_weighted_answers_tell_the_same_shift(run: Path) -> None:
    assert "--importance" in verify_run(run, **FAST).report["importance"]["why"]
    score(run, "before", 0.5, 0.9, TUNED["sha256"])
    found = verify_run(run, **FAST).report["importance"]
    assert "why" not in found and found["prompts"] == 240
    assert found["r2_with_sampled"] > 0.8 and found["r2_of_forecast"] > 0.8
    for law in found["hindsight"]["communities"].values():
        assert law["r2"] > 0.8 and law["r2_with_forecast"] > 0.8 and law["n"] == N_COMMUNITIES
        assert law["reachable"] == pytest.approx(law["rel_x"] * law["rel_y"])
    # KL of a fair coin from one of 0.9, and the effective sample size of weights 1.8 and 0.2
    assert found["kl"]["value"] == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1), abs=0.06)


def test_weights_that_rest_on_single_answers_are_not_shown(run: Path) -> None:
    say(run, "before", 0.5, seed=1, per_prompt=8)
    score(run, "before", 0.5, 0.9, TUNED["sha256"])
    rng = np.random.default_rng(0)
    from pretilt.rollouts.step import folder

    path = run / folder("before") / f"other-{TUNED['sha256']:.12}" / "logprob-00000.parquet"
    table = pq.read_table(path)
    wild = pa.array(rng.normal(0, 40, len(table)))
    pq.write_table(table.set_column(1, "logprob", wild).replace_schema_metadata(table.schema.metadata), path)
    record_anew(run)
    found = verify_run(run, **FAST).report["importance"]
    assert "r2_of_forecast" not in found and "effective sample size under 0.3" in found["why"]
    assert found["trusted_prompts"] < 4
    assert (
        found["hindsight"]["communities"]["first_order"]["rel_x"] < 0.8
    )  # what the weights say is said in hindsight all the same
