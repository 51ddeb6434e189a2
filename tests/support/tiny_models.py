"""Tiny random models, dictionaries and pairs for the lens tests; nothing is downloaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers as tf

from pretilt.lens.dictionary import Dictionary
from pretilt.lens.lens import Lens
from pretilt.lens.packing import Rows
from pretilt.models.subject import SubjectModel
from pretilt.schema import SPANS, TOKENS

VOCAB, WIDTH, LAYERS, POSITIONS = 97, 32, 4, 96

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}
_NEO: dict[str, Any] = {"num_layers": LAYERS, "num_heads": 4, "attention_types": [[["global", "local"], 2]]}


def config(family: str, **changes: Any) -> Any:
    """Configuration of a tiny model of `family`."""
    small = {key: _COMMON[key] for key in ("vocab_size", "hidden_size", "max_position_embeddings")}
    made: dict[str, tuple[Any, dict[str, Any]]] = {
        "llama": (tf.LlamaConfig, _COMMON),
        "qwen2": (tf.Qwen2Config, _COMMON),
        "mistral": (tf.MistralConfig, _COMMON | {"sliding_window": 24, "head_dim": 8}),
        "gemma2": (tf.Gemma2Config, _COMMON | {"sliding_window": 24, "head_dim": 8}),
        "gemma3": (tf.Gemma3TextConfig, _COMMON | {"sliding_window": 24, "head_dim": 8}),
        "olmo2": (tf.Olmo2Config, _COMMON),
        "gpt2": (
            tf.GPT2Config,
            {"vocab_size": VOCAB, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": POSITIONS},
        ),
        "gpt_neo": (tf.GPTNeoConfig, small | _NEO | {"window_size": 24}),
        "bloom": (tf.BloomConfig, {"vocab_size": VOCAB, "hidden_size": WIDTH, "n_layer": LAYERS, "n_head": 4}),
    }
    kind, settings = made[family]
    return kind(**settings | changes)


def causal_lm(family: str = "llama", seed: int = 0, **changes: Any) -> Any:
    """A random model whose attention matters: with the usual initialisation of 0.02 a wrong mask would hardly show."""
    torch.manual_seed(seed)
    model = tf.AutoModelForCausalLM.from_config(config(family, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= 5
    return model


def subject(family: str = "llama", **changes: Any) -> SubjectModel:
    return SubjectModel(causal_lm(family, **changes), None, {"name": family, "revision": None, "dtype": "float32"})


def dictionary(n_features: int = 64, *, d_model: int = WIDTH, threshold: float = 1.0, seed: int = 1) -> Dictionary:
    g = torch.Generator().manual_seed(seed)
    return Dictionary(
        "jumprelu",
        W_enc=torch.randn(d_model, n_features, generator=g),
        b_enc=torch.randn(n_features, generator=g) * 0.1,
        W_dec=torch.randn(n_features, d_model, generator=g),
        b_dec=torch.randn(d_model, generator=g) * 0.1,
        threshold=torch.full((n_features,), threshold),
    )


def lens(family: str = "llama", layer: int = 2, **changes: Any) -> Lens:
    return Lens(subject(family, **changes), layer, dictionary())


def rows(sizes: list[tuple[int, int, int]], seed: int = 0, content_share: float = 0.8) -> Rows:
    """Random pairs of the given lengths (prompt, chosen, rejected) with random content masks."""
    rng = np.random.default_rng(seed)
    ids = [tuple(rng.integers(0, VOCAB, n).astype(np.int32) for n in row) for row in sizes]
    return Rows(SPANS, ids, [tuple(rng.random(span.size) < content_share for span in row) for row in ids])


def some_sizes(n: int, seed: int = 0) -> list[tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    return [(int(p), int(c), int(r)) for p, c, r in rng.integers(1, 24, (n, 3))]


def tokens_table(some: Rows) -> pa.Table:
    """Schema TOKENS."""
    columns = [[f"pair{i:04d}" for i in range(len(some))]]
    columns += [[row[s] for row in some.ids] for s in range(3)]
    columns += [[row[s] for row in some.content] for s in range(3)]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, TOKENS, strict=True)], schema=TOKENS)


def dense_reading(a_lens: Lens, some: Rows) -> list[dict[str, np.ndarray]]:
    """The oracle: per row and span, dense activations (content tokens, n_features) of prompt + response read alone."""
    found = []
    for ids, content in zip(some.ids, some.content, strict=True):
        by_span = {}
        for s, name in list(enumerate(some.span_names))[1:]:
            both = torch.from_numpy(np.concatenate([ids[0], ids[s]]).astype(np.int64))[None]
            x = a_lens.model.residual(a_lens.layer, both)[0]
            acts = a_lens.dictionary.encode(x).numpy()
            by_span[some.span_names[0]] = acts[: ids[0].size][content[0]]
            by_span[name] = acts[ids[0].size :][content[s]]
        found.append(by_span)
    return found
