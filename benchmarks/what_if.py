"""How long a what-if takes at paper scale: 260,000 pairs, 1,000 concepts, 5 % of the deltas not 0.

    python benchmarks/what_if.py            # and --store for docs/results/speed.md

The first call prepares the family; the next are what a slider does. Compared with the same mean over all pairs.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
from stored import store

from pretilt.forecast.inputs import Bank
from pretilt.forecast.samples import PairDeltas
from pretilt.shape.data import ConceptFamily
from pretilt.shape.what_if import FamilyWhatIf
from pretilt.train.actions import Changes

HEAD = ["", "seconds", "of the mean over all pairs"]
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=260_000)
    parser.add_argument("--concepts", type=int, default=1000)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    n, m = options.pairs, options.concepts
    rng = np.random.default_rng(0)
    u = np.zeros((n, m))
    for column in range(m):
        rows = rng.choice(n, n // 20, replace=False)
        u[rows, column] = rng.choice([-1.0, 0.5, 1.0], rows.size)
    pairs = PairDeltas.of(u, rng.integers(0, n // 2, n), nuisance=np.zeros((n, 1)))
    bank = Bank(np.arange(m, dtype=np.int32), ["community"] * m)
    what_if = FamilyWhatIf(ConceptFamily("features", bank, pairs, None), "mean", 1.0, 0)

    touched = u[:, 0] != 0
    offsets, drops = Changes.none(n), Changes.none(n)
    offsets.offset[touched] = 1.5 * u[touched, 0]
    drops.weight[np.flatnonzero(touched)[: n // 100]] = 0.0

    whole = _seconds(lambda: np.asarray(np.ones(n) @ u / n))
    first = _seconds(lambda: what_if.shaped(offsets), repeats=1)
    rows = [
        ["mean of u over all pairs", f"{whole:.3f}", "1"],
        ["first what-if", f"{first:.3f}", f"{first / whole:.2f}"],
    ]
    for name, changes in (("an offset on 5 % of the pairs", offsets), ("1 % of the pairs left out", drops)):
        seconds = _seconds(lambda changes=changes: what_if.shaped(changes))
        rows.append([f"next: {name}", f"{seconds:.3f}", f"{seconds / whole:.2f}"])
    seconds = _seconds(lambda: what_if.drawn_change(offsets, None, 2, 0), repeats=1)
    rows.append(["its standard errors", f"{seconds:.3f}", f"{seconds / whole:.2f}"])
    print("\n".join(" | ".join(row) for row in [HEAD, *rows]))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    if options.store:
        store("speed", "what-if", HEAD, rows)


def _seconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """The fastest of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
