"""`pretilt verify` as a user types it, from a trained model's folder to the verdict, and every mistake on the way."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from children import run_child
from command_line import in_process, of_its_own
from transformers import AutoModelForCausalLM, AutoTokenizer
from verify_worlds import foresee, say, train_report

import pretilt
from pretilt.api import rollouts as rollouts_run
from pretilt.api import verify as verify_run
from pretilt.artifacts import read_sealed
from pretilt.rollouts.step import open_rollouts
from pretilt.run import Run

FEWER = ("--draws", 100, "--permutations", 399)
SMALL = {"per_prompt": 2, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def world(told_and_seen: Path) -> Path:
    return told_and_seen


@pytest.fixture
def run(world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world, tmp_path / "run"))


def test_the_verdict_comes_first_and_is_never_alone(run: Path) -> None:
    result = in_process("verify", run, *FEWER)
    assert result.returncode == 0, result.stderr
    text = " ".join(result.stdout.split())
    assert text.startswith("The forecast came true: R² ") and "of a possible ." in text
    assert text.index("Whether the forecast was sealed before training is not known.") < text.index("Rungs and")
    for word in ("mean (declared)", "prevalence", "length", "shuffled", "groups of pairs", "Came true", "GREEN"):
        assert word in text, word
    assert all(len(line) <= 100 for line in result.stdout.splitlines())
    assert f"pretilt view {run}" in result.stderr and not (run / "verification.html").exists()


def test_json_is_all_there_is_on_standard_output(run: Path) -> None:
    result = of_its_own("verify", run, "--json", *FEWER)
    report = json.loads(result.stdout)
    assert report["verdict"]["name"] == "came true" and report["seal"]["state"] == "not known"
    assert report == json.loads((run / "verification.json").read_text())


KILLED = """
import os, signal, sys
from pretilt.api import verify as verify_run
from pretilt.run import Stage

Stage.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
verify_run(sys.argv[1], draws=100, permutations=99)
"""


def test_killed_before_its_report_the_same_call_ends_with_the_same_bytes(run: Path, world: Path) -> None:
    killed = run_child(KILLED, run)
    assert killed.status == -signal.SIGKILL, killed.output
    assert (run / "verification.parquet").exists() and not (run / "verification.json").exists()
    undisturbed = Path(shutil.copytree(world, run.parent / "undisturbed"))
    for path in (run, undisturbed):
        verify_run(path, draws=100, permutations=99)
    for name in ("verification.parquet", "verification.json"):
        assert (run / name).read_bytes() == (undisturbed / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--after", "after-7"], "no rollouts 'after-7'"),
        (["--after", "nowhere"], "no rollouts 'nowhere'"),
        (["--before", "Before!"], "'Before!' cannot name rollouts"),
        (["--trained", "nowhere"], "no folder of a trained model (nowhere)"),
        (["--importance"], "trained model is not known"),
    ],
)
def test_mistakes_are_one_line(run: Path, arguments: list[str], says: str) -> None:
    result = in_process("verify", run, *arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and says in result.stderr and "Traceback" not in result.stderr


def test_not_a_run_and_no_forecast(run: Path, tmp_path: Path) -> None:
    assert "not a run folder" in in_process("verify", tmp_path / "nowhere").stderr
    (run / "forecast.parquet").unlink()
    result = in_process("verify", run)
    assert result.returncode == 2
    assert "holds no forecast" in result.stderr and "Run `pretilt forecast` before training" in result.stderr


@pytest.fixture(scope="module")
def trained(
    shared_run: pretilt.AuditResult, shared_lens: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of the shared run with a forecast, and in it the folder of a model that was trained under the forecast."""
    path = Path(shutil.copytree(shared_run.path, tmp_path_factory.mktemp("trained") / "run"))
    about = foresee(path)
    model = AutoModelForCausalLM.from_pretrained(shared_lens["model"])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.lm_head.weight += 0.05 * torch.randn(model.lm_head.weight.shape, generator=generator)
    model.save_pretrained(path / "trained")
    AutoTokenizer.from_pretrained(shared_lens["model"]).save_pretrained(path / "trained")
    train_report(path / "trained", path, forecast={"sha256": about["sha256"], "written": about["written"]})
    return path


def test_one_command_samples_both_models_and_judges(trained: Path) -> None:
    """The model in trained/ is sampled as the base was, found to be the one that was trained, and the seal holds."""
    rollouts_run(trained, "before", **SMALL)  # type: ignore[arg-type]
    first = in_process("verify", trained, *FEWER)
    assert first.returncode == 0, first.stderr
    assert "sealed before training" in " ".join(first.stdout.split())
    assert open_rollouts(Run(trained), "after").report["settings"]["max_new_tokens"] == 8
    report = json.loads(in_process("verify", trained, "--importance", "--json", *FEWER).stdout)
    assert report["seal"]["state"] == "sealed" and report["training"]["name"] == "linear"
    assert report["prompts"]["split"] == "heldout" and report["prompts"]["per_prompt"] == 2
    assert report["importance"]["kl"]["value"] > 0
    assert report["doctor"][0]["name"] == "index space of rollouts"
    named = in_process("verify", trained, "--after", trained / "trained", "--name", "again", "--json", *FEWER)
    other = json.loads(named.stdout)
    assert (other["name"], other["after"], other["seal"]["state"]) == ("again", "after-again", "sealed")
    assert (trained / "verification-again.json").exists() and (trained / "verification.json").exists()


def test_a_wrong_folder_is_refused_before_anything_is_sampled(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("rollouts*")))
    manifest = read_sealed((run / "run.json").read_bytes())
    stages = {k: v for k, v in manifest["stages"].items() if not k.startswith(("rollouts", "verification"))}
    (run / "run.json").write_text(json.dumps({**manifest, "stages": stages}))
    (tmp_path / "empty").mkdir()
    result = in_process("verify", run, "--after", tmp_path / "empty")
    assert result.returncode == 2 and "holds no model" in result.stderr
    assert not (run / "rollouts").exists()


def test_another_model_is_not_taken_for_the_one_that_answered(
    trained: Path, shared_lens: dict[str, str], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    say(run, "after", 0.5, seed=3, split="heldout", model={"sha256": "f" * 64, "dtype": "float32"})
    say(run, "before", 0.5, seed=1, split="heldout")
    result = in_process("verify", run, "--after", shared_lens["model"])
    assert result.returncode == 2
    assert "other rollouts 'after'" in result.stderr and "--name" in result.stderr
