"""A dictionary's folder on disk: SAELens' format, read and written without sae-lens, and proven on the way in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tiltmeter.errors import UserError
from tiltmeter.lens.dictionary import NORMALISATIONS, Dictionary
from tiltmeter.run import write_json, writing

CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "sae_weights.safetensors"  # SAELens' names
SPARSIFY_WEIGHTS_FILE = "sae.safetensors"
_ARCHITECTURE = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk"}
_TRAINING = ("batchtopk", "matryoshka_batchtopk")
_PROOF = "These weights were never trained or were damaged; download or train the dictionary again"


def load_folder(folder: Path, *, device: str = "cpu", norm_scaling_factor: float | None = None) -> Dictionary:
    """See `load_dictionary`."""
    from tiltmeter.lens import saelens

    config = read_config(folder / CONFIG_FILE)
    if (folder / SPARSIFY_WEIGHTS_FILE).exists():
        return saelens.from_sparsify(config, read_tensors(folder / SPARSIFY_WEIGHTS_FILE), folder).to(device)
    if (config.get("architecture") or "standard") not in (*_ARCHITECTURE.values(), *_TRAINING):
        return saelens.load_folder(folder, device=device)
    file = folder / WEIGHTS_FILE
    if not file.exists():
        pickled = [p.name for p in sorted(folder.iterdir()) if p.suffix in (".pt", ".pth", ".bin", ".pkl")]
        why = f"{pickled[0]} is a pickle, which is never opened" if pickled else ""
        raise UserError(f"the dictionary has no {file.name}", file=folder, why=why, fix="Convert it to SAELens' format")
    state = from_saelens_state(config, read_tensors(file), file, norm_scaling_factor=norm_scaling_factor)
    return state.to(device)


def read_config(path: Path) -> dict[str, Any]:
    """A dictionary's cfg.json."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"the dictionary has no {path.name}", file=path.parent, fix="Give the folder that holds cfg.json"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError("the dictionary's configuration cannot be read", file=path, why=str(error)) from error
    if not isinstance(config, dict):
        raise UserError("the dictionary's configuration is not a JSON object", file=path)
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, as float32."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as f:  # copied: a file changed later must not change the weights
            return {name: f.get_tensor(name).to(torch.float32, copy=True) for name in f.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            "the dictionary's weights cannot be read",
            file=path,
            why=str(error),
            fix="The file is damaged: get it again",
        ) from error


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
    metadata = {
        n: config[n]
        for n in ("model_name", "hook_name", "hf_hook_name", "dataset_path", "context_size")
        if config.get(n) is not None
    } | metadata
    if "hook_name" not in metadata and config.get("hook_point"):
        metadata["hook_name"] = config["hook_point"]

    d_in, d_sae = (_positive(config, name, file) for name in ("d_in", "d_sae"))
    if config.get("reshape_activations", "none") != "none" or "hook_z" in str(metadata.get("hook_name")):
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
    rescale = bool(config.get("rescale_acts_by_decoder_norm", architecture in _TRAINING))
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

    normalise = config.get("normalize_activations") or "none"
    if normalise in (True, "expected_average_only_in"):
        if not norm_scaling_factor:
            raise UserError(
                "the dictionary was trained on rescaled activations, and the factor is not in its file",
                file=file,
                why="read without it, every activation is mis-scaled and the threshold cuts at the wrong place",
                fix="Load it by its SAELens release name, or give the norm scaling factor",
            )
        factor = norm_scaling_factor
        tensors |= {
            "W_enc": tensors["W_enc"] * factor,
            "W_dec": tensors["W_dec"] / factor,
            "b_dec": tensors["b_dec"] / factor,
        }
        normalise = "none"
    if normalise not in NORMALISATIONS:
        raise UserError(
            f"unknown normalize_activations '{normalise}'", file=file, fix="Load it through sae-lens and save it folded"
        )
    return Dictionary(
        kind,
        **tensors,
        k=_positive(config, "k", file) if kind == "topk" else None,
        subtract_b_dec=bool(config.get("apply_b_dec_to_input", True)),
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


def _positive(config: Mapping[str, Any], name: str, file: Path | str) -> int:
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
        raise UserError(
            f"the dictionary's configuration says {name} = {value!r}",
            file=file,
            why="it must be a positive whole number",
        )
    return int(value)
