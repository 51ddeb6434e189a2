"""Model folders of strangers: image-text models are read by their text side, malformed ones end in one quick line."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from tiny_training import write_model

from pretilt.errors import UserError
from pretilt.lens.packing import packs_exactly
from pretilt.models.load import check_model, load_tokenizer, usable_device
from pretilt.models.subject import load_model

TEXT: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "head_dim": 8,
}
VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
ROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}}
QWEN_VISION = {
    "depth": 1, "hidden_size": 16, "out_hidden_size": 32, "num_heads": 2, "intermediate_size": 24, "patch_size": 14,
}  # fmt: skip
IMAGE_TEXT: dict[str, Callable[[], Any]] = {
    "mistral3": lambda: tf.Mistral3Config(
        text_config=tf.MistralConfig(**TEXT), vision_config=tf.PixtralVisionConfig(**VISION), image_token_index=3
    ),
    "llava": lambda: tf.LlavaConfig(
        text_config=tf.LlamaConfig(**TEXT), vision_config=tf.CLIPVisionConfig(**VISION), image_token_index=3
    ),
    "qwen2_5_vl": lambda: tf.Qwen2_5_VLConfig(text_config={**TEXT, **ROPE}, vision_config=QWEN_VISION),
    "qwen3_vl": lambda: tf.Qwen3VLConfig(
        text_config={**TEXT, **ROPE}, vision_config={**QWEN_VISION, "deepstack_visual_indexes": [0]}
    ),
    "internvl": lambda: tf.InternVLConfig(text_config=tf.Qwen2Config(**TEXT), vision_config=VISION),
    "gemma3": lambda: tf.Gemma3Config(text_config=tf.Gemma3TextConfig(**TEXT), vision_config=VISION),
}


@pytest.mark.parametrize("kind", IMAGE_TEXT)
def test_image_text_model_is_read_through_its_text_side(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = tf.AutoModelForImageTextToText.from_config(IMAGE_TEXT[kind]()).eval()
    model.save_pretrained(tmp_path)
    subject = load_model(tmp_path, layer=1, tokenizer="none")
    ids = torch.arange(5, 16)[None]
    with torch.no_grad():
        hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[2]
    torch.testing.assert_close(subject.residual(1, ids), hidden, rtol=1e-5, atol=1e-6)
    assert (subject.n_layers, subject.d_model, subject.n_vocab) == (3, 32, 97)
    assert packs_exactly(subject, 1)


def test_state_space_model_is_read(tmp_path: Path) -> None:
    model = tf.MambaForCausalLM(tf.MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2)).eval()
    model.save_pretrained(tmp_path)
    ids = torch.arange(5, 16)[None]
    with torch.no_grad():
        block = model.backbone.layers[0](model.backbone.embeddings(ids))
    residual = load_model(tmp_path, layer=0, tokenizer="none").residual(0, ids)
    torch.testing.assert_close(residual, block, rtol=1e-5, atol=1e-6)


ENCODER = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
T5 = {"vocab_size": 97, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "d_kv": 8}
OTHER_KINDS: dict[str, tuple[Callable[[], Any], str]] = {
    "t5": (lambda: tf.T5ForConditionalGeneration(tf.T5Config(**T5)), "t5 is an encoder-decoder"),
    "bert": (
        lambda: tf.BertForMaskedLM(tf.BertConfig(**ENCODER, intermediate_size=48)),
        "BertModel reads a token together with the tokens behind it",
    ),
    "modernbert": (
        lambda: tf.ModernBertForMaskedLM(tf.ModernBertConfig(**ENCODER, intermediate_size=48, pad_token_id=0)),
        "modernbert is no language model that writes text one token after the other",
    ),
    "paligemma": (
        lambda: tf.PaliGemmaForConditionalGeneration(
            tf.PaliGemmaConfig(
                text_config=tf.GemmaConfig(**TEXT), vision_config={**VISION, "projection_dim": 32}, projection_dim=32
            )
        ),
        "GemmaModel reads a token together with the tokens behind it",
    ),
    "without a head": (
        lambda: tf.Qwen2Model(tf.Qwen2Config(**{k: v for k, v in TEXT.items() if k != "head_dim"})),
        r"1 tensors would be random, the first is lm_head.weight",
    ),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_of_models_are_named(kind: str, tmp_path: Path) -> None:
    make, message = OTHER_KINDS[kind]
    torch.manual_seed(0)
    make().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=message):
        load_model(tmp_path, layer=1, tokenizer="none")


# --- malformed folders ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("valid") / "model")


@pytest.fixture
def copy(valid: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(valid, tmp_path / "model"))


VALUES = [None, [1, 2], "abc", {"a": 1}, -1, 0, 1.5, True, 10**6, 10**12, 10**40, float("nan"), float("inf")]
SIZES = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "model_type"]


@pytest.mark.parametrize("field", SIZES)
def test_malformed_field_of_config_is_refused_quickly(copy: Path, field: str) -> None:
    config = json.loads((copy / "config.json").read_text())
    start = time.process_time()
    for value in VALUES:
        (copy / "config.json").write_text(json.dumps(config | {field: value}))
        with pytest.raises(UserError) as caught:
            load_model(copy, layer=1)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 900
    assert time.process_time() - start < 15, "memory was taken for sizes that the weights do not have"


CODE = '{"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.Mine"}}'
DEEP = '{"a":' * 50_000 + "1" + "}" * 50_000
CONFIGS = {
    "[]": "the model's configuration is not a JSON object",
    "3": "the model's configuration is not a JSON object",
    "": "the model's configuration cannot be read.*not valid JSON",
    '{"model_type": "lla': "the model's configuration cannot be read.*not valid JSON",
    DEEP: "nested too deeply",
    "{}": "model_type is None: transformers knows no such",
    CODE: "model_type is 'mine': it needs code of its own, which is never run",
}


@pytest.mark.parametrize("content", CONFIGS)
def test_malformed_config(copy: Path, content: str) -> None:
    (copy / "config.json").write_text(content)
    (copy / "configuration_mine.py").write_text(f"open({str(copy / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match=CONFIGS[content]):
        check_model(copy)
    assert not (copy / "ran").exists()


def test_pickled_weights_are_never_opened(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(f"cos\nsystem\n(S'touch {copy}/ran'\ntR.".encode())
    with pytest.raises(UserError, match=r"pytorch_model.bin is a pickle.*never opened.*save_pretrained"):
        check_model(copy)
    assert not (copy / "ran").exists()


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "weights.bin", "absent.safetensors", 3])
def test_index_that_names_other_files(copy: Path, name: object) -> None:
    (copy / "model.safetensors").rename(copy / "part.safetensors")
    shutil.copy(copy / "part.safetensors", copy.parent / "other.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(copy / "part.safetensors"), "part.safetensors")}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_model(copy).n_layers == 2
    index["weight_map"]["lm_head.weight"] = name
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"no safetensors file of its folder|absent.safetensors is missing"):
        check_model(copy)


def test_folder_of_links_is_read(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy.parent / "blob")
    (copy / "model.safetensors").symlink_to("../blob")  # as in the Hugging Face cache
    assert load_model(copy).n_layers == 2


QUERY = "model.layers.0.self_attn.q_proj.weight"
TENSORS: dict[str, tuple[Any, str]] = {
    "shape": (torch.zeros(3, 3), rf"{QUERY} has shape \(3, 3\), config.json says \(16, 16\)"),
    "dtype": (torch.zeros(16, 16, dtype=torch.int64), f"tensor {QUERY} holds whole numbers"),
    "nan": (torch.full((16, 16), float("nan")), f"tensor {QUERY} holds NaN or infinity"),
}


@pytest.mark.parametrize("damage", TENSORS)
def test_damaged_tensor_is_named(copy: Path, damage: str) -> None:
    tensor, message = TENSORS[damage]
    weights = load_file(copy / "model.safetensors") | {QUERY: tensor}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=message):
        load_model(copy)


@pytest.mark.parametrize("content", ["[]", "3", "", "{}", '{"model": {"type": "Nope"}}', DEEP])
def test_malformed_tokenizer(copy: Path, content: str) -> None:
    (copy / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match="cannot load the tokenizer"):
        load_tokenizer(copy)


def test_adapter_without_its_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"an adapter without its base model. Merge it"):
        check_model(tmp_path)


@pytest.mark.parametrize("device", ["cuda:7", "mps", "meta", "xla", "nonsense", "", "cpu:-1", "0", "cuda:" + "9" * 20])
def test_device_that_is_not_there(device: str) -> None:
    if torch.cuda.device_count() > 7 or torch.backends.mps.is_available():
        pytest.skip("this machine has such a device")
    with pytest.raises(UserError, match=rf"device '{device}' cannot be used.*Give --device cpu"):
        usable_device(device)
