"""Log-probabilities of responses under a language model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from pretilt.errors import UserError
from pretilt.models.language import LanguageModel
from pretilt.models.load import memory_errors


def log_probs(
    model: LanguageModel,
    prompt_ids: Sequence[np.ndarray],
    response_ids: Sequence[np.ndarray],
    *,
    temperature: float = 1.0,
    batch_tokens: int = 2048,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Sum of the log-probabilities of each response's tokens after its prompt, (n,) float64; 0 for an empty response.

    `temperature` is the one they were sampled at (0 counts as 1: the model's own distribution). A prompt must have a
    token. `batch_tokens` bounds a batch with its padding; `progress` gets the number of responses of each batch.
    Raises UserError for unknown ids, sequences too long for the model, and probabilities that are not finite.
    """
    total = np.zeros(len(prompt_ids))
    model.check_ids([*prompt_ids, *response_ids])
    longest = max((p.size + r.size for p, r in zip(prompt_ids, response_ids, strict=True)), default=0)
    if model.max_positions is not None and longest > model.max_positions:
        raise UserError(
            f"a rollout of {longest} tokens is too long for the model", why=f"it reads at most {model.max_positions}"
        )
    for rows in _batches(prompt_ids, response_ids, batch_tokens):
        with memory_errors("Give a smaller batch"):
            total[rows] = _batch(
                model, [prompt_ids[i] for i in rows], [response_ids[i] for i in rows], temperature or 1.0
            )
        if progress is not None:
            progress(len(rows))
    if not np.isfinite(total).all():
        raise UserError(
            "the model gives no finite probabilities",
            why="its weights or activations overflow, or a rollout is impossible under it",
            fix="Give --dtype float32 or bfloat16, or a model whose training did not diverge",
        )
    return total


def _batches(
    prompt_ids: Sequence[np.ndarray], response_ids: Sequence[np.ndarray], batch_tokens: int
) -> Iterator[list[int]]:
    sizes = [p.size + r.size for p, r in zip(prompt_ids, response_ids, strict=True)]
    batch: list[int] = []
    for i in sorted((i for i, r in enumerate(response_ids) if r.size), key=lambda i: sizes[i]):
        if batch and (len(batch) + 1) * sizes[i] > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@torch.inference_mode()
def _batch(
    model: LanguageModel, prompts: Sequence[np.ndarray], responses: Sequence[np.ndarray], temperature: float
) -> np.ndarray:
    """Padded on the left, so that all responses end together and the head is computed for them alone."""
    width = max(p.size + r.size for p, r in zip(prompts, responses, strict=True))
    longest = max(r.size for r in responses)
    ids = torch.zeros((len(prompts), width), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, whole in enumerate(zip(prompts, responses, strict=True)):
        both = np.concatenate(whole).astype(np.int64)
        ids[row, width - both.size :] = torch.from_numpy(both)
        mask[row, width - both.size :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)

    takes = inspect.signature(model.model.forward).parameters
    more = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": longest + 1, "use_cache": False}
    more = {name: value for name, value in more.items() if name in takes}
    logits = model.model(input_ids=ids, attention_mask=mask, **more).logits[:, -(longest + 1) : -1]

    sums = np.zeros(len(prompts))
    for row, response in enumerate(responses):  # a row at a time: the whole batch in float32 would double the memory
        n = response.size
        logp = torch.log_softmax(logits[row, longest - n :].float() / temperature, dim=-1)
        sums[row] = logp.gather(1, ids[row, width - n :, None]).cpu().double().sum().item()
    return sums
