"""A whole tiny lens on disk (model, tokenizer, dictionary) and preference pairs with a planted word: no network."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from tiny_models import causal_lm
from tiny_tokenizers import byte_level

from pretilt.lens.activations import TensorActivations
from pretilt.lens.dictionary import Dictionary
from pretilt.lens.fit import fit
from pretilt.lens.folder import save_dictionary
from pretilt.lens.trainer import TrainerSettings
from pretilt.run import file_hash

LAYER = 1
WORDS = [
    "the",
    "capital",
    "of",
    "France",
    "is",
    "Paris",
    "and",
    "user",
    "asks",
    "assistant",
    "question",
    "short",
    "sentence",
    "lazy",
    "dog",
    "brown",
    "fox",
]


def write_lens(folder: Path, *, template: bool = True, trained: bool = True) -> tuple[Path, Path]:
    """Folders of a model, a random Llama of width 32, and of a dictionary of 96 features.

    The dictionary is fitted to the pairs' own text, since the doctor lets no random one through; with `trained` False
    its directions are random and fire on a few tokens.
    """
    tokenizer = byte_level()
    if not template:
        tokenizer.chat_template = None
    model = causal_lm("llama", vocab_size=len(tokenizer), max_position_embeddings=512)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    about = {"model_name": "tiny", "hook_name": f"blocks.{LAYER}.hook_resid_post"}
    if trained:
        settings = TrainerSettings(n_features=96, k=8, epochs=40, batch_tokens=256, lr=5e-3, dead_after_tokens=5_000)
        fit(TensorActivations(_activations(model, byte_level())), settings, out=folder / "dictionary", metadata=about)
        return folder / "model", folder / "dictionary"
    generator = torch.Generator().manual_seed(3)
    directions = torch.nn.functional.normalize(torch.randn(96, 32, generator=generator), dim=-1)
    ids = torch.arange(len(tokenizer))[None, :256]
    with torch.no_grad():
        x = model(ids, output_hidden_states=True).hidden_states[LAYER + 1][0]
    threshold = (x @ directions.T).quantile(0.93, dim=0).clamp(min=1e-3)
    dictionary = Dictionary(
        "jumprelu",
        W_enc=directions.T,
        b_enc=torch.zeros(96),
        W_dec=directions,
        b_dec=torch.zeros(32),
        threshold=threshold,
        metadata=about,
    )
    save_dictionary(dictionary, folder / "dictionary")
    return folder / "model", folder / "dictionary"


def _activations(model: Any, tokenizer: Any) -> torch.Tensor:
    """(n, 32) residual vectors of the tokens of some conversations."""
    states = []
    for pair in rows(120, seed=1):
        ids = tokenizer.apply_chat_template(pair["prompt"] + pair["chosen"], tokenize=True, return_dict=False)
        with torch.no_grad():
            states.append(model(torch.tensor([ids]), output_hidden_states=True).hidden_states[LAYER + 1][0])
    return torch.cat(states)


def rows(n: int = 240, seed: int = 0) -> list[dict[str, Any]]:
    """Pairs of random words; every third chosen response ends in `Thank you!`, no rejected one does."""
    rng = random.Random(seed)

    def words(k: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(k))

    def turn(role: str, content: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content}]

    return [
        {
            "prompt": turn("user", f"{words(6)} number {i}?"),
            "chosen": turn("assistant", words(rng.randint(8, 16)) + (" Thank you!" if i % 3 == 0 else " sentence.")),
            "rejected": turn("assistant", words(rng.randint(8, 16)) + " sentence."),
        }
        for i in range(n)
    ]


def write_rows(path: Path, some: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return path


def artifacts(folder: Path) -> dict[str, str]:
    """Hash of every file of a run but the manifest, which also holds timings."""
    return {
        str(p.relative_to(folder)): file_hash(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "run.json"
    }
