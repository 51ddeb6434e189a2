"""Sample responses from a model: batched, seeded per batch, resumable after any interruption.

Each batch draws from its own random stream, seeded by (seed, batch number), and lands in its own file by atomic
rename, so a killed run continues where it stopped and gives the same text as an undisturbed one on the same machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def batch_seed(seed: int, batch: int) -> int:
    """A 31-bit seed for one batch, independent of every other batch's."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:4], "big") >> 1


def sample_texts(
    model: Any,
    tokenizer: Any,
    contexts: Sequence[str],
    *,
    out: Path,
    seed: int,
    max_new_tokens: int,
    temperature: float,
    epsilon_cutoff: float = 3e-4,
    batch_size: int = 128,
    part: tuple[int, int] = (0, 1),
    log: Any = print,
) -> list[dict[str, Any]] | None:
    """Continue every rendered context once.

    `contexts` are strings that already carry the chat template, up to and including the generation prompt. Returns one
    dict per context: `text` (stops at the end-of-turn token, without it), `n_tokens` and `finished` (False when the
    token limit cut it). Tokens of probability below `epsilon_cutoff` are never drawn: unlike top-p this needs no sort
    of the vocabulary, which would cost as much as the forward pass on a CPU. With `part=(i, n)` only every n-th batch
    is sampled, and None is returned until all parts are there.
    """
    import torch

    out.mkdir(parents=True, exist_ok=True)
    order = sorted(range(len(contexts)), key=lambda i: (len(contexts[i]), i))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    stop = {tokenizer.eos_token_id}
    for number, rows in enumerate(batches):
        path = out / f"batch-{number:05d}.json"
        if number % part[1] != part[0] or path.exists():
            continue
        encoded = tokenizer(
            [contexts[i] for i in rows],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        )
        torch.manual_seed(batch_seed(seed, number))
        with torch.inference_mode():
            grown = model.generate(
                **encoded,
                max_new_tokens=max_new_tokens,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                epsilon_cutoff=epsilon_cutoff,
            )
        results = []
        for i, ids in zip(rows, grown[:, encoded["input_ids"].shape[1] :].tolist(), strict=True):
            end = next((t for t, token in enumerate(ids) if token in stop), len(ids))
            results.append(
                {
                    "index": i,
                    "text": tokenizer.decode(ids[:end], skip_special_tokens=True),
                    "n_tokens": end,
                    "finished": end < len(ids),
                }
            )
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps(results))
        partial.replace(path)
        log(f"batch {number + 1}/{len(batches)}: {sum(r['n_tokens'] for r in results)} tokens")
    if not all((out / f"batch-{n:05d}.json").exists() for n in range(len(batches))):
        return None
    row_of: dict[int, dict[str, Any]] = {}
    for number in range(len(batches)):
        for row in json.loads((out / f"batch-{number:05d}.json").read_text()):
            row_of[row.pop("index")] = row
    return [row_of[i] for i in range(len(contexts))]
