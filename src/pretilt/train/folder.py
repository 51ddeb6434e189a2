"""The folder of a trained model: what it was made from, whether it is whole, and from where to go on.

`train.json` is written when training begins and, with the hashes of the model's files, when it has ended. A folder is
continued or believed only under the same key: the hash of model, pairs, labels and settings.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretilt.artifacts import PARTIAL, read_sealed, write_sealed
from pretilt.errors import UserError
from pretilt.lock import LOCK
from pretilt.reports import check_report
from pretilt.run import content_hash, file_hash
from pretilt.schema import MARGINS_FILE, TRAIN_REPORT

FORMAT_VERSION = 1
ADAPTER = "adapter"
PARTS = "margins-parts"  # folder of what is measured so far; gone when the training is finished

_MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
_DISK_TEXTS = ("No space left", "Disk quota exceeded", "PytorchStreamWriter failed", "unexpected pos")


def opened(out: Path, key: str, n_processes: int) -> dict[str, Any] | None:
    """The report of a folder that was begun under this key, None for one that is new or empty.

    A training that stopped before its first checkpoint counts as none. Raises UserError for a folder that holds
    something else, and for a training that other processes began: with
    another number of them every batch would hold other pairs.
    """
    path = out / TRAIN_REPORT
    if not path.exists():
        if out.exists() and (
            not out.is_dir() or any(p.name != LOCK and not p.name.endswith(PARTIAL) for p in out.iterdir())
        ):
            raise UserError("the folder for the trained model is not empty", file=out, fix="Give --out a new folder")
        return None
    report = read_report(out, fix="Give --out a new folder")
    finished, began = report["finished"], report["processes"]
    if report["key"] != key:
        if not finished and not _checkpoints(out):
            return None  # nothing is lost: it failed before its first checkpoint, perhaps for its settings
        raise UserError(
            "the folder holds another training",
            file=out,
            why="its model, pairs, labels or settings differ from these",
            fix="Give --out a new folder, or remove this one",
        )
    if not finished and began != n_processes:
        raise UserError(
            f"the training was begun by {began} processes, and goes on with {n_processes}",
            file=out,
            why="every batch would hold other pairs",
            fix="Launch as many as before, or give --out a new folder",
        )
    return report


def read_report(folder: Path, fix: str) -> dict[str, Any]:
    """train.json of a training that has begun. Raises UserError with this `fix` for a damaged one."""
    path = folder / TRAIN_REPORT
    try:
        report = read_sealed(path.read_bytes())
        trouble = check_report(TRAIN_REPORT, report)
    except (OSError, ValueError) as error:
        trouble = str(error)
    if trouble:
        raise UserError("the report of a training cannot be read", file=path, why=trouble, fix=fix)
    return report


def begin(out: Path, key: str, n_processes: int, facts: Mapping[str, Any]) -> None:
    """Write the report of a training that begins; `facts`: what must be known to have stood at its beginning."""
    begun = {"format_version": FORMAT_VERSION, "key": key, "finished": False, "processes": n_processes}
    _write(out, {**begun, **facts})


def is_whole(out: Path, report: Mapping[str, Any]) -> bool:
    """True if training has ended and every file of the model is there with the bytes it had then."""
    files: Mapping[str, str] = report.get("files", {})
    return bool(report["finished"]) and all(
        (out / name).is_file() and file_hash(out / name) == digest for name, digest in files.items()
    )


def finish(out: Path, report: Mapping[str, Any], *, keep_checkpoints: bool) -> dict[str, Any]:
    """Write the report with the hashes of the model's files, last; then remove what only served to go on."""
    (out / "training_args.bin").unlink(missing_ok=True)  # a pickle; its content is in the report
    files = {**saved_files(out), MARGINS_FILE: file_hash(out / MARGINS_FILE)}
    whole = {**report, "finished": True, "files": files}
    _write(out, whole)
    shutil.rmtree(out / PARTS, ignore_errors=True)
    if not keep_checkpoints:
        for _, path in _checkpoints(out):
            shutil.rmtree(path)
    return whole


def _write(out: Path, report: dict[str, Any]) -> None:
    if trouble := check_report(TRAIN_REPORT, report):
        raise ValueError(f"{TRAIN_REPORT}: {trouble}")
    write_sealed(out / TRAIN_REPORT, report)


def saved_files(out: Path) -> dict[str, str]:
    """Name to hash of every file of the model that was saved, its adapter's included."""
    files = [*_model_files(out), *_model_files(out / ADAPTER)]
    return {p.relative_to(out).as_posix(): file_hash(p) for p in files}


def last_checkpoint(out: Path, *, remove: bool = True) -> Path | None:
    """The newest checkpoint that is whole; with `remove`, those that a kill cut short are deleted.

    The trainer writes `trainer_state.json` last, so that a checkpoint with a readable one was whole; its other files
    are looked at too, since after a power cut any of them may be short.
    """
    for step, path in sorted(_checkpoints(out), reverse=True):
        if _is_readable(path, step):
            return path
        if remove:
            shutil.rmtree(path)
    return None


def _is_readable(checkpoint: Path, step: int) -> bool:
    """True unless the state, or a file of tensors, is missing or ends too early. The numbers are not looked at."""
    from safetensors import SafetensorError, safe_open

    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for path in checkpoint.glob("*.safetensors"):
            with safe_open(path, framework="pt"):
                pass
        return state["global_step"] == step and all(map(zipfile.is_zipfile, checkpoint.glob("*.pt*")))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return False


def _checkpoints(out: Path) -> list[tuple[int, Path]]:
    matches = [(re.fullmatch(r"checkpoint-(\d+)", p.name), p) for p in out.glob("checkpoint-*") if p.is_dir()]
    return [(int(match[1]), path) for match, path in matches if match]


def check_space(out: Path, model_bytes: int, trained_bytes: int, n_checkpoints: int) -> None:
    """Raise UserError now rather than in the last hour if model and checkpoints cannot fit on the disk.

    A checkpoint holds the trained weights and Adam's two moments of each.
    """
    needed = model_bytes + n_checkpoints * 3 * trained_bytes
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UserError(
            f"training needs about {needed / 1e9:.1f} GB on this disk, {free / 1e9:.1f} GB are free",
            file=out,
            why=f"a model of {model_bytes / 1e9:.1f} GB and {n_checkpoints} checkpoints at a time",
            fix="Free some space, give --out on another disk, or save_strategy: 'no' (then it cannot be continued)",
        )


def disk_error(error: BaseException, out: Path) -> UserError | None:
    """The UserError for an error that means the folder cannot be written, else None.

    Libraries say so in different ways: an errno, a Rust error's text, torch's writer that fails in the middle.
    """
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if number is None and not any(sign in text for sign in _DISK_TEXTS):
        return None
    return UserError(
        "the trained model cannot be written",
        file=out,
        why=text.splitlines()[0] if text else "the disk is full",
        fix="Free some space or allow writing; the same call then goes on from the last checkpoint",
    )


def model_identity(name_or_path: str, commit: str | None) -> dict[str, Any]:
    """JSON-able: which weights training starts from: Hub name and commit, or the hash of a folder's files."""
    folder = Path(name_or_path)
    if not folder.is_dir():
        return {"name": name_or_path, "revision": commit}
    return {"sha256": content_hash({p.name: file_hash(p) for p in _model_files(folder)})}


def _model_files(folder: Path) -> list[Path]:
    """Weights, configuration and tokenizer: not the model card, which people edit, nor a logger's files."""
    return sorted({p for pattern in _MODEL_FILES for p in folder.glob(pattern)} - {folder / TRAIN_REPORT})
