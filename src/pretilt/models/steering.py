"""Steering: a multiple of a direction is added to the residual stream at the output of decoder blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pretilt.models.subject import check_layer, find_blocks


@dataclass(frozen=True)
class Direction:
    """What is added after decoder block `layer`: multiples of `vector`, float32 [d_model]."""

    layer: int
    vector: np.ndarray


class Steering:
    """Hooks on the decoder blocks of a causal language model, also one with adapters.

    `amounts` [batch, n_directions] are the multiples that the next forward passes add to every position of each row;
    None adds nothing. `n_calls` counts the passes in which something was added.
    """

    def __init__(self, model: Any, directions: Sequence[Direction]) -> None:
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        n_layers = int(base.config.get_text_config().num_hidden_layers)
        blocks = find_blocks(base.get_decoder(), n_layers)
        self.amounts: Tensor | None = None
        self.n_calls = 0
        self._handles = []
        for number, direction in enumerate(directions):
            check_layer(direction.layer, n_layers)
            hook = self._hook(number, torch.from_numpy(np.asarray(direction.vector, np.float32)))
            self._handles.append(blocks[direction.layer].register_forward_hook(hook))

    def _hook(self, number: int, vector: Tensor) -> Any:
        def add(_module: nn.Module, _args: Any, output: Any) -> Any:
            if self.amounts is None or not bool(self.amounts[:, number].any()):
                return None
            self.n_calls += 1
            hidden = output[0] if isinstance(output, tuple) else output
            amount = self.amounts[:, number].to(hidden.device, hidden.dtype)
            steered = hidden + amount[:, None, None] * vector.to(hidden.device, hidden.dtype)
            return (steered, *output[1:]) if isinstance(output, tuple) else steered

        return add

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()


@contextmanager
def steered(model: Any, direction: Direction, amount: float) -> Iterator[Steering]:
    """The model with `amount` of one direction in every row of every batch."""
    steering = Steering(model, [direction])
    steering.amounts = torch.full((1, 1), float(amount))
    try:
        yield steering
    finally:
        steering.remove()
