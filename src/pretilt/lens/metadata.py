"""Metadata of a dictionary: the place in the model that it reads, and how its activations were made.

A dictionary of another place has the same shapes and gives numbers all the same. So what its configuration says is held
against what was asked for: another place is refused, what cannot be known to matter is a caution that is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretilt.errors import UserError

NAMES = (
    "model_name", "hook_name", "hf_hook_name", "dataset_path", "context_size", "prepend_bos", "hook_head_index",
    "hook_name_out", "model_from_pretrained_kwargs",
)  # fmt: skip
_HOOKS = ("hf_hook_name", "hook_name")
# Options of TransformerLens that leave the residual stream as it is.
_HARMLESS = {
    "center_writing_weights", "fold_ln", "center_unembed", "fold_value_biases", "refactor_factored_attn_matrices",
    "dtype", "torch_dtype", "device", "n_devices", "default_padding_side", "trust_remote_code", "local_files_only",
    "move_to_device", "default_prepend_bos", "attn_implementation", "device_map",
}  # fmt: skip
_ELSEWHERE = re.compile(
    r"blocks\.\d+\.(?!hook_resid_(post|pre)$).*|(hook_)?(pos_)?embed.*|ln_final.*|unembed.*|blocks\.0\.hook_resid_pre"
    r"|.*\b(mlp|attn|attention|self_attn|experts?|gate|layernorm|input_layernorm|norm|lm_head|wte|embed_tokens)\b.*"
)


def layer_of_hook(hook: object) -> int | None:
    """Index of the block whose output a hook point reads, or None.

    `blocks.N.hook_resid_post`, `blocks.{N+1}.hook_resid_pre`, `model.layers.N`, `layers.N`, `model.layers.N.output` are
    all the output of block N. `blocks.0.hook_resid_pre` (the embeddings), MLP and attention outputs are None.
    """
    if not isinstance(hook, str):
        return None
    if match := re.fullmatch(r"blocks\.(\d{1,6})\.hook_resid_(post|pre)", hook):
        layer = int(match[1]) - (match[2] == "pre")
        return layer if layer >= 0 else None
    match = re.fullmatch(
        r"(?:model\.|transformer\.|language_model\.|gpt_neox\.)*(?:layers|h)\.(\d{1,6})(?:\.output)?", hook
    )
    return int(match[1]) if match else None


def layer_of(metadata: Mapping[str, Any]) -> int | None:
    """0-based index of the block whose output a dictionary with these metadata reads; None if they do not say."""
    layers = [layer_of_hook(metadata.get(name)) for name in _HOOKS]
    return next((layer for layer in layers if layer is not None), None)


def check_metadata(metadata: Mapping[str, Any], file: Path | str) -> None:
    """Raise UserError for metadata that are malformed, contradict each other, or name another place in the model."""
    what = "the dictionary's configuration is not understood"
    for name in ("model_name", "hook_name", "hf_hook_name", "hook_name_out"):
        if not isinstance(metadata.get(name), str | None):
            raise UserError(what, file=file, why=f"{name} is {str(metadata[name])[:80]!r}, not a text")
    if not isinstance(metadata.get("model_from_pretrained_kwargs"), dict | None):
        raise UserError(what, file=file, why="model_from_pretrained_kwargs is not an object")

    layers = {layer for name in _HOOKS if (layer := layer_of_hook(metadata.get(name))) is not None}
    if len(layers) > 1:
        why = f"hf_hook_name is {metadata['hf_hook_name']}, hook_name is {metadata['hook_name']}"
        raise UserError("the dictionary names two layers", file=file, why=why, fix="Correct its cfg.json")

    hook, fix = metadata.get("hook_name"), "Give one that was trained on blocks.N.hook_resid_post"
    if not layers and hook and _ELSEWHERE.fullmatch(hook):
        raise UserError(f"the dictionary reads {hook}, not the residual stream after a block", file=file, fix=fix)
    if metadata.get("hook_name_out") not in (None, hook):
        why = f"it writes {metadata['hook_name_out']} from {hook}"
        raise UserError("the dictionary is a transcoder", file=file, why=why, fix=fix)
    if metadata.get("hook_head_index") is not None:
        raise UserError("the dictionary reads one attention head, not the residual stream", file=file, fix=fix)


def is_centred(metadata: Mapping[str, Any]) -> bool:
    """True if the dictionary was trained on a residual stream whose mean over dimensions had been taken away."""
    return (metadata.get("model_from_pretrained_kwargs") or {}).get("center_writing_weights") is True


def check_layer_named(metadata: Mapping[str, Any], layer: int) -> None:
    """Raise UserError if the dictionary names another layer than `layer`, counted from 0."""
    named = layer_of(metadata)
    if named is not None and named != layer:
        hook = metadata.get("hf_hook_name") or metadata.get("hook_name")
        raise UserError(
            f"--layer {layer} is not the layer of the dictionary",
            why=f"it reads {hook}, the output of layer {named}; layers are counted from 0",
            fix=f"Leave --layer out or give --layer {named}; if the dictionary is wrong, correct its cfg.json",
        )


def cautions(metadata: Mapping[str, Any], model: str | None, max_length: int, *, adds_bos: bool | None) -> list[str]:
    """Differences between the dictionary's training, by its metadata, and this reading; one sentence each.

    `model`: its name on the Hub, None where it has none.
    `adds_bos`: whether the texts read begin with BOS; None for a tokenizer that has none.
    """
    sentences = []
    name, hook = metadata.get("model_name"), metadata.get("hook_name")
    if name and model is not None and _plain(name) != _plain(model):
        sentences.append(f"the dictionary was made for the model '{name}', it reads '{model}'")
    if hook and layer_of(metadata) is None:
        sentences.append(f"the dictionary names the place '{hook}', which is not recognised as a residual stream")

    kwargs = metadata.get("model_from_pretrained_kwargs") or {}
    if unusual := sorted(set(kwargs) - _HARMLESS):
        sentences.append(
            f"the dictionary's model was loaded with {unusual[0]} = {kwargs[unusual[0]]!r}, this one is not"
        )

    context = metadata.get("context_size")
    if isinstance(context, int) and 0 < context < max_length:
        sentences.append(f"the dictionary was trained on contexts of {context} tokens, up to {max_length} are read")

    bos = metadata.get("prepend_bos")
    if isinstance(bos, bool) and adds_bos is not None and bos != adds_bos:
        with_or_without = ("without", "with")
        sentences.append(
            f"the dictionary was trained {with_or_without[bos]} BOS at the start of a text, these texts are read "
            f"{with_or_without[adds_bos]}"
        )

    return sentences


def _plain(name: str) -> str:
    """The name of a model without its owner or folder, and without its spelling: gpt2-small is gpt2."""
    return re.sub(r"[^a-z0-9]", "", name.rstrip("/").rsplit("/", 1)[-1].lower()).replace("gpt2small", "gpt2")
