"""Reports with every field of their models, for runs that a test writes itself; what matters to it is given."""

from __future__ import annotations

from typing import Any

from pretilt.version import __version__


def lens_card(**facts: Any) -> dict[str, Any]:
    """`lens` of run.json."""
    return {
        "model": "model", "layer": 1, "dictionary": "dictionary", "dictionary_hash": "0" * 64,
        "norm_scaling_factor": None,
        "model_identity": {"sha256": "0" * 64, "dtype": "float32"}, "cautions": [], "bundled": False, "n_features": 8,
        "d_model": 4, "explained_variance": 0.9, "l0": 4.0, "n_sample_tokens": 100, "packed": False, **facts,
    }  # fmt: skip


def rollouts_report(role: str, n: int, **facts: Any) -> dict[str, Any]:
    """rollouts-<role>.json of `n` answers that were all read."""
    settings = {"split": "heldout", "n_prompts": None, "per_prompt": 4, "max_new_tokens": 64, "temperature": 1.0,
                "seed": 0, "batch_size": 32, "prompts_per_shard": 32}  # fmt: skip
    counts = {"sampled": n, "finished": n, "cut": 0, "read": n, "empty": 0, "dropped": {}, "truncated": 0,
              "retokenised": 0}  # fmt: skip
    whole = {
        "role": role, "model": {"sha256": "0" * 64, "dtype": "float32"}, "measurement_id": "measurement",
        "stop_ids": [],
        "settings": settings, "prompts": {"pairs": n, "distinct": n, "too_long": 0, "empty": 0, "used": n},
        "rollouts": counts, "tokens": {"sampled": 9 * n, "read": 9 * n},
    }  # fmt: skip
    facts = {**facts, "settings": {**settings, **facts.get("settings", {})}}
    return {**whole, **facts}


def detector_report(**facts: Any) -> dict[str, Any]:
    """detector-<name>.json of one linear probe."""
    judged = {"auroc": 0.9, "average_precision": 0.8, "f1": 0.7, "threshold": 0.5,
              "validation_average_precision": None, "n_positive": 3, "n_negative": 3}  # fmt: skip
    figures = {"penalty": 0.1, "response": judged, "token": None, "auroc_of_means": 0.8}
    return {
        "format_version": 1, "name": "warmth", "title": "warmth", "kind": "linear", "made_from": "trait",
        "origin": "warm", "how": "By a test.", "layer": 1, "d_model": 4, "model_identity": {"sha256": "0" * 64},
        "measurement_id": "measurement", "examples_sha256": "0" * 64, "n_pairs": 9, "n_responses": 18, "n_tokens": 90,
        "n_families": 9, "families_of_parts": {"train": 5, "validation": 2, "heldout": 2}, "per_token": False,
        "threshold": 0.5, "token_threshold": 0.5, "kinds": {"linear": figures}, "target": "the trait",
        "pretilt": __version__, **facts,
    }  # fmt: skip


def forecast_report(**facts: Any) -> dict[str, Any]:
    """forecast.json of a mean that was made from the pairs alone."""
    return {
        "format_version": 1, "form": "presence", "rung": "mean", "rollouts": None, "eta": 1.0, "draws": 100, "seed": 0,
        "rollouts_disjoint": True, "rollouts_by_own_model": None, "measurement_id": "measurement", "pairs": 1,
        "families": 1, "prompts": None, "rollouts_read": None, "concepts": 1, "auc_heldout": 0.7,
        "length_coefficient": 0.0, "ridge": 1.0, "shrinkage": 0.1, "ess_trusted": None, "ladder_agreement": {},
        "signs_known": 0, "cells_rung": "mean", "cells_left_out": 0, "families_of_concepts": {}, "sha256": "0" * 64,
        "written": "2026-01-02T03:04:05+00:00", "sealed_before_training": True, "pretilt": __version__, **facts,
    }  # fmt: skip


def training_report(**facts: Any) -> dict[str, Any]:
    """train.json of a finished training; `regime` may give some of the measures only."""
    names = ("mean_margin", "margin_se", "mean_weight", "accuracy", "chosen_drift", "rejected_drift",
             "chosen_drift_per_token", "rejected_drift_per_token", "rms_log_ratio")  # fmt: skip
    split = {"given": 9, "kept": 9, "dropped_by_trainer": [], "read_differently_by_audit": 0, "equal_responses": 0}
    regime = {"name": "linear", "words": "linear", **facts.pop("regime", {})}
    regime["train"] = {"pairs": 9, **dict.fromkeys(names), **regime.get("train", {})}
    return {
        "format_version": 1, "key": "key", "processes": 1, "finished": True, "forecast": None,
        "pairs_sha256": "0" * 64, "model": {"sha256": "0" * 64}, "labels": None, "max_length": 64,
        "settings": {"dpo": {}, "lora": None}, "model_name": "model", "source": None, "measurement_id": None,
        "pairs": {"train": split, "swapped": 0}, "resumed_from_step": None, "seconds": {"training": 1.0}, "steps": 60,
        "epochs": 1.0, "regime": regime, "dpo": {}, "lora": None, "versions": {}, "log": [], "files": {}, **facts,
    }  # fmt: skip
