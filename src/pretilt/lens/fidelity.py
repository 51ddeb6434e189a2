"""How well a dictionary reconstructs: explained variance, L0 and which features fire, summed over batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pretilt.lens.dictionary import Dictionary


@dataclass(frozen=True)
class Fidelity:
    """Over all vectors x with reconstruction x̂ and mean x̄: FVU = Σ|x - x̂|² / Σ|x - x̄|²; explained variance = 1 - FVU.

    `explained_variance` is 1 for a perfect dictionary, 0 for one as good as the mean, negative for a worse one, and NaN
    where the vectors do not vary. `l0` is the mean number of features with activation > 0 per vector.
    """

    n_tokens: int
    explained_variance: float
    l0: float
    fire_freq: np.ndarray  # [n_features] float64: share of the vectors on which the feature fires, 0 … 1

    @property
    def n_dead(self) -> int:
        """Features that fired on none of the vectors."""
        return int((self.fire_freq == 0).sum())


@torch.no_grad()
def fidelity(dictionary: Dictionary, batches: Tensor | Iterable[Tensor]) -> Fidelity:
    """Measure `dictionary` on residual vectors: one tensor [n, d_model], or an iterable of them."""
    n, error, square = 0, 0.0, 0.0
    shift: Tensor | None = None  # an early guess of the mean: Σx² - n x̄² would cancel far from the origin
    total = torch.zeros(dictionary.d_model, dtype=torch.float64)
    fired = torch.zeros(dictionary.n_features, dtype=torch.int64)

    for batch in [batches] if isinstance(batches, Tensor) else batches:
        x = batch.to(dictionary.device, torch.float32)
        activations = dictionary.encode(x)
        error += float((x - dictionary.decode(activations, x)).double().square().sum())
        fired += (activations > 0).sum(dim=0).cpu()
        shift = x.double().mean(dim=0).cpu() if shift is None else shift
        centred = x.double().cpu() - shift
        n, square, total = n + len(x), square + float(centred.square().sum()), total + centred.sum(dim=0)

    variance = square - float(total.square().sum()) / n if n else 0.0
    explained = 1 - error / variance if variance > 0 else float("nan")
    freq = fired.double().numpy() / n if n else np.full(dictionary.n_features, np.nan)
    return Fidelity(n, explained, float(fired.sum()) / n if n else float("nan"), freq)
