"""The causal attention probe: every token has a value and, as a key, a score; a token sees itself and those before it.

score_t = Σ_{j ≤ t} softmax_{j ≤ t}(q_j) v_j + bias, with v_j = h_j · w_v and q_j = h_j · w_q + slope · j. The softmax
runs along the response by cumulative sums in log space: O(length), and no score is too large for it.

The slope is not the source's (arXiv 2606.12360), whose keys know no position: with them a score can never fall back
once a token of large weight has passed, so that the probe loses to a linear one wherever a trait begins and ends. With
a large slope it is the linear probe, with slope 0 the source's; it is fitted like the other weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pretilt.detectors.detector import Detector
from pretilt.detectors.examples import Examples, spread
from pretilt.detectors.search import minimised

if TYPE_CHECKING:  # torch comes with it, and whoever only reads scores needs none
    from torch import Tensor

ITERATIONS = 80  # of L-BFGS; the loss on validation families has stopped falling by then


def fit_attention(train: Examples, penalty: float, start: np.ndarray, *, with_slope: bool = True) -> Detector:
    """Cross-entropy with both labels weighing alike: of every token, or without token labels of the largest score of
    each response, which is what a response is called by.

    `penalty` is half the weight of ‖w_v‖² + ‖w_q‖² against the mean loss, in standard deviations of every dimension;
    `start` [d_model] is where the values begin, in the units of h (the linear probe); `with_slope` False leaves the
    slope at 0, as the source has it. The search is deterministic.
    """
    import torch

    mean, deviation = spread(train.h)
    h = torch.from_numpy(train.h)
    rows, columns = _places(train.starts)
    shape = (len(train), int(train.n_tokens.max()))
    label = torch.from_numpy(train.label if train.token_label is None else train.token_label).double()
    weights = torch.where(label > 0, 0.5 / label.sum().clamp(min=1), 0.5 / (1 - label).sum().clamp(min=1))
    scale, shift = torch.from_numpy(1 / deviation), torch.from_numpy(mean / deviation)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.from_numpy(parameters).requires_grad_()
        w, bias, log_slope = leaf[:-2].view(2, -1), leaf[-2], leaf[-1]
        products = (h @ (w * scale).float().T).double() - w @ shift
        keys = products[:, 1] + log_slope.exp() * columns if with_slope else products[:, 1]
        logit = _running(products[:, 0], keys, rows, columns, shape) + bias
        logit = logit.max(dim=1).values if train.token_label is None else logit[rows, columns]
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logit, label, weight=weights, reduction="sum")
        total = entropy + 0.5 * penalty * (w**2).sum()
        (gradient,) = torch.autograd.grad(total, leaf)
        return float(total.item()), gradient.numpy()

    parameters = np.concatenate([start * deviation, np.zeros(start.size + 2)])
    *fitted, bias, log_slope = minimised(loss, parameters, ITERATIONS)
    value, query = np.reshape(fitted, (2, -1)) / deviation
    return Detector(
        "attention",
        value.astype(np.float32),
        float(bias - value @ mean),
        query=query.astype(np.float32),
        slope=float(np.exp(log_slope)) if with_slope else 0.0,
    )


def _places(starts: np.ndarray) -> tuple[Tensor, Tensor]:
    """Response and position of every token, int64 [T] each."""
    import torch

    sizes = np.diff(starts)
    rows = np.repeat(np.arange(sizes.size), sizes)
    return torch.from_numpy(rows), torch.from_numpy(np.arange(starts[-1]) - starts[:-1][rows])


def _running(values: Tensor, keys: Tensor, rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    """Running attention of all responses, [N, longest]; behind the end of a response stands its last score."""
    import torch

    value = torch.zeros(shape, dtype=torch.float64).index_put((rows, columns), values)
    key = torch.full(shape, -1e9, dtype=torch.float64).index_put((rows, columns), keys)
    lowest = value.min(dim=1, keepdim=True).values.detach() - 1.0
    weighted = torch.logcumsumexp(key + (value - lowest).log(), dim=1)
    return (weighted - torch.logcumsumexp(key, dim=1)).exp() + lowest
