"""Does a plan do what its what-if said? Trainings under plans on a finished world of `benchmarks/worlds`.

    python benchmarks/worlds --out runs/worlds --worlds P2 --seeds 1 --no-controls
    python benchmarks/shaping.py --run runs/worlds/small/P2-1/run                    # every plan, then the table
    python benchmarks/shaping.py --run runs/worlds/small/P2-1/run --plans drop # some of them
    python benchmarks/shaping.py --run runs/worlds/small/P2-1/run --tables --store   # what is finished, for the docs

Each plan is compiled and sealed, trained under with the world's own settings, and judged against the world's plain
training. Interrupt it at any moment: what is finished is skipped. The rungs of the what-if are compared afterwards, on
the same actions. The default rung was chosen on the plans dev-offset and dev-drop. The others are other trainings in
the same world, so that they do not show independently that the choice was right.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from stored import store

import pretilt
from pretilt.events import Events
from pretilt.run import Run
from pretilt.shape.data import ShapeData
from pretilt.shape.step import compiled_plan, open_shape
from pretilt.shape.what_if import WHAT_IF_RUNGS, WhatIf
from pretilt.stats.agreement import correlation, spearman

CHEER, SMILE, NUMBER = "pattern:exclamation-mark", "pattern:emoticon", "pattern:number"
RUNGS = {"dev-offset": "converged", "dev-drop": "converged"}  # of the others the default
PLANS: dict[str, list[dict[str, Any]]] = {
    "dev-offset": [{"suppress": CHEER, "method": "offset", "to": "base"}],
    "dev-drop": [{"suppress": CHEER, "method": "drop", "to": "base"}],
    "offset": [{"suppress": CHEER, "method": "offset", "to": "base"}],
    "drop": [{"suppress": CHEER, "method": "drop", "to": "base"}],
    "designed": [{"suppress": CHEER, "method": "designed-offset", "to": "base"}, {"protect": SMILE}],
    "weight": [{"suppress": CHEER, "method": "weight", "to": "base"}],
    "swap": [{"suppress": CHEER, "method": "swap", "to": "base"}],
    "mask": [{"suppress": CHEER, "method": "mask", "strength": 1.0}],
    "half": [{"suppress": CHEER, "method": "offset", "to": "half"}],
    "number-1": [{"amplify": NUMBER, "method": "offset", "strength": 1.0}],
    "number-2": [{"amplify": NUMBER, "method": "offset", "strength": 2.0}],
    "number-4": [{"amplify": NUMBER, "method": "offset", "strength": 4.0}],
}
HEAD = ["plan", "method", "strength", "left, foretold", "left", "± 2 se", "off target", "by chance",
        *(f"R² {family}" for family in ("patterns", "features")), *(f"ρ off {f}" for f in ("patterns", "features")),
        "signs off", "held-out accuracy, plain", "shaped"]  # fmt: skip
RUNG_HEAD = ["plan", *(f"{family}: {rung}" for family in ("patterns", "features") for rung in WHAT_IF_RUNGS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run folder of a finished world")
    parser.add_argument("--plans", nargs="*", choices=sorted(PLANS), default=list(PLANS))
    parser.add_argument("--tables", action="store_true", help="train nothing, only print what is finished")
    parser.add_argument("--store", action="store_true", help="keep the tables for the documentation")
    options = parser.parse_args()
    if not options.tables:
        for name in options.plans:
            start = time.monotonic()
            carry_out(options.run, name)
            print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    finished = [name for name in PLANS if f"outcome-{name}" in Run(options.run).manifest["stages"]]
    rows, rungs = [row(options.run, name) for name in finished], [rung_row(options.run, name) for name in finished]
    for head, table in ((HEAD, rows), (RUNG_HEAD, rungs)):
        print("\n".join(" | ".join(line) for line in [head, *table]), end="\n\n")
    if options.store:
        store("shaping", "outcomes", HEAD, rows)
        store("shaping", "rungs", RUNG_HEAD, rungs)


def carry_out(run: Path, name: str) -> None:
    """Compile, train under the plan as the world was trained, sample and judge."""
    trained = json.loads((run / "trained" / "train.json").read_text())
    shaped = pretilt.shape(run, {"items": PLANS[name]}, name=name, rung=RUNGS.get(name), events=Events())
    options = {**trained["settings"]["dpo"], "seed": trained["dpo"]["seed"]}
    pretilt.train(run, model=trained["model_name"], plan=shaped, **options)
    rollouts = Run(run).manifest["stages"]["rollouts-before"]["config"]
    pretilt.rollouts(run, f"after-{name}", str(run / f"trained-{name}"), batch_size=rollouts["batch_size"])
    pretilt.verify_plan(run, name)


def row(run: Path, name: str) -> list[str]:
    """One plan's outcome."""
    report = json.loads((run / "shape" / name / "outcome.json").read_text())
    target = next(item for item in report["targets"] if item["decision"] in ("suppress", "amplify"))
    sets = {family: report["sets"][family] for family in ("patterns", "features")}
    off = {family: figures["off_target"] for family, figures in sets.items()}
    utility = report["utility"]
    se = target["recovery_se"]
    return [
        name, target["method"], f"{target['strength']:.3g}", _percent(target["forecast_left"]),
        _percent(target["left"]), _percent(2 * se if se is not None else None),
        f"{100 * off['patterns']['mean_change']:.1f}", f"{100 * off['patterns']['mean_noise']:.1f}",
        *(_number(figures["all"]["r2"]) for figures in sets.values()),
        *(_number(figures["spearman"]) for figures in off.values()),
        f"{_number(off['features']['sign_accuracy'])} of {off['features']['resolved']}",
        _number(utility["after"]["accuracy"]), _number(utility["shaped"]["accuracy"]),
    ]  # fmt: skip


def rung_row(run: Path, name: str) -> list[str]:
    """R² and Spearman correlation of every rung's change with the one that was seen, all concepts of a family."""
    opened = pretilt.open_run(run).run
    shaped = open_shape(opened, name)
    data = ShapeData(opened, shaped.report["form"], shaped.report["rollouts"], Events())
    changes = compiled_plan(shaped).changes
    outcome = pretilt.verify_plan(run, name).table.to_pandas()
    observed = dict(zip(outcome["concept_id"], outcome["observed"], strict=True))
    cells = [name]
    by_rung = {rung: WhatIf(data, rung, 1.0, shaped.report["seed"]).shifts(changes) for rung in WHAT_IF_RUNGS}
    for family in ("patterns", "features"):
        ids = next(one for one in data.families if one.name == family).bank.concept_ids
        seen = np.array([observed[concept] for concept in ids.tolist()])
        for rung in WHAT_IF_RUNGS:
            change = by_rung[rung][family].change
            r = float(correlation(change, seen))
            cells.append(f"{np.sign(r) * r * r:.2f}, {spearman(change, seen):.2f}")
    return cells


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
