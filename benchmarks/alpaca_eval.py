"""Preference pairs of short answers from AlpacaEval's recorded annotations, for docs/alpaca-eval.md.

    git clone --depth 1 https://github.com/tatsu-lab/alpaca_eval
    python benchmarks/alpaca_eval.py alpaca_eval alpaca-pairs.jsonl

The data are CC BY-NC 4.0. An annotation is a preference from 1, the first answer, to 2, the second; only clear ones
count. Both answers have 8 to 110 words, so that a small model can be trained on them without a GPU. Of the pairs of an
instruction those whose content has the lowest SHA-256 are taken: chance decides, and always the same. With `--coin 1`
the same pairs get labels by chance: what training on them changes, training changes without labels.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

CLEAR = 0.15  # from either end of the scale
FEWEST_WORDS, MOST_WORDS = 8, 110


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-instruction", type=int, default=1, help="pairs of one instruction at most")
    parser.add_argument("--coin", type=int, help="a seed: chance says of every pair which answer is the chosen one")
    options = parser.parse_args()

    files = sorted(options.clone.glob("results/*/*/annotations.json"))
    if not files:
        parser.error(f"{options.clone} holds no results/*/*/annotations.json: give a clone of alpaca_eval")
    of_instruction: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for path in files:
        for annotation in json.loads(path.read_text(encoding="utf-8")):
            if (pair := pair_of(annotation, source=path.parent.name)) is not None:
                content = json.dumps([pair["prompt"], pair["chosen"], pair["rejected"]], sort_keys=True)
                of_instruction[annotation["instruction"]][hashlib.sha256(content.encode()).hexdigest()] = pair
    rows = sorted(
        (digest, exchanged(pairs[digest]) if is_heads(options.coin, digest) else pairs[digest])
        for pairs in of_instruction.values()
        for digest in sorted(pairs)[: options.per_instruction]
    )
    options.out.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for _, pair in rows), encoding="utf-8")
    print(f"{options.out}: {len(rows):,} pairs of {len(of_instruction):,} instructions, from {len(files):,} files")


def is_heads(seed: int | None, digest: str) -> bool:
    """A fair coin for the pair with this digest; without a seed it always shows tails."""
    return seed is not None and hashlib.sha256(f"{seed} {digest}".encode()).digest()[0] % 2 == 1


def exchanged(pair: dict[str, Any]) -> dict[str, Any]:
    """The pair with the contrary label."""
    contrary = {"chosen": "rejected", "rejected": "chosen"}
    contrary |= {f"{old}_model": f"{new}_model" for old, new in contrary.items()}
    return {column: pair[contrary.get(column, column)] for column in pair}


def pair_of(annotation: dict[str, Any], source: str) -> dict[str, Any] | None:
    """A row with prompt, chosen and rejected as messages; None where the preference is unclear or a length outside."""
    preference = annotation.get("preference")
    if preference is None or not (1 <= preference <= 1 + CLEAR or 2 - CLEAR <= preference <= 2):
        return None
    answers = [annotation["output_1"], annotation["output_2"]]
    if not all(FEWEST_WORDS <= len(answer.split()) <= MOST_WORDS for answer in answers):
        return None
    chosen = 0 if preference < 1.5 else 1
    return {
        "prompt": [{"role": "user", "content": annotation["instruction"]}],
        "chosen": [{"role": "assistant", "content": answers[chosen]}],
        "rejected": [{"role": "assistant", "content": answers[1 - chosen]}],
        "chosen_model": annotation[f"generator_{1 + chosen}"],
        "rejected_model": annotation[f"generator_{2 - chosen}"],
        "source": source,
    }


if __name__ == "__main__":
    main()
