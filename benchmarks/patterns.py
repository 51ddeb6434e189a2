"""What it takes to count every bundled pattern, and the words, in 260,000 responses of about 300 words.

The responses are sentences of the bundled demo pairs, put together at random and dressed with lists, bold text,
headings and blocks of code, so that every kind of pattern has work; prompts are drawn beside them. They are made block
by block, as a dataset is read, and the clock runs while patterns count only. Prints seconds, MB per second and the peak
of memory; with --each the seconds of each pattern.

    python benchmarks/patterns.py [--responses 260000] [--words 300] [--each]
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import resource
import time
from collections.abc import Iterator
from importlib import resources

import numpy as np

from pretilt.concepts.pattern_files import bundled_patterns
from pretilt.concepts.patterns import count, n_words

BLOCK = 20_000  # responses made at a time
SEED = 11
DRESSES = ("{}", "{}", "{}", "- {}", "1. {}", "**{}**", "## {}", "{}!", "I'm sorry, but {}", "`{}`", "“{}”", "({})")
CODE = "\n```python\nfor i in range(10):\n    print(i ** 2)\n```\n"


def sentences_and_prompts() -> tuple[list[str], list[str]]:
    """Sentences of the responses and the prompts of the bundled pairs."""
    file = resources.files("pretilt.demo") / "data" / "demo-a.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
    texts = [row[side][-1]["content"] for row in rows for side in ("chosen", "rejected")]
    sentences = [s.strip() for text in texts for s in re.split(r"(?<=[.!?])\s+", text) if s.strip()]
    return sentences, [row["prompt"][-1]["content"] for row in rows]


def blocks(n_responses: int, words: int) -> Iterator[tuple[list[str], list[str]]]:
    """(responses, prompts), BLOCK at a time."""
    sentences, prompts = sentences_and_prompts()
    rng = random.Random(SEED)
    mean_words = sum(len(s.split()) for s in sentences) / len(sentences)
    per_response = round(words / mean_words)
    for first in range(0, n_responses, BLOCK):
        n = min(BLOCK, n_responses - first)
        responses = []
        for _ in range(n):
            parts = rng.choices(sentences, k=per_response)
            lines = [rng.choice(DRESSES).format(part) + rng.choice((" ", " ", "\n", "\n\n")) for part in parts]
            responses.append("".join(lines) + (CODE if rng.random() < 0.1 else ""))
        yield responses, rng.choices(prompts, k=n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=260_000)
    parser.add_argument("--words", type=int, default=300)
    parser.add_argument("--each", action="store_true")
    options = parser.parse_args()

    patterns = bundled_patterns()
    seconds, cpu_seconds, n_bytes, total_words = 0.0, 0.0, 0, 0
    present = np.zeros(len(patterns), np.int64)
    each = np.zeros(len(patterns))
    for responses, prompts in blocks(options.responses, options.words):
        start, cpu_start = time.perf_counter(), time.process_time()
        counts = count(patterns, responses, prompts)
        total_words += int(n_words(responses).sum())
        seconds += time.perf_counter() - start
        cpu_seconds += time.process_time() - cpu_start

        present += (counts > 0).sum(axis=0)
        n_bytes += sum(len(response.encode()) for response in responses)
        if options.each:
            for i, pattern in enumerate(patterns):
                start = time.perf_counter()
                count([pattern], responses, prompts)
                each[i] += time.perf_counter() - start

    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    megabytes = n_bytes / 1e6
    print(f"{options.responses:,} responses, {total_words:,} words, {megabytes:,.0f} MB, {len(patterns)} patterns")
    print(f"{seconds:.1f} s, {cpu_seconds:.1f} CPU s, {megabytes * len(patterns) / seconds:,.0f} MB of text per s")
    print(f"peak memory {peak_mib:,} MiB, the responses of a block among them")
    for i in np.argsort(-each) if options.each else []:
        print(f"{patterns[i].name:24} {each[i]:6.1f} s  in {present[i] / options.responses:6.1%} of the responses")


if __name__ == "__main__":
    main()
