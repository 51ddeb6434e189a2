"""Fitting every kind of detector to the same examples, and judging them on families that none of them saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pretilt.detectors.attention import fit_attention
from pretilt.detectors.detector import KINDS, Detector
from pretilt.detectors.difference import fit_difference
from pretilt.detectors.examples import Examples, check_parts, largest, parts_of
from pretilt.detectors.linear import fit_linear
from pretilt.detectors.scores import Judged, auroc, average_precision, judge
from pretilt.detectors.subspace import fit_subspace

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the probes; the best on the validation families is taken
ATTENTION_PENALTIES = (1e-3, 1e-2, 1e-1)  # of the one that is searched for longest


@dataclass(frozen=True)
class Fitted:
    """One kind with its figures: of responses by their largest token score, and of tokens where these have labels."""

    detector: Detector
    penalty: float | None
    response: Judged
    token: Judged | None
    auroc_of_means: float  # of responses by the mean of their token scores, held out

    @property
    def validation(self) -> float:
        """What the kinds are compared by: average precision on validation families, of tokens where they have labels"""
        return (self.token or self.response).validation_average_precision


def fit_kinds(
    examples: Examples, *, kinds: Sequence[str] = KINDS, seed: int = 0, say: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, Fitted], np.ndarray]:
    """Every kind, and the part of each response (position in PARTS).

    The families are divided by the seed. Raises UserError for families or labels that cannot be divided.
    """
    part = parts_of(examples.family, seed)
    check_parts(examples.label, part)
    train, validation, heldout = (examples.take(np.flatnonzero(part == i)) for i in range(3))

    fitted: dict[str, Fitted] = {}
    for kind in kinds:
        say(f"detector: fitting {kind}")
        detector, penalty = _best(kind, train, validation)
        scores = [detector.scores(some.h, some.starts) for some in (validation, heldout)]
        tops = [largest(s, some.starts) for s, some in zip(scores, (validation, heldout), strict=True)]
        of_tokens = None
        if validation.token_label is not None and heldout.token_label is not None:
            of_tokens = judge(scores[0], validation.token_label, scores[1], heldout.token_label)
        means = np.add.reduceat(scores[1], heldout.starts[:-1], dtype=np.float64) / heldout.n_tokens
        fitted[kind] = Fitted(
            detector,
            penalty,
            judge(tops[0], validation.label, tops[1], heldout.label),
            of_tokens,
            auroc(means, heldout.label),
        )
    return fitted, part


def best_kind(fitted: dict[str, Fitted]) -> str:
    """The kind of highest average precision on the validation families; of equal ones the earlier in KINDS."""
    return max(fitted, key=lambda kind: (fitted[kind].validation, -KINDS.index(kind)))


def _best(kind: str, train: Examples, validation: Examples) -> tuple[Detector, float | None]:
    if kind == "difference":
        return fit_difference(train), None

    def fit(penalty: float) -> Detector:
        if kind == "subspace":
            return fit_subspace(train, penalty)
        linear = fit_linear(train, penalty)
        return linear if kind == "linear" else fit_attention(train, penalty, linear.weight.astype(np.float64))

    candidates = [(fit(penalty), penalty) for penalty in (ATTENTION_PENALTIES if kind == "attention" else PENALTIES)]
    return max(candidates, key=lambda candidate: _validated(candidate[0], validation))


def _validated(detector: Detector, validation: Examples) -> float:
    scores = detector.scores(validation.h, validation.starts)
    if validation.token_label is not None:
        return average_precision(scores, validation.token_label)
    return average_precision(largest(scores, validation.starts), validation.label)
