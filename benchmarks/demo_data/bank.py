"""The bank: two responses of the subject model to every prompt of both demo sets, sampled once.

Prompts to which a response holds nothing usable (see `cleaning.py`) get two more.

Run as `python -m demo_data.bank --model FOLDER --out FOLDER [--part I/N] [--limit N]`. It is seeded, continues
where it was interrupted, and several processes can share the work with `--part 0/2`, `--part 1/2`. When everything is
there it writes `bank.jsonl.gz`, one row per prompt: `prompt_id` and `responses` (two, or four), each with `text` and
`finished`.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo_data.cleaning import clean
from demo_data.sampling import sample_texts
from demo_data.topics import SETS, Prompt, prompts

FILE = "bank.jsonl.gz"
STREAM_SEEDS = (301, 302)  # one per response
SPARE_SEEDS = (303, 304)  # two more for prompts of which a response turned out to hold nothing usable
MAX_NEW_TOKENS = 56
TEMPERATURE = 0.7
EPSILON_CUTOFF = 1e-3  # with the temperature, keeps a model of this size on the subject


def sample_bank(
    model: Any,
    tokenizer: Any,
    bank_prompts: Sequence[Prompt],
    out: Path,
    *,
    part: tuple[int, int] = (0, 1),
    log: Any = print,
) -> list[dict[str, Any]] | None:
    """Sample all streams for the prompts; None as long as another part's batches are missing."""
    responses: dict[str, list[dict[str, Any]]] = {p.prompt_id: [] for p in bank_prompts}

    for name, seeds in (("stream", STREAM_SEEDS), ("spare", SPARE_SEEDS)):
        incomplete = [p for p in bank_prompts if len(usable(p, responses[p.prompt_id])) < 2]
        contexts = [
            tokenizer.apply_chat_template(list(p.messages), tokenize=False, add_generation_prompt=True)
            for p in incomplete
        ]

        streams = []
        for number, seed in enumerate(seeds):
            streams.append(
                sample_texts(
                    model,
                    tokenizer,
                    contexts,
                    out=out / f"{name}-{number}",
                    seed=seed,
                    max_new_tokens=MAX_NEW_TOKENS,
                    temperature=TEMPERATURE,
                    epsilon_cutoff=EPSILON_CUTOFF,
                    part=part,
                    log=log,
                )
            )

        for stream in streams:
            if stream is None:
                return None
            for p, row in zip(incomplete, stream, strict=True):
                responses[p.prompt_id].append({"text": row["text"].strip(), "finished": row["finished"]})

    return [{"prompt_id": p.prompt_id, "responses": responses[p.prompt_id]} for p in bank_prompts]


def usable(prompt: Prompt, responses: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The cleaned responses, as sentences, without the empty ones and repetitions."""
    cleaned = [clean(r["text"], prompt.prompt_id[0], finished=r["finished"]) for r in responses]
    return [c for i, c in enumerate(cleaned) if c and c not in cleaned[:i]]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write gzipped JSON lines; the same rows give the same bytes (no time stamp, no file name)."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read gzipped JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_data.bank", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of the subject model, as safetensors")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--part", default="0/1", help="I/N: sample every N-th batch only, from the I-th")
    parser.add_argument("--limit", type=int, help="every k-th prompt only, so that about this many are left")
    chosen = parser.parse_args(arguments)

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(chosen.model)
    model = AutoModelForCausalLM.from_pretrained(chosen.model, dtype=torch.bfloat16).eval()
    bank_prompts = [p for which in SETS for p in prompts(which)]
    if chosen.limit:
        bank_prompts = bank_prompts[:: max(1, len(bank_prompts) // chosen.limit)]
    part, n_parts = (int(n) for n in chosen.part.split("/"))
    bank = sample_bank(
        model, tokenizer, bank_prompts, chosen.out, part=(part, n_parts), log=lambda s: print(s, flush=True)
    )
    if bank is None:
        print("this part is done; the others are not")
        return
    write_rows(chosen.out / FILE, bank)
    print(f"{len(bank)} prompts in {chosen.out / FILE}")


if __name__ == "__main__":
    main()
