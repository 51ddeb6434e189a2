"""How likely given rollouts are under a model, and what two models' answers to that say: divergence and weights.

With log-probabilities of the same rollouts under the trained model and under the base, their log ratio gives the KL
divergence on rollouts and the weights by which base rollouts stand for the trained model's. Both are computed here by
the same teacher-forced pass: the numbers that sampling leaves behind differ from it by rounding, which a sum over
hundreds of tokens would not forgive in half precision.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from pretilt.errors import UserError
from pretilt.lens.checkpoint import memory_errors
from pretilt.run import Progress, Shards
from pretilt.verify.language_model import LanguageModel
from pretilt.verify.rollouts import SAMPLES

LOGPROB = "logprob"

LOGPROBS = pa.schema(
    [
        ("rollout_id", pa.string()),
        ("logprob", pa.float64()),  # of the sampled ids, the stop token included, at the sampling temperature; <= 0
    ]
)


@dataclass(frozen=True)
class Divergence:
    """KL divergence per response, in nats, of the model that answered from another one."""

    kl: float  # mean over prompts of log p_own - log p_other; near zero it may come out negative
    standard_error: float  # over families; NaN with one
    kl_per_token: float  # the same, per sampled token
    n_prompts: int
    n_families: int


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
    kept = max(r.size for r in responses)
    ids = torch.zeros((len(prompts), width), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, whole in enumerate(zip(prompts, responses, strict=True)):
        both = np.concatenate(whole).astype(np.int64)
        ids[row, width - both.size :] = torch.from_numpy(both)
        mask[row, width - both.size :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    takes = inspect.signature(model.model.forward).parameters
    more = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": kept + 1, "use_cache": False}
    more = {name: value for name, value in more.items() if name in takes}
    logits = model.model(input_ids=ids, attention_mask=mask, **more).logits[:, -(kept + 1) : -1]
    sums = np.zeros(len(prompts))
    for row, response in enumerate(responses):  # a row at a time: the whole batch in float32 would double the memory
        n = response.size
        logp = torch.log_softmax(logits[row, kept - n :].float() / temperature, dim=-1)
        sums[row] = logp.gather(1, ids[row, width - n :, None]).cpu().double().sum().item()
    return sums


def score_rollouts(
    samples: Shards,
    model: LanguageModel,
    shards: Shards,
    *,
    temperature: float,
    batch_tokens: int = 2048,
    progress: Progress | None = None,
) -> None:
    """Log-probabilities (part LOGPROB, schema LOGPROBS) of every shard of `samples`; shards that are whole are kept.

    `progress` gets (shards done, in all).
    """
    total = samples.count()
    for number in range(total):
        if progress is not None:
            progress(number, total)
        if shards.has(number):
            continue
        some = samples.read(SAMPLES, number, ["rollout_id", "prompt_ids", "ids"])
        prompts, responses = (
            [np.asarray(x, np.int32) for x in some[name].to_pylist()] for name in ("prompt_ids", "ids")
        )
        found = log_probs(model, prompts, responses, temperature=temperature, batch_tokens=batch_tokens)
        shards.write(number, {LOGPROB: pa.table([some["rollout_id"], pa.array(found)], schema=LOGPROBS)})
    if progress is not None:
        progress(total, total)


def effective_share(log_weight: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """Effective sample size over K of every prompt's rollouts, (J,) in [1/K, 1]; NaN for a prompt with one rollout.

    `log_weight` (n,) is log p_trained - log p_base of base rollouts, `prompt` (n,) int numbers their prompts from 0.
    ESS = (sum w)^2 / sum w^2. Below 0.3 the weighted rollouts say little about the trained model.
    """
    n_prompts = int(prompt.max(initial=-1)) + 1
    highest = np.full(n_prompts, -np.inf)
    np.maximum.at(highest, prompt, log_weight)
    weight = np.exp(log_weight - highest[prompt])
    k = np.bincount(prompt, minlength=n_prompts)
    share: np.ndarray = np.bincount(prompt, weight, n_prompts) ** 2 / np.bincount(prompt, weight**2, n_prompts) / k
    return np.where(k > 1, share, np.nan)


def divergence(
    own: np.ndarray, other: np.ndarray, prompt: np.ndarray, family: np.ndarray, n_tokens: np.ndarray
) -> Divergence:
    """KL(own || other) from the log-probabilities (n,) of rollouts that the own model drew.

    `prompt` (n,) numbers the prompts from 0; `family` (n,) is constant within a prompt; `n_tokens` (n,) counts the
    scored tokens. Every prompt weighs the same; the standard error takes families as independent.
    """
    n_prompts = int(prompt.max()) + 1
    k = np.bincount(prompt, minlength=n_prompts)
    by_prompt = np.bincount(prompt, own - other, n_prompts) / k
    kl = float(by_prompt.mean())
    family_of = np.zeros(n_prompts, family.dtype)
    family_of[prompt] = family
    _, number = np.unique(family_of, return_inverse=True)
    sums = np.bincount(number, by_prompt - kl)
    error = float(np.sqrt((sums**2).sum() * sums.size / (sums.size - 1)) / n_prompts) if sums.size > 1 else float("nan")
    tokens = float((np.bincount(prompt, n_tokens, n_prompts) / k).mean())
    return Divergence(kl, error, kl / tokens if tokens else float("nan"), n_prompts, int(sums.size))
