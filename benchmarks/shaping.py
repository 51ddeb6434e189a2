"""Does a plan do what its what-if said? Trainings under plans on finished worlds of `benchmarks/worlds`.

    python benchmarks/worlds --out runs/worlds --worlds P2 P3-on P4 P7 --seeds 1 --no-controls
    python benchmarks/worlds --out runs/worlds --worlds P2 P3-on P4 P7 --seeds 2 --no-controls
    python benchmarks/shaping.py --runs runs/worlds/small/P2-1/run                    # every plan of that world
    python benchmarks/shaping.py --runs runs/worlds/small/P2-1/run --plans drop       # some of them
    python benchmarks/shaping.py --runs runs/worlds/small/*/run --tables --store      # what is finished, for the docs

Each plan is compiled and sealed, trained under with the world's own settings, and judged against the world's plain
training. Interrupt it at any moment: what is finished is skipped. The rungs of the what-if are compared afterwards, on
the same actions. The default rung was chosen on the plans dev-offset and dev-drop of P2, seed 1.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from stored import store, stored

import pretilt
from pretilt.events import Events
from pretilt.run import Run
from pretilt.shape.data import ShapeData
from pretilt.shape.result import open_shape
from pretilt.shape.step import compiled_plan
from pretilt.shape.what_if import WHAT_IF_RUNGS, WhatIf
from pretilt.stats.agreement import correlation, spearman

CHEER, SMILE, NUMBER, YOU, EXPERT = (
    f"pattern:{name}" for name in ("exclamation-mark", "emoticon", "number", "second-person", "ask-an-expert")
)
HALF = "prompt_has:first-topics"  # of the topics; in the other half the labels of P3-on say the contrary
DETECTORS = {"cheer": CHEER, "you": YOU}  # fitted to a pattern, for plans that need a direction or a probe


def less(target: str, method: str, to: str = "base", **more: Any) -> dict[str, Any]:
    """An item that suppresses to a share of the plain shift."""
    return {"suppress": target, "method": method, "to": to, **more}


def more(target: str, method: str, strength: float, **others: Any) -> dict[str, Any]:
    """An item that amplifies with a strength."""
    return {"amplify": target, "method": method, "strength": strength, **others}


def more_to(target: str, method: str, to: str) -> dict[str, Any]:
    """An item that amplifies to a share of the plain shift."""
    return {"amplify": target, "method": method, "to": to}


# held against what a detector's leakage tells
OF_DETECTOR = {"cheer": ("offset", "drop", "designed", "logit", "steer-reference", "steer-policy"),
               "you": ("you-offset", "you-drop", "you-steer")}  # fmt: skip
RUNGS = {"dev-offset": "converged", "dev-drop": "converged"}  # of the others the default
PLANS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "P2": {  # a manner that the labels prefer
        "dev-offset": [less(CHEER, "offset")],
        "dev-drop": [less(CHEER, "drop")],
        "offset": [less(CHEER, "offset")],
        "drop": [less(CHEER, "drop")],
        "designed": [less(CHEER, "designed-offset"), {"protect": SMILE}],
        "weight": [less(CHEER, "weight")],
        "swap": [less(CHEER, "swap")],
        "delete": [{"suppress": CHEER, "method": "drop", "strength": 1.0}],  # every pair in which one side has it
        "auto": [less(CHEER, "auto")],  # whichever the what-if of all methods puts first
        "mask": [{"suppress": CHEER, "method": "mask", "strength": 1.0}],
        "half": [less(CHEER, "offset", "half")],
        "logit": [less(CHEER, "offset", by="logit:cheer")],
        "steer-reference": [less(CHEER, "steer-reference", by="detector:cheer")],
        "steer-policy": [less(CHEER, "steer-policy", by="detector:cheer")],
        "token-offset": [less(NUMBER, "offset")],
        "token-mask": [{"suppress": NUMBER, "method": "mask", "strength": 1.0}],
        "number-half": [more(NUMBER, "offset", 0.5)],
        "number-1": [more(NUMBER, "offset", 1.0)],
        "number-2": [more(NUMBER, "offset", 2.0)],
        "number-4": [more(NUMBER, "offset", 4.0)],
    },
    "P3-on": {  # a manner that the labels prefer on half of the topics, and reject on the others
        # what leaves nothing of the mean inside; the first rule asked for it
        "local-offset": [{"suppress": CHEER, "method": "offset", "strength": 1.751, "gate": HALF}],
        "local-spread": [less(CHEER, "offset", gate=HALF)],
        "local-drop": [less(CHEER, "drop", gate=HALF)],
        "plain-offset": [{"suppress": CHEER, "method": "offset", "strength": 1.0}],
        "gated-number": [more(NUMBER, "offset", 2.0, gate=HALF)],
        # the contrary outside, so that what is learned inside does not spread
        "held-number": [
            more(NUMBER, "offset", 2.0, gate=HALF),
            {"suppress": NUMBER, "method": "offset", "strength": 2.0, "gate": f"not:{HALF}"},
        ],
        "held-half": [
            more(NUMBER, "offset", 2.0, gate=HALF),
            {"suppress": NUMBER, "method": "offset", "strength": 1.0, "gate": f"not:{HALF}"},
        ],
    },
    "P4": {  # a manner that the labels punish: brought back to the untrained model's rate
        "back-offset": [more_to(EXPERT, "offset", "base"), {"protect": CHEER}],
        "back-designed": [more_to(EXPERT, "designed-offset", "base"), {"protect": CHEER}],
        "back-drop": [more_to(EXPERT, "drop", "base"), {"protect": CHEER}],
        "back-auto": [more_to(EXPERT, "auto", "base"), {"protect": CHEER}],
    },
    "P7": {  # two that go together
        "both-offset": [less(SMILE, "offset"), {"protect": CHEER}],
        "both-designed": [less(SMILE, "designed-offset"), {"protect": CHEER}],
        "both-drop": [less(SMILE, "drop"), {"protect": CHEER}],
        "both-auto": [less(SMILE, "auto"), {"protect": CHEER}],
    },
    "S2": {  # of SmolLM2: answers that say "you"; a method of the loss, one of the data, one in the model
        "you-offset": [less(YOU, "offset")],
        "you-drop": [less(YOU, "drop")],
        "you-steer": [less(YOU, "steer-reference", by="detector:you")],
    },
}
HEAD = [
    "world", "seed", "plan", "method", "strength", "left, foretold", "left", "± 2 se", "protected, taken", "± 2 se",
    "outside, points", "± 2 se",
    "off target", "by chance", *(f"R² {family}" for family in ("patterns", "features")),
    *(f"ρ off {family}" for family in ("patterns", "features")), "signs off", "in interval",
    "held-out accuracy, plain", "shaped",
]  # fmt: skip
RUNG_HEAD = ["world", "seed", "plan",
             *(f"{family}: {rung}" for family in ("patterns", "features") for rung in WHAT_IF_RUNGS)]  # fmt: skip
LEAK_HEAD = ["world", "seed", "plan", *(f"{family}: ρ, concepts" for family in ("patterns", "features"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders of finished worlds")
    parser.add_argument("--plans", nargs="*", help="by default all of the world")
    parser.add_argument("--tables", action="store_true", help="train nothing, only print what is finished")
    parser.add_argument("--store", action="store_true", help="keep the tables for the documentation")
    options = parser.parse_args()
    rows, rungs, leaks = [], [], []
    for run in options.runs:
        world, _, seed = run.parent.name.rpartition("-")
        plans = PLANS.get(world, {})
        chosen = [name for name in plans if options.plans is None or name in options.plans]
        for detector in DETECTORS:
            asked = any(str(item.get("by")).endswith(f":{detector}") for name in chosen for item in plans[name])
            if asked and not options.tables:
                fit_detector(run, detector)
        for name in [] if options.tables else chosen:
            start = time.monotonic()
            carry_out(run, name, plans[name])
            print(f"{world} {seed} {name}: {time.monotonic() - start:.0f} s", flush=True)
        finished = [
            name for name in plans if f"outcome-{name}" in Run(run).manifest["stages"] and is_readable(run, name)
        ]
        rows += [[world, seed, *row(run, name)] for name in finished]
        rungs += [[world, seed, *rung_row(run, name)] for name in finished]
        for detector, names in OF_DETECTOR.items():
            if f"detector-{detector}-card" in Run(run).manifest["stages"]:
                leaks += [[world, seed, *leak_row(run, name, detector)] for name in finished if name in names]
    for head, table in ((HEAD, rows), (RUNG_HEAD, rungs), (LEAK_HEAD, leaks)):
        print("\n".join(" | ".join(line) for line in [head, *table]), end="\n\n")
    if options.store:
        store("shaping", "outcomes", HEAD, with_stored("outcomes", rows))
        store("shaping", "rungs", RUNG_HEAD, with_stored("rungs", rungs))
        store("shaping", "leakage", LEAK_HEAD, with_stored("leakage", leaks))


def is_readable(run: Path, name: str) -> bool:
    """Whether this version reads the plan's report; an older one's row stays as it is stored."""
    try:
        open_shape(Run(run), name)
    except pretilt.UserError as error:
        print(f"left out: {error}")
        return False
    return True


def with_stored(table: str, rows: list[list[str]]) -> list[list[str]]:
    """The rows, and those stored before of other worlds, seeds and plans; in the order of PLANS."""
    by_key = {tuple(line[:3]): line for line in [*stored("shaping", table)[1:], *rows]}
    order = [(world, name) for world, plans in PLANS.items() for name in plans]
    return [by_key[key] for key in sorted(by_key, key=lambda key: (order.index((key[0], key[2])), key[1]))]


def fit_detector(run: Path, detector: str) -> None:
    """Before the first plan: a new concept makes what was compiled before a what-if of other concepts."""
    if f"detector-{detector}" not in Run(run).manifest["stages"]:
        pattern = DETECTORS[detector].partition(":")[2]
        pretilt.detector(run, detector, from_pattern=pattern, replace=True, events=Events())


def carry_out(run: Path, name: str, items: list[dict[str, Any]]) -> None:
    """Compile, train under the plan as the world was trained, sample and judge."""
    trained = json.loads((run / "trained" / "train.json").read_text())
    beta = trained["settings"]["dpo"].get("beta", 0.1)
    shaped = pretilt.shape(run, {"items": items}, name=name, rung=RUNGS.get(name), beta=beta, events=Events())
    options = {**trained["settings"]["dpo"], "seed": trained["dpo"]["seed"]}
    pretilt.train(run, model=trained["model_name"], plan=shaped, **options)
    rollouts = Run(run).manifest["stages"]["rollouts-before"]["config"]
    pretilt.rollouts(run, f"after-{name}", str(run / f"trained-{name}"), batch_size=rollouts["batch_size"])
    pretilt.verify_plan(run, name)


def row(run: Path, name: str) -> list[str]:
    """One plan's outcome."""
    report = pretilt.verify_plan(run, name).report
    target = next(item for item in report["targets"] if item["decision"] in ("suppress", "amplify"))
    sets = {family: report["sets"][family] for family in ("patterns", "features")}
    off = {family: figures["off_target"] for family, figures in sets.items()}
    utility = report["utility"]
    protected = next((item for item in report["targets"] if item["decision"] == "protect"), None)
    return [
        name, target["method"], f"{target['strength']:.3g}", _percent(target["forecast_left"]),
        _percent(target["left"]), _half_width(target),
        _percent(protected and protected["recovery"]), _half_width(protected),
        *(_points(target[key] and factor * target[key]) for key, factor in (("outside_change", 1), ("outside_se", 2))),
        f"{100 * off['patterns']['mean_change']:.1f}", f"{100 * off['patterns']['mean_noise']:.1f}",
        *(_number(figures["all"]["r2"]) for figures in sets.values()),
        *(_number(figures["spearman"]) for figures in off.values()),
        f"{_number(off['features']['sign_accuracy'])} of {off['features']['resolved']}",
        _percent(off["features"]["coverage"]),
        _number(utility["after"]["accuracy"]), _number(utility["shaped"]["accuracy"]),
    ]  # fmt: skip


def rung_row(run: Path, name: str) -> list[str]:
    """R² and Spearman correlation of every rung's change with the one that was seen, all concepts of a family."""
    opened = pretilt.open_run(run).run
    shaped = open_shape(opened, name)
    data = ShapeData(opened, shaped.report["form"], shaped.report["rollouts"], Events())
    changes = compiled_plan(shaped).changes.foretold()
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


def leak_row(run: Path, name: str, detector: str) -> list[str]:
    """Rank correlation of the detector's leakage, known before training, with what the plan took from each concept."""
    opened = pretilt.open_run(run).run
    leakage = opened.table(f"detectors/{detector}-leakage.parquet", ["concept_id", "leakage"]).to_pydict()
    leak_of = dict(zip(leakage["concept_id"], leakage["leakage"], strict=True))
    outcome = pretilt.verify_plan(run, name).table.to_pylist()
    cells = [name]
    for family in ("patterns", "features"):
        rows = [r for r in outcome if r["family"] == family and r["role"] != "target" and r["concept_id"] in leak_of]
        leaks = np.array([leak_of[r["concept_id"]] for r in rows])
        cells.append(f"{spearman(leaks, np.array([-r['observed'] for r in rows])):.2f}, {len(rows)}")
    return cells


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _half_width(target: dict[str, Any] | None) -> str:
    """Half of the 95 % interval of what is left, which is that of what is taken as well."""
    return "" if target is None or target["left"] is None else _percent((target["left_hi"] - target["left_lo"]) / 2)


def _points(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
