"""What was seen: the shift of every concept on every evaluation prompt, after minus before.

The prompts are the same for both models, so that what a prompt is about cancels; the sampling seeds are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretilt.forecast.samples import Rollouts
from pretilt.forecast.uncertainty import half_mask

SPLITS = 20


@dataclass(frozen=True)
class Observed:
    """Realised shifts. Build with `realised`; J prompts, M concepts."""

    shift: np.ndarray  # float64 [J, M], mean score after - mean score before on each prompt
    unit: np.ndarray  # int64 [J], 0 … n_units - 1: near-duplicate prompts are one
    prompt_ids: np.ndarray  # [J]
    n_unpaired: int  # prompts that only one of the two models has rollouts for; left out

    @property
    def n_units(self) -> int:
        return int(self.unit.max()) + 1

    @property
    def mean(self) -> np.ndarray:
        """[M] the realised shift, prompts counting alike."""
        return np.asarray(self.shift.mean(axis=0))

    @property
    def se(self) -> np.ndarray:
        """[M] its standard error over units of prompts; sampling noise is in it. NaN with a single unit."""
        if self.n_units < 2:
            return np.full(self.shift.shape[1], np.nan)
        of_units = np.zeros((self.n_units, self.shift.shape[1]))
        np.add.at(of_units, self.unit, self.shift - self.mean)
        square = np.einsum("gm,gm->m", of_units, of_units)
        return np.asarray(np.sqrt(square * self.n_units / (self.n_units - 1)) / len(self.shift))

    def under(self, unit_weight: np.ndarray) -> np.ndarray:
        """The realised shift with units reweighted, [B, M] for weights [B, n_units]."""
        w = unit_weight[:, self.unit]
        return np.asarray(w @ self.shift / w.sum(axis=1, keepdims=True))

    def half_weights(self, splits: int = SPLITS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Random halves of the units, 0/1 float64 [splits, n_units] twice. ValueError with fewer than two units."""
        rng = np.random.default_rng(seed)
        first = np.stack([half_mask(rng, self.n_units) for _ in range(splits)]).astype(np.float64)
        return first, 1 - first

    def redrawn(self, draws: int, seed: int = 0) -> np.ndarray:
        """Poisson(1) weights of the units, float64 [draws, n_units]; never all zero."""
        rng = np.random.default_rng(seed)
        weight = rng.poisson(1.0, (draws, self.n_units)).astype(np.float64)
        weight[~weight.any(axis=1)] = 1.0
        return weight


def realised(before: Rollouts, after: Rollouts) -> Observed:
    """From rollouts of both models, read with one measurement; prompts are matched by their ids.

    Raises ValueError for different concepts, and if no prompt has rollouts of both models.
    """
    if before.c.shape[1] != after.c.shape[1]:
        raise ValueError(f"{before.c.shape[1]} concepts before, {after.c.shape[1]} after: not one measurement")
    ids, i, j = np.intersect1d(before.prompt_ids, after.prompt_ids, return_indices=True)
    if not ids.size:
        raise ValueError("no prompt has rollouts of both models")
    unit = np.unique(before.unit[i], return_inverse=True)[1].astype(np.int64).ravel()
    unpaired = before.n_prompts + after.n_prompts - 2 * ids.size
    return Observed(after.means[j] - before.means[i], unit, ids, unpaired)
