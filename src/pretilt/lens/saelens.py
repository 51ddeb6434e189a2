"""Dictionaries that others published: everything that needs sae-lens, and the sparsify format, which it misreads.

The one file that imports sae_lens (extra `sae`). It never builds an SAE with `SAE.from_dict`: that takes settings,
ignores weights among them without a word, and returns random ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pretilt.errors import UserError, require_extra
from pretilt.lens.dictionary import Dictionary
from pretilt.lens.folder import (
    CONFIG_FILE,
    SPARSIFY_WEIGHTS_FILE,
    WEIGHTS_FILE,
    check_tensors,
    from_saelens_state,
    positive,
)
from pretilt.lens.metadata import check_metadata, is_centred
from pretilt.models.sources import first_line, foreign_errors

if TYPE_CHECKING:
    from sae_lens import SAE

_NATIVE = ("standard", "topk", "jumprelu")
_RESIDUAL_ONLY = "pretilt reads the residual stream after a block, one token at a time"


class ForeignDictionary(Dictionary):
    """An SAE of an architecture that pretilt has no maths for: its own `encode` and `decode` are called."""

    def __init__(self, sae: SAE, metadata: Mapping[str, Any]) -> None:
        self._sae = sae
        state = {name: t.detach() for name, t in sae.state_dict().items()}
        b_enc = state.get("b_enc", torch.zeros(sae.cfg.d_sae, device=state["W_enc"].device))
        super().__init__(
            "relu", W_enc=state["W_enc"], b_enc=b_enc, W_dec=state["W_dec"], b_dec=state["b_dec"], metadata=metadata
        )
        self.kind = sae.cfg.architecture()
        self._state = state

    def tensors(self) -> dict[str, Tensor]:
        return {name: t.to(torch.float32) for name, t in self._state.items()}

    def maths(self) -> dict[str, Any]:
        config = {n: v for n, v in self._sae.cfg.to_dict().items() if n not in ("metadata", "device", "dtype")}
        return {"kind": self.kind, "sae_lens": config}

    def to(self, device: str | torch.device, *, normalise: str | None = None) -> Dictionary:
        return ForeignDictionary(self._sae.to(device=torch.device(device)), self.metadata)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        self._input(x)  # checks the width
        return self._sae.encode(x.to(self.device, torch.float32))

    @torch.no_grad()
    def encode_sparse(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        activations = self.encode(x)
        row, feature = activations.nonzero(as_tuple=True)
        return row, feature, activations[row, feature]

    @torch.no_grad()
    def decode(self, activations: Tensor, x: Tensor | None = None) -> Tensor:
        return self._sae.decode(activations)


def load_release(spec: str, *, device: str = "cpu", norm_scaling_factor: float | None = None) -> Dictionary | Path:
    """The dictionary `release/sae_id` of SAELens' registry, or the folder of a Hub repository, `owner/repo/folder`.

    Of a Hub folder in SAELens' or sparsify's format its path, for `load_folder`; any other goes through sae-lens.
    """
    import sae_lens
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory, get_releases_for_repo_id

    release, _, sae_id = spec.partition("/")
    if release not in get_pretrained_saes_directory():
        owner, _, path = spec.partition("/")
        repo, _, sae_id = path.partition("/")
        release = f"{owner}/{repo}"
        if not sae_id:
            raise UserError(
                f"'{spec}' is neither a local folder nor a dictionary that SAELens knows",
                fix="Give release/sae_id as in SAELens' table of pretrained SAEs, or owner/repo/folder on the Hub",
            )
        if registered := get_releases_for_repo_id(release):
            raise UserError(
                f"load '{release}' by its SAELens release name",
                why="by repository id its normalisation factor is lost",
                fix=f"Its releases: {', '.join(registered[:4])}",
            )
        if (folder := _hub_folder(release, sae_id)) is not None:
            return folder
    if norm_scaling_factor is not None:
        raise UserError(
            f"'{spec}' takes no norm scaling factor", why="SAELens knows it", fix="Leave --norm-scaling-factor out"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fix = "Check the name and the connection, or give a local folder; see SAELens' table of pretrained SAEs"
        with foreign_errors(f"the dictionary '{spec}' could not be loaded", fix=fix):
            sae = sae_lens.SAE.from_pretrained(release, sae_id, device=device, dtype="float32")
    if any("Skipping normalization folding" in str(w.message) for w in caught):
        raise UserError(
            f"'{spec}' was trained on rescaled activations, and SAELens does not know the factor",
            fix="Choose another dictionary",
        )
    return from_sae(sae, name=spec)


def load_folder(folder: Path, *, device: str = "cpu", norm_scaling_factor: float | None = None) -> Dictionary:
    """A local SAELens folder of an architecture that is not read natively."""
    require_extra("sae", f"the architecture of the dictionary {folder}")
    import sae_lens

    if not (folder / WEIGHTS_FILE).is_file():
        raise UserError(f"the dictionary has no {WEIGHTS_FILE}", file=folder, fix="Convert it to SAELens' format")
    with warnings.catch_warnings(), foreign_errors("sae-lens cannot load this dictionary", file=folder):
        warnings.simplefilter("ignore")  # what matters in them is checked here
        sae = sae_lens.SAE.load_from_disk(folder, device=device, dtype="float32")
        rescaled = sae.cfg.normalize_activations == "expected_average_only_in"
        if rescaled and norm_scaling_factor is not None:
            sae.fold_activation_norm_scaling_factor(norm_scaling_factor)
    if rescaled != (norm_scaling_factor is not None):
        raise UserError(
            "the dictionary was trained on rescaled activations" if rescaled else "it takes no norm scaling factor",
            file=folder,
            why=f"its normalize_activations is {sae.cfg.normalize_activations}" if not rescaled else "",
            fix="Give --norm-scaling-factor" if rescaled else "Leave --norm-scaling-factor out",
        )
    return from_sae(sae, name=str(folder))


def from_sae(sae: SAE, *, name: str = "the SAE") -> Dictionary:
    """A Dictionary with the weights of a loaded `sae_lens.SAE`, proven by comparing activations on random vectors.

    Architectures without native maths are wrapped. Refused: a mere configuration, transcoders and head outputs, and
    SAEs whose activations are negative or depend on the other tokens of the batch.
    """
    if isinstance(sae, Mapping):
        raise UserError(
            f"{name} is a dictionary of settings or weights, not a loaded SAE",
            why="SAE.from_dict ignores weights and returns random ones",
            fix="Use SAE.load_from_disk or SAE.from_pretrained",
        )

    config = sae.cfg.to_dict()
    architecture = sae.cfg.architecture()
    if "transcoder" in architecture or sae.cfg.reshape_activations != "none":
        raise UserError(
            f"{name} is a {architecture} for another place in the model",
            why=_RESIDUAL_ONLY,
            fix="Choose a residual-stream SAE",
        )

    state = {n: t.detach().to(torch.float32) for n, t in sae.state_dict().items()}
    if architecture in _NATIVE:
        dictionary = from_saelens_state(config, state, name)
    else:
        check_tensors(state, {n: tuple(t.shape) for n, t in state.items()}, name)
        metadata = config.get("metadata") or {}
        check_metadata(metadata, name)
        if is_centred(metadata):
            raise UserError(f"{name} reads centred activations", why=f"{architecture} is not centred here")
        with foreign_errors(f"sae-lens cannot encode with {name}"):
            dictionary = ForeignDictionary(sae, metadata)

    if dictionary.normalise != "centre":  # sae-lens expects its input centred
        with foreign_errors(f"sae-lens cannot encode with {name}"):
            _prove(dictionary, sae, name)
    return dictionary


@torch.no_grad()
def _prove(dictionary: Dictionary, sae: SAE, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, dictionary.d_model, generator=generator)
    x = (x * (torch.logspace(-1, 2, 32)[:, None])).to(dictionary.device)  # over three orders of magnitude
    theirs, ours = sae.encode(x).to(torch.float32), dictionary.encode(x)
    alone = torch.cat([sae.encode(row[None]) for row in x]).to(torch.float32)

    tolerance = 1e-4 * (1 + float(theirs.abs().max()))
    if theirs.shape != ours.shape or float(theirs.min()) < 0 or float((theirs - alone).abs().max()) > tolerance:
        raise UserError(
            f"{name}: its activations are negative or depend on the other tokens of the batch", why=_RESIDUAL_ONLY
        )

    # at a threshold the two may round to different sides, so a few entries in a million may differ
    if float(((theirs - ours).abs() > tolerance).double().mean()) > 1e-5:
        raise UserError(
            f"{name}: pretilt's activations differ from sae-lens's",
            why="a version of the format that is not known here",
            fix="Please report it",
        )


def from_sparsify(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> Dictionary:
    """A Dictionary in the format of EleutherAI's sparsify. sae-lens 6 transposes its decoder and takes its width as 0.

    The hook point is the folder's name: `layers.N` is the residual stream after block N; `layers.N.mlp` is refused.
    """
    file = folder / SPARSIFY_WEIGHTS_FILE
    if config.get("transcode") or folder.name.endswith((".mlp", ".attn", ".attention", ".self_attn")):
        raise UserError(
            "this sparsify dictionary reads a sublayer, not the residual stream", file=file, why=_RESIDUAL_ONLY
        )
    if config.get("activation", "topk") != "topk":
        raise UserError(
            f"sparsify activation '{config['activation']}' is not supported", file=file, fix="Use a topk one"
        )

    d_in = positive(config, "d_in", file)
    if config.get("num_latents"):
        d_sae = positive(config, "num_latents", file)
    else:
        d_sae = d_in * positive(config, "expansion_factor", file)

    renamed = {"encoder.weight": "W_enc", "encoder.bias": "b_enc"}
    state = {renamed.get(name, name): tensor for name, tensor in tensors.items()}
    if "W_enc" in state and "encoder.weight" in tensors:
        state["W_enc"] = state["W_enc"].T

    settings = {
        "architecture": "topk",
        "d_in": d_in,
        "d_sae": d_sae,
        "k": config.get("k"),
        "apply_b_dec_to_input": True,
        "metadata": {"hook_name": folder.name},  # sparsify's own name of the place
    }
    return from_saelens_state(settings, state, file)


def _hub_folder(repo: str, folder: str) -> Path | None:
    """The downloaded folder of a Hub repository if it is in a format read natively, else None."""
    from huggingface_hub import snapshot_download

    patterns = [f"{folder}/{name}" for name in (CONFIG_FILE, WEIGHTS_FILE, SPARSIFY_WEIGHTS_FILE)]
    try:
        local = Path(snapshot_download(repo, allow_patterns=patterns)) / folder
    except (OSError, ValueError) as error:
        raise _unavailable(f"the repository '{repo}' could not be read", error) from error
    files = [(local / name).exists() for name in (CONFIG_FILE, WEIGHTS_FILE, SPARSIFY_WEIGHTS_FILE)]
    return local if files[0] and any(files[1:]) else None


def _unavailable(what: str, error: BaseException) -> UserError:
    fix = "Check the name and the connection, or give a local folder"
    return UserError(what, why=first_line(error), fix=fix)
