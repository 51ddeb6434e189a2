"""The subject model: any causal language model of Hugging Face, read at the output of one decoder block.

The forward pass is stopped at that block by its own forward hook, so later blocks, the final norm and the LM head are
never computed; `hidden_states` cannot be used instead, because its last entry lies behind the final norm.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tiltmeter.errors import UserError
from tiltmeter.run import content_hash, file_hash

_IDENTITY_FILES = ("*.safetensors", "*.bin", "tokenizer.json", "*.model", "vocab.json", "merges.txt")
_NOT_IDENTITY = ("transformers_version", "_name_or_path")  # of config.json: they say who wrote it, not what it is
_LOAD_ERRORS = (
    OSError,
    ValueError,
    ImportError,
    RuntimeError,
    SafetensorError,
)  # of a bad source


class _Stop(Exception):
    """Carries the residual stream out of the forward pass."""

    def __init__(self, residual: Tensor) -> None:
        super().__init__()
        self.residual = residual


class SubjectModel:
    """A causal LM whose residual stream can be read after any decoder block.

    `n_layers` counts the model's decoder blocks, `d_model` is the width of the residual stream, `max_positions` the
    longest sequence it can read (None: no limit stated), `n_vocab` the number of token ids it can read.
    `identity` is JSON-able and tells which weights these are: Hub name and commit, or the SHA-256 of a folder's files.
    """

    def __init__(self, model: Any, tokenizer: Any, identity: dict[str, Any]) -> None:
        config = model.config.get_text_config()
        self.config, self.tokenizer, self.identity = config, tokenizer, identity
        self.n_layers = int(config.num_hidden_layers)
        self.d_model = int(config.hidden_size)
        self.max_positions: int | None = getattr(config, "max_position_embeddings", None)
        self.n_vocab = int(model.get_input_embeddings().weight.shape[0])
        self._decoder = model.get_decoder().eval()
        self._blocks = _find_blocks(self._decoder, self.n_layers)

    @property
    def device(self) -> torch.device:
        return next(self._decoder.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self._decoder.parameters()).dtype

    def check_layer(self, layer: int) -> None:
        """Raise UserError if the model has no decoder block `layer`, or if it was freed."""
        _check_layer(layer, self.n_layers)
        if layer >= len(self._blocks):
            raise UserError(
                f"layer {layer} is not in memory",
                why=f"the model was loaded up to layer {len(self._blocks) - 1}",
                fix="Load it again with this layer",
            )

    def keep_up_to(self, layer: int) -> None:
        """Free the decoder blocks above `layer`; they cannot be read any more."""
        self.check_layer(layer)
        del self._blocks[layer + 1 :]

    @torch.inference_mode()
    def residual(self, layer: int, input_ids: Tensor, **inputs: Tensor) -> Tensor:
        """Output of decoder block `layer` (`hidden_states[layer + 1]`), (batch, length, d_model) in the model's dtype.

        `input_ids` is (batch, length) int64; `inputs` may hold `attention_mask` and `position_ids`. Without a mask the
        reading is causal, so padding on the right changes nothing before it.
        """
        self.check_layer(layer)
        handle = self._blocks[layer].register_forward_hook(_stop)
        try:
            self._decoder(input_ids=input_ids, use_cache=False, **inputs)
        except _Stop as stop:
            return stop.residual
        finally:
            handle.remove()
        raise RuntimeError(f"decoder block {layer} was not run")


def _check_layer(layer: int, n_layers: int) -> None:
    if not 0 <= layer < n_layers:
        raise UserError(
            f"layer {layer} does not exist",
            why=f"the model has {n_layers} layers, 0 to {n_layers - 1}",
            fix="Give --layer one of these",
        )


def _stop(_module: nn.Module, _args: Any, output: Any) -> None:
    raise _Stop(output[0] if isinstance(output, tuple) else output)


def _find_blocks(decoder: nn.Module, n_layers: int) -> nn.ModuleList:
    """The decoder's list of blocks: the heaviest ModuleList with as many entries as the model has layers."""
    lists = [m for m in decoder.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if not lists:
        raise UserError(
            f"cannot find the decoder blocks of {type(decoder).__name__}",
            why=f"it has no list of {n_layers} blocks",
            fix="Give a decoder-only causal language model",
        )
    return max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()))


def load_tokenizer(name_or_path: str | Path, *, revision: str | None = None) -> Any:
    """The model's own tokenizer. Raises UserError if there is none or the model is unknown or out of reach."""
    commit = commit_of(name_or_path, revision)
    try:
        return AutoTokenizer.from_pretrained(name_or_path, revision=commit or "main", trust_remote_code=False)
    except _LOAD_ERRORS as error:
        raise UserError(
            f"cannot load the tokenizer of '{name_or_path}'",
            why=_first_line(error),
            fix="Give a model with its own tokenizer files",
        ) from error


def load_model(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    layer: int | None = None,
    tokenizer: Any = None,
) -> SubjectModel:
    """Load a causal LM from the Hub or a folder (a folder that exists wins). Never runs the model's own code.

    With `layer` the blocks above it are freed before the model goes to `device`; the LM head always is. `dtype` is
    "float32", "bfloat16" or "float16". Raises UserError for an unknown or unreachable id, a folder without a model,
    weights missing from the checkpoint (they would be random), a layer or device that does not exist.
    """
    where = usable_device(device)
    commit = commit_of(name_or_path, revision)
    with quiet():
        try:
            config = AutoConfig.from_pretrained(name_or_path, revision=commit or "main", trust_remote_code=False)
        except _LOAD_ERRORS as error:
            raise _unreachable(name_or_path, error) from error
    if layer is not None:
        _check_layer(layer, int(config.get_text_config().num_hidden_layers))
    tokenizer = tokenizer if tokenizer is not None else load_tokenizer(name_or_path, revision=commit)
    # The LM head goes with the last reference to the model, unless it is the embedding.
    model = load_causal_lm(name_or_path, revision=commit, dtype=dtype)
    subject = SubjectModel(model, tokenizer, model_identity(name_or_path, revision=commit, dtype=dtype))
    del model
    if layer is not None:
        subject.keep_up_to(layer)
    subject._decoder.to(where)
    return subject


def load_causal_lm(name_or_path: str | Path, *, revision: str | None = None, dtype: str = "float32") -> Any:
    """The whole causal LM, head included, in the main memory. Never runs the model's own code.

    Raises UserError for an unknown or unreachable id, a folder without a model, weights missing from the checkpoint
    (they would be random).
    """
    torch_dtype = getattr(torch, dtype, None)
    if torch_dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UserError(f"unknown dtype '{dtype}'", fix="Give float32, bfloat16 or float16")
    commit = commit_of(name_or_path, revision)
    with quiet():
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name_or_path,
                revision=commit or "main",
                trust_remote_code=False,
                dtype=torch_dtype,
                output_loading_info=True,
            )
        except _LOAD_ERRORS as error:
            raise _unreachable(name_or_path, error) from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"the checkpoint of '{name_or_path}' lacks weights of the model",
            why=f"{len(missing)} tensors would be random, the first is {missing[0]}",
            fix="Give a complete causal language model",
        )
    return model


def model_identity(name_or_path: str | Path, *, revision: str | None = None, dtype: str = "float32") -> dict[str, Any]:
    """Which weights these are, without loading them: Hub name and commit, or the SHA-256 of a folder's files."""
    return _identity(name_or_path, commit_of(name_or_path, revision), dtype)


def commit_of(name_or_path: str | Path, revision: str | None) -> str | None:
    """The commit that `revision` of a Hub model stands for; None for a folder.

    Everything is then loaded from this commit, and it names the weights: a branch would name whatever it holds today.
    """
    path = Path(name_or_path)
    if path.is_file():
        raise UserError(
            "the model is a file, not a folder", file=path, fix="Give the folder that holds config.json, or a Hub id"
        )
    if path.is_dir():
        if not (path / "config.json").exists():
            raise UserError(
                "the folder holds no model",
                file=path,
                why="config.json is missing",
                fix="Give a folder made by save_pretrained",
            )
        return None
    try:
        return Path(hf_hub_download(str(name_or_path), "config.json", revision=revision)).parent.name
    except (OSError, ValueError) as error:
        raise _unreachable(name_or_path, error) from error


def _identity(name_or_path: str | Path, commit: str | None, dtype: str) -> dict[str, Any]:
    if commit is not None:
        return {"name": str(name_or_path), "revision": commit, "dtype": dtype}
    folder = Path(name_or_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    what_it_is = {key: value for key, value in config.items() if key not in _NOT_IDENTITY}
    files = sorted({path for pattern in _IDENTITY_FILES for path in folder.glob(pattern)})
    hashes = {path.name: file_hash(path) for path in files}
    return {"sha256": content_hash({"config.json": what_it_is, **hashes}), "dtype": dtype}


def usable_device(device: str) -> torch.device:
    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch asserts that it was built with CUDA
        raise UserError(f"device '{device}' cannot be used", why=_first_line(error), fix="Give --device cpu") from error
    return where


def _unreachable(name_or_path: str | Path, error: Exception) -> UserError:
    return UserError(
        f"cannot load the model '{name_or_path}'",
        why=_first_line(error),
        fix="Check the name; offline, give a folder or a model that is already in the Hugging Face cache",
    )


def _first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the loading bars and reports of transformers: what matters in them is raised as an error here."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
