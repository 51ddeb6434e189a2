"""A sparse dictionary of one layer: turns a residual-stream vector into non-negative feature activations, and back.

The maths is that of SAELens' inference `encode` for ReLU, TopK and JumpReLU dictionaries (BatchTopK is JumpReLU with
its learned threshold), in float32. A token's activations never depend on the other tokens of its batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pretilt.errors import UserError
from pretilt.lens.metadata import layer_of
from pretilt.run import content_hash

KINDS = ("relu", "topk", "jumprelu")
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale", "centre")
_BLOCK_ELEMENTS = 1 << 22  # pre-activations computed at a time on the CPU: they stay in its cache


class Dictionary:
    """`n_features` directions of a `d_model`-dimensional residual stream.

    With z = normalised x, minus b_dec if `subtract_b_dec`, and h = z W_enc + b_enc (float32):

    - relu:      a = max(h, 0)
    - jumprelu:  a = h where h > threshold and h > 0, else 0 (`threshold` is per feature, learned in training)
    - topk:      a = max(h, 0) on the `k` largest h of the token, else 0; with `rescale_by_decoder_norm`, h is first
      multiplied by the norm of the feature's decoder row

    `normalise`: "none"; "constant_norm_rescale" scales x to norm sqrt(d_model); "layer_norm" subtracts the mean over
    dimensions and divides by (unbiased std + 1e-5); "centre" subtracts that mean alone, as TransformerLens does to the
    residual stream of a model with LayerNorm by `center_writing_weights`.

    `metadata` is JSON-able and says where it belongs: "model_name", "hook_name", …
    """

    def __init__(
        self,
        kind: str,
        *,
        W_enc: Tensor,  # [d_model, n_features]
        b_enc: Tensor,  # [n_features]
        W_dec: Tensor,  # [n_features, d_model]
        b_dec: Tensor,  # [d_model]
        threshold: Tensor | None = None,  # [n_features], jumprelu only
        k: int | None = None,  # topk only
        subtract_b_dec: bool = True,
        normalise: str = "none",
        rescale_by_decoder_norm: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        if kind not in KINDS or normalise not in NORMALISATIONS:
            raise ValueError(f"kind {kind!r} must be one of {KINDS}, normalise {normalise!r} one of {NORMALISATIONS}")
        if (threshold is not None) != (kind == "jumprelu") or (k is not None) != (kind == "topk"):
            raise ValueError(f"a {kind} dictionary: threshold belongs to jumprelu, and k to topk")
        self.kind, self.k, self.normalise = kind, k, normalise
        self.subtract_b_dec, self.rescale_by_decoder_norm = subtract_b_dec, rescale_by_decoder_norm
        self.metadata = dict(metadata or {})
        self.W_enc, self.b_enc, self.W_dec, self.b_dec = (_f32(t) for t in (W_enc, b_enc, W_dec, b_dec))
        self.threshold = torch.zeros_like(self.b_enc) if threshold is None else _f32(threshold)
        self._cut = self.threshold.clamp(min=0)
        self._decoder_norm = self.W_dec.norm(dim=-1) if rescale_by_decoder_norm else None

    @property
    def n_features(self) -> int:
        return int(self.W_enc.shape[1])

    @property
    def d_model(self) -> int:
        return int(self.W_enc.shape[0])

    @property
    def device(self) -> torch.device:
        return self.W_enc.device

    @property
    def layer(self) -> int | None:
        """0-based index of the block whose output it reads; None if its metadata name another place, or none."""
        return layer_of(self.metadata)

    def tensors(self) -> dict[str, Tensor]:
        """Its weights under SAELens' names."""
        named = {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self.W_dec, "b_dec": self.b_dec}
        return named | ({"threshold": self.threshold} if self.kind == "jumprelu" else {})

    def maths(self) -> dict[str, Any]:
        """The settings that, with the weights, fix every activation."""
        return {
            "kind": self.kind,
            "k": self.k,
            "subtract_b_dec": self.subtract_b_dec,
            "normalise": self.normalise,
            "rescale_by_decoder_norm": self.rescale_by_decoder_norm,
            "shape": [self.d_model, self.n_features],
        }

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the weights (as float32) and of the settings that affect the maths; metadata do not count."""
        digest = hashlib.sha256(content_hash(self.maths()).encode())
        for name, tensor in sorted(self.tensors().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def not_centred(self) -> Dictionary:
        """The same without centring of the input."""
        return self.to(self.device, normalise="none") if self.normalise == "centre" else self

    def to(self, device: str | torch.device, *, normalise: str | None = None) -> Dictionary:
        """The same on another device, with another `normalise` if one is given."""
        return Dictionary(
            self.kind,
            **{name: tensor.to(device) for name, tensor in self.tensors().items()},
            k=self.k,
            subtract_b_dec=self.subtract_b_dec,
            normalise=normalise or self.normalise,
            rescale_by_decoder_norm=self.rescale_by_decoder_norm,
            metadata=self.metadata,
        )

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Activations [n, n_features], float32, >= 0, of residual vectors `x` [n, d_model] (any float dtype)."""
        return self._activate(torch.addmm(self.b_enc, self._input(x), self.W_enc))

    @torch.no_grad()
    def encode_sparse(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The activations > 0 of `x` [n, d_model]: (row int64, feature int64, value float32), by row, then by feature.

        Raises UserError if `x` holds NaN or infinity: those would otherwise count as silence.
        """
        if not bool(torch.isfinite(x).all()):
            raise UserError(
                "the model's activations hold NaN or infinity",
                why="probably an overflow in half precision",
                fix="Run the model in float32 or bfloat16",
            )

        z = self._input(x)
        n = z.shape[0]
        block = max(1, _BLOCK_ELEMENTS // self.n_features) if z.device.type == "cpu" else max(1, n)
        buffer = torch.empty(
            min(block, n), self.n_features, device=z.device
        )  # reused: fresh pages cost as much as the scan
        mask = torch.empty(buffer.shape, dtype=torch.bool, device=z.device)

        rows, features, values = [], [], []
        for start in range(0, n, block):
            part = z[start : start + block]
            h = torch.addmm(self.b_enc, part, self.W_enc, out=buffer[: part.shape[0]])
            if self.kind == "topk":
                h = self._activate(h)
            flat = flat_nonzero(torch.gt(h, self._cut, out=mask[: part.shape[0]]))
            values.append(h.view(-1)[flat])
            row = torch.div(flat, self.n_features, rounding_mode="floor")
            features.append(flat - row * self.n_features)
            rows.append(row + start)

        if not rows:
            return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.empty(0)
        return torch.cat(rows), torch.cat(features), torch.cat(values)

    @torch.no_grad()
    def decode(self, activations: Tensor, x: Tensor | None = None) -> Tensor:
        """Reconstruction [n, d_model] of `activations` [n, n_features].

        `x`, the vectors that were encoded, is needed only where `normalise` is not "none", to undo it.
        """
        if self._decoder_norm is not None:
            activations = activations * (1 / self._decoder_norm)
        out = torch.addmm(self.b_dec, activations, self.W_dec)
        if self.normalise == "none":
            return out
        if x is None:
            raise ValueError(f"decode needs x to undo {self.normalise}")
        shift, scale = self._statistics(x.to(self.device, torch.float32))
        return out * scale + shift

    def _input(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.d_model:
            raise UserError(
                f"the dictionary's width does not fit the model: it reads {self.d_model} dimensions",
                why=f"the model gives {x.shape[-1]}, it was made for {self.metadata.get('model_name') or 'another'}",
                fix="Give a --dictionary trained on this model and layer",
            )
        x = x.to(self.device, torch.float32)
        if self.normalise != "none":
            shift, scale = self._statistics(x)
            x = (x - shift) / (scale + (1e-5 if self.normalise == "layer_norm" else 0.0))
        return x - self.b_dec if self.subtract_b_dec else x

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Per row what normalising subtracts and divides by, [n, 1] each (SAELens adds 1e-5 on the way in only)."""
        if self.normalise == "layer_norm":
            return x.mean(dim=-1, keepdim=True), x.std(dim=-1, keepdim=True)
        if self.normalise == "centre":
            mean = x.mean(dim=-1, keepdim=True)
            return mean, torch.ones_like(mean)
        norm = x.norm(dim=-1, keepdim=True)
        return torch.zeros_like(norm), norm / self.d_model**0.5

    def _activate(self, h: Tensor) -> Tensor:
        if self.kind != "topk":
            return torch.where(h > self._cut, h, 0.0)
        if self._decoder_norm is not None:
            h = h * self._decoder_norm
        top = torch.topk(h, min(self.k or 0, self.n_features), dim=-1, sorted=False)
        return torch.zeros_like(h).scatter_(-1, top.indices, top.values.relu())


def _f32(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32).contiguous()


def flat_nonzero(mask: Tensor) -> Tensor:
    """Flat indices of the True entries; NumPy's scan skips runs of False, torch's does not."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.view(-1).nonzero().view(-1)
