"""The four kinds of detectors: numbers by hand, a direction planted in synthetic residuals, labels that are noise."""

from __future__ import annotations

import numpy as np
import pytest

from pretilt.detectors.attention import fit_attention
from pretilt.detectors.detector import KINDS, Detector, running_attention
from pretilt.detectors.difference import fit_difference
from pretilt.detectors.examples import Examples, check_parts, largest, parts_of, spread
from pretilt.detectors.fit import best_kind, fit_kinds
from pretilt.detectors.linear import fit_linear
from pretilt.detectors.subspace import fit_subspace
from pretilt.errors import UserError

WIDTH, LENGTH = 24, 12


def examples(
    n_pairs: int = 60, *, strength: float = 6.0, per_token: bool = False, seed: int = 0
) -> tuple[Examples, np.ndarray]:
    """Pairs of responses of LENGTH tokens; in one of each a direction (returned) stands on three tokens in a row."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(WIDTH)
    direction /= np.linalg.norm(direction)
    h = rng.standard_normal((2 * n_pairs * LENGTH, WIDTH))
    label = np.arange(2 * n_pairs) % 2 == 0
    token_label = np.zeros(len(h), bool)
    for i in np.flatnonzero(label):
        first = i * LENGTH + rng.integers(0, LENGTH - 3)
        token_label[first : first + 3] = True
    h[token_label] += strength * direction
    pair = np.arange(2 * n_pairs) // 2
    starts = np.arange(2 * n_pairs + 1) * LENGTH
    return Examples(h.astype(np.float32), starts, label, pair, pair, token_label if per_token else None), direction


def two_points() -> Examples:
    """One response of two tokens with the trait, one of one token without it."""
    h = np.array([[3, 0], [5, 4], [0, 2]], np.float32)
    return Examples(h, np.array([0, 2, 3]), np.array([True, False]), np.array([0, 0]), np.array([0, 0]))


def test_a_difference_of_two_means_by_hand() -> None:
    detector = fit_difference(two_points())  # (4, 2) - (0, 2) = (4, 0), and half-way lies 2
    np.testing.assert_allclose(detector.weight, [1, 0])
    np.testing.assert_allclose(detector.scores(two_points().h, np.array([0, 2, 3])), [1, 3, -2])
    np.testing.assert_allclose(detector.direction, [1, 0])


def test_with_token_labels_the_means_are_of_tokens() -> None:
    some = two_points()
    labelled = Examples(some.h, some.starts, some.label, some.family, some.pair, np.array([False, True, False]))
    detector = fit_difference(labelled)  # (5, 4) - (1.5, 1) = (3.5, 3)
    np.testing.assert_allclose(detector.weight, np.array([3.5, 3]) / np.hypot(3.5, 3), rtol=1e-6)


def test_a_difference_needs_both_sorts() -> None:
    some = two_points()
    with pytest.raises(ValueError, match="both sorts"):
        fit_difference(Examples(some.h, some.starts, np.array([True, True]), some.family, some.pair))


@pytest.mark.parametrize("scale", [1.0, 40.0, 3000.0])  # at 3000 the plain softmax overflows
def test_running_attention_is_the_dense_softmax(scale: float) -> None:
    rng = np.random.default_rng(1)
    key, value = scale * rng.standard_normal(50), 5 * rng.standard_normal(50)
    dense = []
    for t in range(1, 51):
        weights = np.exp(key[:t] - key[:t].max())
        dense.append(weights @ value[:t] / weights.sum())
    np.testing.assert_allclose(running_attention(key, value), dense, rtol=1e-9, atol=1e-9)


def test_attention_of_two_tokens_by_hand() -> None:
    """Keys 0 and ln 3 weigh 1/4 and 3/4; a second response begins anew."""
    detector = Detector(
        "attention", np.array([1, 0], np.float32), 0.5, query=np.array([0, 1], np.float32), slope=np.log(3.0)
    )
    h = np.array([[4, 7], [8, 7], [1, 0]], np.float32)  # equal queries: the slope alone makes the keys differ
    np.testing.assert_allclose(detector.scores(h, np.array([0, 2, 3])), [4.5, 7.5, 1.5], rtol=1e-6)


@pytest.mark.parametrize("per_token", [False, True])
def test_every_kind_recovers_a_planted_direction(per_token: bool) -> None:
    some, planted = examples(per_token=per_token)
    linear = fit_linear(some, 0.01)
    detectors = [
        fit_difference(some),
        linear,
        fit_attention(some, 0.01, linear.weight.astype(np.float64)),
        fit_subspace(some, 0.1),
    ]
    assert [detector.kind for detector in detectors] == ["difference", "linear", "attention", "subspace"]
    for detector in detectors:
        assert detector.direction @ planted > 0.75, detector.kind
        assert np.linalg.norm(detector.direction) == pytest.approx(1.0, rel=1e-5)


def test_held_out_figures_of_a_planted_direction_and_of_noise() -> None:
    fitted, part = fit_kinds(examples(per_token=True)[0])
    assert set(fitted) == set(KINDS)
    assert sorted(np.unique(part, return_counts=True)[1].tolist()) == [24, 24, 72]
    for kind, result in fitted.items():
        assert result.token is not None
        assert result.token.auroc > 0.95, kind
        assert result.response.auroc > 0.95, kind
    assert best_kind(fitted) in KINDS

    aurocs = []
    for seed in range(8):
        of_noise, _ = fit_kinds(examples(strength=0.0, seed=seed)[0], kinds=["linear"])
        aurocs.append(of_noise["linear"].response.auroc)
    noise = np.mean(aurocs)
    assert abs(noise - 0.5) < 0.1  # 8 fits of 12 + 12 held-out responses: standard error 0.04


def test_the_same_examples_give_the_same_weights() -> None:
    first, again = (fit_kinds(examples(30)[0], kinds=["attention", "subspace"])[0] for _ in range(2))
    for kind in first:
        np.testing.assert_array_equal(first[kind].detector.weight, again[kind].detector.weight)
        assert first[kind].response == again[kind].response


def test_a_subspace_edit_moves_one_sort_onto_the_other() -> None:
    """Without a penalty that matters, h + W2 (W1 h + b) of a response without the trait has the mean of those with."""
    some, _ = examples(200, strength=9.0)
    extra = fit_subspace(some, 1e-3).extra
    means = some.means()
    without, with_it = means[~some.label], means[some.label]
    edited = without + (without @ extra["W1"].T + extra["b"]) @ extra["W2"].T
    before = np.linalg.norm(without.mean(axis=0) - with_it.mean(axis=0))
    assert np.linalg.norm(edited.mean(axis=0) - with_it.mean(axis=0)) < 0.35 * before
    assert extra["W1"].shape == (8, WIDTH)
    assert extra["W2"].shape == (WIDTH, 8)


def test_families_lie_in_one_part_and_few_are_refused() -> None:
    family = np.repeat(np.arange(20), 3)
    part = parts_of(family, seed=3)
    assert all(np.unique(part[family == i]).size == 1 for i in range(20))
    assert np.bincount(part).tolist() == [36, 12, 12]
    with pytest.raises(UserError, match="4 families of examples are too few"):
        parts_of(np.arange(4), seed=0)
    with pytest.raises(UserError, match="'validation' has 0 responses with the trait and 1 without it"):
        check_parts(np.array([True, False, False, True, False]), np.array([0, 0, 1, 2, 2]))


def test_examples_taken_keep_their_tokens() -> None:
    h = np.arange(12, dtype=np.float32).reshape(6, 2)
    some = Examples(
        h, np.array([0, 1, 3, 6]), np.array([True, False, True]), np.arange(3), np.array([0, 0, 1]),
        np.array([True, False, False, True, False, True]),
    )  # fmt: skip
    taken = some.take(np.array([2, 0]))
    np.testing.assert_array_equal(taken.h[:, 0], [6, 8, 10, 0])
    np.testing.assert_array_equal(taken.token_label, [True, False, True, True])
    np.testing.assert_array_equal(taken.means(), [[8, 9], [0, 1]])
    np.testing.assert_array_equal(largest(np.array([1, 5, 2, 0, 7, 3]), some.starts), [1, 5, 7])
    np.testing.assert_array_equal(some.contrasts(), [[0], [1]])


def test_a_constant_dimension_has_no_spread() -> None:
    mean, deviation = spread(np.array([[1, 5], [3, 5]], np.float32))
    np.testing.assert_allclose(mean, [2, 5])
    np.testing.assert_allclose(deviation, [1, 1])
