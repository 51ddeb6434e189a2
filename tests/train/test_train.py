"""Training end to end on a tiny model: stock TRL's own result, controls, kills, and folders one can believe."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny_tokenizers import byte_level
from tiny_training import QUICK, chats, long_prompt, write_run
from training_runs import LORA, UNSAVED, Stopped, Watcher, same, trained, weights
from whole_reports import lens_card

from pretilt.api import train as train_run
from pretilt.errors import UserError
from pretilt.pairs.chat import template_hash, tokenizer_hash
from pretilt.run import Run


def test_weights_are_those_of_stock_trl(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Bit for bit: a script of TRL alone on the same rows, and ours."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    result = trained(made, tmp_path / "ours", logging_steps=1, **UNSAVED)
    rows = [{s: [m.as_dict() for m in getattr(p, s)] for s in ("prompt", "chosen", "rejected")} for p in chats(24)[:20]]
    args = DPOConfig(
        str(tmp_path / "stock"), max_length=64, seed=0, bf16=False, report_to="none", logging_steps=1,
        max_steps=6, per_device_train_batch_size=4, learning_rate=1e-3, beta=0.1, gradient_checkpointing=False,
        save_strategy="no",
    )  # fmt: skip
    stock = DPOTrainer(
        model=str(made[0]), args=args, train_dataset=Dataset.from_list(rows), processing_class=byte_level()
    )
    stock.train()
    stock.save_model(str(tmp_path / "stock"))
    assert same(tmp_path / "ours", tmp_path / "stock")
    losses = [entry["loss"] for entry in stock.state.log_history if "loss" in entry]
    assert [entry["loss"] for entry in result.report["log"]] == losses
    assert len(losses) == 6
    assert not same(tmp_path / "ours", made[0])


def test_report_and_margins(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Margins equal those of a plain forward pass over the ids that the audit read, with and without training."""
    watcher = Watcher()
    result = trained(made, tmp_path / "out", watcher)
    report = json.loads((tmp_path / "out" / "train.json").read_text())
    assert {name: value for name, value in report.items() if name != "sha256"} == result.report  # the file is sealed
    assert report["finished"] and report["steps"] == 6 and watcher.steps == [1, 2, 3, 4, 5, 6]
    nothing = {"dropped_by_trainer": [], "read_differently_by_audit": 0, "equal_responses": 0}
    assert report["pairs"]["train"] == {"given": 20, "kept": 20, **nothing}
    assert report["pairs"]["heldout"] == {"given": 4, "kept": 4, **nothing}
    assert report["dpo"]["beta"] == 0.1 and report["dpo"]["max_length"] == 64 and report["lora"] is None
    assert report["versions"]["trl"] and report["seconds"].keys() == {"training", "measuring", "saving"}
    assert not list((tmp_path / "out").glob("checkpoint-*")) and not (tmp_path / "out" / "training_args.bin").exists()
    tokens = {row["pair_id"]: row for row in Run(made[1]).table("tokens.parquet").to_pylist()}
    table = pq.read_table(tmp_path / "out" / "margins.parquet").to_pylist()
    assert [row["pair_id"] for row in table] == list(tokens)
    assert [row["split"] for row in table] == ["train"] * 20 + ["heldout"] * 4
    for when, folder in (("before", made[0]), ("after", tmp_path / "out")):
        for row in table:
            for side in ("chosen", "rejected"):
                expected = log_probability(folder, tokens[row["pair_id"]], side)
                assert row[f"logp_{side}_{when}"] == pytest.approx(expected, abs=1e-3)
    drift = [[row[f"logp_{s}_after"] - row[f"logp_{s}_before"] for s in ("chosen", "rejected")] for row in table[:20]]
    expected_margins = [0.1 * (c - r) for c, r in drift]
    assert [row["margin"] for row in table[:20]] == pytest.approx(expected_margins)
    found = report["regime"]["train"]
    assert found["mean_margin"] == pytest.approx(np.mean(expected_margins))
    assert found["mean_weight"] == pytest.approx(np.mean(1 / (1 + np.exp(expected_margins))))
    assert result.regime == "bending"
    assert result.report["regime"]["words"].startswith("bending: mean σ(−margin) is 0.38")


_MODELS: dict[Path, Any] = {}


def log_probability(folder: Path, row: dict[str, Any], side: str) -> float:
    from transformers import AutoModelForCausalLM

    if folder not in _MODELS:
        _MODELS[folder] = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    model = _MODELS[folder]
    ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
    with torch.no_grad():
        logps = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return float(logps[len(row["prompt_ids"]) - 1 :].sum())


@pytest.mark.parametrize("lora", [None, LORA])
def test_mixed_precision_does_not_blur_the_margins(lora: Any, made: tuple[Path, Path], tmp_path: Path) -> None:
    """bfloat16 rounds a response's log-probability by more than this training changes it."""
    result = trained(made, tmp_path / "out", bf16=True, use_cpu=True, learning_rate=1e-8, lora=lora, **UNSAVED)
    assert result.regime == "did not move"
    row = pq.read_table(tmp_path / "out" / "margins.parquet").to_pylist()[0]
    tokens = Run(made[1]).table("tokens.parquet").to_pylist()[0]
    assert row["logp_chosen_after"] == pytest.approx(log_probability(tmp_path / "out", tokens, "chosen"), abs=1e-3)


@pytest.mark.parametrize("loss_type", ["sigmoid", "sigmoid_norm"])
def test_margins_are_the_argument_of_the_trainers_loss(loss_type: str, made: tuple[Path, Path], tmp_path: Path) -> None:
    """TRL's own loss on the held-out pairs after the last step is the mean of −log σ(margin)."""
    options = {"loss_type": loss_type, "beta": 0.7, "eval_strategy": "steps", "eval_steps": 6, **UNSAVED}
    report = trained(made, tmp_path / "out", **options).report
    [evaluated] = [entry for entry in report["log"] if "eval_loss" in entry]
    table = pq.read_table(tmp_path / "out" / "margins.parquet").to_pylist()
    margins = np.array([row["margin"] for row in table if row["split"] == "heldout"])
    assert evaluated["eval_loss"] == pytest.approx(np.log1p(np.exp(-margins)).mean(), abs=1e-5)
    assert evaluated["eval_loss"] < 0.65  # log 2 where nothing has moved
    assert report["pairs"]["train"]["kept"] == 20


def test_a_diverged_training_is_told_and_its_report_is_json(made: tuple[Path, Path], tmp_path: Path) -> None:
    result = trained(made, tmp_path / "out", learning_rate=1e30, max_grad_norm=0, max_steps=4, **UNSAVED)
    assert result.regime == "diverged"
    text = (tmp_path / "out" / "train.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["regime"]["train"]["mean_margin"] is None


@pytest.mark.parametrize("lora", [None, LORA])
def test_zero_steps_leave_the_model_untouched(lora: Any, made: tuple[Path, Path], tmp_path: Path) -> None:
    result = trained(made, tmp_path / "out", max_steps=0, lora=lora)
    assert same(tmp_path / "out", made[0])
    assert result.regime == "did not move" and result.report["steps"] == 0 and result.report["log"] == []
    assert result.report["regime"]["train"]["rms_log_ratio"] == 0.0
    from transformers import AutoTokenizer

    saved, original = AutoTokenizer.from_pretrained(tmp_path / "out"), AutoTokenizer.from_pretrained(made[0])
    assert template_hash(saved) == template_hash(original) and tokenizer_hash(saved) == tokenizer_hash(original)


def test_lora_gives_a_merged_model_and_keeps_the_adapter(made: tuple[Path, Path], tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    result = trained(made, tmp_path / "out", lora=LORA, **UNSAVED)
    assert result.report["lora"]["r"] == 4 and result.report["regime"]["train"]["mean_margin"] > 0.01
    base = AutoModelForCausalLM.from_pretrained(made[0], dtype="float32")
    adapted = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="float32")
    ids = torch.arange(40)[None]
    with torch.no_grad():
        assert torch.allclose(adapted(ids).logits, merged(ids).logits, atol=1e-4)
    assert not same(tmp_path / "out", made[0])
    row = pq.read_table(tmp_path / "out" / "margins.parquet").to_pylist()[0]
    tokens = Run(made[1]).table("tokens.parquet").to_pylist()[0]
    assert row["logp_chosen_after"] == pytest.approx(log_probability(tmp_path / "out", tokens, "chosen"), abs=1e-3)
    assert row["logp_chosen_before"] == pytest.approx(log_probability(made[0], tokens, "chosen"), abs=1e-3)


def test_precomputed_references_change_nothing(made: tuple[Path, Path], tmp_path: Path) -> None:
    options = {"per_device_train_batch_size": 8, **UNSAVED}
    plain = trained(made, tmp_path / "a", **options)
    ahead = trained(made, tmp_path / "b", precompute_ref_log_probs=True, **options)
    assert ahead.report["regime"]["train"] == pytest.approx(plain.report["regime"]["train"], abs=1e-4)


def test_shuffled_labels_train_on_exchanged_responses(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Chosen always thanks: with half the families turned round the margin hardly grows on held-out pairs."""
    told = Watcher()
    plain = trained(made, tmp_path / "a", **UNSAVED)
    turned = trained(made, tmp_path / "b", told, shuffled_labels=True, **UNSAVED)
    n = turned.report["pairs"]["swapped"]
    assert 0 < n < 24 and n % 2 == 0 and plain.report["pairs"]["swapped"] == 0
    assert f"exchanged in {n} pairs" in " ".join(told.said)
    assert turned.report["pairs"]["train"]["read_differently_by_audit"] == 0
    assert plain.report["regime"]["train"]["mean_margin"] > 4 * turned.report["regime"]["train"]["mean_margin"]
    assert turned.report["labels"] == {"shuffled": True, "seed": 3}  # the seed of the run


def test_measuring_costs_a_tenth_of_the_training_and_says_so(made: tuple[Path, Path], tmp_path: Path) -> None:
    watcher = Watcher()
    options = {**QUICK, "regime_pairs": None, "max_steps": 20, "save_strategy": "no"}
    result = train_run(made[1], model=made[0], out=tmp_path / "out", events=watcher, **options)
    # 20 steps of 4 pairs, 3 passes each: a tenth are 24 passes, 12 pairs, 6 of either split; 4 are held out
    assert (result.report["regime"]["train"]["pairs"], result.report["regime"]["heldout"]["pairs"]) == (6, 4)
    assert any("the margins of 6 training and 4 held-out pairs are measured: 40 responses" in s for s in watcher.said)


def test_a_finished_folder_is_believed_only_whole_and_under_its_key(made: tuple[Path, Path], tmp_path: Path) -> None:
    first = trained(made, tmp_path / "out")
    watcher = Watcher()
    assert trained(made, tmp_path / "out", watcher).report == first.report
    assert watcher.steps == [] and "trained already; bending" in watcher.said[0]
    with pytest.raises(UserError, match="holds another training"):
        trained(made, tmp_path / "out", beta=0.2)
    before = weights(tmp_path / "out")
    shutil.copy(made[0] / "model.safetensors", tmp_path / "out" / "model.safetensors")  # somebody's mistake
    watcher = Watcher()
    trained(made, tmp_path / "out", watcher)
    assert watcher.steps == [1, 2, 3, 4, 5, 6] and "missing or changed" in watcher.said[0]
    after = weights(tmp_path / "out")
    assert all(torch.equal(before[name], after[name]) for name in before)
    (tmp_path / "out" / "README.md").write_text("Our model card.")  # people may write there
    watcher = Watcher()
    trained(made, tmp_path / "out", watcher)
    assert watcher.steps == []
    (tmp_path / "out" / "train.json").write_text("{}")
    with pytest.raises(UserError, match="report of a training cannot be read"):
        trained(made, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="not empty"):
        trained(made, tmp_path / "full")


def test_settings_that_failed_do_not_lock_the_folder(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lm_head"):
        trained(made, tmp_path / "out", lora={"target_modules": ["lm_head"]})
    with pytest.raises(UserError, match=r"cannot train.*nowhere"):
        trained(made, tmp_path / "out", lora={"target_modules": ["nowhere"]})
    assert trained(made, tmp_path / "out", max_steps=1).report["finished"]


def test_rows_that_the_trainer_drops_are_named(made: tuple[Path, Path], tmp_path: Path) -> None:
    pairs = chats(12)
    pairs[2], pairs[11] = long_prompt(pairs[2]), long_prompt(pairs[11])
    write_run(tmp_path / "run", pairs, n_heldout=2)
    watcher = Watcher()
    result = trained((made[0], tmp_path / "run"), tmp_path / "out", watcher, max_steps=1, max_length=60)
    assert result.report["pairs"]["train"]["dropped_by_trainer"] == [pairs[2].pair_id]
    assert result.report["pairs"]["heldout"]["dropped_by_trainer"] == [pairs[11].pair_id]
    assert any("1 pairs are dropped by the trainer" in text for text in watcher.said)
    with pytest.raises(UserError, match="drops all 10 pairs"):
        trained((made[0], tmp_path / "run"), tmp_path / "none", max_length=8)


def test_bad_inputs_are_one_error(made: tuple[Path, Path], tmp_path: Path) -> None:
    model, run = made
    with pytest.raises(UserError, match="this is not a run folder"):
        train_run(tmp_path, model=model)
    empty = write_run(tmp_path / "run", chats(4), n_heldout=0)
    (empty.path / "pairs.parquet").unlink()
    with pytest.raises(UserError, match="the run is damaged"):
        train_run(empty.path, model=model)
    with pytest.raises(UserError, match="no model to train is named"):
        train_run(run)
    (tmp_path / "hollow").mkdir()
    with pytest.raises(UserError, match=r"holds no model.*config\.json is missing"):
        train_run(run, model=tmp_path / "hollow", out=tmp_path / "a")
    with pytest.raises(UserError, match="cannot load the model 'nobody/nothing'"):
        train_run(run, model="nobody/nothing", out=tmp_path / "a")
    shutil.copytree(model, tmp_path / "weightless")
    (tmp_path / "weightless" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"cannot load the model .*weightless"):
        train_run(run, model=tmp_path / "weightless", out=tmp_path / "a", max_steps=1)
    (tmp_path / "weightless" / "model.safetensors").write_bytes(b"not a tensor in sight")
    with pytest.raises(UserError, match=r"cannot load the model .*weightless"):
        train_run(run, model=tmp_path / "weightless", out=tmp_path / "a", max_steps=1)


def test_the_runs_own_model_is_the_default(made: tuple[Path, Path], tmp_path: Path) -> None:
    lens = lens_card(model_identity={"sha256": "0"})
    run = write_run(tmp_path / "run", chats(8), lens=lens, settings={"model": str(made[0])})
    result = train_run(run.path, **{**QUICK, "max_steps": 1})
    assert result.path == run.path / "trained" and result.report["model_name"] == str(made[0])


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
        "safetensors",
    ],
)
def test_a_full_disk_is_one_error_and_not_the_end(
    error: Any, made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError
    from trl import DPOTrainer

    raised = SafetensorError("I/O error: No space left on device (os error 28)") if error == "safetensors" else error

    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(DPOTrainer, "_save_optimizer_and_scheduler", fail)
    with pytest.raises(UserError, match=r"cannot be written.*the same call then goes on"):
        trained(made, tmp_path / "out", max_steps=2)
    monkeypatch.undo()
    assert (
        trained(made, tmp_path / "out", max_steps=2).report["resumed_from_step"] is None
    )  # the first checkpoint was not whole


def test_too_small_a_disk_is_told_before_training(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_bytes = sum(value.numel() * 4 for value in weights(made[0]).values())
    usage = shutil.disk_usage(tmp_path)
    for free, options, fits in (
        (7 * n_bytes - 1, {}, False),  # the model, and two checkpoints of weights and two moments
        (7 * n_bytes, {}, True),
        (n_bytes, {"save_strategy": "no"}, True),
        (n_bytes - 1, {"max_steps": 0}, False),
    ):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        watcher = Watcher(at_step=1)
        with pytest.raises(Stopped if fits else UserError, match=None if fits else "GB are free"):
            trained(made, tmp_path / "out", watcher, **options)
        assert bool(watcher.steps) == fits
        shutil.rmtree(tmp_path / "out")
