"""What does training on labels without meaning do to a model: is there a drift that no label caused?

Trains the model of a finished world several times, each time with chosen and rejected exchanged in another random half
of the families, samples its answers to the same prompts, and compares what was seen of every concept with two
forecasts: the one from the true labels, which should be right by chance alone, and the one from those very labels. A
drift that labels do not cause stands in the mean over exchanges; chance has either sign.

    python benchmarks/worlds/drift.py runs/worlds/small/P12-1 --exchanges 8

Prints a table; drift.json holds it, and --store keeps it for docs/results/worlds.md. Interrupted, it goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pretilt.api import rollouts as rollouts_run
from pretilt.api import train as train_model
from pretilt.audit.result import open_run
from pretilt.forecast.baselines import shuffled_labels
from pretilt.forecast.covariance import from_rollouts
from pretilt.forecast.inputs import pair_deltas, rollouts_of
from pretilt.forecast.ladder import Ladder
from pretilt.forecast.preference import BradleyTerry, fit_preference
from pretilt.settings import AuditSettings
from pretilt.verify.inputs import stored_forecast
from pretilt.verify.observed import Observed, realised
from pretilt.verify.sets import headline_of, label_null, masks

sys.path.append(str(Path(__file__).parents[1]))

from stored import store

FIRST = 1000  # label seed of the first exchange; below are those of the forecast's own shuffles


def exchange(world: Path, label_seed: int) -> str:
    """Train on labels exchanged by `label_seed` as the world was trained; the role of its answers."""
    run, out, role = world / "run", world / f"exchanged-{label_seed}", f"after-exchanged-{label_seed}"
    options = json.loads((run / "trained" / "train.json").read_text())["settings"]["dpo"]
    made = train_model(run, out=out, **options, shuffled_labels=True, label_seed=label_seed)
    rollouts_run(run, role, str(made.path))
    return role


class World:
    """The headline's concepts of a finished world: forecasts for them, and what was seen of them."""

    def __init__(self, world: Path) -> None:
        self.run = open_run(world / "run").run
        forecast = stored_forecast(self.run)
        of = masks(forecast)
        self.keep = of[headline_of(of)]
        self.about = forecast.about
        self.true = forecast.column["shift"][self.keep]
        self.shuffled = None if forecast.shuffled is None else forecast.shuffled[:, self.keep]
        # The reward is fitted on communities and features together; the headline is a part of them.
        self.bank = forecast.bank.take(forecast.bank.feature_view)
        self.head = self.keep[forecast.bank.feature_view]
        settings = AuditSettings(**self.run.manifest["settings"])
        self.pairs, _ = pair_deltas(self.run, settings, self.bank, self.about["form"])
        self.reference = rollouts_of(self.run, self.about["rollouts"], self.bank, self.about["form"])
        self.before = rollouts_of(self.run, "before", self.bank, self.about["form"])

    def forecast(self, label_seed: int) -> np.ndarray:
        """The declared rung from exchanged labels, [M]."""
        model = BradleyTerry(shuffled_labels(self.pairs, label_seed))
        base = from_rollouts(self.reference)
        ladder = Ladder(model, fit_preference(model, [self.about["ridge"]]), base, self.reference)
        return np.asarray(ladder.predict().shift[self.about["rung"]][self.head])

    def seen(self, role: str) -> Observed:
        found = realised(self.before, rollouts_of(self.run, role, self.bank, self.about["form"]))
        return Observed(found.shift[:, self.head], found.unit, found.prompt_ids, found.n_unpaired)


def r2(a: np.ndarray, b: np.ndarray) -> float:
    """Signed."""
    r = float(np.corrcoef(a, b)[0, 1])
    return float(np.sign(r) * r * r)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path, help="folder of a finished world")
    parser.add_argument("--exchanges", type=int, default=8)
    parser.add_argument("--store", action="store_true", help="keep the table for the documentation")
    given = parser.parse_args()
    seeds = range(FIRST, FIRST + given.exchanges)
    roles = [exchange(given.world, seed) for seed in seeds]
    world = World(given.world)
    whole = world.seen("after")
    rows: list[dict[str, Any]] = []
    shifts = []
    for seed, role in zip(seeds, roles, strict=True):
        found = world.seen(role)
        shifts.append(found.mean)
        rows.append({
            "label_seed": seed,
            "r2_true_forecast": r2(world.true, found.mean),
            "p_of_99": None if world.shuffled is None else label_null(world.true, world.shuffled, found.mean)["p"],
            "r2_its_own_forecast": r2(world.forecast(seed), found.mean),
            "size": float(np.linalg.norm(found.mean) / np.linalg.norm(whole.mean)),
            "moved": float((np.abs(found.mean) > 2 * found.se).mean()),
        })  # fmt: skip
    seen = np.stack(shifts)
    mean = seen.mean(axis=0)
    values = np.linalg.svd(seen, compute_uv=False) ** 2
    told = {
        "world": given.world.name, "concepts": int(mean.size), "exchanges": rows,
        "r2_true_training": r2(world.true, whole.mean),
        "mean_over_exchanges": {
            "r2_true_forecast": r2(world.true, mean),
            "size": float(np.linalg.norm(mean) / np.linalg.norm(whole.mean)),
            "size_if_chance": float(np.sqrt((seen**2).sum(axis=1).mean() / len(seen)) / np.linalg.norm(whole.mean)),
        },
        "r2_without_the_mean": r2(world.true, whole.mean - mean),  # what the labels caused
        "share_along_one_axis": float(values[0] / values.sum()),
    }  # fmt: skip
    (given.world / "drift.json").write_text(json.dumps(told, indent=1))
    print("| labels | R² true forecast | p of 99 | R² own forecast | size | moved |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            "| "
            + " | ".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values())
            + " |"
        )
    print(json.dumps({name: value for name, value in told.items() if name != "exchanges"}, indent=1))
    if given.store:
        head = ["exchange", "R² of the true forecast", "p of 99", "R² of the forecast from these very labels",
                "size of the shift, true training = 1"]  # fmt: skip
        keys = ("r2_true_forecast", "p_of_99", "r2_its_own_forecast", "size")
        cells = [["–" if row[key] is None else f"{row[key]:.2f}".replace("-", "−") for key in keys] for row in rows]
        store("worlds", "exchanges", head, [[str(number), *line] for number, line in enumerate(cells, 1)])


if __name__ == "__main__":
    main()
