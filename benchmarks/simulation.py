"""Does the ranking hold where the truth is known? Many tests, few true effects, with and without near-duplicates.

512 groups of 28 to 2,025 pairs (median about 400), 814 concepts; 5 % of the cells have a true effect, N(0, 0.05²), in
a score of standard deviation 0.25. "families": in 40 % of the groups the pairs come in families of 12 on average that
share a part of their score (intra-family correlation 0.4). The paper's key, min(|delta_a|, |delta_b|) over halves by
row parity, against the default order.

    python benchmarks/simulation.py                       # the ten seeds that are reported
    python benchmarks/simulation.py --seeds 0 1           # the two that the defaults were developed on
    python benchmarks/simulation.py --concepts 200 --store    # and the table of docs/results/noise.md
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from stored import store

from pretilt.stats.columns import BLOCK_VALUES, Columns
from pretilt.stats.contrast import contrasts
from pretilt.stats.moderated import cross_fitted, moderate
from pretilt.stats.multiplicity import q_values
from pretilt.stats.sets import Sets
from pretilt.stats.shrinkage import fit_mixture
from pretilt.stats.sums import cell_sums
from pretilt.stats.sure import SURE_LFSR, SURE_Q

SD, EFFECT_SD, SHARE_TRUE = 0.25, 0.05, 0.05
ICC, FAMILY_SIZE, SHARE_OF_GROUPS = 0.4, 12, 0.4
TOP = 200


class World(Columns):
    """Scores of pairs × concepts, made when they are asked for: a column depends on the seed and its number only."""

    def __init__(self, seed: int, n_groups: int, n_concepts: int, families: bool) -> None:
        rng = np.random.default_rng([seed, 0])
        size = np.clip(np.exp(rng.normal(np.log(400), 0.8, n_groups)), 28, 2025).astype(int)
        self.group = np.repeat(np.arange(1, n_groups + 1), size)
        family = np.arange(self.group.size)
        if families:
            for k in np.flatnonzero(rng.random(n_groups) < SHARE_OF_GROUPS) + 1:
                rows = np.flatnonzero(self.group == k)
                family[rows] = rows[0] + rng.integers(0, max(1, rows.size // FAMILY_SIZE), rows.size)
        self.family = np.unique(family, return_inverse=True)[1]
        self._shared = np.bincount(self.family)[self.family] > 1
        true = rng.random((n_groups, n_concepts)) < SHARE_TRUE
        self.theta = np.where(true, rng.normal(0, EFFECT_SD, true.shape), 0.0)
        weighted = size[:, None] * self.theta
        self.truth = self.theta - (weighted.sum(axis=0) - weighted) / (self.group.size - size[:, None])
        self._seed = seed
        self.shape, self.scale = (self.group.size, n_concepts), np.ones(n_concepts)

    def dense(self, columns: np.ndarray | slice, dtype: type = np.float64) -> np.ndarray:
        numbers = np.arange(self.shape[1])[columns]
        block = np.empty((self.shape[0], numbers.size), dtype)
        own, common = np.where(self._shared, np.sqrt(1 - ICC), 1.0), np.where(self._shared, np.sqrt(ICC), 0.0)
        for j, column in enumerate(numbers):
            rng = np.random.default_rng([self._seed, 1, column])
            noise = own * rng.standard_normal(self.shape[0])
            noise += common * rng.standard_normal(int(self.family.max()) + 1)[self.family]
            block[:, j] = SD * noise + self.theta[self.group - 1, column]
        return block


def judge(seed: int, families: bool, n_concepts: int) -> dict[str, Any]:
    """One world: null share of the top, false discovery proportion, coverage, winner's curse."""
    start = time.monotonic()
    world = World(seed, 512, n_concepts, families)
    sums = cell_sums(world, Sets.groups(world.group, world.family), row_half=np.arange(world.shape[0]) & 1)
    paper, one = contrasts(sums), moderate(sums)
    x, s = one.delta / one.sd, one.se / one.sd
    mixture = fit_mixture(x, s, seed=seed)
    posterior, lfsr = mixture.posterior(x, s)
    null, q = world.theta == 0, q_values(one.p)
    # the default order, as in view_statistics; what is sure fills the first 200 places
    default = np.where((lfsr < SURE_LFSR) & (q <= SURE_Q), 1 + np.abs(posterior), 0.0)

    def first(key: np.ndarray) -> tuple[np.ndarray, ...]:
        return np.unravel_index(np.argsort(-key, axis=None, kind="stable")[:TOP], key.shape)

    top, paper_top = first(default), first(np.where(paper.sign_consistent, paper.delta_min, -1.0))
    lo, hi = (bound * one.sd[top[1]] for bound in mixture.interval(x[top], s[top]))
    truth, sign = world.truth[top], np.sign(one.delta[top])
    heldout = cross_fitted(sums, one, max(50, int((lfsr < SURE_LFSR).sum())))
    selected = ~np.isnan(heldout)
    claimed = q <= 0.05
    wrong = (lfsr < SURE_LFSR) & (np.sign(world.theta) != np.sign(posterior))
    return {
        "seed": seed,
        "null_in_top_paper": float(null[paper_top].mean()),
        "null_in_top_default": float(null[top].mean()),
        "null_in_top_z": float(null[first(np.abs(paper.z))].mean()),
        "claimed": int(claimed.sum()),
        "false_discovery_proportion": float(null[claimed].mean()) if claimed.any() else 0.0,
        "false_sign_proportion": float(wrong.sum() / max(1, (lfsr < SURE_LFSR).sum())),
        "coverage_all": float(((one.ci_lo <= world.truth) & (world.truth <= one.ci_hi)).mean()),
        "coverage_top_posterior": float(((lo <= truth) & (truth <= hi)).mean()),
        "top_estimate": float(np.abs(one.delta[top]).mean()),
        "top_posterior": float(np.abs(posterior[top] * one.sd[top[1]]).mean()),
        "top_truth": float((truth * sign).mean()),
        "selected_heldout": float((heldout * np.sign(one.delta))[selected].mean()),
        "selected_truth": float((world.truth * np.sign(one.delta))[selected].mean()),
        "seconds": round(time.monotonic() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(10, 20)))
    parser.add_argument("--concepts", type=int, default=814)
    parser.add_argument("--store", action="store_true", help="keep the table for the documentation")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"seeds": arguments.seeds, "concepts": arguments.concepts, "block_values": BLOCK_VALUES}
    for name, families in (("families", True), ("independent", False)):
        rows = []
        for seed in arguments.seeds:
            rows.append(judge(seed, families, arguments.concepts))
            print(name, json.dumps(rows[-1]), flush=True)
        keys = [key for key in rows[0] if key not in ("seed", "seconds")]
        report[name] = {key: {"mean": float(np.mean([r[key] for r in rows])),
                              "min": float(np.min([r[key] for r in rows])),
                              "max": float(np.max([r[key] for r in rows]))} for key in keys}  # fmt: skip
    print(json.dumps(report, indent=1))
    if arguments.store:
        store("noise", "simulation", ["", "families", "independent rows", "goal"], table_of(report))


def table_of(report: dict[str, Any]) -> list[list[str]]:
    """The rows of the documentation's table: mean over seeds [least, most] in either kind of world."""
    worlds = [report[name] for name in ("families", "independent")]

    def spread(key: str, number: Callable[[float], str], unit: str = "") -> list[str]:
        return [
            f"{number(world[key]['mean'])}{unit} [{number(world[key]['min'])}, {number(world[key]['max'])}]"
            for world in worlds
        ]

    def percent(share: float) -> str:
        return f"{share * 100:.1f}"

    def count(value: float) -> str:
        return f"{value:,.0f}"

    top = ("top_estimate", "top_posterior", "top_truth")
    return [
        [f"null among the first {TOP}, default order", *spread("null_in_top_default", percent, " %"), "≤ 2 %"],
        [f"null among the first {TOP}, the paper's key", *spread("null_in_top_paper", percent, " %"), ""],
        [f"null among the first {TOP}, Welch |z|", *spread("null_in_top_z", percent, " %"), ""],
        ["false discoveries among q ≤ 0.05", *spread("false_discovery_proportion", percent, " %"), "≤ 7 %"],
        ["wrong signs among lfsr < 0.05", *spread("false_sign_proportion", percent, " %"), ""],
        ["cells with q ≤ 0.05", *spread("claimed", count), ""],
        ["coverage of the 95 % interval, all cells", *spread("coverage_all", percent, " %"), "90–98 %"],
        [f"coverage of the 95 % posterior interval, first {TOP}",
         *spread("coverage_top_posterior", percent, " %"), "90–98 %"],
        [f"first {TOP}: estimate / posterior / truth",
         *(" / ".join(f"{world[key]['mean']:.3f}" for key in top) for world in worlds), ""],
    ]  # fmt: skip


if __name__ == "__main__":
    main()
