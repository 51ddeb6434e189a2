"""Which concepts the labels reward with the others held fixed: Bradley-Terry on concept deltas.

    P(chosen beats rejected) = sigma(w'u + g'x + offset)        x: log length, sources; not penalised

w answers "why was it chosen", not "what will move": a concept of w = 0 moves along with those that are rewarded. The
ridge is chosen by the log-loss on families that the fit did not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from pretilt.forecast.logistic import Design, factorised, gram, minimise
from pretilt.forecast.samples import PairDeltas

RIDGES = tuple(float(r) for r in 10.0 ** np.arange(1.0, -4.01, -0.5))  # strongest first, each the start of the next
N_FOLDS = 5
PATIENCE = 3  # weaker ridges fit ever more slowly; the held-out loss has one valley
MIN_SOURCE_PAIRS, MAX_SOURCES = 25, 20


@dataclass(frozen=True)
class HeldOut:
    """How well pairs of unseen families are told apart, per ridge that was tried; float64 [len(ridges)]."""

    ridges: tuple[float, ...]
    log_loss: np.ndarray  # mean of -log P(chosen wins), > 0; log 2 = nothing is known
    log_loss_se: np.ndarray  # by families
    auc: np.ndarray  # in [0, 1], of w'u + g'x over both orders of every pair; 1/2 = nothing is known
    accuracy: np.ndarray  # share of pairs whose chosen response scores higher; a tie counts one half

    @property
    def best(self) -> int:
        return int(np.argmin(self.log_loss))


@dataclass(frozen=True)
class Preference:
    """A fitted reward r(y) = w'c(y) + g'x(y), up to a constant per prompt."""

    w: np.ndarray  # float64 [M]
    nuisance: np.ndarray  # float64 [p]; 0 where left out
    left_out: np.ndarray  # bool [p]: never of both signs, so that its coefficient would be infinite
    ridge: float
    heldout: HeldOut | None  # None if the ridge was given

    @property
    def ridge_at_edge(self) -> bool:
        """The best ridge is the weakest or strongest that was tried: a wider range might do better."""
        return self.heldout is not None and self.heldout.best in (0, len(self.heldout.ridges) - 1)

    def reward(self, c: np.ndarray, nuisance: np.ndarray | None = None) -> np.ndarray:
        """r(y) of responses, [R]; the nuisance counts if it is given ([R, p])."""
        r = c @ self.w
        return np.asarray(r if nuisance is None or not nuisance.shape[1] else r + nuisance @ self.nuisance)


class BradleyTerry:
    """The regression of one set of pairs, prepared once for many fits.

    `metric` [M] >= 0: the ridge is sum w_m² / metric_m. By default 1 / mean(u²): one standardised unit of every concept
    costs the same. A concept whose u is always 0 has w = 0.
    """

    def __init__(self, pairs: PairDeltas, metric: np.ndarray | None = None) -> None:
        self.pairs = pairs
        square = np.einsum("nm,nm->m", pairs.u, pairs.u) / len(pairs.u)
        self.metric = np.divide(1.0, square, out=np.zeros_like(square), where=square > 0) if metric is None else metric
        nuisance_used = pairs.nuisance[pairs.weight > 0]
        self.left_out = np.asarray((nuisance_used >= 0).all(axis=0) | (nuisance_used <= 0).all(axis=0))
        self._design = Design.of(pairs.u, pairs.nuisance[:, ~self.left_out], self.metric)
        self._gram = gram(self._design.x, pairs.weight)
        self._start: dict[float, np.ndarray] = {}
        self._factor: dict[float, tuple[np.ndarray, bool]] = {}

    def fit(self, ridge: float, family_weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(w [M], nuisance [p]); `family_weight` [n_families] reweights whole families. `ridge` > 0."""
        if ridge <= 0:
            raise ValueError(f"ridge {ridge} must be > 0")
        design, pairs = self._design, self.pairs
        if ridge not in self._factor:
            self._factor[ridge] = factorised(self._gram, float(pairs.weight.sum()), design.penalty(ridge))
        weight = pairs.pair_weight(family_weight)
        a = minimise(design.x, pairs.offset, weight, design.penalty(ridge), self._factor[ridge], self._start.get(ridge))
        if family_weight is None:
            self._start[ridge] = a  # every draw of a bootstrap starts from the fit to all pairs
        w, coefficients = design.lift(a)
        nuisance = np.zeros(self.left_out.size)
        nuisance[~self.left_out] = coefficients
        return w, nuisance

    def changed(self, pairs: PairDeltas, turned: np.ndarray) -> BradleyTerry:
        """The regression of the same deltas under other weights and offsets; `turned` bool [n]: labels exchanged.

        It shares the columns and the preconditioner, and fits start from the last fit: what a plan changes in a few
        pairs costs a few products.
        """
        other = copy(self)
        other.pairs = pairs
        if turned.any():
            other._design = replace(self._design, x=self._design.x * np.where(turned, -1.0, 1.0)[:, None])
        other._start = dict(self._start)
        return other

    def held_out(self, ridges: Sequence[float] = RIDGES, n_folds: int = N_FOLDS, seed: int = 0) -> HeldOut:
        """Cross-validation by families, from the strongest ridge on, until three in a row have not helped.

        Raises ValueError with fewer than two families.
        """
        pairs, design = self.pairs, self._design
        fold = family_folds(pairs.family, n_folds, seed)
        folds = range(int(fold.max()) + 1)
        weights = [np.where(fold == f, 0.0, pairs.weight) for f in folds]
        if not all(weight.any() for weight in weights):
            raise ValueError("a fold holds all the weight: give more families weight")
        grams = [self._gram - gram(design.x[fold == f], pairs.weight[fold == f]) for f in folds]
        starts: list[np.ndarray | None] = [None for _ in folds]
        tried: list[float] = []
        margins: list[np.ndarray] = []
        losses: list[float] = []
        for ridge in sorted(ridges, reverse=True):
            penalty, margin = design.penalty(ridge), np.empty(len(fold))
            for f in folds:
                factor = factorised(grams[f], float(weights[f].sum()), penalty)
                starts[f] = minimise(design.x, pairs.offset, weights[f], penalty, factor, starts[f])
                margin[fold == f] = design.x[fold == f] @ starts[f]
            tried.append(ridge)
            margins.append(margin)
            losses.append(float(pairs.weight @ np.logaddexp(0.0, -(margin + pairs.offset))))
            if len(losses) - 1 - int(np.argmin(losses)) >= PATIENCE:
                break
        return self._scored(tuple(tried), np.stack(margins))

    def _scored(self, ridges: tuple[float, ...], margin: np.ndarray) -> HeldOut:
        """From margins of held-out pairs, [len(ridges), n]."""
        pairs = self.pairs
        loss = np.logaddexp(0.0, -(margin + pairs.offset))
        total = float(pairs.weight.sum())
        mean = loss @ pairs.weight / total
        excess = (loss - mean[:, None]) * pairs.weight
        of_families = np.stack([np.bincount(pairs.family, row) for row in excess])
        score = np.where(margin > 0, 1.0, np.where(margin < 0, 0.0, 0.5))
        return HeldOut(
            ridges=ridges,
            log_loss=mean,
            log_loss_se=np.sqrt((of_families**2).sum(axis=1)) / total,
            auc=np.array([pair_auc(row, pairs.weight) for row in margin]),
            accuracy=score @ pairs.weight / total,
        )


def fit_preference(
    pairs: PairDeltas | BradleyTerry, ridges: Sequence[float] = RIDGES, *, n_folds: int = N_FOLDS, seed: int = 0
) -> Preference:
    """Fit with the ridge of least held-out log-loss; a single ridge is taken as given, without cross-validation.

    The held-out figures of the chosen ridge are optimistic by the choice among a few strengths, and by nothing else.
    """
    model = pairs if isinstance(pairs, BradleyTerry) else BradleyTerry(pairs)
    heldout = model.held_out(ridges, n_folds, seed) if len(ridges) > 1 else None
    ridge = ridges[0] if heldout is None else heldout.ridges[heldout.best]
    w, nuisance = model.fit(ridge)
    return Preference(w, nuisance, model.left_out, ridge, heldout)


def family_folds(family: np.ndarray, n_folds: int = N_FOLDS, seed: int = 0) -> np.ndarray:
    """int64 [n], the fold of every pair: families in random order, the largest first, each to the smallest fold."""
    family = np.unique(np.asarray(family), return_inverse=True)[1].ravel()
    size = np.bincount(family)
    n_folds = min(n_folds, size.size)
    if n_folds < 2:
        raise ValueError("cross-validation by families needs at least two families")
    shuffled = np.random.default_rng(seed).permutation(size.size)
    filled, of_family = np.zeros(n_folds, np.int64), np.empty(size.size, np.int64)
    for g in shuffled[np.argsort(-size[shuffled], kind="stable")]:
        of_family[g] = int(np.argmin(filled))
        filled[of_family[g]] += size[g]
    return of_family[family]


def pair_auc(margin: np.ndarray, weight: np.ndarray | None = None) -> float:
    """P(m_i + m_j > 0) + 1/2 P(m_i + m_j = 0), in [0, 1]: the AUC when every pair is shown in both orders.

    Shown the other way round, a pair of margin m has margin -m and label 0; so the AUC does not hang on coins.
    """
    weight = np.ones(margin.size) if weight is None else weight
    order = np.argsort(margin, kind="stable")
    ranked, below = margin[order], np.concatenate([[0.0], np.cumsum(weight[order])])
    total = below[-1]
    less = below[np.searchsorted(ranked, -margin, side="left")]
    no_more = below[np.searchsorted(ranked, -margin, side="right")]
    return float(weight @ (total - (less + no_more) / 2) / total**2)
