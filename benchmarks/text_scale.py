"""An audit of text alone, and its viewer as a folder, at the paper's size: seconds, peak memory, bytes on disk.

    python benchmarks/text_scale.py --out runs/text-scale                     # 260,000 pairs
    python benchmarks/text_scale.py --out runs/text-scale --pairs 26000       # a tenth

The pairs are made up: prompts are words drawn at random, responses sentences of the bundled demo pairs, 150 words.
A tenth of the rejected and a fifth of the chosen responses begin in bold; nothing else differs but by chance. `pretilt
audit --no-lens` and `pretilt export-site` run as a user types them, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

from patterns import sentences_and_prompts
from stored import store

SEED = 11
SENTENCES, WORDS = 12, 12  # of a response; of a prompt
BOLD = {"chosen": 0.2, "rejected": 0.1}  # of the responses
HEAD = ["step", "seconds", "CPU seconds", "peak MiB", "on disk, MB"]


def write_pairs(path: Path, n_pairs: int) -> None:
    """JSON lines with prompt, chosen and rejected as texts; the same bytes for the same number."""
    rng = random.Random(SEED)
    sentences, _ = sentences_and_prompts()
    words = sorted({word for sentence in sentences for word in sentence.lower().split() if word.isalpha()})
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        for _ in range(n_pairs):
            row = {"prompt": " ".join(rng.choices(words, k=WORDS)) + "?"}
            for side, share in BOLD.items():
                text = " ".join(rng.choices(sentences, k=SENTENCES))
                row[side] = f"**Well:** {text}" if rng.random() < share else text
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    part.rename(path)


def measured(*command: str) -> tuple[float, float, float]:
    """Seconds, CPU seconds of the command and its children, and MiB of the largest process among them."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "pretilt", *command])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return time.monotonic() - start, cpu, usage.ru_maxrss / 1024


def size_of(folder: Path) -> float:
    """Megabytes of all files in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=260_000)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pairs, run, site = (options.out / f"{options.pairs}{end}" for end in (".jsonl", "-run", "-site"))
    if run.exists() or site.exists():
        parser.error(f"{run} or {site} is there: what is finished would not be measured. Name another --out")
    if not pairs.exists():
        write_pairs(pairs, options.pairs)

    rows = [["the pairs, as JSON lines", "", "", "", f"{pairs.stat().st_size / 1e6:,.0f}"]]
    for name, folder, command in (
        ("audit of the text alone", run, ("audit", str(pairs), "--no-lens", "--out", str(run), "--despite-doctor")),
        ("viewer as a folder", site, ("export-site", str(run), str(site))),
    ):
        seconds, cpu, peak = measured(*command)
        rows.append([name, f"{seconds:,.0f}", f"{cpu:,.0f}", f"{peak:,.0f}", f"{size_of(folder):,.0f}"])
        print(" | ".join(rows[-1]), flush=True)
    if options.store:
        store("speed", "text-scale", HEAD, rows)


if __name__ == "__main__":
    main()
