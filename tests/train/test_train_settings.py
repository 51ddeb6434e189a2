"""Settings with TRL's and PEFT's own names: what is accepted, in which type, and what one error says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pretilt.errors import UserError
from pretilt.train.settings import TrainSettings, machine_defaults, plain


def written(folder: Path, text: str) -> Path:
    path = folder / "train.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_is_read_in_the_types_of_trl(tmp_path: Path) -> None:
    """YAML reads 1e-6 as text, and a number in quotes too: neither may reach the optimizer so."""
    config = written(
        tmp_path, 'model: org/sft\nlearning_rate: 1e-6\nmax_steps: "7"\nloss_type: sigmoid_norm\nlora: {r: "8"}\n'
    )
    settings = TrainSettings.load(config, beta=5, max_steps=None)
    assert settings.model == "org/sft"
    assert settings.dpo == {"learning_rate": 1e-6, "max_steps": 7, "loss_type": ["sigmoid_norm"], "beta": 5.0}
    assert isinstance(settings.dpo["learning_rate"], float)
    assert settings.lora == {"r": 8}
    args = settings.dpo_config(tmp_path / "out", 300)
    assert (args.learning_rate, args.max_steps, args.loss_type, args.beta) == (1e-6, 7, ["sigmoid_norm"], 5.0)
    assert (args.max_length, args.report_to, args.seed) == (300, [], 0)
    assert TrainSettings.load(config, max_length=99).dpo_config(tmp_path / "out", 300).max_length == 99


def test_arguments_win_over_the_file(tmp_path: Path) -> None:
    config = written(tmp_path, "beta: 0.3\nlora: true\nshuffled_labels: true\n")
    assert TrainSettings.load(config, beta=0.7).dpo["beta"] == 0.7
    assert TrainSettings.load(config).lora == {}
    assert TrainSettings.load(config, lora=False).lora is None
    assert TrainSettings.load(config).shuffled_labels is True


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learning_rte": 1}, "'learning_rte' is not known.*Did you mean learning_rate"),
        ({"betta": 1}, "Did you mean beta"),
        ({"shuffle_labels": True}, "Did you mean shuffled_labels"),
        ({"zzqqxx": 1}, "Names are those of trl.DPOConfig"),
        ({"lora": {"rank": 4}}, "'rank' is not known.*peft.LoraConfig"),
        ({"lora": {"lora_alfa": 4}}, "Did you mean lora_alpha"),
        ({"lora": 16}, "'lora' is not accepted.*mapping"),
        ({"lora": {"r": "many"}}, "'lora.r' is not accepted"),
        ({"learning_rate": "fast"}, "'learning_rate' is not accepted"),
        ({"max_steps": 1.5}, "'max_steps' is not accepted"),
        ({"regime_pairs": 0}, "'regime_pairs' is not accepted.*1 or more"),
        ({"shuffled_labels": "perhaps"}, "'shuffled_labels' is not accepted"),
        ({"output_dir": "x"}, "'output_dir' cannot be given.*--out"),
        ({"load_best_model_at_end": True}, "held-out pairs"),
        ({"trust_remote_code": True}, "never run"),
        ({"hub_token": "secret"}, "'hub_token' cannot be given"),
        ({"ld_alpha": 0.5, "precompute_ref_log_probs": True}, "cannot be given together"),
    ],
)
def test_one_error_names_the_option(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        TrainSettings.load(**given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b\n", "not a mapping"), ("a: [", "not valid YAML"), ("beta: 1\nbogus_name: 2\n", "train.yaml.*no such")],
)
def test_a_bad_file_is_one_error(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        TrainSettings.load(written(tmp_path, text))
    with pytest.raises(UserError, match="cannot be read"):
        TrainSettings.load(tmp_path / "absent.yaml")


def test_what_trl_and_peft_refuse_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"TRL does not accept.*loss_weights"):
        TrainSettings.load(loss_weights=[1.0, 2.0]).dpo_config(tmp_path, 64)
    with pytest.raises(UserError, match="TRL does not accept"):
        TrainSettings.load(lr_scheduler_type="sideways").dpo_config(tmp_path, 64)
    with pytest.raises(UserError, match="PEFT does not accept"):
        TrainSettings.load(lora={"layers_pattern": "h", "target_modules": "q"}).lora_config()
    assert TrainSettings.load(lora={"r": 4}).lora_config().task_type == "CAUSAL_LM"


def test_missing_packages_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(UserError, match=r"pip install 'pretilt\[train\]'"):
        TrainSettings.load(beta=0.1)


def test_defaults_of_this_machine_yield_to_what_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    args = TrainSettings.load().dpo_config(tmp_path, 64)
    assert (args.bf16, args.gradient_checkpointing, args.activation_checkpointing) == (False, False, False)
    assert TrainSettings.load(gradient_checkpointing=True).dpo_config(tmp_path, 64).activation_checkpointing is True
    assert TrainSettings.load(activation_checkpointing=True).dpo_config(tmp_path, 64).gradient_checkpointing is True
    assert TrainSettings.load(seed=5).dpo_config(tmp_path, 64).seed == 5
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert "bf16" not in machine_defaults({})  # TRL's own default then: true
    assert machine_defaults({"use_cpu": True})["bf16"] is False


def test_identity_holds_what_decides_the_weights() -> None:
    base = TrainSettings.load(beta=0.1).identity()
    assert TrainSettings.load(beta=0.1, disable_tqdm=False, report_to="tensorboard").identity() == base
    assert TrainSettings.load(beta=0.2).identity() != base
    assert TrainSettings.load(beta=0.1, lora={}).identity() != base
    assert TrainSettings.load(beta=0.1, lora={"target_modules": ["q", "v"]}).identity()["lora"] is not None


def test_plain_is_json() -> None:
    import json

    from transformers.trainer_utils import SchedulerType

    value = {1: SchedulerType.COSINE, "a": {3, 1}, "b": float("nan"), "c": (Path("x"), None, True, 2)}
    assert (
        json.dumps(plain(value), allow_nan=False)
        == '{"1": "cosine", "a": [1, 3], "b": null, "c": ["x", null, true, 2]}'
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_steps", -1), ("max_steps", -5), ("num_train_epochs", -1.0), ("num_train_epochs", float("inf")),
        ("learning_rate", float("nan")), ("learning_rate", -1e-5), ("beta", float("inf")), ("beta", -0.1),
        ("per_device_train_batch_size", 0), ("gradient_accumulation_steps", 0), ("max_length", 0), ("seed", -1),
        ("weight_decay", float("nan")), ("warmup_steps", -1), ("max_grad_norm", -1.0), ("save_total_limit", 0),
    ],
)  # fmt: skip
def test_absurd_numbers_are_refused(option: str, value: float) -> None:
    with pytest.raises(UserError, match=f"option '{option}' is not accepted"):
        TrainSettings.load(**{option: value})


@pytest.mark.parametrize("reporter", ["wandb", ["tensorboard", "comet_ml"], "all"])
def test_logger_that_asks_for_a_login_is_refused(reporter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "COMET_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match="report_to"):
        TrainSettings.load(report_to=reporter)
    monkeypatch.setenv("WANDB_MODE", "offline")
    TrainSettings.load(report_to="wandb")
