"""The small subject model: trained from scratch on generated questions and answers, then saved as a Hugging Face model.

A million parameters, so that a world takes minutes: what a language model of this size says is as varied as its
training text, and every trait of that text has a known rate. Seeded; the same bytes on one machine and thread count.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import grammar
import numpy as np

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
END, PAD = "<|end|>", "<|pad|>"
SPECIAL = [PAD, END, "<|user|>", "<|assistant|>", "<|system|>"]
VOCABULARY = 1200
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
}
STEPS, BATCH, PEAK_RATE, WARMUP = 1000, 32, 5e-3, 60


def train(out: Path, *, seed: int = 0, steps: int = STEPS, log: Any = print) -> dict[str, Any]:
    """Train, save to `out` and return the card; what is there already is kept."""
    card = out / "world-card.json"
    if card.exists():
        return dict(json.loads(card.read_text()))
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, **SHAPE,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    start, losses = time.monotonic(), []
    for step in range(steps):
        rate = min((step + 1) / WARMUP, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * rate
        ids, labels = _batch(tokenizer, np.random.default_rng([seed, 1, step]))
        loss = model(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(labels)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        if (step + 1) % 100 == 0:
            log(f"step {step + 1}: loss {np.mean(losses[-100:]):.3f}, {time.monotonic() - start:.0f} s", flush=True)
    model.eval()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    found = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": steps,
        "documents": steps * BATCH,
        "seed": seed,
        "loss": float(np.mean(losses[-100:])),
        "seconds": round(time.monotonic() - start, 1),
    }
    card.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _document(rng: np.random.Generator) -> list[dict[str, str]]:
    question, topic = grammar.prompt(rng)
    return [{"role": "user", "content": question}, {"role": "assistant", "content": grammar.answer(rng, topic)}]


def _tokenizer(seed: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng = np.random.default_rng([seed, 0])
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = (message["content"] for _ in range(3000) for message in _document(rng))
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, pad_token=PAD)
    made.chat_template = TEMPLATE
    return made


def _batch(tokenizer: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """ids and labels [BATCH, longest]; the loss is on the answers and their end, not on prompts."""
    rows = []
    for _ in range(BATCH):
        messages = _document(rng)
        both = tokenizer.apply_chat_template(messages, return_dict=False)
        asked = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_dict=False)
        rows.append((both, len(asked)))
    width = max(len(ids) for ids, _ in rows)
    ids = np.full((BATCH, width), tokenizer.pad_token_id, np.int64)
    labels = np.full((BATCH, width), -100, np.int64)
    for row, (one, asked) in enumerate(rows):
        ids[row, : len(one)] = one
        labels[row, asked : len(one)] = one[asked:]
    return ids, labels
