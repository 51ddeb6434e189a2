"""Nothing is selected: how often does the audit still claim something?

Chosen and rejected of a finished audit are swapped by whole families, at random, again and again. What pairs are about
(groups, prompt concepts) and the concepts stay, since none of them reads the label; every test is computed anew. Under
such flips no effect is true, so a false discovery rate of 5 % asks that at most 5 % of the flips have any q <= 0.05.

Detectors of the run are tested too, but for those fitted from a hypothesis: its pairs were picked by their labels, so
that a flip, which leaves the detector as it is, does not make what such a pick alone would give.

    python benchmarks/null_flips.py RUN --flips 200             # --store keeps the table for docs/results/noise.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from stored import store

from pretilt.audit.evidence import scores_of
from pretilt.audit.result import open_run
from pretilt.detectors.stored import detector_names, load_detector
from pretilt.lens.blocks import train_rows
from pretilt.run import Run
from pretilt.schema import IN_GROUPS, OVER_ALL_PAIRS
from pretilt.settings import AuditSettings
from pretilt.stats.columns import Columns
from pretilt.stats.moderated import moderate
from pretilt.stats.multiplicity import q_values
from pretilt.stats.sets import Sets
from pretilt.stats.shrinkage import fit_mixture
from pretilt.stats.sums import cell_sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of a finished audit")
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", action="store_true", help="keep the table for the documentation")
    arguments = parser.parse_args()
    run = open_run(arguments.run).run
    fitted_to_labels = detectors_fitted_to_labels(run)
    views = read_views(arguments.run, set(fitted_to_labels.values()))
    rng = np.random.default_rng(arguments.seed)
    flips_with: dict[str, int] = {"q": 0, "lfsr": 0}
    beyond_of_flips = []
    family = next(iter(views.values()))[1].family
    for _ in range(arguments.flips):
        sign = rng.choice([-1.0, 1.0], size=int(family.max()) + 1)[family][:, None]
        least, sure, beyond = 1.0, 0, []
        for u, sets in views.values():
            one = moderate(cell_sums(Columns(u * sign), sets))
            least = min(least, len(views) * float(np.nanmin(q_values(one.p))))
            x, s = one.delta / one.sd, one.se / one.sd
            sure += int((fit_mixture(x, s).posterior(x, s)[1] < 0.05).sum())
            beyond.append(float(np.nanmean(np.abs(one.z) > 1.96)))
        flips_with["q"] += least <= 0.05
        flips_with["lfsr"] += sure > 0
        beyond_of_flips.append(beyond)
    report: dict[str, Any] = {
        "flips": arguments.flips,
        "tests": int(sum(sets.n_in.size * u.shape[1] for u, sets in views.values())),
        "detectors_left_out": sorted(fitted_to_labels),
        "share_of_flips_with_any_q_at_most_0.05": flips_with["q"] / arguments.flips,
        "share_of_flips_with_any_lfsr_below_0.05": flips_with["lfsr"] / arguments.flips,
        "share_of_cells_beyond_1.96": dict(zip(views, np.mean(beyond_of_flips, axis=0).round(4).tolist(), strict=True)),
    }
    print(json.dumps(report, indent=1))
    if arguments.store:
        store("noise", "null-flips", ["", "share", "goal"], table_of(report))


def table_of(report: dict[str, Any]) -> list[list[str]]:
    """The rows of the documentation's table: shares of flips, then shares of cells in every view."""
    rows = [
        ["flips with any q ≤ 0.05", _percent(report["share_of_flips_with_any_q_at_most_0.05"]), "≤ 8 %"],
        ["flips with any lfsr < 0.05", _percent(report["share_of_flips_with_any_lfsr_below_0.05"]), ""],
    ]
    for view, share in report["share_of_cells_beyond_1.96"].items():
        rows.append([f"cells with |z| > 1.96, {view}", _percent(share), "5 %"])
    return rows


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def detectors_fitted_to_labels(run: Run) -> dict[str, int]:
    """{detector: concept_id} of those that were fitted from a hypothesis of the run."""
    names = [name for name in detector_names(run) if load_detector(run, name)[1]["made_from"] == "hypothesis"]
    concepts = run.table("concepts.parquet", ["concept_id", "detector"]).to_pylist()
    return {row["detector"]: row["concept_id"] for row in concepts if row["detector"] in names}


def read_views(path: Path, left_out: Collection[int] = ()) -> dict[str, tuple[np.ndarray, Sets]]:
    """u (pairs × tested concepts) and the sets of every view, as the audit tested them, but for concepts `left_out`."""
    result = open_run(path)
    settings = AuditSettings(**result.run.manifest["settings"])
    train = train_rows(result.run)
    table = result.hypotheses
    pairs = result.pairs.filter(pa.array(train))
    family = pairs["family_id"].to_numpy()
    group_id = result.group_members.filter(pa.array(train))["group_id"].to_numpy()
    row = {pair_id: i for i, pair_id in enumerate(pairs["pair_id"].to_pylist())}
    members = result.prompt_members.to_pylist()
    statistic = dict(
        zip(
            result.prompt_concepts["prompt_concept_id"].to_pylist(),
            result.prompt_concepts["statistic"].to_pylist(),
            strict=True,
        )
    )
    views = {}
    for view in dict.fromkeys(table["view"].to_pylist()):
        here = table.filter(pa.array([v == view for v in table["view"].to_pylist()]))
        concepts = sorted(set(here["concept_id"].to_pylist()) - set(left_out))
        if not concepts:
            continue
        scores = scores_of(result.run, settings, concepts, train)
        u = np.stack([scores[c][0] for c in concepts], axis=1)
        if view in OVER_ALL_PAIRS:
            sets = Sets.everything(family)
        elif view in IN_GROUPS:
            sets = Sets.groups(group_id, family)
        else:
            rows: dict[int, list[int]] = {}
            for one in members:
                if statistic[one["prompt_concept_id"]] == view.removeprefix("prompt_") and one["pair_id"] in row:
                    rows.setdefault(one["prompt_concept_id"], []).append(row[one["pair_id"]])
            ids = np.array(sorted(rows), dtype=np.int32)
            sets = Sets.selections(ids, [np.array(rows[k]) for k in ids], family)
        views[view] = (u, sets)
    return views


if __name__ == "__main__":
    main()
