"""Dictionaries: hand-computed activations, and what every dictionary promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_dictionaries import D_MODEL, N_FEATURES, random_dictionary, tiny, vectors

from pretilt.errors import UserError
from pretilt.lens.dictionary import Dictionary
from pretilt.lens.fidelity import fidelity
from pretilt.lens.folder import save_dictionary
from pretilt.lens.load import load_dictionary
from pretilt.lens.metadata import layer_of_hook

# --- by hand ------------------------------------------------------------------------------------------------------


def test_relu_by_hand() -> None:
    # x - b_dec = (2, -1): h = (2, -1 + 0.5, 1)
    assert tiny("relu").encode(torch.tensor([[3.0, 1.0]])).tolist() == [[2.0, 0.0, 1.0]]
    # without subtracting b_dec: h = (3, 1.5, 4)
    assert tiny("relu", subtract_b_dec=False).encode(torch.tensor([[3.0, 1.0]])).tolist() == [[3.0, 1.5, 4.0]]


def test_jumprelu_keeps_the_value_and_its_threshold_is_exclusive() -> None:
    dictionary = tiny(threshold=torch.tensor([2.0, -1.0, 0.5]))
    # h = (2, -0.5, 1): 2 is not above 2; -0.5 is above -1 but not positive; 1 is above 0.5 and stays 1
    assert dictionary.encode(torch.tensor([[3.0, 1.0]])).tolist() == [[0.0, 0.0, 1.0]]


def test_topk_by_hand_and_rescaled_by_decoder_norm() -> None:
    x = torch.tensor([[3.0, 1.0]])  # h = (2, -0.5, 1)
    assert tiny("topk", k=1).encode(x).tolist() == [[2.0, 0.0, 0.0]]
    assert tiny("topk", k=3).encode(x).tolist() == [[2.0, 0.0, 1.0]]  # a negative one among the k stays silent
    # decoder norms 1, 2, 5: h becomes (2, -1, 5), so the third wins, and decoding divides by 5 again
    rescaled = tiny("topk", k=1, rescale_by_decoder_norm=True)
    assert rescaled.encode(x).tolist() == [[0.0, 0.0, 5.0]]
    assert rescaled.decode(rescaled.encode(x)).tolist() == [[4.0, 6.0]]  # (3, 4) + b_dec


def test_decode_by_hand() -> None:
    assert tiny("relu").decode(torch.tensor([[2.0, 1.0, 0.0]])).tolist() == [[3.0, 4.0]]


def test_normalised_inputs_by_hand() -> None:
    x = torch.tensor([[3.0, 4.0]])  # norm 5 -> sqrt(2): (3, 4) * sqrt(2) / 5
    scaled = tiny("relu", subtract_b_dec=False, normalise="constant_norm_rescale").encode(x)
    assert scaled[0, 0].item() == pytest.approx(3 * 2**0.5 / 5, abs=1e-6)
    # layer norm: mean 3.5, unbiased std sqrt(0.5): (-1, 1) / sqrt(2)
    centred = tiny("relu", subtract_b_dec=False, normalise="layer_norm").encode(x)
    assert centred[0].tolist() == pytest.approx([0.0, 2**-0.5 + 0.5, 0.0], abs=1e-4)


def test_fidelity_by_hand() -> None:
    # Two points, (0, 0) and (2, 0), mean (1, 0): total variation 1 + 1 = 2.
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    dictionary = Dictionary(
        "relu",
        W_enc=torch.eye(2),
        b_enc=torch.zeros(2),
        W_dec=torch.diag(torch.tensor([0.5, 1.0])),
        b_dec=torch.zeros(2),
    )
    found = fidelity(dictionary, x)  # reconstructs (0, 0) and (1, 0): squared error 0 + 1
    assert (found.explained_variance, found.l0, found.n_tokens) == (0.5, 0.5, 2)
    assert found.fire_freq.tolist() == [0.5, 0.0]
    assert found.n_dead == 1


def test_fidelity_in_batches_far_from_the_origin_equals_one_batch() -> None:
    dictionary, x = random_dictionary(), vectors(1000) + 300
    whole, parts = fidelity(dictionary, x), fidelity(dictionary, iter(x.split(37)))
    assert parts.explained_variance == pytest.approx(whole.explained_variance, rel=1e-4)
    assert parts.l0 == whole.l0


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.0.hook_resid_post", 0),
        ("blocks.7.hook_resid_post", 7),
        ("blocks.7.hook_resid_pre", 6),
        ("blocks.0.hook_resid_pre", None),
        ("model.layers.12.output", 12),
        ("layers.3", 3),
        ("layers.3.mlp", None),
        ("blocks.3.hook_mlp_out", None),
        (None, None),
    ],
)
def test_hook_names(hook: str | None, layer: int | None) -> None:
    assert layer_of_hook(hook) == layer
    assert random_dictionary(metadata={"hook_name": hook}).layer == layer


# --- contracts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu"])
def test_sparse_equals_dense(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pretilt.lens.dictionary._BLOCK_ELEMENTS", 7 * N_FEATURES
    )  # 200 rows: blocks of 7, a short last
    dictionary, x = random_dictionary(kind), vectors()
    row, feature, value = dictionary.encode_sparse(x)
    assert row.dtype == feature.dtype == torch.int64
    assert value.dtype == torch.float32
    assert bool((value > 0).all())
    flat = row * N_FEATURES + feature
    assert bool((flat[1:] > flat[:-1]).all())  # by row, then by feature
    dense = torch.zeros(200, N_FEATURES)
    dense[row, feature] = value
    torch.testing.assert_close(dense, dictionary.encode(x), atol=1e-5, rtol=0)


def test_no_rows_give_no_activations() -> None:
    row, feature, value = random_dictionary().encode_sparse(torch.empty(0, D_MODEL))
    assert len(row) == len(feature) == len(value) == 0


@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu"])
def test_a_token_does_not_depend_on_its_neighbours(kind: str) -> None:
    dictionary, x = random_dictionary(kind), vectors(40)
    alone = torch.cat([dictionary.encode(v[None]) for v in x])
    torch.testing.assert_close(alone, dictionary.encode(x), atol=1e-5, rtol=0)


def test_wrong_width_and_overflow_are_named() -> None:
    dictionary = random_dictionary(metadata={"model_name": "some/model"})
    with pytest.raises(UserError, match=r"it reads 24 dimensions.*the model gives 25.*some/model"):
        dictionary.encode(torch.zeros(3, 25))
    x = vectors(3)
    x[1, 4] = float("inf")
    with pytest.raises(UserError, match="NaN or infinity"):
        dictionary.encode_sparse(x)


def test_hash_is_of_weights_and_maths_only(tmp_path: Path) -> None:
    base = random_dictionary(metadata={"model_name": "a"})
    assert random_dictionary(metadata={"model_name": "b"}).hash == base.hash
    save_dictionary(base, tmp_path)
    assert load_dictionary(tmp_path).hash == load_dictionary(tmp_path).hash == base.hash
    others = [
        random_dictionary(seed=1),
        random_dictionary(subtract_b_dec=False),
        random_dictionary(threshold=base.threshold + 1e-6),
    ]
    assert len({base.hash, *(d.hash for d in others)}) == 4


def test_float16_folder_is_half_as_large_and_close(tmp_path: Path) -> None:
    base = random_dictionary()
    save_dictionary(base, tmp_path / "32")
    save_dictionary(base, tmp_path / "16", dtype=torch.float16)
    sizes = [(tmp_path / n / "sae_weights.safetensors").stat().st_size for n in ("32", "16")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_dictionary(tmp_path / "16")
    assert loaded.W_enc.dtype == torch.float32
    assert torch.equal(loaded.threshold, base.threshold)  # thresholds are not rounded
    torch.testing.assert_close(loaded.W_enc, base.W_enc, atol=0, rtol=2**-11)


def test_float16_overflow_is_refused(tmp_path: Path) -> None:
    base = random_dictionary()
    base.W_enc[0, 0] = 1e6
    with pytest.raises(UserError, match="W_enc does not fit"):
        save_dictionary(base, tmp_path, dtype=torch.float16)
