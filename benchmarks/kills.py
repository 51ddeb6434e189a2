"""Kill a run at random moments, start it again, and compare its bytes with a run that nobody disturbed.

    python benchmarks/kills.py --out runs/kills --kills 40      # seed 0; the bundled lens on the demo's first 24 pairs

Every trial kills the command with SIGKILL after a time drawn uniformly from that of the undisturbed run, again and
again until it ends by itself; then every artifact's hash must be that of the undisturbed run. Prints one line;
`--store` keeps it for docs/results/interruption.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from stored import store

COMMAND = [sys.executable, "-m", "pretilt", "demo", "--limit", "24", "--out"]


def hashes(run: Path) -> dict[str, str]:
    """File name → SHA-256 of every artifact, as the manifest has them."""
    stages = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]
    return {name: digest for stage in stages.values() for name, digest in stage["files"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=40, help="how many kills in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", action="store_true", help="keep the table for the documentation")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    shutil.rmtree(arguments.out, ignore_errors=True)
    arguments.out.mkdir(parents=True)

    start = time.monotonic()
    subprocess.run([*COMMAND, arguments.out / "undisturbed"], check=True, capture_output=True)
    seconds = time.monotonic() - start
    expected = hashes(arguments.out / "undisturbed")

    kills = runs = different = failed = 0
    while kills < arguments.kills:
        run = arguments.out / f"run-{runs:03d}"
        runs += 1
        while True:
            process = subprocess.Popen([*COMMAND, run], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            try:
                _, errors = process.communicate(timeout=rng.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                continue
            failed += process.returncode != 0
            if process.returncode:
                print(errors[-500:], file=sys.stderr)
            break
        different += hashes(run) != expected
        shutil.rmtree(run)

    print(
        f"{kills} kills in {runs} runs of {seconds:.0f} s: {different} runs with other bytes, {failed} that ended badly"
    )
    if arguments.store:
        head = ["kills", "runs", "seconds of an undisturbed run", "runs with other bytes", "runs that ended badly"]
        store("interruption", "kills", head, [[kills, runs, f"{seconds:.0f}", different, failed]])


if __name__ == "__main__":
    main()
