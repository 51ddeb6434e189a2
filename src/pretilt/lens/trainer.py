"""The training loop of a BatchTopK dictionary (arXiv 2412.06410): its state, one step, its checkpoint.

Only the encoder's forward product is dense. The k of n_features activations that survive make the decoder, and both
weight gradients, sums over a few rows, so that a step costs little more than that one product. Every step is a function
of the settings and of the saved state: a killed run continues and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretilt.lens.activations import Activations
from pretilt.lens.dictionary import Dictionary, flat_nonzero
from pretilt.run import writing


@dataclass(frozen=True)
class TrainerSettings:
    n_features: int
    """Width of the dictionary."""
    k: int = 32
    """Mean number of features active per token."""
    epochs: int = 4
    """Passes over the activations, each in a new random order."""
    batch_tokens: int = 2048
    """Tokens per step."""
    lr: float = 2e-3
    """Peak learning rate of Adam."""
    warmup_share: float = 0.05
    """Share of the steps in which the learning rate rises linearly."""
    decay_share: float = 0.5
    """Share of the steps, at the end, in which it falls linearly to 0."""
    dead_after_tokens: int = 100_000
    """A feature that fired on none of so many tokens is dead, and is trained on what the living ones leave over."""
    aux_weight: float = 1 / 32
    """Weight of that auxiliary loss."""
    outlier_norm_ratio: float = 6.0
    """Tokens whose norm exceeds so many times the mean norm are left out."""
    threshold_rate: float = 0.01
    """Rate of the moving average of the smallest surviving activation, which becomes the threshold."""
    seed: int = 0
    """Of the initial weights and of the order of the tokens."""
    device: str = "cpu"
    """Where to train; the result depends on it in the last digits."""


class _Code(NamedTuple):
    """Sparse activations of a batch, by row: entry i is `value[i]` of `feature[i]`; row r starts at `start[r]`."""

    row: Tensor
    feature: Tensor
    value: Tensor
    start: Tensor  # [n + 1]


class _Gradients(NamedTuple):
    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor


class Trainer:
    """Weights in the units of rescaled inputs (norm sqrt(d_model) on average); W_enc is [n_features, d_model] here."""

    def __init__(self, data: Activations, inliers: np.ndarray, settings: TrainerSettings) -> None:
        self.data, self.inliers, self.settings = data, inliers, settings
        self.n_steps = settings.epochs * (len(inliers) // settings.batch_tokens)
        self.step = 0
        self._order: tuple[int, np.ndarray] | None = None

        generator = torch.Generator().manual_seed(settings.seed)
        sample = data.take(
            np.sort(np.random.default_rng(settings.seed).choice(inliers, min(len(inliers), 16_384), replace=False))
        )
        self.scale = data.d_model**0.5 / float(sample.norm(dim=-1).mean())
        sample = sample * self.scale
        centre = _geometric_median(sample)
        self.variance = float((sample - sample.mean(dim=0)).square().sum(dim=-1).mean())

        directions = F.normalize(torch.randn(settings.n_features, data.d_model, generator=generator), dim=-1)
        shape = (settings.n_features, data.d_model)
        start = {"W_enc": directions.clone(), "b_enc": torch.zeros(shape[0]), "W_dec": directions, "b_dec": centre}
        self.weights = {name: tensor.to(settings.device).contiguous() for name, tensor in start.items()}

        self.moments = {
            f"{name}.{m}": torch.zeros_like(t) for name, t in self.weights.items() for m in ("mean", "square")
        }
        self.idle_tokens = torch.zeros(settings.n_features, dtype=torch.int64, device=settings.device)
        self.threshold = torch.zeros((), dtype=torch.float64)
        self._h = torch.empty(settings.batch_tokens, settings.n_features, device=settings.device)
        self._mask = torch.empty(self._h.shape, dtype=torch.bool, device=settings.device)

    def dead(self) -> Tensor:
        return self.idle_tokens >= self.settings.dead_after_tokens

    @torch.no_grad()
    def advance(self) -> None:
        """One step of Adam on |x - x̂|² / variance, plus the auxiliary loss of the dead features."""
        weights, n = self.weights, self.settings.batch_tokens
        x = self.data.take(self._next_batch()).to(self.settings.device) * self.scale
        centred = x - weights["b_dec"]
        h = torch.addmm(weights["b_enc"], centred, weights["W_enc"].T, out=self._h)
        code, cut = self._survivors(h)

        error = _decode(code, weights["W_dec"]) - centred
        g = error * (2 / (n * self.variance))
        gradients = _gradients(code, g, centred, weights["W_dec"])
        b_dec = g.sum(dim=0) - gradients.b_enc @ weights["W_enc"]

        self.idle_tokens += n
        self.idle_tokens[code.feature] = 0
        if bool((dead := self.dead()).any()):
            gradients = _Gradients(
                *(a + b for a, b in zip(gradients, self._auxiliary(h, centred, error, dead), strict=True))
            )

        W_dec = weights["W_dec"]
        radial = (gradients.W_dec * W_dec).sum(dim=-1, keepdim=True)
        self._adam(
            {
                "W_enc": gradients.W_enc,
                "b_enc": gradients.b_enc,
                "W_dec": gradients.W_dec - radial * W_dec,
                "b_dec": b_dec,
            }
        )
        W_dec.div_(W_dec.norm(dim=-1, keepdim=True).clamp(min=1e-8))

        # a plain mean at first, so no bias towards 0; then the last twentieth of a short training at most, so no lag
        rate = max(self.settings.threshold_rate, 1 / (self.step + 1), min(1.0, 20 / self.n_steps))
        self.threshold += rate * (cut - float(self.threshold))
        self.step += 1

    def dictionary(self, metadata: Mapping[str, Any]) -> Dictionary:
        """The inference form, with the input's scale folded in: it takes raw activations and reconstructs them."""
        weights = {name: tensor.cpu() for name, tensor in self.weights.items()}
        return Dictionary(
            "jumprelu",
            W_enc=weights["W_enc"].T * self.scale,
            b_enc=weights["b_enc"],
            W_dec=weights["W_dec"] / self.scale,
            b_dec=weights["b_dec"] / self.scale,
            threshold=torch.full((self.settings.n_features,), float(self.threshold)),
            metadata=metadata,
        )

    def save(self, path: Path, key: str) -> None:
        from safetensors.torch import save

        state = {**self.weights, **self.moments, "idle_tokens": self.idle_tokens, "threshold": self.threshold}
        state = {n: t.cpu().contiguous() for n, t in state.items()}
        metadata = {"key": key, "step": str(self.step), "sha256": _hash(state, self.step)}
        with writing(path) as partial:
            partial.write_bytes(save(state, metadata))

    def load(self, path: Path, key: str) -> None:
        """Continue from a checkpoint of the same run; any other file is ignored, and overwritten later."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as f:
                header = f.metadata() or {}
                if header.get("key") != key:
                    return
                state = {name: f.get_tensor(name).clone() for name in f.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return
        step = header.get("step", "")
        if header.get("sha256") != _hash(state, step):
            return
        self.step = int(step)
        self.threshold, idle = state.pop("threshold"), state.pop("idle_tokens")
        self.idle_tokens = idle.to(self.settings.device)
        for tensors in (self.weights, self.moments):
            tensors.update({name: state[name].to(self.settings.device) for name in tensors})

    def _next_batch(self) -> np.ndarray:
        n = self.settings.batch_tokens
        epoch, place = divmod(self.step, len(self.inliers) // n)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self.settings.seed, epoch)).permutation(self.inliers))
        return self._order[1][place * n : (place + 1) * n]

    def _survivors(self, h: Tensor) -> tuple[_Code, float]:
        """The k·n largest positive entries of h [n, n_features], and the smallest of them."""
        budget = self.settings.k * h.shape[0]
        # only entries near the last cut or above are looked at; which survive does not depend on this guess
        for guess in (0.7 * float(self.threshold), 0.0):
            flat = flat_nonzero(torch.gt(h, guess, out=self._mask))
            if len(flat) >= budget or guess == 0:
                break

        value = h.view(-1)[flat]
        if len(value) > budget:
            is_largest = value >= torch.kthvalue(value, len(value) - budget + 1).values
            flat, value = flat[is_largest], value[is_largest]

        row = torch.div(flat, h.shape[1], rounding_mode="floor")
        cut = float(value.min()) if len(value) else 0.0
        return _Code(row, flat - row * h.shape[1], value, _starts(row, h.shape[0])), cut

    def _auxiliary(self, h: Tensor, centred: Tensor, error: Tensor, dead: Tensor) -> _Gradients:
        """Gradients of |r - r̂|², r what the living features leave over, r̂ from each token's strongest dead features.

        Computed on the first quarter of the batch, which is precise enough for dead features.
        """
        n = max(1, h.shape[0] // 4)
        ids = dead.nonzero().view(-1)
        count = min(len(ids), h.shape[1] // 2, centred.shape[1] // 2)
        top = torch.topk(h[:n].index_select(1, ids), count, dim=-1, sorted=False)
        feature, order = ids[top.indices].sort(dim=-1)
        row = torch.arange(n, device=h.device).repeat_interleave(count)
        start = torch.arange(0, n * count + 1, count, device=h.device)
        code = _Code(row, feature.view(-1), top.values.gather(1, order).view(-1), start)
        weight = self.settings.aux_weight * min(1.0, 2 * len(ids) / centred.shape[1])
        left = _decode(code, self.weights["W_dec"]) + error[:n]
        return _gradients(code, left * (2 * weight / (n * self.variance)), centred[:n], self.weights["W_dec"])

    def _adam(self, gradients: Mapping[str, Tensor]) -> None:
        s, step, last = self.settings, self.step + 1, self.n_steps
        up, down = step / max(1.0, s.warmup_share * last), (last - self.step) / max(1.0, s.decay_share * last)
        lr = s.lr * min(1.0, up, down)
        for name, gradient in gradients.items():
            mean, square = self.moments[f"{name}.mean"], self.moments[f"{name}.square"]
            mean.lerp_(gradient, 0.1)
            square.lerp_(gradient.square(), 0.001)
            root = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
            self.weights[name].addcdiv_(mean, root, value=-lr / (1 - 0.9**step))


def _decode(code: _Code, W_dec: Tensor) -> Tensor:
    return F.embedding_bag(code.feature, W_dec, code.start[:-1], mode="sum", per_sample_weights=code.value)


def _gradients(code: _Code, g: Tensor, centred: Tensor, W_dec: Tensor) -> _Gradients:
    """Gradients of the weights, given the gradient `g` [n, d_model] of the reconstruction."""
    shape = (g.shape[0], W_dec.shape[0])
    pattern = torch.sparse_csr_tensor(
        code.start, code.feature, torch.zeros_like(code.value), shape, check_invariants=False
    )
    dh = torch.sparse.sampled_addmm(pattern, g, W_dec.T, beta=0.0).values()  # (g W_decᵀ) at the survivors only
    feature, order = torch.sort(code.feature, stable=True)
    row, start = code.row[order], _starts(feature, shape[1])[:-1]
    dW_dec = F.embedding_bag(row, g, start, mode="sum", per_sample_weights=code.value[order])
    dW_enc = F.embedding_bag(row, centred, start, mode="sum", per_sample_weights=dh[order])
    db_enc = torch.zeros(shape[1], device=g.device).index_add_(0, feature, dh[order])
    return _Gradients(dW_enc, db_enc, dW_dec)


def _starts(ascending: Tensor, n: int) -> Tensor:
    """Where each of 0 … n - 1 begins in a sorted vector, and its length: [n + 1]."""
    return torch.searchsorted(ascending, torch.arange(n + 1, device=ascending.device))


def _geometric_median(x: Tensor, iterations: int = 20) -> Tensor:
    """The point with the least sum of distances to the rows of x (Weiszfeld): a centre that outliers cannot move."""
    centre = x.mean(dim=0)
    for _ in range(iterations):
        weight = 1 / (x - centre).norm(dim=-1, keepdim=True).clamp(min=1e-6)
        centre = (x * weight).sum(dim=0) / weight.sum()
    return centre


def _hash(state: Mapping[str, Tensor], step: int | str) -> str:
    """SHA-256 of the step and of the tensors' bytes, by name."""
    digest = hashlib.sha256(str(step).encode())
    for name in sorted(state):
        digest.update(name.encode() + state[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
