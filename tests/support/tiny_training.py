"""A tiny model, and a run folder with its pairs as the audit leaves it, to train on in CPU seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tiny_models import causal_lm
from tiny_tokenizers import byte_level

from pretilt.pairs.chat import PairTokens, tokenise
from pretilt.pairs.pair import Message, Pair, assign_pair_ids
from pretilt.pairs.split import Split
from pretilt.pairs.tables import pairs_table, tokens_batch
from pretilt.run import Run
from pretilt.schema import SPANS, TOKENS

# Options of a training that takes a few seconds and moves the model.
QUICK: dict[str, Any] = {
    "max_steps": 6,
    "per_device_train_batch_size": 4,
    "per_device_eval_batch_size": 8,
    "learning_rate": 1e-3,
    "beta": 0.1,
    "regime_pairs": 512,
}


def write_model(folder: Path, tokenizer: Any = None) -> Path:
    """A random Llama of width 16 with two layers, and its tokenizer."""
    tokenizer = tokenizer or byte_level()
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "max_position_embeddings": 256}
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = causal_lm("llama", vocab_size=len(tokenizer), **sizes, **special)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chats(n: int) -> list[Pair]:
    """Pairs of which the chosen response always thanks and the rejected one never does; two of a family."""
    made = []
    for i in range(n):
        prompt = (Message("user", f"What is the capital number {i // 2}?"),)
        chosen = (Message("assistant", f"Paris {i}, thank you!"),)
        made.append(Pair(i, prompt, chosen, (Message("assistant", f"The lazy dog {i * 7} is brown."),)))
    return assign_pair_ids(made)


def write_run(
    folder: Path, pairs: Sequence[Pair], tokenizer: Any = None, *, max_length: int = 64, n_heldout: int = 4, **more: Any
) -> Run:
    """pairs.parquet and tokens.parquet; the last `n_heldout` pairs are held out, and two neighbours are a family.

    `more` goes into the manifest. Pairs that do not fit are kept with empty tokens: the trainer has to drop them.
    """
    tokenizer = tokenizer or byte_level()
    nothing = np.zeros(0, np.int32)
    empty = PairTokens(nothing, nothing, nothing, *[np.zeros(0, bool)] * 3, truncated=True)
    read = tokenise(pairs, tokenizer, max_length=max_length)
    tokens = [t if isinstance(t, PairTokens) else empty for t in read]
    family = (np.arange(len(pairs)) // 2).astype(np.int32)
    heldout = np.arange(len(pairs)) >= len(pairs) - n_heldout
    counts = {s: np.array([int(getattr(t, f"{s}_content").sum()) for t in tokens], np.int32) for s in SPANS}
    cut = np.array([t.truncated for t in tokens])
    run = Run(folder)
    with run.stage("pairs", version=1, config={"max_length": max_length, "holdout": 0.1, "seed": 3}) as stage:
        stage.write("pairs.parquet", pairs_table(pairs, Split(family, heldout, ()), family, counts, cut))
        batch = tokens_batch([p.pair_id for p in pairs], tokens)
        stage.write("tokens.parquet", pa.Table.from_batches([batch], schema=TOKENS))
    for name, value in more.items():
        run.record(name, value)
    return run


def long_prompt(pair: Pair) -> Pair:
    """The pair with a prompt that fills any small max_length by itself."""
    return replace(pair, prompt=(Message("user", "capital of France " * 80),), pair_id=pair.pair_id)
