"""Sampling rollouts: K answers of one model to every prompt, shard by shard. A shard on disk is never sampled again.

Every rollout draws from a random stream of its own, named by seed, role, prompt and sample number. Its tokens then
depend on the model, its prompt and the settings alone, not on what it shared a batch with, and an interrupted run ends
with the same bytes. Roles ("before", "after") have different streams, so that noise does not cancel between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.models.sampler import Drawn, Sampler
from pretilt.rollouts.prompts import Prompts
from pretilt.run import Progress, Shards
from pretilt.settings import RolloutSettings

SAMPLES = "samples"

ROLLOUTS = pa.schema(
    [
        ("rollout_id", pa.string()),  # "<prompt_id>:<sample>"
        ("prompt_id", pa.string()),  # content hash of the prompt alone
        ("pair_id", pa.string()),  # one pair that has this prompt
        ("family_id", pa.int32()),  # of that pair; the unit of independence
        ("sample", pa.int32()),  # 0 … per_prompt - 1
        ("prompt_ids", pa.list_(pa.int32())),
        ("ids", pa.list_(pa.int32())),  # as sampled, with the stop token that ended it
        ("text", pa.string()),  # without special tokens
        ("finished", pa.bool_()),  # False: cut at max_new_tokens
        ("n_tokens", pa.int32()),  # sampled tokens without the stop token; 0: it said nothing
        ("logprob", pa.float64()),  # of `ids` under the distribution they were drawn from; null where it is not known
    ]
)


def stream_name(seed: int, role: str, prompt_id: str, sample: int) -> str:
    """Names the random stream of one rollout."""
    return f"{seed}:{role}:{prompt_id}:{sample}"


def n_shards(prompts: Prompts, settings: RolloutSettings) -> int:
    return -(-len(prompts) // settings.prompts_per_shard)


def sample(
    prompts: Prompts,
    draw: Sampler,
    tokenizer: Any,
    shards: Shards,
    settings: RolloutSettings,
    *,
    role: str,
    stop_ids: Sequence[int],
    progress: Progress | None = None,
) -> None:
    """Draw `settings.per_prompt` rollouts of every prompt into `shards` (part SAMPLES, schema ROLLOUTS).

    Shard i holds prompts i * prompts_per_shard …, each with its samples in order; shards that are whole are kept.
    `progress` gets (rollouts done, rollouts in all).
    """
    step, k = settings.prompts_per_shard, settings.per_prompt
    total = len(prompts) * k
    numbers = range(n_shards(prompts, settings))
    missing = [number for number in numbers if not shards.has(number)]
    done = total - sum(len(range(len(prompts))[n * step : (n + 1) * step]) * k for n in missing)
    if progress is not None:
        progress(done, total)
    for number in missing:
        rows = [(j, s) for j in range(len(prompts))[number * step : (number + 1) * step] for s in range(k)]
        streams = [stream_name(settings.seed, role, prompts.prompt_id[j], s) for j, s in rows]
        drawn = draw([prompts.ids[j] for j, _ in rows], streams)
        shards.write(number, {SAMPLES: _table(prompts, rows, drawn, tokenizer, set(stop_ids))})
        done += len(rows)
        if progress is not None:
            progress(done, total)


def _table(
    prompts: Prompts, rows: Sequence[tuple[int, int]], drawn: Sequence[Drawn], tokenizer: Any, stop: set[int]
) -> pa.Table:
    rollout_rows = []
    for (j, number), rollout in zip(rows, drawn, strict=True):
        answer_ids = (
            rollout.ids[:-1] if rollout.finished and rollout.ids.size and int(rollout.ids[-1]) in stop else rollout.ids
        )
        rollout_rows.append(
            {
                "rollout_id": f"{prompts.prompt_id[j]}:{number}",
                "prompt_id": prompts.prompt_id[j],
                "pair_id": prompts.pair_id[j],
                "family_id": int(prompts.family_id[j]),
                "sample": number,
                "prompt_ids": prompts.ids[j],
                "ids": rollout.ids,
                "text": rollout.text
                if rollout.text is not None
                else decoded(tokenizer, prompts.ids[j], answer_ids, rollout.finished),
                "finished": rollout.finished,
                "n_tokens": int(answer_ids.size),
                "logprob": rollout.logprob,
            }
        )
    return pa.Table.from_pylist(rollout_rows, schema=ROLLOUTS)


def decoded(tokenizer: Any, prompt_ids: np.ndarray, ids: np.ndarray, finished: bool) -> str:
    """The text of an answer, as it continues its prompt; a character that the token limit cut in half is left out.

    Prompt and answer are decoded together, since some tokenizers drop the space at the start of what they decode.
    """

    def text(some: np.ndarray) -> str:
        whole: str = tokenizer.decode(some.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return whole

    both, before = text(np.concatenate([prompt_ids, ids])), text(prompt_ids)
    answer = both[len(before) :] if both.startswith(before) else text(ids)
    return answer if finished else answer.rstrip("\ufffd")
