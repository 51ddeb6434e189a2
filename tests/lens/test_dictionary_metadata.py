"""What a dictionary says of itself is held against what it is used for; malformed folders end in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from tiny_dictionaries import random_dictionary
from tiny_models import causal_lm
from tiny_training import write_model

from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.lens.choice import LensChoice, choose_lens
from pretilt.lens.dictionary import Dictionary
from pretilt.lens.folder import save_dictionary
from pretilt.lens.load import load_dictionary
from pretilt.lens.metadata import cautions
from pretilt.models.subject import SubjectModel
from pretilt.settings import AuditSettings


def folder(path: Path, **metadata: Any) -> Path:
    save_dictionary(random_dictionary(metadata=metadata), path)
    return path


def edit(path: Path, **changes: Any) -> Path:
    config = json.loads((path / "cfg.json").read_text())
    (path / "cfg.json").write_text(json.dumps(config | changes))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Width 24, two layers."""
    path = write_model(tmp_path_factory.mktemp("m") / "model")
    causal_lm("llama", vocab_size=420, hidden_size=24, num_hidden_layers=2).save_pretrained(path)
    return path


def chosen(model: Path, dictionary: Path, **settings: Any) -> LensChoice:
    return choose_lens(AuditSettings(model=str(model), dictionary=str(dictionary), **settings), Events())


@pytest.mark.parametrize("hook", ["blocks.1.hook_resid_post", "blocks.2.hook_resid_pre", "model.layers.1.output"])
def test_layer_comes_from_the_dictionary_and_another_is_refused(model: Path, tmp_path: Path, hook: str) -> None:
    dictionary = folder(tmp_path / "d", hook_name=hook)
    chosen(model, dictionary).check(Events())
    assert chosen(model, dictionary).layer == chosen(model, dictionary, layer=1).layer == 1
    with pytest.raises(
        UserError, match=rf"--layer 0 is not .*{hook}, the output of layer 1; layers are counted from 0"
    ):
        chosen(model, dictionary, layer=0).check(Events())


def test_layer_is_needed_where_none_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the layer is not known"):
        chosen(model, folder(tmp_path / "d")).check(Events())
    chosen(model, tmp_path / "d", layer=0).check(Events())
    with pytest.raises(UserError, match="layer 5 does not exist: the model has 2 layers, 0 to 1"):
        chosen(model, tmp_path / "d", layer=5).check(Events())


ELSEWHERE = [
    "blocks.1.hook_mlp_out", "blocks.1.hook_attn_out", "blocks.1.attn.hook_z", "blocks.1.hook_resid_mid",
    "blocks.0.hook_resid_pre", "blocks.1.ln1.hook_normalized", "hook_embed", "model.layers.1.mlp",
    "ln_final.hook_scale",
]  # fmt: skip


@pytest.mark.parametrize("hook", ELSEWHERE)
def test_dictionary_of_another_place_is_refused_whatever_the_layer(model: Path, tmp_path: Path, hook: str) -> None:
    with pytest.raises(UserError, match=rf"the dictionary reads {hook}, not the residual stream after a block"):
        chosen(model, folder(tmp_path / "d", hook_name=hook), layer=1).check(Events())


def test_transcoder_head_and_contradiction_are_refused(tmp_path: Path) -> None:
    post = "blocks.1.hook_resid_post"
    refused: list[tuple[dict[str, Any], str]] = [
        (
            {"hook_name": post, "hook_name_out": "blocks.1.hook_mlp_out"},
            r"transcoder .*it writes blocks",
        ),
        ({"hook_name": post, "hook_head_index": 3}, "one attention head"),
        ({"hook_name": post, "hf_hook_name": "model.layers.2"}, r"names two layers .*model.layers.2.*blocks.1"),
        ({"hook_name": 7}, "hook_name is '7', not a text"),
        ({"hook_name": [post]}, "not a text"),
        ({"model_name": {"a": 1}}, "not a text"),
        ({"hook_name": post, "model_from_pretrained_kwargs": [1]}, "model_from_pretrained_kwargs is not an object"),
    ]
    for metadata, message in refused:
        with pytest.raises(UserError, match=message):
            load_dictionary(folder(tmp_path / "d", **metadata))


def test_what_differs_from_training_is_said(model: Path, tmp_path: Path) -> None:
    about = {"model_name": "gpt2-small", "prepend_bos": True, "context_size": 128}
    other = {"model_from_pretrained_kwargs": {"checkpoint_index": 3, "fold_ln": True}}
    said = cautions(about | other, "org/my-sft", 1024, adds_bos=False)
    assert [sentence.split(",")[0] for sentence in said] == [
        "the dictionary was made for the model 'gpt2-small'",
        "the dictionary's model was loaded with checkpoint_index = 3",
        "the dictionary was trained on contexts of 128 tokens",
        "the dictionary was trained with BOS at the start of a text",
    ]
    assert cautions(about, "openai-community/gpt2", 128, adds_bos=None) == []  # no BOS in this tokenizer at all
    heard: list[str] = []

    class Listener(Events):
        def say(self, text: str) -> None:
            heard.append(text)

    dictionary = folder(tmp_path / "d", hook_name="blocks.1.hook_resid_post", model_name="gpt2-small")
    chosen(model, dictionary).check(Listener())
    assert heard == []  # a folder's name does not say which model lies in it


def test_centred_dictionary_reads_what_transformerlens_would_give_it(tmp_path: Path) -> None:
    ids = torch.arange(20)[None]
    gpt2 = causal_lm("gpt2")
    with torch.no_grad():
        for block in gpt2.transformer.h:
            block.mlp.c_proj.bias += 2.0
    stream = SubjectModel(gpt2, None, {}).residual(2, ids)[0]
    with torch.no_grad():  # centre what every part writes, as TransformerLens does
        gpt2.transformer.wte.weight -= gpt2.transformer.wte.weight.mean(-1, keepdim=True)
        gpt2.transformer.wpe.weight -= gpt2.transformer.wpe.weight.mean(-1, keepdim=True)
        for block in gpt2.transformer.h:
            for part in (block.attn.c_proj, block.mlp.c_proj):
                part.weight -= part.weight.mean(-1, keepdim=True)
                part.bias -= part.bias.mean()
    centred_stream = SubjectModel(gpt2, None, {}).residual(2, ids)[0]
    g = torch.Generator().manual_seed(0)
    plain = Dictionary(
        "relu", W_enc=torch.randn(32, 64, generator=g), b_enc=torch.zeros(64), W_dec=torch.randn(64, 32, generator=g),
        b_dec=torch.randn(32, generator=g),
        metadata={
            "hook_name": "blocks.2.hook_resid_post",
            "model_from_pretrained_kwargs": {"center_writing_weights": True},
        },
    )  # fmt: skip
    save_dictionary(plain, tmp_path)
    centred = load_dictionary(tmp_path)
    expected = plain.encode(centred_stream)
    scale = float(expected.max())
    torch.testing.assert_close(centred.encode(stream), expected, atol=1e-5 * scale, rtol=0)
    assert float((plain.encode(stream) - expected).abs().max()) > 0.1 * scale  # uncentred it reads something else
    mean = stream.mean(-1, keepdim=True)
    torch.testing.assert_close(centred.decode(expected, stream), plain.decode(expected) + mean, atol=1e-3, rtol=1e-5)
    assert centred.hash != plain.hash


def test_centring_is_left_out_where_the_model_has_rmsnorm(model: Path, tmp_path: Path) -> None:
    kwargs = {"center_writing_weights": True}
    dictionary = folder(tmp_path / "d", hook_name="blocks.1.hook_resid_post", model_from_pretrained_kwargs=kwargs)
    assert load_dictionary(dictionary).normalise == "centre"
    assert chosen(model, dictionary).dictionary.normalise == "none"


def test_norm_scaling_factor_is_an_option(model: Path, tmp_path: Path) -> None:
    dictionary = folder(tmp_path / "d", hook_name="blocks.1.hook_resid_post")
    plain = chosen(model, dictionary).dictionary
    with pytest.raises(UserError, match=r"takes no norm scaling factor.*Leave --norm-scaling-factor out"):
        chosen(model, dictionary, norm_scaling_factor=2.0).check(Events())
    edit(dictionary, normalize_activations="expected_average_only_in")
    with pytest.raises(UserError, match="give --norm-scaling-factor"):
        chosen(model, dictionary).check(Events())
    x = torch.randn(9, 24, generator=torch.Generator().manual_seed(0))
    twice, once = (chosen(model, dictionary, norm_scaling_factor=f).dictionary for f in (2.0, 1.0))
    torch.testing.assert_close(once.encode(x), plain.encode(x))
    assert twice.hash != once.hash  # and with it the measurement_id
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="norm_scaling_factor' is not accepted"):
            AuditSettings.load(norm_scaling_factor=factor)
        with pytest.raises(UserError, match="is not accepted"):
            load_dictionary(dictionary, norm_scaling_factor=factor)


def test_model_without_dictionary_is_told_the_command(model: Path) -> None:
    command = rf"pretilt fit 'my pairs.jsonl' --model {model} --layer 1 --out my-dictionary"
    with pytest.raises(UserError, match=command):
        choose_lens(AuditSettings(model=str(model)), Events(), "my pairs.jsonl")


VALUES = [None, [1], "abc", {"a": 1}, -1, 0, 1.5, True, 10**12, 10**40, float("nan"), float("inf")]


@pytest.mark.parametrize("field", ["d_in", "d_sae", "apply_b_dec_to_input", "normalize_activations", "architecture"])
def test_malformed_field_is_refused(tmp_path: Path, field: str) -> None:
    for value in VALUES:
        if value is None and field in ("normalize_activations", "architecture"):
            continue  # means the default
        if value is True and field in ("apply_b_dec_to_input", "normalize_activations"):
            continue
        with pytest.raises(UserError) as caught:
            load_dictionary(edit(folder(tmp_path / "d"), **{field: value}))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "3", "", '{"d_in": 2', '{"a":' * 50_000 + "1" + "}" * 50_000])
def test_malformed_configuration(tmp_path: Path, content: str) -> None:
    (folder(tmp_path) / "cfg.json").write_text(content)
    with pytest.raises(UserError, match="the dictionary's configuration"):
        load_dictionary(tmp_path)


def test_folders_in_place_of_files_and_whole_numbers(tmp_path: Path) -> None:
    weights = folder(tmp_path) / "sae_weights.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"W_enc": tensors["W_enc"].to(torch.int64)}, weights)
    with pytest.raises(UserError, match=r"tensor W_enc holds torch.int64"):
        load_dictionary(tmp_path)
    weights.unlink()
    weights.mkdir()
    with pytest.raises(UserError, match="the dictionary's weights cannot be read"):
        load_dictionary(tmp_path)
    (tmp_path / "cfg.json").unlink()
    (tmp_path / "cfg.json").mkdir()
    with pytest.raises(UserError, match="the dictionary's configuration cannot be read"):
        load_dictionary(tmp_path)


def test_sparsify_sizes_that_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "layers.1"
    path.mkdir()
    save_file({"encoder.weight": torch.ones(2, 2)}, path / "sae.safetensors")
    for sizes in ({"d_in": "abc", "expansion_factor": 10**9}, {"d_in": 2, "expansion_factor": [1]}, {"d_in": 2}):
        (path / "cfg.json").write_text(json.dumps({"k": 1, **sizes}))
        with pytest.raises(UserError, match="it must be a positive whole number"):
            load_dictionary(path)


def test_foreign_loader_that_asserts_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("sae_lens")
    for architecture in ("temporal", "gated", "no-such-architecture"):
        with pytest.raises(UserError) as caught:
            load_dictionary(edit(folder(tmp_path / "d"), architecture=architecture))
        assert "\n" not in str(caught.value)


def test_gpt2_has_no_rms_norm() -> None:
    assert not hasattr(tf.GPT2Config(), "rms_norm_eps")
    assert not SubjectModel(causal_lm("gpt2"), None, {}).has_rms_norm(1)
    assert SubjectModel(causal_lm("llama"), None, {}).has_rms_norm(1)


def test_the_bundled_lens_is_named_where_pairs_are_read_not_on_a_run_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pretilt.models.bundled.bundled_model", lambda say: "bundled")
    for source, n_lines in (("pairs.jsonl", 1), (None, 0)):
        lines: list[str] = []
        events = Events()
        events.say = lines.append  # type: ignore[method-assign]
        assert choose_lens(AuditSettings(), events, source).bundled
        assert len(lines) == n_lines and all("no model named" in line for line in lines)
