"""Reading a dictionary from a folder, a file or a SAELens release."""

from __future__ import annotations

from pathlib import Path

from pretilt.errors import UserError
from pretilt.lens.dictionary import Dictionary
from pretilt.lens.folder import (
    ARCHITECTURES,
    CONFIG_FILE,
    FIT_FILE,
    SPARSIFY_WEIGHTS_FILE,
    WEIGHTS_FILE,
    from_saelens_state,
    read_config,
    read_tensors,
)  # fmt: skip
from pretilt.models.sources import read_object


def load_dictionary(spec: str | Path, *, device: str = "cpu", norm_scaling_factor: float | None = None) -> Dictionary:
    """Load a dictionary and prove that its weights are the file's.

    `spec` is a local folder in SAELens' format (cfg.json + sae_weights.safetensors; matrices may be float16) or in
    sparsify's (cfg.json + sae.safetensors), or the name "release/sae_id" of a published one, which needs sae-lens.

    `norm_scaling_factor` multiplies the model's activations, and is folded into the weights; it is needed for files
    whose `normalize_activations` is "expected_average_only_in", since these do not hold the factor.

    Raises UserError naming file and tensor for missing, unknown, misshapen, non-finite or all-zero weights, for a
    BatchTopK training checkpoint without a learned threshold, and for what needs sae-lens where it is missing.
    """
    from pretilt.lens import saelens
    from pretilt.models.sources import dictionary_folder

    if norm_scaling_factor is not None and not 0 < norm_scaling_factor < float("inf"):
        raise UserError(f"norm_scaling_factor {norm_scaling_factor} is not accepted", why="it is a positive number")
    folder = dictionary_folder(spec)
    if folder is None:
        release = saelens.load_release(str(spec), device=device, norm_scaling_factor=norm_scaling_factor)
        if isinstance(release, Dictionary):
            return release
        folder = release

    return load_folder(folder, device=device, norm_scaling_factor=norm_scaling_factor)


def load_folder(folder: Path, *, device: str = "cpu", norm_scaling_factor: float | None = None) -> Dictionary:
    """See `load_dictionary`."""
    from pretilt.lens import saelens

    config = read_config(folder / CONFIG_FILE)
    if (folder / SPARSIFY_WEIGHTS_FILE).exists():
        if norm_scaling_factor is not None:
            raise UserError("a sparsify dictionary takes no norm scaling factor", file=folder)
        return saelens.from_sparsify(config, read_tensors(folder / SPARSIFY_WEIGHTS_FILE), folder).to(device)
    if (config.get("architecture") or "standard") not in ARCHITECTURES:
        return saelens.load_folder(folder, device=device, norm_scaling_factor=norm_scaling_factor)
    file = folder / WEIGHTS_FILE
    if not file.exists():
        pickled = [p.name for p in sorted(folder.iterdir()) if p.suffix in (".pt", ".pth", ".bin", ".pkl")]
        why = f"{pickled[0]} is a pickle, which is never opened" if pickled else ""
        raise UserError(f"the dictionary has no {file.name}", file=folder, why=why, fix="Convert it to SAELens' format")
    dictionary = from_saelens_state(config, read_tensors(file), file, norm_scaling_factor=norm_scaling_factor)
    fitted = folder / FIT_FILE
    if fitted.exists():
        written = read_object(fitted, "the report of a fit").get("dictionary_hash", dictionary.hash)
        if written != dictionary.hash:
            raise UserError(
                "the dictionary is not the one that `fit` wrote",
                file=folder,
                why=f"{file.name} or {CONFIG_FILE} was changed or damaged: {fitted.name} holds another hash",
                fix=f"Run the same `pretilt fit` again; if you changed it yourself, remove {fitted.name}",
            )
    return dictionary.to(device)
