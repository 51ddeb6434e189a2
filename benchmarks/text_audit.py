"""What an audit without a lens says of real pairs: the first patterns of both directions, and how long it takes.

python benchmarks/text_audit.py hh-harmless.jsonl.gz --name hh --out runs/text    # --store keeps the table
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from stored import store

import pretilt
from pretilt.view.plain_words import points, share

HEAD = ("", "pattern", "chosen", "rejected", "points", "95 % interval", "sure")
FIRST = 10  # rows of each direction


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--name", required=True, help="of the table: text-NAME")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--store", action="store_true", help="keep the table for the documentation")
    arguments = parser.parse_args()

    start, cpu = time.monotonic(), time.process_time()
    result = pretilt.audit(arguments.source, out=arguments.out / arguments.name, no_lens=True)
    print(f"{time.monotonic() - start:.0f} s, {time.process_time() - cpu:.0f} s of CPU")
    rows = table_of(result)
    for row in rows:
        print(" | ".join(row))
    if arguments.store:
        store("real-pairs", f"text-{arguments.name}", HEAD, rows)


def table_of(result: pretilt.AuditResult) -> list[list[str]]:
    """The first patterns of each direction over all pairs, by rank."""
    concepts = {row["concept_id"]: row for row in result.concepts.to_pylist()}
    rows = []
    for direction, mark in (("amplify", "▲"), ("suppress", "▼")):
        listed = [
            row for row in result.hypotheses.to_pylist()
            if row["view"] == "pattern" and row["direction"] == direction and 1 <= row["rank"] <= FIRST
        ]  # fmt: skip
        for row in sorted(listed, key=lambda row: row["rank"]):
            concept = concepts[row["concept_id"]]
            shares = (share(concept["share_chosen"]), share(concept["share_rejected"]))
            limits = f"[{points(row['posterior_lo'])}, {points(row['posterior_hi'])}]"
            sure = "sure" if row["q_value"] <= 0.05 and row["lfsr"] < 0.05 else "unsure"
            rows.append([mark, concept["name"], *shares, points(row["posterior_delta"]), limits, sure])
    return rows


if __name__ == "__main__":
    main()
