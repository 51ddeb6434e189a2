"""The random-direction dictionary fires as often as the dictionary it stands in for, and knows nothing of it."""

from __future__ import annotations

import pytest
import torch

from pretilt.errors import UserError
from pretilt.lens.baseline import random_dictionary
from pretilt.lens.dictionary import Dictionary
from pretilt.lens.fidelity import fidelity

D_MODEL, N_FEATURES = 24, 700


def trained() -> Dictionary:
    g = torch.Generator().manual_seed(0)
    W_enc = torch.randn(D_MODEL, N_FEATURES, generator=g)
    # thresholds from far below zero to out of reach: features that fire on every token, on half, on none
    threshold = torch.linspace(-5, 40, N_FEATURES)
    b_enc = torch.linspace(20, 0, N_FEATURES)
    metadata = {"model_name": "m", "hook_name": "blocks.4.hook_resid_post"}
    return Dictionary(
        "jumprelu",
        W_enc=W_enc,
        b_enc=b_enc,
        W_dec=W_enc.T,
        b_dec=torch.zeros(D_MODEL),
        threshold=threshold,
        metadata=metadata,
    )


def sample(seed: int, n: int = 1500) -> torch.Tensor:
    return torch.randn(n, D_MODEL, generator=torch.Generator().manual_seed(seed)) * 2 + 50  # far from the origin


def test_every_feature_fires_as_often_as_its_model_on_the_sample() -> None:
    like, x = trained(), sample(1)
    like = Dictionary("jumprelu", **(like.tensors() | {"b_dec": torch.full((D_MODEL,), 50.0)}), metadata=like.metadata)
    wanted = fidelity(like, x)
    found = fidelity(random_dictionary(like, x, seed=3), x)
    assert wanted.fire_freq.max() == 1.0  # the hard ends are in the sample
    assert wanted.fire_freq.min() == 0.0
    assert abs(found.fire_freq - wanted.fire_freq).max() < 1.5 / len(x)
    assert found.l0 == pytest.approx(wanted.l0, rel=1e-3)


def test_calibration_holds_on_other_tokens() -> None:
    like, x = trained(), sample(1)
    found, again = (fidelity(random_dictionary(like, x), y) for y in (x, sample(2)))
    assert again.l0 == pytest.approx(found.l0, rel=0.02)


def test_directions_are_random_unit_and_seeded() -> None:
    like, x = trained(), sample(1)
    random = random_dictionary(like, x, seed=3)
    torch.testing.assert_close(random.W_enc.norm(dim=0), torch.ones(N_FEATURES))
    learned = torch.nn.functional.normalize(like.W_enc, dim=0)
    own = (random.W_enc * learned).sum(dim=0)
    assert (
        abs(float(own.mean())) < 4 / (D_MODEL * N_FEATURES) ** 0.5
    )  # four standard errors of a mean of random cosines
    assert random_dictionary(like, x, seed=3).hash == random.hash
    assert random_dictionary(like, x, seed=4).hash != random.hash
    assert (random.layer, random.metadata["baseline"]) == (4, "random directions")


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(UserError, match="calibrated on activations"):
        random_dictionary(trained(), torch.empty(0, D_MODEL))
