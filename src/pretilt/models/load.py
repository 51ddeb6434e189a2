"""A model's files, in a folder or on the Hub: what they hold is checked before anything is built, run or allocated.

Every command loads models and tokenizers through this file. Weights are read from safetensors alone, and a model's own
code is never run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import hf_hub_download, snapshot_download
from safetensors import safe_open
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

from pretilt.errors import UserError
from pretilt.models.sources import first_line, foreign_errors, read_object
from pretilt.run import content_hash, file_hash

CONFIG, WEIGHTS, WEIGHTS_INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_IDENTITY_FILES = ("*.safetensors", "*.bin", "tokenizer.json", "*.model", "vocab.json", "merges.txt")
_NOT_IDENTITY = ("transformers_version", "_name_or_path")  # of config.json: they say who wrote it, not what it is
_COUNTS = re.compile(r"(layers?|experts|heads?|labels|blocks|depth)$")  # of which lists are made while loading
_LARGEST_COUNT = 1 << 16
_SIZES = ("num_hidden_layers", "hidden_size", "vocab_size")
_NOT_WEIGHTS = {"BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64"}  # safetensors' names
_FIX = "Check the name; offline, give a folder or a model that is already in the Hugging Face cache"
_FIX_FILES = "Give a folder that save_pretrained made, or get the model again"


def commit_of(name_or_path: str | Path, revision: str | None) -> str | None:
    """The commit that `revision` of a Hub model stands for; None for a folder.

    Everything is then loaded from this commit, and it names the weights: a branch would name whatever it holds today.
    Raises UserError for a file, a folder without a model, and a name that is unknown or out of reach.
    """
    path = Path(name_or_path)
    if path.is_file():
        raise UserError(
            "the model is a file, not a folder", file=path, fix="Give the folder that holds config.json, or a Hub id"
        )

    if path.is_dir():
        if not (path / CONFIG).exists():
            adapter = (path / "adapter_config.json").exists()
            raise UserError(
                "the folder holds no model",
                file=path,
                why="it is an adapter without its base model" if adapter else "config.json is missing",
                fix="Merge it (peft: merge_and_unload, then save_pretrained) and give that folder"
                if adapter
                else "Give a folder made by save_pretrained",
            )
        return None
    return _hub_file(name_or_path, revision, CONFIG).parent.name


def check_model(name_or_path: str | Path, *, revision: str | None = None) -> str | None:
    """`commit_of`, once everything is checked that is quickly known: the configuration, and the weights of a folder."""
    commit = commit_of(name_or_path, revision)
    config = load_config(name_or_path, revision=commit)
    if commit is None:
        check_weights(name_or_path, config)
    return commit


def load_config(name_or_path: str | Path, *, revision: str | None = None) -> Any:
    """The model's configuration of transformers, sizes checked; nothing of the model is built.

    Raises UserError for a configuration that is malformed, needs code of its own, or is of a model that does not write
    text one token after the other.
    """
    commit = commit_of(name_or_path, revision)
    path = Path(name_or_path) / CONFIG if commit is None else _hub_file(name_or_path, commit, CONFIG)
    what = f"cannot load the model '{name_or_path}'"

    raw = read_object(path, "the model's configuration")
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        own_code = "it needs code of its own, which is never run" if "auto_map" in raw else "transformers knows no such"
        raise UserError(what, file=path, why=f"model_type is {model_type!r}: {own_code}", fix="Give another model")
    _check_counts(raw, path)

    with quiet(), foreign_errors(what, file=path, fix=_FIX_FILES):
        config = AutoConfig.from_pretrained(name_or_path, revision=commit or "main", trust_remote_code=False)
        text = config.get_text_config()
        sizes = {size: getattr(text, size) for size in _SIZES}

    for size, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(what, file=path, why=f"{size} is {value!r}, not a positive whole number", fix=_FIX_FILES)
    if getattr(config, "is_encoder_decoder", False) or getattr(text, "is_encoder_decoder", False):
        raise UserError(what, file=path, why=f"{model_type} is an encoder-decoder", fix="Give a decoder-only model")
    auto_class(config, what)

    return config


def _check_counts(value: Any, path: Path, key: str = "") -> None:
    """Raise UserError for a number of layers, heads or experts of which transformers would make endless lists."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_counts(inner, path, name)
    elif isinstance(value, int | float) and _COUNTS.search(key) and not value <= _LARGEST_COUNT:
        raise UserError("the model's configuration is refused", file=path, why=f"{key} is {value}", fix=_FIX_FILES)


def auto_class(config: Any, what: str = "the model cannot be loaded") -> Any:
    """The class of transformers that loads the model; an image-text model is read through its text side.

    Raises UserError, which begins with `what`, for any other kind.
    """
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    raise UserError(
        what,
        why=f"{config.model_type} is no language model that writes text one token after the other",
        fix="Give a decoder-only causal language model",
    )


def load_tokenizer(name_or_path: str | Path, *, revision: str | None = None) -> Any:
    """The model's own tokenizer. Raises UserError if there is none or the model is unknown or out of reach."""
    commit = commit_of(name_or_path, revision)
    what, fix = f"cannot load the tokenizer of '{name_or_path}'", "Give a model with its own tokenizer files"
    with foreign_errors(what, fix=fix):
        return AutoTokenizer.from_pretrained(name_or_path, revision=commit or "main", trust_remote_code=False)


def check_weights(name_or_path: str | Path, config: Any, *, revision: str | None = None) -> None:
    """Raise UserError unless there are safetensors files that can hold the weights that `config` describes.

    Only their headers are read, so that a wrong size is refused before memory is taken for it. Files of a Hub model are
    downloaded first.
    """
    commit, quantised = commit_of(name_or_path, revision), getattr(config, "quantization_config", None) is not None
    what, n_tensors, n_bytes = f"cannot load the model '{name_or_path}'", 0, 0

    for file in _weight_files(name_or_path, commit, what):
        with foreign_errors(what, file=file, fix=_FIX_FILES), safe_open(file, framework="pt") as tensors:
            names = list(tensors.keys())
            numbers = [] if quantised else [n for n in names if tensors.get_slice(n).get_dtype() in _NOT_WEIGHTS]
        if wrong := [name for name in numbers if name.endswith(".weight")]:
            raise UserError(what, file=file, why=f"tensor {wrong[0]} holds whole numbers", fix=_FIX_FILES)
        n_tensors += len(names)
        n_bytes += file.stat().st_size

    if (n_layers := config.get_text_config().num_hidden_layers) > n_tensors:
        why = f"config.json says {n_layers:,} layers, the weights are {n_tensors:,} tensors"
        raise UserError(what, why=why, fix=_FIX_FILES)

    with quiet(), foreign_errors(what, fix=_FIX_FILES), torch.device("meta"):
        described = auto_class(config, what).from_config(config)
        n_parameters = sum(p.numel() for p in described.parameters())

    if n_parameters > 2 * n_bytes:  # four bits for each are the fewest that a quantised model has
        raise UserError(
            what,
            why=f"config.json describes {n_parameters:,} parameters, the weights have {n_bytes:,} bytes",
            fix=_FIX_FILES,
        )


def _weight_files(name_or_path: str | Path, commit: str | None, what: str) -> list[Path]:
    """The safetensors files that hold the weights, all in the model's own folder."""
    if (single := _file(name_or_path, commit, WEIGHTS)) is not None:
        return [single]
    index = _file(name_or_path, commit, WEIGHTS_INDEX)
    if index is None:
        folder = Path(name_or_path)
        pickles = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern)) if commit is None else []
        raise UserError(
            what,
            why=f"it has no {WEIGHTS}"
            + (f"; {pickles[0]} is a pickle, which may run code and is never opened" if pickles else ""),
            fix="Only safetensors are read: where you trust the file, load it with transformers and call "
            "save_pretrained, which writes them",
        )
    weight_map = read_object(index, "the index of the model's weights").get("weight_map")
    names = sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else []
    if not names:
        raise UserError("the index of the model's weights names no file", file=index, fix=_FIX_FILES)
    if outside := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
        raise UserError(
            "the index of the model's weights names a file that is no safetensors file of its folder",
            file=index,
            why=repr(outside[0]),
            fix=_FIX_FILES,
        )
    if commit is not None:
        with foreign_errors(what, fix=_FIX):
            folder = Path(snapshot_download(str(name_or_path), revision=commit, allow_patterns=names))
    else:
        folder = Path(name_or_path)
    if absent := [name for name in names if not (folder / name).is_file()]:
        raise UserError(what, file=folder, why=f"{absent[0]} is missing", fix=_FIX_FILES)
    return [folder / name for name in names]


def load_causal_lm(name_or_path: str | Path, *, revision: str | None = None, dtype: str = "float32") -> Any:
    """The whole language model, head included, in the main memory; of an image-text model all parts.

    Raises UserError for an unknown or unreachable id, a folder without a model, files that `load_config` and
    `check_weights` refuse, and weights that are missing (they would be random), misshapen or not finite.
    """
    torch_dtype = getattr(torch, dtype, None)
    if torch_dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UserError(f"unknown dtype '{dtype}'", fix="Give float32, bfloat16 or float16")
    commit = commit_of(name_or_path, revision)
    config = load_config(name_or_path, revision=commit)
    check_weights(name_or_path, config, revision=commit)
    what = f"cannot load the model '{name_or_path}'"
    with quiet(), foreign_errors(what, fix=_FIX_FILES):
        loaded: Any = auto_class(config, what).from_pretrained(
            name_or_path,
            revision=commit or "main",
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # told below, with the tensor's name
            dtype=torch_dtype,
            output_loading_info=True,
        )
    model, info = loaded
    if mismatched := sorted(info["mismatched_keys"]):
        name, in_file, in_model = mismatched[0]
        why = f"tensor {name} has shape {tuple(in_file)}, config.json says {tuple(in_model)}"
        raise UserError(what, why=why, fix=_FIX_FILES)
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"the checkpoint of '{name_or_path}' lacks weights of the model",
            why=f"{len(missing)} tensors would be random, the first is {missing[0]}",
            fix="Give a complete causal language model",
        )
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise UserError(
                what, why=f"tensor {name} holds NaN or infinity as {dtype}", fix="Give another --dtype or model"
            )
    return model


def model_identity(name_or_path: str | Path, *, revision: str | None = None, dtype: str = "float32") -> dict[str, Any]:
    """Which weights these are, without loading them: Hub name and commit, or the SHA-256 of a folder's files."""
    commit = commit_of(name_or_path, revision)
    if commit is not None:
        return {"name": str(name_or_path), "revision": commit, "dtype": dtype}
    folder = Path(name_or_path)
    config = read_object(folder / CONFIG, "the model's configuration")
    what_it_is = {key: value for key, value in config.items() if key not in _NOT_IDENTITY}
    files = sorted({path for pattern in _IDENTITY_FILES for path in folder.glob(pattern) if path.is_file()})
    hashes = {path.name: file_hash(path) for path in files}
    return {"sha256": content_hash({CONFIG: what_it_is, **hashes}), "dtype": dtype}


def usable_device(device: str) -> torch.device:
    """The torch device of this name. Raises UserError for one that cannot compute here."""
    try:
        with foreign_errors("", fix=""):
            where = torch.device(device)
            torch.ones(1, device=where).item()  # "meta" is a device and holds no numbers
    except UserError as error:
        raise UserError(f"device '{device}' cannot be used", why=error.why, fix="Give --device cpu") from error
    return where


def _file(name_or_path: str | Path, commit: str | None, name: str) -> Path | None:
    """A file of the model, None if it has none of this name."""
    from huggingface_hub.errors import EntryNotFoundError

    if commit is None:
        path = Path(name_or_path) / name
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(str(name_or_path), name, revision=commit))
    except EntryNotFoundError:  # offline: not in the cache either
        return None
    except (OSError, ValueError) as error:
        raise _unreachable(name_or_path, error) from error


def _hub_file(name_or_path: str | Path, revision: str | None, name: str) -> Path:
    try:
        return Path(hf_hub_download(str(name_or_path), name, revision=revision))
    except (OSError, ValueError) as error:
        raise _unreachable(name_or_path, error) from error


def _unreachable(name_or_path: str | Path, error: Exception) -> UserError:
    return UserError(f"cannot load the model '{name_or_path}'", why=first_line(error), fix=_FIX)


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


@contextlib.contextmanager
def memory_errors(fix: str) -> Iterator[None]:
    """Turn the device's running out of memory into a UserError with this advice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError("the device is out of memory", why=str(error).split(". ")[0], fix=fix) from error
