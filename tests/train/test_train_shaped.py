"""Training under a plan: with nothing planned it is TRL's own loss, with offsets, weights and masks the formula."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import QUICK, chats, write_model, write_run

from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.models.load import load_tokenizer
from pretilt.run import Run
from pretilt.train import shaped
from pretilt.train import trainer as stock
from pretilt.train.actions import Changes
from pretilt.train.dataset import TrainingPairs, training_pairs
from pretilt.train.settings import TrainSettings
from pretilt.train.step import CompiledPlan, train_run

N = 20  # training pairs of `made`
IDENTITY = {"name": "p", "actions_sha256": "a", "what_if_sha256": "b", "written": "2026-01-01T00:00:00+00:00"}
PARTS = {"lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}}


def settings_of(model: Path, **options: Any) -> TrainSettings:
    return TrainSettings.load(model=str(model), **{**QUICK, **options})


def trainer_of(made: tuple[Path, Path], pairs: TrainingPairs, folder: Path, **options: Any) -> Any:
    model, _ = made
    settings = settings_of(model, **options)
    args = settings.dpo_config(folder, 64)
    return stock.build(str(model), load_tokenizer(str(model), revision=None), pairs, args, settings, Events())


def batch_of(trainer: Any, rows: list[int]) -> dict[str, Any]:
    dataset = trainer.train_dataset
    return trainer.data_collator([dataset[row] for row in rows])


def loss_of(trainer: Any, batch: dict[str, Any]) -> Any:
    trainer.model.train()
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return trainer.compute_loss(trainer.model, dict(batch))


def plan(changes: Changes, name: str = "p") -> CompiledPlan:
    return CompiledPlan(name, changes, {**IDENTITY, "name": name})


@pytest.mark.parametrize("loss", ["sigmoid", "sigmoid_norm", "ipo"])
@pytest.mark.parametrize("lora", [None, PARTS["lora"]], ids=["all weights", "LoRA"])
@pytest.mark.parametrize("precomputed", [False, True])
def test_with_nothing_planned_the_loss_is_stock(
    made: tuple[Path, Path], tmp_path: Path, loss: str, lora: Any, precomputed: bool
) -> None:
    options = {"loss_type": [loss], "precompute_ref_log_probs": precomputed, **({"lora": lora} if lora else {})}
    run = Run(made[1])
    plain = trainer_of(made, training_pairs(run), tmp_path / "a", **options)
    shaped_trainer = trainer_of(made, training_pairs(run, changes=Changes.none(N)), tmp_path / "b", **options)
    assert type(plain).__name__ == "DPOTrainer" and type(shaped_trainer).__name__ == "ShapedTrainer"
    if lora:  # the adapters begin alike
        shaped_trainer.model.load_state_dict(plain.model.state_dict())
    for rows in ([0, 1, 2], [5, 9, 17]):
        losses = [float(loss_of(t, batch_of(t, rows)).detach()) for t in (plain, shaped_trainer)]
        assert losses[1] == pytest.approx(losses[0], abs=1e-6)


@pytest.mark.parametrize("loss", ["sigmoid", "sigmoid_norm", "ipo"])
@pytest.mark.parametrize("lora", [None, PARTS["lora"]], ids=["all weights", "LoRA"])
def test_an_offset_is_the_formula_in_the_trainers_own_loss(
    made: tuple[Path, Path], tmp_path: Path, loss: str, lora: Any
) -> None:
    """At the start D is 0: the sigmoid losses are -log sigma(o), and ipo is (o / beta - 1 / (2 beta))²."""
    changes = Changes.none(N)
    changes.offset[:] = np.linspace(-3, 3, N)
    options = {"loss_type": [loss], "precompute_ref_log_probs": True, **({"lora": lora} if lora else {})}
    trainer = trainer_of(made, training_pairs(Run(made[1]), changes=changes), tmp_path, **options)
    shaped.shift_reference(trainer)
    for row in (0, 7, 19):
        offset, beta = changes.offset[row], trainer.beta
        expected = math.log1p(math.exp(-offset)) if loss != "ipo" else ((offset - 0.5) / beta) ** 2
        assert float(loss_of(trainer, batch_of(trainer, [row])).detach()) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def gradients(trainer: Any, rows: list[int]) -> np.ndarray:
    trainer.model.zero_grad()
    loss_of(trainer, batch_of(trainer, rows)).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]).numpy().copy()


def test_a_weight_multiplies_the_gradient_of_its_pair(made: tuple[Path, Path], tmp_path: Path) -> None:
    changes = Changes.none(N)
    changes.weight[3], changes.weight[4] = 0.25, 3.0
    run = Run(made[1])
    plain = trainer_of(made, training_pairs(run, changes=Changes.none(N)), tmp_path / "a")
    weighted = trainer_of(made, training_pairs(run, changes=changes), tmp_path / "b")
    alone = [gradients(plain, [row]) for row in (3, 4, 5)]
    together = gradients(weighted, [3, 4, 5])
    expected = (0.25 * alone[0] + 3.0 * alone[1] + alone[2]) / 3
    assert np.abs(together - expected).max() <= 1e-5 * np.abs(expected).max()


def test_masked_tokens_leave_the_loss_and_the_reference(made: tuple[Path, Path], tmp_path: Path) -> None:
    changes = Changes.none(N)
    changes.masks = {(2, "chosen"): [(0, 3), (5, 6)], (6, "rejected"): [(1, 2)]}
    run = Run(made[1])
    plain = trainer_of(made, training_pairs(run, changes=Changes.none(N)), tmp_path / "a")
    masked = trainer_of(made, training_pairs(run, changes=changes), tmp_path / "b", precompute_ref_log_probs=True)
    full, short = (shaped.completion_tokens(t, t.train_dataset) for t in (plain, masked))
    difference = full - short
    assert difference[2].tolist() == [4, 0] and difference[6].tolist() == [0, 1] and difference.sum() == 5
    assert float(loss_of(masked, batch_of(masked, [2])).detach()) == pytest.approx(math.log(2), abs=1e-5)
    first = masked.train_dataset[2]
    n_prompt = len(first["prompt_ids"])
    mask = batch_of(masked, [2])["completion_mask"][0].tolist()
    kept = [i - n_prompt for i, counts in enumerate(mask) if counts]
    assert kept[:2] == [3, 4] and 5 not in kept


def test_a_plan_is_carried_out_and_checked(made: tuple[Path, Path], tmp_path: Path) -> None:
    changes = Changes.none(N)
    changes.weight[0], changes.weight[1] = 0.0, 0.5
    changes.swap[2] = True
    changes.texts = {(3, "chosen"): "Rome, no thanks."}
    changes.masks = {(4, "chosen"): [(0, 2)]}
    changes.offset[5] = 1.5
    model, folder = made
    result = train_run(Run(folder), settings=settings_of(model, max_steps=5), plan=plan(changes), out=tmp_path / "out")
    report = result.report
    assert report["plan"] == IDENTITY and report["pairs"]["train"]["given"] == N - 1
    assert report["applied"] == {
        "pairs": N - 1, "passed": N - 1, "passes": N - 1, "offsets": 1, "weights": 1, "masked_tokens": 2,
            "instructed": 0, "pushed": 0,
    }  # fmt: skip
    assert report["pairs"]["train"]["read_differently_by_audit"] == 0
    again = train_run(Run(folder), settings=settings_of(model, max_steps=5), plan=plan(changes), out=tmp_path / "out")
    assert again.report["key"] == report["key"]
    with pytest.raises(UserError, match="another training"):
        train_run(
            Run(folder), settings=settings_of(model, max_steps=5), plan=plan(Changes.none(N), "q"),
            out=tmp_path / "out",
        )  # fmt: skip


def test_the_dataset_holds_what_was_planned(made: tuple[Path, Path]) -> None:
    changes = Changes.none(N)
    changes.weight[0] = 0.0
    changes.swap[2] = True
    changes.texts = {(3, "chosen"): "Rome, no thanks.", (2, "rejected"): "Now chosen."}
    changes.masks = {(2, "chosen"): [(0, 2)]}
    plain = training_pairs(Run(made[1])).train
    dataset = training_pairs(Run(made[1]), changes=changes).train
    assert len(dataset) == N - 1 and plain[0]["pair_id"] not in dataset["pair_id"]
    swapped, rewritten = dataset[1], dataset[2]
    assert swapped["chosen"][0]["content"] == "Now chosen."
    assert swapped["rejected"] == plain[2]["chosen"] and swapped["rejected_masked"] == [0, 2]
    assert swapped["chosen_masked"] == [] and rewritten["chosen"][0]["content"] == "Rome, no thanks."


def test_what_was_not_applied_is_an_error(made: tuple[Path, Path], tmp_path: Path) -> None:
    changes = Changes.none(N)
    changes.offset[:] = 1.0
    pairs = training_pairs(Run(made[1]), changes=changes)
    trainer = trainer_of(made, pairs, tmp_path, precompute_ref_log_probs=True)
    before = trainer.train_dataset  # the shift is forgotten
    stock.run(trainer, None)
    with pytest.raises(UserError, match="went into the loss otherwise than the plan says"):
        shaped.applied(trainer, before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss_type": ["bco_pair"]}, "no function of one margin"),
        ({"loss_type": ["sigmoid", "sft"]}, r"sigmoid\+sft"),
        ({"f_divergence_type": "forward_kl"}, "divergence 'forward_kl'"),
    ],
)
def test_a_loss_that_takes_no_offset_is_one_line(
    made: tuple[Path, Path], tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    changes = Changes.none(N)
    changes.offset[0] = 1.0
    with pytest.raises(UserError, match=words):
        train_run(Run(made[1]), settings=settings_of(made[0], **options), plan=plan(changes), out=tmp_path / "out")
    assert not (tmp_path / "out" / "train.json").exists()


def test_a_plan_that_drops_every_pair_is_one_line(made: tuple[Path, Path], tmp_path: Path) -> None:
    changes = Changes.none(N)
    changes.weight[:] = 0.0
    with pytest.raises(UserError, match="leaves no pair to train on"):
        train_run(Run(made[1]), settings=settings_of(made[0]), plan=plan(changes), out=tmp_path / "out")


def test_the_report_is_valid_json_with_the_plan(made: tuple[Path, Path], tmp_path: Path) -> None:
    changes = Changes.none(N)
    changes.offset[:4] = 2.0
    train_run(Run(made[1]), settings=settings_of(made[0], max_steps=1), plan=plan(changes), out=tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "train.json").read_text())
    assert stored["plan"]["name"] == "p" and stored["applied"]["offsets"] == 4
    assert stored["dpo"]["precompute_ref_log_probs"] is True


def test_tiny_run_is_as_large_as_the_tests_say(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", chats(24))
    write_model(tmp_path / "model")
    assert len(training_pairs(run).train) == N


def test_a_mask_on_other_tokens_than_the_audit_read_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Cut at 48 tokens instead of 64, the responses are not those that the mask counts in."""
    changes = Changes.none(N)
    changes.masks = {(2, "chosen"): [(0, 3)]}
    with pytest.raises(UserError, match="masks 1 pair with other tokens"):
        train_run(
            Run(made[1]), settings=settings_of(made[0], max_length=48), plan=plan(changes),
            out=tmp_path / "out",
        )  # fmt: skip
