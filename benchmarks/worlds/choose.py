"""Which form of the score and which rung is the default: every one of them on the development worlds.

    python benchmarks/worlds/choose.py --out runs/worlds            # needs dev-on and dev-off, finished
    python benchmarks/worlds/choose.py --out runs/worlds --store    # and the table of docs/results/worlds.md

Made with the product's own forecast and verification, in copies of the runs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from pretilt.api import forecast as forecast_run
from pretilt.api import verify as verify_run
from pretilt.forecast.scores import SCORE_FORMS, ScoreForm

sys.path.append(str(Path(__file__).parents[1]))

from stored import store

HEAD = "| world | form | set | rung | R² | rel_y | R²/rel_y | ρ | sign | best null |"


def verified(run: Path, form: ScoreForm, out: Path) -> dict[str, Any]:
    """verification.json of the run under another form."""
    if not out.exists():
        half = out.with_suffix(".partial")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(run, half)
        forecast_run(half, form=form, rung="converged", replace=True)
        verify_run(half, name=form)
        half.rename(out)
    return verify_run(out, name=form).report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--worlds", nargs="*", default=["small/dev-on-0", "small/dev-off-0"])
    parser.add_argument("--store", action="store_true", help="keep R² of every form and rung for the documentation")
    arguments = parser.parse_args()
    print(HEAD + "\n" + "|---" * HEAD.count(" | ") + "|---|")
    r2_of: dict[tuple[str, str], dict[str, str]] = {}  # form and rung → world and set → R²
    for name in arguments.worlds:
        for form in SCORE_FORMS:
            out = arguments.out / "choose" / f"{name.replace('/', '-')}-{form}"
            out.parent.mkdir(parents=True, exist_ok=True)
            report = verified(arguments.out / name / "run", form, out)
            for label, one in report["sets"].items():
                nulls = [row["r2"] for row in one["table"] if row["name"] in ("length", "prevalence")]
                for row in one["table"]:
                    if row["kind"] == "rung":
                        figures = (row["r2"], row["rel_y"], row["of_ceiling"], row["spearman"], row["sign_accuracy"],
                                   max(nulls, default=None))  # fmt: skip
                        told = " | ".join("–" if f is None else f"{f:.2f}" for f in figures)
                        column = f"{name.rpartition('/')[2].removesuffix('-0')}: {label}"
                        r2_of.setdefault((form, row["name"]), {})[column] = f"{row['r2']:.2f}".replace("-", "−")
                        print(f"| {name} | {form} | {label} ({one['concepts']}) | {row['name']} | {told} |", flush=True)
            for view, cells in report["cells"].items():
                for key, one in cells.items():
                    if isinstance(one, dict):
                        overall = one["overall"]
                        told = " | ".join("–" if overall[k] is None else f"{overall[k]:.2f}"
                                          for k in ("r2", "rel_y", "of_ceiling"))  # fmt: skip
                        print(f"| {name} | {form} | {view} ({cells['sets']}) | {key} | {told} | | | |", flush=True)
    if arguments.store:
        columns = [column for column in next(iter(r2_of.values())) if column.endswith((": communities", ": features"))]
        rows = [[form, rung, *(figures[column] for column in columns)] for (form, rung), figures in r2_of.items()]
        store("worlds", "development", ["form", "rung", *columns], rows)


if __name__ == "__main__":
    main()
