"""Answers of a subject model to generated prompts: what on-policy pairs are made of, shared by worlds of one seed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import grammar
import numpy as np

LONGEST = 160  # tokens of an answer


def questions(n: int, seed: int) -> list[tuple[str, str]]:
    """n different (question, topic)."""
    rng = np.random.default_rng([seed, 3])
    found: dict[str, str] = {}
    while len(found) < n:
        text, topic = grammar.prompt(rng)
        found.setdefault(text, topic)
    return list(found.items())


def answers(model: Path, asked: list[tuple[str, str]], seed: int, out: Path, log: Any = print) -> list[tuple[str, str]]:
    """Two answers of the model to each question, by random streams of their own; kept in `out`."""
    if out.exists():
        return [(first, second) for first, second in json.loads(out.read_text())]
    from pretilt.models.language import load_language_model
    from pretilt.models.load import load_tokenizer
    from pretilt.models.sample import LocalSampler

    tokenizer = load_tokenizer(model)
    stop = (tokenizer.eos_token_id,)
    draw = LocalSampler(load_language_model(model), stop_ids=stop, max_new_tokens=LONGEST, batch_size=128)
    texts: list[str] = []
    prompts = [
        np.asarray(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
            )
        )
        for text, _ in asked
        for _ in range(2)
    ]
    for start in range(0, len(prompts), 1024):
        rows = range(start, min(start + 1024, len(prompts)))
        drawn = draw([prompts[i] for i in rows], [f"bank:{seed}:{i}" for i in rows])
        texts += [tokenizer.decode(one.ids, skip_special_tokens=True) for one in drawn]
        log(f"bank: {len(texts):,} of {len(prompts):,} answers", flush=True)
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    out.parent.mkdir(parents=True, exist_ok=True)
    half = out.with_suffix(f".{os.getpid()}.partial")  # two worlds may draw the same bank
    half.write_text(json.dumps(pairs))
    half.rename(out)
    return pairs
