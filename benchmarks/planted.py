"""Which plants does an audit find? Demo sets A and B, with the bundled dictionary and with random directions.

    python benchmarks/planted.py --out runs/planted            # A and B, both dictionaries
    python benchmarks/planted.py --out runs/planted --set b    # one of them
    python benchmarks/planted.py --out runs/planted --store    # and the tables of docs/results/planted.md

Every default was chosen on A; B is reported and never tuned on. Prints the tables and writes `planted.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stored import store

import pretilt
from pretilt.demo.planted import score_audit
from pretilt.demo.step import DATA
from pretilt.view.terminal.console import Console

HERE = Path(__file__).parent / "data"
SETS = {"a": DATA, "b": HERE}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", choices=sorted(SETS), nargs="*", default=sorted(SETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", action="store_true", help="keep the tables for the documentation")
    arguments = parser.parse_args()
    found = {}
    for which in arguments.set:
        truth = json.loads((SETS[which] / f"demo-{which}-truth.json").read_text(encoding="utf-8"))
        for baseline in ("none", "random-dictionary"):
            name = f"{which}, {'bundled dictionary' if baseline == 'none' else 'random directions'}"
            start = time.monotonic()
            result = pretilt.audit(
                SETS[which] / f"demo-{which}.jsonl.gz",
                out=arguments.out / f"{which}-{baseline}",
                baseline=baseline,
                seed=arguments.seed,
                events=Console(quiet=True),
            )
            score = score_audit(result, truth)
            found[name] = {**score.to_dict(), "seconds": round(time.monotonic() - start, 1)}
            print(f"\n== {name}\n{score.text}", flush=True)
            if arguments.store:
                store_tables(which, baseline, score.rows, score.local)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory {peak:.2f} GiB")
    (arguments.out / "planted.json").write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")


def store_tables(which: str, baseline: str, rows: list[dict[str, Any]], local: list[dict[str, Any]]) -> None:
    """A set's plants, local plants and decoys as tables; of random directions the plants alone, as the page shows."""
    plants = [
        [row["plant"], row["n_planted"], _figure(row, "auroc"), _figure(row, "average_precision"),
         _yes(row["covered"]), _place(row), _yes(row["rank_ok"]), _traced(row)]
        for row in rows if row["role"] == "plant"
    ]  # fmt: skip
    head = ["plant", "pairs", "AUROC", "average precision", "covered", "rank", "passes", "traced / own u"]
    if baseline != "none":
        store("planted", f"{which}-random", head, plants)
        return
    store("planted", f"{which}-plants", head, plants)

    head = ["local plant", "rank in its prompt-conditioned list", "prompts of its kind among the selected",
            "traced / own u"]  # fmt: skip
    places = [
        [row["plant"], _local_place(row), _figure(row, "context_precision"), _traced(row)]
        if row["rank"]
        else [row["plant"], "not among the first 50 of any list", "", ""]
        for row in local
    ]
    store("planted", f"{which}-local", head, places)

    head = ["decoy", "AUROC", "global effect as observed, 95 % confidence interval", "contains 0", "lfsr"]
    decoys = [
        [row["plant"], _figure(row, "auroc"), _effect(row), _yes(row["contains_zero"]), _figure(row, "lfsr")]
        for row in rows if row["role"] == "decoy"
    ]  # fmt: skip
    store("planted", f"{which}-decoys", head, decoys)


def _figure(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "–" if value is None or value != value else f"{value:.2f}"


def _yes(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "no"


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['rank']} of {row['list_length']} ({row['view']})" if row.get("rank") else "in no list"


def _local_place(row: Mapping[str, Any]) -> str:
    statistic = {"prompt_max": "maximum", "prompt_freq": "frequency"}[row["view"]]
    return f"{row['rank']} of {row['list_length']} ({statistic}, {row['direction']})"


def _traced(row: Mapping[str, Any]) -> str:
    return f"{_figure(row, 'tracing_precision')} / {_figure(row, 'own_precision')}"


def _effect(row: Mapping[str, Any]) -> str:
    if "effect" not in row:
        return "–"
    return f"{row['effect']:+.4f} [{row['ci_lo']:+.4f}, {row['ci_hi']:+.4f}]".replace("-", "−")


if __name__ == "__main__":
    main()
