"""Dictionaries from files: sae-lens's own encode as oracle, other formats, and files that must be refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_dictionaries import D_MODEL, N_FEATURES, random_dictionary, vectors

from pretilt.errors import UserError
from pretilt.lens.fidelity import fidelity
from pretilt.lens.folder import from_saelens_state, save_dictionary
from pretilt.lens.load import load_dictionary

# --- sae-lens as oracle -------------------------------------------------------------------------------------------


def saelens_folder(folder: Path, architecture: str, **settings: Any) -> Any:
    """An SAE made and saved by sae-lens itself, with random weights everywhere; returns it as sae-lens loads it."""
    sae_lens = pytest.importorskip("sae_lens")
    sae = sae_lens.SAE.from_dict({"architecture": architecture, "d_in": D_MODEL, "d_sae": N_FEATURES, **settings})
    with torch.no_grad():
        g = torch.Generator().manual_seed(3)
        for name, parameter in sae.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g) / D_MODEL**0.5)
            if name == "threshold":
                parameter.abs_()
    sae.save_model(folder)
    return sae_lens.SAE.load_from_disk(folder)


@pytest.mark.parametrize("apply_b_dec_to_input", [True, False])
@pytest.mark.parametrize("normalize_activations", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("standard", {}),
        ("jumprelu", {}),
        ("topk", {"k": 5}),
        ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
    ],
)
def test_encode_and_decode_equal_saelens(
    tmp_path: Path, architecture: str, settings: dict, apply_b_dec_to_input: bool, normalize_activations: str
) -> None:
    sae = saelens_folder(
        tmp_path,
        architecture,
        apply_b_dec_to_input=apply_b_dec_to_input,
        normalize_activations=normalize_activations,
        **settings,
    )
    dictionary, x = load_dictionary(tmp_path), vectors()
    theirs = sae.encode(x)
    assert 0 < int((theirs > 0).sum()) < theirs.numel()
    torch.testing.assert_close(dictionary.encode(x), theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(dictionary.decode(theirs, x), sae.decode(theirs), atol=1e-4, rtol=1e-5)
    from pretilt.lens.saelens import from_sae

    if normalize_activations == "none":  # read from the live object too, with its proof
        assert from_sae(sae).hash == dictionary.hash


@pytest.mark.parametrize("rescale", [True, False])
def test_batchtopk_equals_what_saelens_saves_for_inference(tmp_path: Path, rescale: bool) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    config = sae_lens.BatchTopKTrainingSAEConfig(
        d_in=D_MODEL, d_sae=N_FEATURES, k=4, rescale_acts_by_decoder_norm=rescale
    )
    trained = sae_lens.BatchTopKTrainingSAE(config)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
        trained.topk_threshold.fill_(2.5)
    trained.save_inference_model(tmp_path / "inference")
    trained.save_model(tmp_path / "training")
    x = vectors()
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "inference").encode(x)
    assert int((theirs > 0).sum()) > 0
    for name in ("inference", "training"):  # the training checkpoint holds the threshold: it is converted the same way
        assert load_dictionary(tmp_path / name).kind == "jumprelu"
        torch.testing.assert_close(load_dictionary(tmp_path / name).encode(x), theirs, atol=1e-4, rtol=1e-5)
    with torch.no_grad():
        trained.topk_threshold.fill_(0.0)  # never trained
    trained.save_model(tmp_path / "untrained")
    with pytest.raises(UserError, match=r"without a learned threshold.*neighbours"):
        load_dictionary(tmp_path / "untrained")


def test_norm_scaling_factor_folds_as_saelens_does(tmp_path: Path) -> None:
    sae = saelens_folder(tmp_path, "jumprelu", normalize_activations="expected_average_only_in")
    with pytest.raises(UserError, match="the factor is not in its file"):
        load_dictionary(tmp_path)
    sae.fold_activation_norm_scaling_factor(0.37)
    dictionary, x = load_dictionary(tmp_path, norm_scaling_factor=0.37), vectors()
    torch.testing.assert_close(dictionary.encode(x), sae.encode(x), atol=1e-5, rtol=0)
    torch.testing.assert_close(dictionary.decode(sae.encode(x)), sae.decode(sae.encode(x)), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu"])
def test_saelens_reads_what_we_save(tmp_path: Path, kind: str) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    base = random_dictionary(
        kind, subtract_b_dec=False, metadata={"model_name": "m", "hook_name": "blocks.3.hook_resid_post"}
    )
    save_dictionary(base, tmp_path, dtype=torch.float16)
    sae = sae_lens.SAE.load_from_disk(tmp_path)
    assert sae.cfg.metadata.hook_name == "blocks.3.hook_resid_post"
    loaded = load_dictionary(tmp_path)
    assert loaded.layer == 3
    torch.testing.assert_close(sae.encode(vectors()), loaded.encode(vectors()), atol=1e-5, rtol=0)


def test_folder_from_before_saelens_6(tmp_path: Path) -> None:
    pytest.importorskip("sae_lens")
    sae = saelens_folder(tmp_path, "topk", k=5)
    old = {
        "d_in": D_MODEL,
        "d_sae": N_FEATURES,
        "dtype": "float32",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 5},
        "normalize_activations": "none",
        "model_name": "gpt2-small",
        "hook_name": "blocks.5.hook_resid_pre",
    }
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    dictionary = load_dictionary(tmp_path)
    assert (dictionary.kind, dictionary.layer, dictionary.metadata["model_name"]) == ("topk", 4, "gpt2-small")
    torch.testing.assert_close(dictionary.encode(vectors()), sae.encode(vectors()), atol=1e-5, rtol=0)


def test_another_architecture_is_wrapped(tmp_path: Path) -> None:
    sae = saelens_folder(tmp_path, "gated")
    dictionary, x = load_dictionary(tmp_path), vectors()
    torch.testing.assert_close(dictionary.encode(x), sae.encode(x))
    row, feature, value = dictionary.encode_sparse(x)
    torch.testing.assert_close(value, sae.encode(x)[row, feature])
    assert dictionary.kind == "gated"
    assert dictionary.hash == load_dictionary(tmp_path).hash
    assert fidelity(dictionary, x).n_tokens == 200


def test_negative_activations_are_refused(tmp_path: Path) -> None:
    saelens_folder(tmp_path, "abstopk", k=5)
    with pytest.raises(UserError, match="negative or depend on the other tokens"):
        load_dictionary(tmp_path)


def test_weights_given_as_a_dict_are_never_used(tmp_path: Path) -> None:
    """The trap: sae-lens takes such a dict without a word and returns an SAE with other, random weights."""
    sae_lens = pytest.importorskip("sae_lens")
    sae = saelens_folder(tmp_path, "jumprelu")
    bearing = {**sae.cfg.to_dict(), **sae.state_dict()}
    assert not torch.equal(sae_lens.SAE.from_dict(bearing).W_enc, sae.W_enc)
    from pretilt.lens.saelens import from_sae

    with pytest.raises(UserError, match="random ones"):
        from_sae(bearing)
    assert torch.equal(load_dictionary(tmp_path).W_enc, sae.W_enc)


def test_a_misread_format_is_noticed(tmp_path: Path) -> None:
    """The proof compares activations, so that an unknown switch in sae-lens cannot pass."""
    sae = saelens_folder(tmp_path, "jumprelu")
    sae.activation_fn = torch.nn.Identity()
    sae.run_time_activation_norm_fn_in = lambda x: 2 * x
    from pretilt.lens.saelens import from_sae

    with pytest.raises(UserError, match=r"differ from sae-lens's|negative"):
        from_sae(sae)


def test_sparsify_folder(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    weights = {
        "encoder.weight": torch.randn(N_FEATURES, D_MODEL, generator=g),
        "encoder.bias": torch.randn(N_FEATURES, generator=g),
        "W_dec": torch.randn(N_FEATURES, D_MODEL, generator=g),
        "b_dec": torch.randn(D_MODEL, generator=g),
    }
    folder = tmp_path / "layers.10"
    folder.mkdir()
    save_file(weights, folder / "sae.safetensors")
    config = {
        "activation": "topk",
        "expansion_factor": 4,
        "num_latents": 0,
        "k": 3,
        "d_in": D_MODEL,
        "normalize_decoder": True,
    }
    (folder / "cfg.json").write_text(json.dumps(config))
    dictionary, x = load_dictionary(folder), vectors()
    assert dictionary.layer == 10
    h = torch.nn.functional.linear(x - weights["b_dec"], weights["encoder.weight"], weights["encoder.bias"]).relu()
    top = h.topk(3, dim=-1)  # what sparsify's Sae.encode returns
    torch.testing.assert_close(dictionary.encode(x).gather(1, top.indices), top.values, atol=1e-5, rtol=0)
    assert int((dictionary.encode(x) > 0).sum()) == int((top.values > 0).sum())
    folder.rename(tmp_path / "layers.10.mlp")
    with pytest.raises(UserError, match="sublayer"):
        load_dictionary(tmp_path / "layers.10.mlp")


# --- hostile files ------------------------------------------------------------------------------------------------


def broken(folder: Path, change: Any) -> None:
    """Save a good folder, then let `change` spoil (config, tensors)."""
    save_dictionary(random_dictionary(), folder)
    config, tensors = json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae_weights.safetensors")
    change(config, tensors)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file(tensors, folder / "sae_weights.safetensors")


def _nan(config: dict, tensors: dict) -> None:
    tensors["b_enc"][3] = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: t.pop("threshold"), r"no tensor threshold \(.*sae_weights.safetensors\).*its batch"),
        (lambda c, t: t.pop("W_dec"), "no tensor W_dec"),
        (lambda c, t: t.update(extra=torch.ones(3)), "unknown tensor extra"),
        (
            lambda c, t: t.update(W_enc=torch.ones(D_MODEL + 1, N_FEATURES)),
            r"W_enc has shape \(25, 96\), not \(24, 96\)",
        ),
        (lambda c, t: t.update(W_enc=t["W_enc"].T.contiguous()), r"W_enc has shape \(96, 24\), not \(24, 96\)"),
        (_nan, "b_enc holds NaN"),
        (lambda c, t: t["W_enc"].zero_(), "W_enc is all zero"),
        (lambda c, t: t["threshold"].zero_(), "threshold is all zero"),
        (lambda c, t: c.update(d_sae="many"), "d_sae = 'many'"),
        (lambda c, t: c.pop("d_in"), "d_in = None"),
        (lambda c, t: c.update(reshape_activations="hook_z"), "attention heads"),
        (lambda c, t: c.update(normalize_activations="covariance_whitening"), "covariance_whitening"),
        (lambda c, t: t.update(scaling_factor=torch.full((N_FEATURES,), 2.0)), "scaling_factor is not all ones"),
        (lambda c, t: c.update(architecture="topk"), "unknown tensor threshold"),
    ],
)
def test_spoilt_folders_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    broken(tmp_path, change)
    with pytest.raises(UserError, match=message):
        load_dictionary(tmp_path)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    save_dictionary(random_dictionary(), folder)
    weights = (folder / "sae_weights.safetensors").read_bytes()
    (folder / "sae_weights.safetensors").write_bytes(weights[:-100])
    with pytest.raises(UserError, match=r"cannot be read \(.*sae_weights.safetensors\)"):
        load_dictionary(folder)
    (folder / "sae_weights.safetensors").unlink()
    (folder / "ae.pt").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match=r"ae.pt is a pickle, which is never opened"):
        load_dictionary(folder)
    (folder / "cfg.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot be read \(.*cfg.json\)"):
        load_dictionary(folder)
    (folder / "cfg.json").write_text("[]")
    with pytest.raises(UserError, match="not a JSON object"):
        load_dictionary(folder)
    (folder / "cfg.json").unlink()
    with pytest.raises(UserError, match=r"has no cfg.json"):
        load_dictionary(folder)
    with pytest.raises(UserError, match="is a file"):
        load_dictionary(folder / "ae.pt")
    with pytest.raises(UserError, match="no such dictionary"):
        load_dictionary(tmp_path / "nowhere")


def test_a_transposed_square_dictionary_cannot_hide_in_the_state() -> None:
    config = {"architecture": "standard", "d_in": 3, "d_sae": 4}
    state = {"W_enc": torch.ones(3, 4), "b_enc": torch.zeros(4), "W_dec": torch.ones(3, 4), "b_dec": torch.zeros(3)}
    with pytest.raises(UserError, match=r"W_dec has shape \(3, 4\), not \(4, 3\)"):
        from_saelens_state(config, state, "here")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gpt2-small-res-jb/blocks.8.hook_resid_pre", "could not be loaded.*Check the name and the connection"),
        ("gpt2-small-res-jb/nope", "nope not found in release"),
        ("no-release/x", "neither a local folder nor a dictionary that SAELens knows"),
        ("EleutherAI/sae-x/layers.1", "'EleutherAI/sae-x' could not be read.*Check the name and the connection"),
        ("google/gemma-scope-2b-pt-res/layer_9", "by its SAELens release name.*gemma-scope-2b-pt-res"),
    ],
)
def test_published_dictionaries_offline_and_unknown(spec: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sae_lens")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=message):
        load_dictionary(spec)


def test_hub_folder_in_a_known_format_is_read_natively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sae_lens")
    save_dictionary(random_dictionary(), tmp_path / "layer_3" / "width")
    asked = []

    def download(repo: str, *, allow_patterns: list[str]) -> str:
        asked.append((repo, allow_patterns[0]))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load_dictionary("someone/saes/layer_3/width").hash == random_dictionary().hash
    assert asked == [("someone/saes", "layer_3/width/cfg.json")]


def test_without_saelens_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(UserError, match=r"pip install 'pretilt\[sae\]'"):
        load_dictionary("gpt2-small-res-jb/blocks.8.hook_resid_pre")
    broken(tmp_path, lambda c, t: c.update(architecture="gated"))
    with pytest.raises(UserError, match=r"pip install 'pretilt\[sae\]'"):
        load_dictionary(tmp_path)


def test_reading_a_folder_does_not_import_saelens(tmp_path: Path) -> None:
    save_dictionary(random_dictionary(), tmp_path)
    code = "import sys\nfrom pretilt.lens.load import load_dictionary\n"
    code += f"load_dictionary({str(tmp_path)!r})\nprint('sae_lens' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    assert loaded.stdout.strip() == "False"
