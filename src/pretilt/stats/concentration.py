"""Concentration of an effect: the share of delta that the first 1 %, 5 % and 10 % of pairs, or families, carry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHARES = (0.01, 0.05, 0.10)


@dataclass(frozen=True)
class Concentration:
    """Share of delta that the first 1 %, 5 % and 10 % of the units carry, largest contributions first.

    Above 1 where the rest pulls the other way; NaN where delta is 0. Of N units, the first x % are ceil(x N).
    """

    pairs: dict[float, float]
    families: dict[float, float]


def concentration(contributions: np.ndarray, family: np.ndarray) -> Concentration:
    """`contributions` float64 [N], which sum to delta, and the family of each pair.

    Pairs without a part in the contrast (contribution 0) count as units too.
    """
    of_family = np.bincount(np.unique(family, return_inverse=True)[1], weights=contributions)
    return Concentration(_carried(contributions), _carried(of_family))


def _carried(values: np.ndarray) -> dict[float, float]:
    delta = float(values.sum())
    if delta == 0 or not values.size:
        return dict.fromkeys(SHARES, float("nan"))
    largest = np.sort(values * np.sign(delta))[::-1].cumsum() / abs(delta)
    return {share: float(largest[int(np.ceil(share * values.size)) - 1]) for share in SHARES}
