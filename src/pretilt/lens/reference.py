"""What a dictionary's figures are held against: how often its features fire on known text, and random directions.

A feature is known by its number alone. If weights were permuted, swapped or never loaded, reconstruction may still be
good, but number 17 no longer fires where it used to: the firing rates stored beside the weights tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pretilt.errors import UserError
from pretilt.lens.baseline import random_dictionary
from pretilt.lens.dictionary import Dictionary
from pretilt.lens.fidelity import fidelity
from pretilt.run import writing

RATES_FILE = "firing_rates.safetensors"
REFERENCE_TOKENS = 65_536  # tokens that tell a feature firing once in 10,000 from one firing twice as often
_STEPS = 10  # of conjugate gradients: within 0.001 of the least-squares optimum on the bundled dictionary
_COUNT, _ABOUT = "fire_count", "about"


@dataclass(frozen=True)
class FiringRates:
    """On how many of `n_tokens` reference tokens each feature fired, and which weights did it."""

    fire_count: np.ndarray  # [n_features] int64
    n_tokens: int
    dictionary_hash: str

    @property
    def fire_freq(self) -> np.ndarray:
        """[n_features] float64, 0 … 1."""
        return np.asarray(self.fire_count / max(self.n_tokens, 1))

    @property
    def l0(self) -> float:
        """Mean number of features that fire on a reference token."""
        return float(self.fire_count.sum() / max(self.n_tokens, 1))


def count_firings(dictionary: Dictionary, batches: Iterable[Tensor]) -> FiringRates:
    """Firing rates on the residual vectors [n, d_model] of `batches`."""
    n_tokens = 0
    count = torch.zeros(dictionary.n_features, dtype=torch.int64)
    for x in batches:
        _, feature, _ = dictionary.encode_sparse(x)
        count += torch.bincount(feature, minlength=dictionary.n_features).cpu()
        n_tokens += len(x)
    return FiringRates(count.numpy(), n_tokens, dictionary.hash)


def save_firing_rates(rates: FiringRates, folder: str | Path) -> None:
    """Write `firing_rates.safetensors` into the dictionary's folder. Same rates, same bytes."""
    from safetensors.numpy import save

    # One key only: safetensors writes several in any order.
    metadata = {_ABOUT: json.dumps({"dictionary_hash": rates.dictionary_hash, "n_tokens": rates.n_tokens})}
    with writing(Path(folder) / RATES_FILE) as partial:
        partial.write_bytes(save({_COUNT: rates.fire_count.astype(np.int64)}, metadata=metadata))


def load_firing_rates(folder: str | Path) -> FiringRates | None:
    """The rates stored beside a dictionary; None if `folder` is no folder or holds none. UserError if damaged."""
    from safetensors import SafetensorError, safe_open

    path = Path(folder).expanduser() / RATES_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as f:
            facts, count = json.loads((f.metadata() or {})[_ABOUT]), f.get_tensor(_COUNT)
        rates = FiringRates(count, int(facts["n_tokens"]), str(facts["dictionary_hash"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if count.ndim != 1 or count.dtype.kind not in "iu" or rates.n_tokens < 1:
        raise _damaged(path, f"{_COUNT} must be one whole number per feature, n_tokens at least 1")
    if count.min(initial=0) < 0 or count.max(initial=0) > rates.n_tokens:
        raise _damaged(path, "a feature cannot fire on fewer than 0 or on more than all tokens")
    return rates


def _damaged(path: Path, why: str) -> UserError:
    fix = "Remove the file, or get the dictionary again"
    return UserError("the dictionary's reference firing rates cannot be read", file=path, why=why, fix=fix)


def nominal_l0(folder: str | Path, dictionary: Dictionary) -> float | None:
    """How many features per token the dictionary was made for: k of its maths, of its card.json or of its fit.json,
    else the L0 of its stored firing rates; None if none of them is there."""
    if dictionary.k is not None:
        return float(dictionary.k)
    where = Path(folder).expanduser()
    settings = _json(where / "fit.json").get("settings")
    for facts in (_json(where / "card.json"), settings if isinstance(settings, dict) else {}):
        k = facts.get("k")
        if isinstance(k, int | float) and not isinstance(k, bool) and 0 < k <= dictionary.n_features:
            return float(k)
    rates = load_firing_rates(where)
    return rates.l0 if rates is not None and rates.l0 > 0 else None


def _json(path: Path) -> dict[str, Any]:
    """The JSON object in an optional file; {} if it is absent or unreadable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def random_explained_variance(like: Dictionary, x: Tensor, seed: int = 0) -> float:
    """Explained variance of `x` [n, d_model] by as many random directions that fire as often as the features of `like`.

    At their best: x̂ = mean + Σ_f s_f a_f d_f with one scale s_f per random direction d_f, all fitted together by least
    squares on `x` itself. `like` gets no such fit, so the comparison favours the random directions.
    """
    random = random_dictionary(like, x, seed=seed)
    return fidelity(_rescaled(random, x), x.split(1024)).explained_variance


def _rescaled(dictionary: Dictionary, x: Tensor) -> Dictionary:
    """The features of a JumpReLU dictionary; the decoder's rows scaled to reconstruct `x` best."""
    x = x.to(dictionary.device, torch.float32)
    token, feature, value = dictionary.encode_sparse(x)
    starts = torch.searchsorted(token, torch.arange(len(x), device=x.device))
    direction = dictionary.W_dec

    def reconstruct(scale: Tensor) -> Tensor:  # linear: [n_features] → [n, d_model]
        weights = value * scale[feature]
        return torch.nn.functional.embedding_bag(feature, direction, starts, mode="sum", per_sample_weights=weights)

    def transposed(residual: Tensor) -> Tensor:  # [n, d_model] → [n_features]
        with torch.enable_grad():
            at = torch.zeros(dictionary.n_features, device=x.device, requires_grad=True)
            return torch.autograd.grad(reconstruct(at), at, residual)[0]

    residual = x - dictionary.b_dec
    scale = torch.zeros(dictionary.n_features, device=x.device)
    gradient = transposed(residual)
    step, size = gradient.clone(), gradient.square().sum()
    for _ in range(_STEPS):
        if not float(size) > 0:
            break
        moved = reconstruct(step)
        length = size / moved.square().sum().clamp(min=1e-30)
        scale, residual = scale + length * step, residual - length * moved
        gradient = transposed(residual)
        new = gradient.square().sum()
        step, size = gradient + new / size * step, new
    return Dictionary(
        "jumprelu",
        W_enc=dictionary.W_enc,
        b_enc=dictionary.b_enc,
        W_dec=direction * scale[:, None],
        b_dec=dictionary.b_dec,
        threshold=dictionary.threshold,
        metadata=dictionary.metadata,
    )
