"""Which plants does an audit find? Demo sets A and B, with the bundled dictionary and with random directions.

    python benchmarks/planted.py --out runs/planted            # A and B, both dictionaries
    python benchmarks/planted.py --out runs/planted --set b    # one of them

Every default was chosen on A; B is reported and never tuned on. Prints the tables and writes `planted.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory {peak:.2f} GiB")
    (arguments.out / "planted.json").write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
