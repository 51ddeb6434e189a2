"""A whole causal language model, head included: it samples rollouts and gives log-probabilities.

The lens' `SubjectModel` stops at its layer and has no head. Here the model may be any, trained or not; which weights it
has is told in the same way.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import GenerationConfig

from pretilt.errors import UserError
from pretilt.models.load import (
    commit_of,
    load_causal_lm,
    load_config,
    load_tokenizer,
    memory_errors,
    quiet,
    usable_device,
)

_TURNS = 1000  # pairs whose end of turn is looked at


@dataclass(frozen=True)
class LanguageModel:
    """A causal LM on its device, without sampling habits of its own (its generation settings are set aside)."""

    model: Any

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def max_positions(self) -> int | None:
        """The longest sequence it can read; None: no limit stated."""
        return max_positions(self.model.config)

    def check_ids(self, sequences: Sequence[np.ndarray]) -> None:
        """Raise UserError for a token id that the model has no embedding of."""
        highest = max((int(ids.max()) for ids in sequences if ids.size), default=0)
        n_vocab = int(self.model.get_input_embeddings().weight.shape[0])
        if highest >= n_vocab:
            raise UserError(
                f"token id {highest} is unknown to the model",
                why=f"it has {n_vocab} ids",
                fix="Give a model trained from the run's own",
            )


def max_positions(config: Any) -> int | None:
    """The longest sequence that a model of this configuration can read; None: no limit stated."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def load_language_model(
    name_or_path: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> LanguageModel:
    """Load a causal LM from the Hub or a folder onto a device, head included; see `load_causal_lm` for its errors."""
    where = usable_device(device)
    model = load_causal_lm(name_or_path, revision=revision, dtype=dtype)
    model.generation_config = GenerationConfig()  # a repetition penalty or top-p of its own would tilt every rollout
    with memory_errors("Give --device cpu or a smaller --dtype"):
        model.eval().to(where)
    return LanguageModel(model)


def check_same_vocabulary(tokenizer: Any, name_or_path: str | Path, revision: str | None = None) -> None:
    """Raise UserError if the model's own tokenizer, where it has one, gives other ids to the run's tokens.

    Tokens added in training (a padding token) do not matter.
    """
    try:
        other = load_tokenizer(name_or_path, revision=revision)
    except UserError:
        return  # weights saved without a tokenizer: those of the run's model, or none of ours would fit
    theirs = other.get_vocab()
    if moved := [token for token, number in tokenizer.get_vocab().items() if theirs.get(token) != number]:
        raise UserError(
            f"'{name_or_path}' reads other token ids than the run's model",
            why=f"{len(moved)} tokens differ, the first is {moved[0]!r}",
            fix="Give a model trained from the run's own",
        )


def stop_ids(name_or_path: str | Path, revision: str | None, tokenizer: Any, tokens: pa.Table) -> tuple[int, ...]:
    """The token ids that end an answer, ascending: one set for a run, whichever model answers.

    They are the EOS ids of the run's model (tokenizer, configuration, generation settings) and the special token that
    follows the responses in `tokens` (schema TOKENS), which the chat template puts at the end of a turn.
    """
    commit = commit_of(name_or_path, revision)
    ending_ids: set[int] = set()
    with quiet():
        configs = [load_config(name_or_path, revision=commit).get_text_config()]
        with contextlib.suppress(OSError):  # many folders have none
            configs.append(GenerationConfig.from_pretrained(str(name_or_path), revision=commit or "main"))

    for ids in (tokenizer.eos_token_id, *(getattr(config, "eos_token_id", None) for config in configs)):
        ending_ids.update([ids] if isinstance(ids, int) else ids or [])

    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | set(
        tokenizer.all_special_ids
    )
    ends: Counter[int] = Counter()
    sample = tokens.slice(0, _TURNS)
    for ids, content in zip(sample["chosen_ids"].to_pylist(), sample["chosen_content"].to_pylist(), strict=True):
        behind = int(np.flatnonzero(content)[-1]) + 1 if any(content) else len(ids)
        if behind < len(ids):
            ends[ids[behind]] += 1

    if ends and (end := ends.most_common(1)[0][0]) in special:
        ending_ids.add(end)
    return tuple(sorted(ending_ids))
