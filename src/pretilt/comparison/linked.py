"""Families of two runs that are not independent of each other: those that share a prompt.

A second version of a dataset keeps most of the pairs of the first. What both hold cancels in a difference of effects
and must not count as noise twice, so the unit of independence is a set of families of both runs, linked by prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Linked:
    """`first` and `second`: of every row of either run the number of its unit, 0 … n_units - 1."""

    first: np.ndarray
    second: np.ndarray
    n_units: int


def linked_families(
    first_family: np.ndarray, second_family: np.ndarray, first_prompts: Sequence[str], second_prompts: Sequence[str]
) -> Linked:
    """Units over the rows of two runs: rows of a family belong together, and so do rows with the same prompt.

    Families are integers per row of their own run; prompts any keys, equal where the prompts are.
    """
    n_first = int(np.max(first_family, initial=-1)) + 1
    n_second = int(np.max(second_family, initial=-1)) + 1
    family = np.concatenate([first_family, n_first + np.asarray(second_family)]).astype(np.int64)
    keys = np.unique(np.concatenate([np.asarray(first_prompts), np.asarray(second_prompts)]), return_inverse=True)[1]

    n_families = n_first + n_second
    n_nodes = n_families + int(np.max(keys, initial=-1)) + 1
    edges = coo_array((np.ones(family.size, np.int8), (family, n_families + keys)), shape=(n_nodes, n_nodes))
    component = connected_components(edges, directed=False)[1][family]
    units = np.unique(component, return_inverse=True)[1]

    split = len(first_family)
    return Linked(units[:split], units[split:], int(np.max(units, initial=-1)) + 1)
