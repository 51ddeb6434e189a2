"""What a training run can be told: TRL's and PEFT's own names, and the few of ours beside them.

A configuration is one flat mapping. Every name of `trl.DPOConfig` means what it means there; `lora` is a mapping of
names of `peft.LoraConfig` (or `true` for its defaults), without it the whole model is trained.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretilt.errors import UserError, did_you_mean, require_extra
from pretilt.literals import read_yaml

RESERVED = {
    "output_dir": "--out names the folder",
    "resume_from_checkpoint": "the same call in the same folder goes on by itself",
    "load_best_model_at_end": "it would choose the model on the held-out pairs, on which nothing is fitted",
    "trust_remote_code": "a model's own code is never run",
    "hub_token": "settings are stored with the model; log in with `hf auth login`",
    "do_train": "give max_steps: 0 to train nothing",
    "do_eval": "give eval_strategy to evaluate on the held-out pairs",
    "do_predict": "there is nothing to predict here",
}


# The least value of trl.DPOConfig's numbers, by name.
_AT_LEAST: tuple[tuple[str, float], ...] = (
    (r"per_device_(train|eval)_batch_size|gradient_accumulation_steps|max_length|save_total_limit", 1),
    (r"max_steps|num_train_epochs|learning_rate|beta|weight_decay|warmup_.*|max_grad_norm|label_smoothing.*", 0),
    (r"adam_.*|logging_steps|save_steps|eval_steps|dataloader_num_workers|seed|data_seed", 0),
)
_LOGINS = {
    "wandb": ("WANDB_API_KEY", "WANDB_MODE"),
    "comet_ml": ("COMET_API_KEY",),
    "neptune": ("NEPTUNE_API_TOKEN",),
    "swanlab": ("SWANLAB_API_KEY", "SWANLAB_MODE"),
    "clearml": ("CLEARML_API_ACCESS_KEY",),
}


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Options of a training run, resolved but for what depends on the machine (`machine_defaults`)."""

    model: str | None = None
    """The model to train: Hub id or folder. Default: the model that the run was read with."""
    model_revision: str | None = None
    """Revision of the model on the Hub. Default: the commit that the run was read with."""
    lora: Mapping[str, Any] | None = None
    """LoRA with these settings of peft.LoraConfig; an empty mapping takes its defaults. Default: train all weights."""
    shuffled_labels: bool = False
    """Control: exchange chosen and rejected for a random half of the families, as the audit's baseline of that name."""
    label_seed: int | None = None
    """Seed of that exchange. Default: the seed of the run."""
    regime_pairs: int | None = None
    """Training pairs, and as many held-out pairs, on which the trained model's margins are measured at the end.
    Default: as many as cost at most a tenth of the training (`train.regime.pairs_to_measure`)."""
    dpo: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What was said of trl.DPOConfig, by its names; the rest is as TRL has it, or from `machine_defaults`."""

    @classmethod
    def load(cls, config: Path | None = None, **given: Any) -> TrainSettings:
        """Settings from a YAML file, overridden by the arguments that are not None; both are flat, with TRL's names.

        Raises UserError for an unknown name (with the nearest known ones), a value of the wrong type, a name that is
        not ours to pass on, and where TRL or PEFT is not installed.
        """
        values = {
            **(read_yaml(config) if config else {}),
            **{name: value for name, value in given.items() if value is not None},
        }
        ours = {field.name for field in dataclasses.fields(cls)} - {"dpo"}
        dpo_kinds = _kinds("trl", "DPOConfig")
        for name in values:
            if name in RESERVED:
                raise UserError(f"option '{name}' cannot be given", why=RESERVED[name], file=config)
            if name not in ours and name not in dpo_kinds:
                raise _unknown(name, [*ours, *dpo_kinds], "trl.DPOConfig", config)
        own_options: dict[str, Any] = {n: str(v) if isinstance(v, Path) else v for n, v in values.items() if n in ours}
        if (lora := own_options.get("lora")) is not None:
            own_options["lora"] = _lora(lora, config)
        hints = typing.get_type_hints(cls)
        own_options = {name: _typed(name, value, hints[name], config) for name, value in own_options.items()}
        if own_options.get("regime_pairs") is not None and own_options["regime_pairs"] < 1:
            raise UserError("option 'regime_pairs' is not accepted", why="it must be 1 or more", file=config)
        dpo = {name: _typed(name, values[name], dpo_kinds[name], config) for name in values if name not in ours}
        for name, value in dpo.items():
            _check_range(name, value, config)
        _check_reporters(dpo.get("report_to"), config)
        if dpo.get("ld_alpha") is not None and dpo.get("precompute_ref_log_probs"):
            raise UserError(
                "ld_alpha and precompute_ref_log_probs cannot be given together",
                why="the margins at the end are measured on whole responses, the precomputed values are not",
                file=config,
            )
        return cls(**own_options, dpo=dpo)

    def dpo_config(self, out: Path, max_length: int) -> Any:
        """The `trl.DPOConfig` of this machine. Raises UserError for values that TRL refuses.

        `max_length` is the run's: what the audit read, unless the settings name another.
        """
        import warnings

        from trl import DPOConfig

        values = {"max_length": max_length, **machine_defaults(self.dpo), **self.dpo, "output_dir": str(out)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of TRL's own defaults
                return DPOConfig(**values)
        except (ValueError, TypeError, ImportError) as error:
            raise UserError("TRL does not accept the settings", why=first_line(error)) from error

    def lora_config(self) -> Any:
        """The `peft.LoraConfig`, or None for all weights. Raises UserError for values that PEFT refuses."""
        if self.lora is None:
            return None
        from peft import LoraConfig

        try:
            return LoraConfig(**{"task_type": "CAUSAL_LM", **self.lora})
        except (ValueError, TypeError) as error:
            raise UserError("PEFT does not accept the lora settings", why=first_line(error)) from error

    def identity(self) -> dict[str, Any]:
        """JSON-able: what decides the trained weights, apart from the model and the pairs."""
        quiet = {"report_to", "logging_dir", "disable_tqdm", "run_name", "log_level", "save_total_limit", "project"}
        dpo = {name: plain(value) for name, value in self.dpo.items() if name not in quiet}
        return {"dpo": dpo, "lora": None if self.lora is None else plain(dict(self.lora))}


def machine_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Our defaults where TRL's do not suit a run that nobody watches, or a machine without a GPU."""
    import torch

    gpu = torch.cuda.is_available() and not options.get("use_cpu")
    values: dict[str, Any] = {
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 0,
        "save_steps": 0.1,  # of all steps: TRL's 500 would keep nothing of a short run
        "save_total_limit": 1,  # an older checkpoint is removed only when the next one is whole
        "logging_steps": 0.02,
    }
    if not gpu or not torch.cuda.is_bf16_supported():
        values["bf16"] = False
    if not gpu:
        values["dataloader_pin_memory"] = False
    if not gpu and "activation_checkpointing" not in options:
        values["gradient_checkpointing"] = False  # memory is not what a CPU lacks
    return values


def first_line(error: BaseException) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)


def plain(value: Any) -> Any:
    """A JSON-able copy: enumerations by value, sets sorted, None for a number that is not finite."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(v) for v in value)
    value = getattr(value, "value", value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _kinds(package: str, name: str) -> dict[str, Any]:
    """Field names of a configuration dataclass with their types."""
    import importlib

    require_extra("train", "training")
    kind = getattr(importlib.import_module(package), name)
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _lora(lora: Any, config: Path | None) -> dict[str, Any] | None:
    if isinstance(lora, bool):
        return {} if lora else None
    if not isinstance(lora, Mapping):
        raise UserError("option 'lora' is not accepted", why="it is a mapping of peft.LoraConfig names", file=config)
    kinds = _kinds("peft", "LoraConfig")
    for name in lora:
        if name not in kinds:
            raise _unknown(str(name), [*kinds], "peft.LoraConfig", config)
    return {str(name): _typed(f"lora.{name}", value, kinds[name], config) for name, value in lora.items()}


def _check_range(name: str, value: Any, config: Path | None) -> None:
    """Raise UserError for a number with which training would never end, do nothing or fill the weights with NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low = next((low for pattern, low in _AT_LEAST if re.fullmatch(pattern, name)), None)
    if not math.isfinite(value) or (low is not None and value < low):
        why = f"{value} is not a number" if not math.isfinite(value) else f"{value} is less than {low}"
        fix = "Leave it out and give num_train_epochs" if name == "max_steps" else ""
        raise UserError(f"option '{name}' is not accepted", why=why, fix=fix, file=config)


def _check_reporters(names: Any, config: Path | None) -> None:
    """Raise UserError for a logger that would stop training to ask for a login."""
    for name in [names] if isinstance(names, str) else names or []:
        if name == "all":
            raise UserError("report_to cannot be 'all'", why="some loggers ask for a login", file=config)
        variables = _LOGINS.get(name, ())
        netrc = Path.home() / ".netrc"  # where `wandb login` keeps its key
        logged_in = name == "wandb" and netrc.is_file() and "wandb" in netrc.read_text(errors="replace")
        if variables and not logged_in and not any(os.environ.get(variable) for variable in variables):
            raise UserError(
                f"report_to '{name}' needs a login",
                why=f"{' and '.join(variables)} are not set" if len(variables) > 1 else f"{variables[0]} is not set",
                fix=f"Set {variables[0]}, or give report_to: none",
                file=config,
            )


def _unknown(name: str, names: list[str], where: str, config: Path | None) -> UserError:
    fix = did_you_mean(name, names, f"Names are those of {where}")
    return UserError(f"option '{name}' is not known", why=f"{where} has no such field", fix=fix, file=config)


def _typed(name: str, value: Any, kind: Any, config: Path | None) -> Any:
    """The value in the field's type: YAML reads 1e-6 as text, and so does a command line."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        # TRL takes a single loss for a list of one, and PEFT one module name for a list.
        if isinstance(value, str) and typing.get_origin(kind) is list:
            return [value]
        why = error.errors()[0]["msg"]
        raise UserError(f"option '{name}' is not accepted", why=why, file=config) from error
