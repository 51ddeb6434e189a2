"""The null lens: random directions that fire as often as a dictionary's features do.

What a random dictionary finds as well as the trained one, the training of the dictionary did not find.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pretilt.errors import UserError
from pretilt.lens.dictionary import Dictionary

_FEATURES_AT_ONCE = 512


@torch.no_grad()
def random_dictionary(like: Dictionary, activations: Tensor, seed: int = 0) -> Dictionary:
    """A JumpReLU dictionary of as many random unit directions on the centred `activations` [n, d_model].

    On that sample, random feature f fires on exactly as many tokens as feature f of `like` (ties in the projections
    aside): mean L0 and the distribution of firing rates are the same. b_dec is the sample's mean; W_dec holds the same
    directions, so decoding is meaningless.
    """
    if len(activations) < 2:
        raise UserError(
            "a random dictionary is calibrated on activations, and there are none",
            fix="Give at least a few thousand tokens",
        )

    x = activations.to(like.device, torch.float32)
    fired = torch.zeros(like.n_features, dtype=torch.int64, device=x.device)
    for batch in x.split(1024):
        fired += (like.encode(batch) > 0).sum(dim=0)
    mean = x.mean(dim=0)

    directions = torch.from_numpy(
        np.random.default_rng(seed).standard_normal((like.n_features, like.d_model)).astype(np.float32)
    )
    directions = torch.nn.functional.normalize(directions, dim=-1).to(x.device)

    bias, threshold = torch.zeros_like(like.b_enc), torch.zeros_like(like.b_enc)
    for start in range(0, like.n_features, _FEATURES_AT_ONCE):
        part = slice(start, start + _FEATURES_AT_ONCE)
        bias[part], threshold[part] = _calibrate((x - mean) @ directions[part].T, fired[part])

    return Dictionary(
        "jumprelu",
        W_enc=directions.T,
        b_enc=bias,
        W_dec=directions,
        b_dec=mean,
        threshold=threshold,
        metadata={**like.metadata, "baseline": "random directions", "seed": seed},
    )


def _calibrate(projection: Tensor, fired: Tensor) -> tuple[Tensor, Tensor]:
    """(bias, threshold > 0) such that `fired[f]` of projection [n, f] + bias exceed the threshold."""
    n = projection.shape[0]
    ordered = projection.sort(dim=0, descending=True).values
    spread = ordered.std(dim=0).clamp(min=1e-6)
    ends = torch.cat(
        [ordered[:1] + spread, ordered, ordered[-1:] - spread]
    )  # nothing above the first, all above the last
    above = ends.gather(0, fired[None])[0]
    below = ends.gather(0, (fired + 1).clamp(max=n + 1)[None])[0]
    cut = (above + below) / 2  # halfway between two tokens, so that rounding cannot move one across
    floor = 0.01 * spread  # activations must be positive: a cut below zero is lifted by the bias
    bias = (floor - cut).clamp(min=0)
    return bias, cut + bias
