"""What train.json says of a finished training, and the table of margins beside it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import pyarrow as pa

from pretilt.train.regime import Margins, measures, regime
from pretilt.train.settings import plain
from pretilt.version import __version__

_LOSSES = ("loss", "eval_loss")
_LOGGED = (
    *("step", "epoch", *_LOSSES, "learning_rate", "grad_norm", "logps/chosen", "logps/rejected"),
    *(f"{prefix}rewards/{name}" for prefix in ("", "eval_") for name in ("margins", "accuracies")),
)

Measured = Mapping[str, tuple[Margins, list[str]]]
"""Split ("train", "heldout") to the margins of some of its pairs and their pair_ids."""


def training_facts(trainer: Any, measured: Measured) -> dict[str, Any]:
    """Steps, regime, resolved configuration, versions and the trainer's own log, JSON-able."""
    args, state = trainer.args, trainer.state
    by_split = {split: measures(m, args.beta, args.loss_type[0]) for split, (m, _) in measured.items()}
    name, words = regime(by_split["train"], args.loss_type[0], reference_moved=args.sync_ref_model)
    return {
        "steps": state.global_step,
        "epochs": state.epoch,
        "regime": {"name": name, "words": words, **by_split},
        "dpo": plain(args.to_dict()),
        "lora": _lora(trainer.model),
        "versions": _versions(),
        "log": [{key: plain(e[key]) for key in _LOGGED if key in e} for e in state.log_history if {*e} & {*_LOSSES}],
    }


def margins_table(measured: Measured, beta: float, loss_type: str) -> pa.Table:
    """One row per measured pair: log-probabilities (nats per response) before and after, and the margin.

    Chosen and rejected are those that were trained on: exchanged ones under shuffled labels.
    """
    parts = []
    for split, (m, pair_ids) in measured.items():
        columns = ("chosen_before", "chosen_after", "rejected_before", "rejected_after")
        logps = {f"logp_{name}": pa.array(getattr(m, name), pa.float64()) for name in columns}
        ids = {"pair_id": pa.array(pair_ids, pa.string()), "split": pa.array([split] * len(m), pa.string())}
        parts.append(pa.table({**ids, **logps, "margin": pa.array(m.of_loss(beta, loss_type), pa.float64())}))
    return pa.concat_tables(parts)


def _lora(model: Any) -> dict[str, Any] | None:
    from accelerate.utils import is_peft_model

    return plain(model.peft_config["default"].to_dict()) if is_peft_model(model) else None


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
    return {
        "python": platform.python_version(),
        "pretilt": __version__,
        **{name: metadata.version(name) for name in names},
    }
