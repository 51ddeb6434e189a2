"""How likely given rollouts are under a model, and what two models' answers to that say: divergence and weights.

With log-probabilities of the same rollouts under the trained model and under the base, their log ratio gives the KL
divergence on rollouts and the weights by which base rollouts stand for the trained model's. Both are computed here by
the same teacher-forced pass: the numbers that sampling leaves behind differ from it by rounding, which a sum over
hundreds of tokens would not forgive in half precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pretilt.models.language import LanguageModel
from pretilt.models.logprob import log_probs
from pretilt.rollouts.sampling import SAMPLES
from pretilt.run import Progress, Shards
from pretilt.stats.clustered import mean_errors

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
        log_probabilities = log_probs(model, prompts, responses, temperature=temperature, batch_tokens=batch_tokens)
        shards.write(number, {LOGPROB: pa.table([some["rollout_id"], pa.array(log_probabilities)], schema=LOGPROBS)})
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
    error = float(mean_errors(by_prompt[:, None], family_of)[0])
    tokens = float((np.bincount(prompt, n_tokens, n_prompts) / k).mean())
    return Divergence(kl, error, kl / tokens if tokens else float("nan"), n_prompts, np.unique(family_of).size)
