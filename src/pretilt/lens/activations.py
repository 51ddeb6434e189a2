"""A layer's activations on a text corpus, kept on disk so that training reads every token as often as it likes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pretilt.errors import UserError
from pretilt.run import Progress, content_hash, file_hash, write_json, writing

Ids = np.ndarray
ActivationsOf = Callable[[list[Ids]], Tensor]
"""Given token id sequences, the residual vectors [sum of their lengths, d_model], in order, without padding."""


class Activations(Protocol):
    """Residual vectors of `n_tokens` tokens, readable in any order."""

    n_tokens: int
    d_model: int
    fingerprint: str  # equal for equal content
    norms: np.ndarray  # [n_tokens] float32, Euclidean

    def take(self, index: np.ndarray) -> Tensor:
        """The vectors number `index` [n]: float32 [n, d_model]."""
        ...


class TensorActivations:
    """Activations held in memory."""

    def __init__(self, x: Tensor) -> None:
        self.x = x.detach().to(torch.float32).cpu().contiguous()
        self.n_tokens, self.d_model = self.x.shape
        self.norms = self.x.norm(dim=-1).numpy()
        self.fingerprint = hashlib.sha256(self.x.numpy().data).hexdigest()

    def take(self, index: np.ndarray) -> Tensor:
        return self.x[torch.from_numpy(index)]


class CachedActivations:
    """Activations in memory-mapped shards: float16 directions (unit mean square) and float32 norms, so that no scale of
    the model's activations overflows."""

    def __init__(self, folder: Path, n_shards: int, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self._rows = [np.load(_rows_path(folder, i), mmap_mode="r") for i in range(n_shards)]
        self._starts = np.cumsum([0] + [len(r) for r in self._rows])
        self.norms = np.concatenate([np.load(_norms_path(folder, i)) for i in range(n_shards)])
        self.n_tokens, self.d_model = int(self._starts[-1]), int(self._rows[0].shape[1])

    def take(self, index: np.ndarray) -> Tensor:
        out = np.empty((len(index), self.d_model), dtype=np.float16)
        shard = np.searchsorted(self._starts, index, side="right") - 1
        for i in np.unique(shard):
            in_shard = np.flatnonzero(shard == i)
            out[in_shard] = self._rows[i][index[in_shard] - self._starts[i]]
        scale = torch.from_numpy(self.norms[index] / self.d_model**0.5)
        return torch.from_numpy(out).to(torch.float32) * scale[:, None]


def cache_activations(
    sequences: Sequence[tuple[Ids, np.ndarray]],
    activations_of: ActivationsOf,
    folder: str | Path,
    *,
    identity: Any,
    shard_tokens: int = 65_536,
    batch_tokens: int = 4_096,
    progress: Progress | None = None,
) -> CachedActivations:
    """Run the model once over `sequences` of (ids, keep: bool per token) and keep the vectors of the tokens to keep.

    `identity` is a JSON-able description of the model and layer. The shards lie in a folder named by the hash of it and
    of the ids; whole ones are reused, so that an interrupted run loses one shard at most.
    """
    sequences = [(np.asarray(ids, dtype=np.int32), np.asarray(keep, dtype=bool)) for ids, keep in sequences]

    digest = hashlib.sha256(content_hash([identity, shard_tokens, batch_tokens]).encode())
    for ids, keep in sequences:
        digest.update(len(ids).to_bytes(8, "little") + ids.tobytes() + keep.tobytes())
    folder = Path(folder) / digest.hexdigest()[:20]

    shards = _split(sequences, shard_tokens)
    if not shards:
        raise UserError(
            "there is no token to train on",
            why="the corpus is empty, or holds special tokens only",
            fix="Give more text",
        )

    total, done = sum(len(ids) for ids, _ in sequences), 0
    for i, shard in enumerate(shards):
        if not _is_whole(folder, i):
            rows, norms = _measure(shard, activations_of, batch_tokens)
            for path, array in ((_rows_path(folder, i), rows), (_norms_path(folder, i), norms)):
                with writing(path) as partial, partial.open("wb") as f:
                    np.save(f, array)
            write_json(_sums_path(folder, i), _sums(folder, i))  # last
        done += sum(len(ids) for ids, _ in shard)
        if progress:
            progress(done, total)
    return CachedActivations(folder, len(shards), digest.hexdigest())


def _sums_path(folder: Path, i: int) -> Path:
    return _rows_path(folder, i).with_suffix(".sha256.json")


def _sums(folder: Path, i: int) -> list[str]:
    return [file_hash(_rows_path(folder, i)), file_hash(_norms_path(folder, i))]


def _is_whole(folder: Path, i: int) -> bool:
    """True if both files of a shard have the bytes that they were written with."""
    try:
        return bool(json.loads(_sums_path(folder, i).read_text(encoding="utf-8")) == _sums(folder, i))
    except (OSError, ValueError):
        return False


def _split(sequences: Sequence[tuple[Ids, np.ndarray]], shard_tokens: int) -> list[list[tuple[Ids, np.ndarray]]]:
    shards: list[list[tuple[Ids, np.ndarray]]] = []
    room = 0
    for ids, keep in sequences:
        if not keep.any():
            continue
        if room <= 0:
            shards.append([])
            room = shard_tokens
        shards[-1].append((ids, keep))
        room -= int(keep.sum())
    return shards


def _measure(
    shard: list[tuple[Ids, np.ndarray]], activations_of: ActivationsOf, batch_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Directions [n, d_model] float16, norms [n] float32 of the kept tokens; by length, so that little is padding."""
    rows, norms = [], []
    batch: list[tuple[Ids, np.ndarray]] = []
    ordered = sorted(shard, key=lambda s: len(s[0]))
    for i, sequence in enumerate(ordered):
        batch.append(sequence)
        longest = len(ordered[i + 1][0]) if i + 1 < len(ordered) else 0
        if longest and (len(batch) + 1) * longest <= batch_tokens:
            continue

        x = activations_of([ids for ids, _ in batch]).to(torch.float32)
        x = x[torch.from_numpy(np.concatenate([keep for _, keep in batch])).to(x.device)].cpu()
        norm = x.norm(dim=-1, keepdim=True)
        if not bool(torch.isfinite(norm).all()):
            raise UserError(
                "the model's activations hold NaN or infinity",
                why="probably an overflow in half precision",
                fix="Run the model in float32 or bfloat16",
            )

        rows.append((x / norm.clamp(min=1e-30) * x.shape[1] ** 0.5).to(torch.float16).numpy())
        norms.append(norm[:, 0].numpy())
        batch = []

    return np.concatenate(rows), np.concatenate(norms)


def _rows_path(folder: Path, number: int) -> Path:
    return folder / f"rows-{number:05d}.npy"


def _norms_path(folder: Path, number: int) -> Path:
    return folder / f"norms-{number:05d}.npy"
