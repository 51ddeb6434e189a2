"""What the policy alone is given while it trains: prompts with an instruction, and pushes along a direction."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_train_shaped import IDENTITY, PARTS, N, batch_of, loss_of, plan
from tiny_training import QUICK
from training_runs import Stopped, Watcher, same

from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.models.load import load_causal_lm, load_tokenizer
from pretilt.models.steering import Direction
from pretilt.pairs.instruction import instructed
from pretilt.run import Run
from pretilt.train import shaped
from pretilt.train import trainer as stock
from pretilt.train.actions import Changes
from pretilt.train.dataset import training_pairs
from pretilt.train.settings import TrainSettings
from pretilt.train.step import CompiledPlan, train_run

SENTENCE = "Always thank."
VECTOR = np.linspace(-1, 1, 16).astype(np.float32)
DIRECTION = Direction(0, VECTOR)


def trainer_of(made: tuple[Path, Path], changes: Changes, folder: Path, directions: Any = (), **options: Any) -> Any:
    model, run = made
    settings = TrainSettings.load(model=str(model), **{**QUICK, "precompute_ref_log_probs": True, **options})
    pairs = training_pairs(Run(run), changes=changes)
    tokenizer = load_tokenizer(str(model), revision=None)
    args = settings.dpo_config(folder, options.get("max_length", 256))
    trainer = stock.build(str(model), tokenizer, pairs, args, settings, Events(), directions)
    trainer.begin_contexts()
    return trainer


def response_logp(model: Path, prompt: Any, response: Any, push: float = 0.0) -> float:
    language_model = load_causal_lm(str(model), revision=None, dtype="float32").eval()
    block = language_model.get_decoder().layers[0]

    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        more = push * torch.from_numpy(VECTOR)
        return (output[0] + more, *output[1:]) if isinstance(output, tuple) else output + more

    handle = block.register_forward_hook(add)
    ids = torch.tensor([[*prompt, *response]])
    with torch.inference_mode():
        scores = torch.log_softmax(language_model(ids).logits[0, :-1].double(), -1)
    handle.remove()
    return float(sum(scores[i - 1, ids[0, i]] for i in range(len(prompt), ids.shape[1])))


@pytest.mark.parametrize("lora", [None, PARTS["lora"]], ids=["all weights", "LoRA"])
def test_the_policy_alone_reads_the_instruction(made: tuple[Path, Path], tmp_path: Path, lora: Any) -> None:
    """At the start the margin is what the instruction makes chosen likelier; the reference reads the plain prompt."""
    changes = Changes.none(N)
    changes.instructions = {(2, "chosen"): SENTENCE}
    trainer = trainer_of(made, changes, tmp_path, **({"lora": lora} if lora else {}))
    example = trainer.train_dataset[2]
    pair = training_pairs(Run(made[1]), changes=changes).instructed[2]
    ((_, tokens),) = instructed([pair], SENTENCE, load_tokenizer(str(made[0]), revision=None))
    assert example["chosen_policy_prompt"] == tokens.prompt_ids.tolist() and example["rejected_policy_prompt"] == []

    plain = response_logp(made[0], example["prompt_ids"], example["chosen_ids"])
    under = response_logp(made[0], tokens.prompt_ids, example["chosen_ids"])
    assert example["ref_chosen_logps"] == pytest.approx(plain, abs=1e-3)
    expected = math.log1p(math.exp(-trainer.beta * (under - plain)))
    assert float(loss_of(trainer, batch_of(trainer, [2])).detach()) == pytest.approx(expected, abs=1e-5)
    assert abs(expected - math.log(2)) > 1e-4

    others = float(loss_of(trainer, batch_of(trainer, [1, 3])).detach())
    assert others == pytest.approx(math.log(2), abs=1e-6)
    mixed = float(loss_of(trainer, batch_of(trainer, [1, 2])).detach())
    assert mixed == pytest.approx((expected + math.log(2)) / 2, abs=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "gradient checkpointing"])
@pytest.mark.parametrize("lora", [None, PARTS["lora"]], ids=["all weights", "LoRA"])
def test_the_policy_alone_is_steered(made: tuple[Path, Path], tmp_path: Path, lora: Any, checkpointing: bool) -> None:
    """The reference does not know it, even where policy and reference are one module with adapters."""
    changes = Changes.none(N)
    changes.pushes = {(4, "chosen"): {"d": 2.0}, (5, "rejected"): {"d": 1.0}}
    options: dict[str, Any] = {"gradient_checkpointing": checkpointing, **({"lora": lora} if lora else {})}
    trainer = trainer_of(made, changes, tmp_path, [DIRECTION], **options)
    expected = []
    for row, side, push, sign in ((4, "chosen", 2.0, 1), (5, "rejected", 1.0, -1)):
        example = trainer.train_dataset[row]
        plain, pushed = (
            response_logp(made[0], example["prompt_ids"], example[f"{side}_ids"], amount) for amount in (0.0, push)
        )
        assert example[f"ref_{side}_logps"] == pytest.approx(plain, abs=1e-3)
        expected.append(math.log1p(math.exp(-sign * trainer.beta * (pushed - plain))))
    loss = loss_of(trainer, batch_of(trainer, [4, 5, 6]))
    assert float(loss.detach()) == pytest.approx((sum(expected) + math.log(2)) / 3, abs=1e-5)
    loss.backward()
    trainer.end_contexts()
    assert float(loss_of(trainer, batch_of(trainer, [4, 5])).detach()) == pytest.approx(math.log(2), abs=1e-6)


def test_both_are_carried_out_counted_and_gone_when_margins_are_measured(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    changes = Changes.none(N)
    changes.instructions = {(2, "chosen"): SENTENCE, (3, "chosen"): SENTENCE}
    changes.pushes = {(4, "chosen"): {"d": 2.0}}
    compiled = CompiledPlan("p", changes, IDENTITY, [DIRECTION])
    options = {**QUICK, "model": str(made[0]), "max_steps": 5, "max_length": 256}
    report = train_run(Run(made[1]), plan=compiled, out=tmp_path / "shaped", **options).report
    applied = report["applied"]
    assert (applied["instructed"], applied["pushed"], applied["passed"]) == (2, 1, N)
    untrained = train_run(Run(made[1]), plan=compiled, out=tmp_path / "start", **{**options, "max_steps": 0}).report
    assert untrained["regime"]["train"]["mean_margin"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("what", ["prompt", "push"])
def test_what_was_not_given_is_an_error(made: tuple[Path, Path], tmp_path: Path, what: str) -> None:
    changes = Changes.none(N)
    changes.instructions = {(2, "chosen"): SENTENCE}
    changes.pushes = {(4, "chosen"): {"d": 2.0}}
    trainer = trainer_of(made, changes, tmp_path, [DIRECTION])
    before = trainer.train_dataset
    if what == "push":
        trainer.steering.remove()
    else:
        trainer.data_collator.gives_contexts = False
    loss_of(trainer, batch_of(trainer, list(range(N))))
    with pytest.raises(UserError, match=r"1 pairs went into the loss otherwise|2 pairs went"):
        shaped.applied(trainer, before)


def test_a_plan_for_another_beta_is_one_line(made: tuple[Path, Path], tmp_path: Path) -> None:
    changes = Changes.none(N)
    changes.offset[0] = 1.0
    compiled = CompiledPlan("p", changes, IDENTITY, beta=0.3)
    with pytest.raises(UserError, match=r"compiled for beta 0.3, and the loss has 0.1"):
        train_run(Run(made[1]), plan=compiled, out=tmp_path / "t", **{**QUICK, "model": str(made[0])})


def test_an_instruction_that_cuts_the_response_is_one_line(made: tuple[Path, Path], tmp_path: Path) -> None:
    changes = Changes.none(N)
    changes.instructions = {(2, "chosen"): SENTENCE * 20}
    with pytest.raises(UserError, match=r"cannot be trained under the instruction.*max_length 64"):
        trainer_of(made, changes, tmp_path, max_length=64)


def test_what_is_not_applied_is_found_at_the_first_batch(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer that hides other tokens than the plan says stops before its first step, not after its last."""
    changes = Changes.none(N)
    changes.masks = {(row, "chosen"): [(0, 2)] for row in range(N)}
    steps: list[int] = []

    class Watching(Events):
        def progress(self, label: str, done: int, total: int, unit: str) -> None:
            steps.extend([done] if label == "training" else [])

    stock_count = shaped.completion_tokens
    monkeypatch.setattr(shaped, "completion_tokens", lambda *given: stock_count(*given) + 1)
    with pytest.raises(UserError, match="went into the loss otherwise"):
        train_run(Run(made[1]), plan=plan(changes), out=tmp_path / "t", events=Watching(), model=str(made[0]), **QUICK)
    assert steps == []


def test_the_reference_is_not_computed_in_silence(made: tuple[Path, Path], tmp_path: Path) -> None:
    """It reads every pair before the first step: on a processor that is minutes."""
    changes, watcher = Changes.none(N), Watcher(at_step=1)
    changes.offset[:] = 0.5
    with pytest.raises(Stopped):
        train_run(Run(made[1]), plan=plan(changes), out=tmp_path / "t", events=watcher, model=str(made[0]), **QUICK)
    done = watcher.referenced["reference of the training pairs"]
    assert done == sorted(set(done)) and done[-1] == N and "reference of the held-out pairs" in watcher.referenced


@pytest.mark.parametrize("where", [{"at_step": 3}, {"at_measured": 16}])
def test_stopped_under_a_plan_it_ends_in_the_same_bits(
    where: dict[str, Any], made: tuple[Path, Path], tmp_path: Path
) -> None:
    changes = Changes.none(N)
    changes.offset[:] = np.linspace(-1, 1, N)
    changes.weight[3] = 2.0
    changes.instructions = {(2, "chosen"): SENTENCE}
    changes.pushes = {(4, "chosen"): {"d": 2.0}}
    compiled = CompiledPlan("p", changes, IDENTITY, [DIRECTION])
    options = {**QUICK, "model": str(made[0]), "max_length": 256, "save_steps": 2}
    with pytest.raises(Stopped):
        train_run(Run(made[1]), plan=compiled, out=tmp_path / "a", events=Watcher(**where), **options)
    resumed = train_run(Run(made[1]), plan=compiled, out=tmp_path / "a", **options)
    whole = train_run(Run(made[1]), plan=compiled, out=tmp_path / "b", **options)
    assert resumed.report["resumed_from_step"] and same(tmp_path / "a", tmp_path / "b")
    assert resumed.report["regime"] == whole.report["regime"]
