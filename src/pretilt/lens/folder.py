"""A dictionary's folder on disk: SAELens' format, read and written without sae-lens, and proven on the way in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretilt.errors import UserError
from pretilt.lens.dictionary import NORMALISATIONS, Dictionary
from pretilt.lens.metadata import NAMES, check_metadata, is_centred
from pretilt.models.sources import foreign_errors, read_object
from pretilt.run import write_json, writing

CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "sae_weights.safetensors"  # SAELens' names
SPARSIFY_WEIGHTS_FILE = "sae.safetensors"
FIT_FILE = "fit.json"  # what `fit` measured, with the hash of the dictionary
_ARCHITECTURE = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk"}
_TRAINING = ("batchtopk", "matryoshka_batchtopk")
ARCHITECTURES = (*_ARCHITECTURE.values(), *_TRAINING)  # read here; any other goes through sae-lens
_PROOF = "These weights were never trained or were damaged; download or train the dictionary again"


def read_config(path: Path) -> dict[str, Any]:
    """A dictionary's cfg.json."""
    if not path.exists():
        raise UserError(
            f"the dictionary has no {path.name}", file=path.parent, fix="Give the folder that holds cfg.json"
        )
    return read_object(path, "the dictionary's configuration")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, as float32."""
    from safetensors import safe_open

    what, fix = "the dictionary's weights cannot be read", "The file is damaged: get it again"
    with foreign_errors(what, file=path, fix=fix), safe_open(path, framework="pt") as f:
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise UserError(f"tensor {name} holds {tensor.dtype}, not floating-point numbers", file=path, fix=_PROOF)
    # copied: a file changed later must not change the weights
    return {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}


def check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], file: Path | str) -> None:
    """Raise UserError unless `tensors` are exactly those of `shapes`, finite, and trained."""
    for name in shapes:
        if name not in tensors:
            why = (
                "without its learned threshold a token's activations would depend on its batch"
                if name == "threshold"
                else ""
            )
            raise UserError(f"the dictionary has no tensor {name}", file=file, why=why, fix=_PROOF)

    if unknown := sorted(set(tensors) - set(shapes)):
        raise UserError(
            f"the dictionary has an unknown tensor {unknown[0]}",
            file=file,
            why="what it does to the activations is not known",
        )

    for name, shape in shapes.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            raise UserError(
                f"tensor {name} has shape {tuple(tensor.shape)}, not {shape}",
                file=file,
                why="cfg.json says d_in and d_sae",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"tensor {name} holds NaN or infinity", file=file, fix=_PROOF)
        if name in ("W_enc", "W_dec", "threshold") and not bool(tensor.any()):
            raise UserError(f"tensor {name} is all zero", file=file, fix=_PROOF)


def from_saelens_state(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    file: Path | str,
    *,
    norm_scaling_factor: float | None = None,
) -> Dictionary:
    """A Dictionary from the content of a SAELens cfg.json and of its weights file; `file` is for messages."""
    config, tensors = dict(config), {name: t.to(torch.float32) for name, t in tensors.items()}
    old_kwargs = config.get("activation_fn_kwargs")  # SAELens before version 6
    if (
        config.get("activation_fn_str", config.get("activation_fn")) == "topk"
        and isinstance(old_kwargs, dict)
        and old_kwargs.get("k")
    ):
        config |= {"architecture": "topk", "k": old_kwargs["k"]}
    architecture = config.get("architecture") or "standard"
    metadata = dict(config["metadata"]) if isinstance(config.get("metadata"), dict) else {}
    metadata = {n: config[n] for n in NAMES if config.get(n) is not None} | metadata
    if "hook_name" not in metadata and config.get("hook_point"):
        metadata["hook_name"] = config["hook_point"]
    check_metadata(metadata, file)

    d_in, d_sae = (positive(config, name, file) for name in ("d_in", "d_sae"))
    if config.get("reshape_activations", "none") != "none":
        raise UserError(
            "this dictionary reads attention heads, not the residual stream",
            file=file,
            fix="Give one for a hook_resid_post",
        )
    if (scale := tensors.pop("scaling_factor", None)) is not None and not bool(
        torch.allclose(scale, torch.ones_like(scale))
    ):
        raise UserError(
            "tensor scaling_factor is not all ones", file=file, why="fine-tuned scaling factors are not supported"
        )

    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    rescale = _flag(config, "rescale_acts_by_decoder_norm", architecture in _TRAINING, file)
    if architecture in _TRAINING:
        learned = tensors.pop("topk_threshold", None)
        if learned is None or learned.numel() != 1 or not float(learned) > 0:
            raise UserError(
                "a BatchTopK training checkpoint without a learned threshold",
                file=file,
                why="its top-k is over the batch: a token's activations would depend on its neighbours",
                fix="Save it with sae.save_inference_model(...)",
            )
        check_tensors(tensors, shapes, file)
        if rescale:  # as save_inference_model does: the threshold was learned on h times the decoder norm
            norm = tensors["W_dec"].norm(dim=-1).clamp(min=1e-8)
            tensors |= {
                "W_enc": tensors["W_enc"] * norm,
                "b_enc": tensors["b_enc"] * norm,
                "W_dec": tensors["W_dec"] / norm[:, None],
            }
        tensors["threshold"] = torch.full((d_sae,), float(learned))
        architecture, rescale = "jumprelu", False
    kind = next(kind for kind, name in _ARCHITECTURE.items() if name == architecture)
    check_tensors(tensors, shapes | ({"threshold": (d_sae,)} if kind == "jumprelu" else {}), file)

    normalise = config.get("normalize_activations")
    if normalise is None or normalise is False:
        normalise = "none"
    if normalise in (True, "expected_average_only_in"):
        if norm_scaling_factor is None:
            raise UserError(
                "the dictionary was trained on rescaled activations, and the factor is not in its file",
                file=file,
                why="read without it, every activation is mis-scaled and the threshold cuts at the wrong place",
                fix="Load it by its SAELens release name, or give --norm-scaling-factor: sqrt(d_in) over the mean norm "
                "of the activations it was trained on",
            )
        factor = norm_scaling_factor
        tensors |= {
            "W_enc": tensors["W_enc"] * factor,
            "W_dec": tensors["W_dec"] / factor,
            "b_dec": tensors["b_dec"] / factor,
        }
        normalise = "none"
    elif norm_scaling_factor is not None:
        raise UserError(
            "the dictionary takes no norm scaling factor",
            file=file,
            why=f"its normalize_activations is {normalise}",
            fix="Leave --norm-scaling-factor out",
        )
    if is_centred(metadata) and normalise != "layer_norm":  # which subtracts the mean itself
        if normalise != "none":
            raise UserError(f"a dictionary of centred activations with normalize_activations {normalise}", file=file)
        normalise = "centre"
    elif normalise == "centre":
        normalise = None
    if normalise not in NORMALISATIONS:
        raise UserError(
            f"unknown normalize_activations '{normalise}'", file=file, fix="Load it through sae-lens and save it folded"
        )
    return Dictionary(
        kind,
        **tensors,
        k=positive(config, "k", file) if kind == "topk" else None,
        subtract_b_dec=_flag(config, "apply_b_dec_to_input", True, file),
        normalise=normalise,
        rescale_by_decoder_norm=rescale and kind == "topk",
        metadata=metadata,
    )


def save_dictionary(dictionary: Dictionary, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write cfg.json and sae_weights.safetensors, which SAELens and `load_dictionary` read.

    The same dictionary gives the same bytes. `dtype` is that of the two matrices (float16 halves the file); biases and
    thresholds stay float32. A dictionary rounded to float16 has another hash: load the folder to get the dictionary
    that others will see.
    """
    from safetensors.torch import save

    folder = Path(folder)
    if dictionary.kind not in _ARCHITECTURE:
        raise UserError(f"a {dictionary.kind} dictionary cannot be saved", fix="Save it with sae-lens")
    tensors = {name: t.cpu().to(dtype) if t.ndim == 2 else t.cpu() for name, t in dictionary.tensors().items()}
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"tensor {name} does not fit {dtype}", file=folder, fix="Save it as float32")
    config = {
        "architecture": _ARCHITECTURE[dictionary.kind],
        "d_in": dictionary.d_model,
        "d_sae": dictionary.n_features,
        "dtype": "float32",  # what readers upcast to
        "device": "cpu",
        "apply_b_dec_to_input": dictionary.subtract_b_dec,
        "normalize_activations": dictionary.normalise,
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.0.0", **dictionary.metadata},  # the version of the format
    }
    if dictionary.kind == "topk":
        config |= {"k": dictionary.k, "rescale_acts_by_decoder_norm": dictionary.rescale_by_decoder_norm}
    with writing(folder / WEIGHTS_FILE) as partial:
        partial.write_bytes(save(tensors))
    write_json(folder / CONFIG_FILE, config)


def positive(config: Mapping[str, Any], name: str, file: Path | str) -> int:
    value = config.get(name)
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not isinstance(value, int | float) or isinstance(value, bool) or not whole or not 1 <= value < 1 << 40:
        raise UserError(
            f"the dictionary's configuration says {name} = {value!r}",
            file=file,
            why="it must be a positive whole number",
        )
    return int(value)


def _flag(config: Mapping[str, Any], name: str, default: bool, file: Path | str) -> bool:
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise UserError(
            f"the dictionary's configuration says {name} = {value!r}", file=file, why="it must be true or false"
        )
    return value
