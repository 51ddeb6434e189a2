"""The subject model: the right layer's residual stream, a forward pass that stops there, sources that are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import LAYERS, VOCAB, WIDTH, causal_lm
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from pretilt.errors import UserError
from pretilt.models.load import load_tokenizer
from pretilt.models.subject import SubjectModel, load_model

FAMILIES = ["llama", "qwen2", "gemma2", "gemma3", "olmo2", "gpt2", "gpt_neo", "mistral"]


def random_ids(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, VOCAB, shape))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder made by save_pretrained, with a tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    causal_lm("llama").save_pretrained(folder)
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.mark.parametrize("family", FAMILIES)
def test_residual_is_the_hidden_state_behind_the_block(family: str) -> None:
    model, ids = causal_lm(family), random_ids(2, 20)
    subject = SubjectModel(model, None, {})
    assert (subject.n_layers, subject.d_model, subject.n_vocab) == (LAYERS, WIDTH, VOCAB)
    with torch.no_grad():
        hidden = model(ids, output_hidden_states=True).hidden_states
    for layer in range(LAYERS - 1):  # the last entry of hidden_states lies behind the final norm
        torch.testing.assert_close(subject.residual(layer, ids), hidden[layer + 1], rtol=1e-6, atol=1e-6)


def test_last_block_is_read_before_the_final_norm() -> None:
    model, ids = causal_lm("llama"), random_ids(1, 9)
    residual = SubjectModel(model, None, {}).residual(LAYERS - 1, ids)
    with torch.no_grad():
        behind_norm = model(ids, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(model.model.norm(residual), behind_norm, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(residual, behind_norm, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_forward_stops_at_the_layer(family: str) -> None:
    model = causal_lm(family)
    called: list[str] = []
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda _m, _i, name=name: called.append(name))
    SubjectModel(model, None, {}).residual(1, random_ids(1, 5))
    blocks = "model.layers" if family == "llama" else "transformer.h"
    assert f"{blocks}.1" in called
    later = {f"{blocks}.2", f"{blocks}.3", "model.norm", "transformer.ln_f", "lm_head"}
    assert not later & set(called)
    assert not [m for m in model.modules() if m._forward_hooks]  # the hook is gone again


def test_padding_on_the_right_changes_nothing_before_it() -> None:
    subject = SubjectModel(causal_lm("llama"), None, {})
    ids = random_ids(1, 12)
    padded = torch.cat([ids, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    torch.testing.assert_close(subject.residual(2, padded)[:, :12], subject.residual(2, ids), rtol=1e-5, atol=1e-5)


def test_load_from_folder_frees_what_lies_above_the_layer(saved: Path) -> None:
    ids = random_ids(1, 7)
    whole, part = load_model(saved), load_model(saved, layer=1)
    assert torch.equal(whole.residual(1, ids), part.residual(1, ids))
    assert part.n_layers == LAYERS
    n_parameters = [sum(p.numel() for p in m._decoder.parameters()) for m in (whole, part)]
    one_block = sum(p.numel() for p in whole._blocks[0].parameters())
    assert n_parameters[0] - n_parameters[1] == 2 * one_block
    with pytest.raises(UserError, match=r"layer 3 is not in memory.*loaded up to layer 1"):
        part.residual(3, ids)


def test_tokenizer_belongs_to_the_model(saved: Path) -> None:
    assert load_model(saved).tokenizer("w5 w7", add_special_tokens=False)["input_ids"] == [5, 7]
    assert load_tokenizer(saved).vocab_size == VOCAB


def test_identity_follows_the_weights_not_the_folder(saved: Path, copy: Path) -> None:
    first = load_model(saved).identity
    assert load_model(copy).identity == first
    assert load_model(copy, dtype="bfloat16").identity != first
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"transformers_version": "4.0"}))
    assert load_model(copy).identity == first
    (copy / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    assert load_model(copy).identity != first
    (copy / "config.json").write_text(json.dumps(config))
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"] += 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert load_model(copy).identity != first


def test_dtype_is_the_one_asked_for(saved: Path) -> None:
    model = load_model(saved, dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    assert model.residual(0, random_ids(1, 4)).dtype == torch.bfloat16


@pytest.mark.parametrize("layer", [4, 99, -1])
def test_layer_that_does_not_exist(saved: Path, layer: int) -> None:
    with pytest.raises(UserError, match=rf"layer {layer} does not exist: the model has 4 layers, 0 to 3"):
        load_model(saved, layer=layer)


def remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def unknown_architecture(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "abacus"}')


def remove_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def truncate_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def drop_one_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_config, r"the folder holds no model .*config.json is missing"),
        (break_config, r"the model.s configuration cannot be read"),
        (unknown_architecture, r"cannot load the model .*abacus"),
        (remove_tokenizer, r"cannot load the tokenizer"),
        (remove_weights, r"cannot load the model .*model.safetensors"),
        (truncate_weights, r"cannot load the model"),
        (drop_one_tensor, r"lacks weights of the model: 1 tensors would be random.*layers.1.mlp.up_proj"),
    ],
)
def test_damaged_folder_is_refused_in_one_line(copy: Path, damage: Any, message: str) -> None:
    damage(copy)
    with pytest.raises(UserError, match=message) as caught:
        load_model(copy)
    assert "\n" not in str(caught.value)


def test_unknown_id_while_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"cannot load the model 'pretilt-tests/no-such-model'.*offline") as caught:
        load_model("pretilt-tests/no-such-model")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot load the model 'pretilt-tests/no-such-model'"):
        load_tokenizer("pretilt-tests/no-such-model")
    with pytest.raises(UserError, match="cannot load the model 'no/such/folder'"):
        load_model("no/such/folder")


def test_hub_model_is_named_by_its_commit(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(saved, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = load_model("someone/tiny", layer=0)
    assert model.identity == {"name": "someone/tiny", "revision": commit, "dtype": "float32"}
    assert load_model("someone/tiny", revision=commit).identity == model.identity
    assert load_tokenizer("someone/tiny").vocab_size == VOCAB
    with pytest.raises(UserError, match="cannot load the model 'someone/tiny'"):
        load_model("someone/tiny", revision="other-branch")


def test_other_mistakes(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device 'abacus' cannot be used"):
        load_model(saved, device="abacus")
    with pytest.raises(UserError, match="unknown dtype 'float8'"):
        load_model(saved, dtype="float8")
    with pytest.raises(UserError, match="a file, not a folder"):
        load_model(saved / "model.safetensors")
    with pytest.raises(UserError, match="the folder holds no model"):
        load_tokenizer(tmp_path)
