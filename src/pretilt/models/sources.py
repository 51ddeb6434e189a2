"""Models and dictionaries as they are handed over: where they are, their JSON files, and what foreign loaders raise.

Nothing heavy is imported here, so that a source can be looked at before all work.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretilt.errors import UserError, require_extra

_LARGEST_JSON = 64 << 20  # bytes; a configuration has a few thousand


def dictionary_folder(spec: str | Path) -> Path | None:
    """The local folder that `spec` names, None for a published dictionary. Loads nothing.

    Raises UserError for a file, for a folder that is not there, and where sae-lens would be needed and is missing.
    """
    path = Path(spec).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(
            "a dictionary is a folder, this is a file", file=path, fix="Give the folder that holds cfg.json"
        )
    if str(spec).startswith((".", "/", "~")) or "/" not in str(spec):
        fix = "Give a folder with cfg.json and sae_weights.safetensors, or release/sae_id"
        raise UserError("there is no such dictionary", file=path, fix=fix)
    require_extra("sae", f"the published dictionary '{spec}'")
    return None


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in `path`. Raises UserError, which begins with `what`, for any other content."""
    try:
        if path.is_file() and path.stat().st_size > _LARGEST_JSON:
            raise UserError(f"{what} cannot be read", file=path, why=f"it is larger than {_LARGEST_JSON >> 20} MiB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{what} cannot be read", file=path, why=error.strerror or str(error)) from error
    except ValueError as error:
        raise UserError(f"{what} cannot be read", file=path, why=f"not valid JSON: {first_line(error)}") from error
    except RecursionError as error:
        raise UserError(f"{what} cannot be read", file=path, why="its JSON is nested too deeply") from error
    if not isinstance(content, dict):
        raise UserError(f"{what} is not a JSON object", file=path)
    return content


@contextlib.contextmanager
def foreign_errors(what: str, *, file: object = None, fix: str = "") -> Iterator[None]:
    """Turn whatever a foreign loader raises on a bad source into one UserError: `what`, and the error's first line."""
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        # The one broad except: on malformed files transformers, tokenizers, safetensors and sae-lens raise
        # AssertionError, AttributeError, KeyError and more, and a panic in Rust is not even an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UserError(what, file=file, why=first_line(error), fix=fix) from error


def first_line(error: BaseException) -> str:
    """The first line of what an error says, with its kind where the words alone say nothing ('num_heads')."""
    words = next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), "")[:300]
    if isinstance(error, OSError | ValueError | RuntimeError | ImportError) and words:
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
