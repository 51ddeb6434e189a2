"""Dictionaries small enough to work out by hand, and random ones; vectors to encode."""

from __future__ import annotations

from typing import Any

import torch

from pretilt.lens.dictionary import Dictionary

D_MODEL, N_FEATURES = 24, 96


def tiny(kind: str = "jumprelu", **settings: Any) -> Dictionary:
    """Two dimensions, three features: h = (x0 - 1, x1 - 2, x0 + x1 - 3) W_enc-free arithmetic for checking by hand."""
    return Dictionary(
        kind,
        W_enc=torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]),
        b_enc=torch.tensor([0.0, 0.5, 0.0]),
        W_dec=torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]),
        b_dec=torch.tensor([1.0, 2.0]),
        **settings,
    )


def random_dictionary(kind: str = "jumprelu", seed: int = 0, **settings: Any) -> Dictionary:
    g = torch.Generator().manual_seed(seed)
    own: dict[str, Any] = {"threshold": torch.rand(N_FEATURES, generator=g) * 3} if kind == "jumprelu" else {}
    own |= {"k": 5} if kind == "topk" else {}
    return Dictionary(
        kind,
        W_enc=torch.randn(D_MODEL, N_FEATURES, generator=g),
        b_enc=torch.randn(N_FEATURES, generator=g),
        W_dec=torch.randn(N_FEATURES, D_MODEL, generator=g),
        b_dec=torch.randn(D_MODEL, generator=g),
        **own | settings,
    )


def vectors(n: int = 200, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, D_MODEL, generator=torch.Generator().manual_seed(seed)) + 0.5
