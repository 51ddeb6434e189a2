"""Sampling rollouts: K answers of one model to every prompt, shard by shard. A shard on disk is never sampled again.

Every rollout draws from a random stream of its own, named by seed, role, prompt and sample number. Its tokens then
depend on the model, its prompt and the settings alone, not on what it shared a batch with, and an interrupted run ends
with the same bytes. Roles ("before", "after") have different streams, so that noise does not cancel between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.errors import UserError
from pretilt.models.sampler import Drawn, Sampler
from pretilt.rollouts.prompts import SPLITS, Prompts
from pretilt.run import Progress, Shards

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


@dataclass(frozen=True)
class RolloutSettings:
    """What rollouts are made of. Raises UserError for a value out of range."""

    split: str = "heldout"  # prompts of which pairs: "heldout", "train" or "all"
    n_prompts: int | None = None  # None: every distinct prompt of the split
    per_prompt: int = 4  # rollouts per prompt; two at least give the spread within a prompt
    max_new_tokens: int = 256
    temperature: float = 1.0  # 1: the model's own distribution; 0: its most likely token, and then one per prompt
    seed: int = 0
    batch_size: int = 32  # rollouts per forward pass
    prompts_per_shard: int = 32

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise UserError(f"there is no split '{self.split}'", fix=f"Choose one of {', '.join(SPLITS)}")
        for name in ("n_prompts", "per_prompt", "max_new_tokens", "batch_size", "prompts_per_shard"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}", why="it must be 1 or more")
        if not (np.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"temperature is {self.temperature}", why="it must be 0 or more")
        if self.temperature == 0 and self.per_prompt > 1:
            raise UserError(
                f"{self.per_prompt} rollouts per prompt at temperature 0 are all the same",
                fix="Give --per-prompt 1, or a temperature above 0",
            )

    @classmethod
    def load(cls, known: Mapping[str, Any], **given: Any) -> RolloutSettings:
        """Settings from `known` values, overridden by those given that are not None."""
        names = {field.name for field in fields(cls)}
        if unknown := sorted(set(given) - names):
            raise UserError(f"option '{unknown[0]}' is not known", fix=f"Known options: {', '.join(sorted(names))}")
        values = {name: value for name, value in known.items() if name in names}
        return cls(**{**values, **{name: value for name, value in given.items() if value is not None}})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def sampled_as(self) -> dict[str, Any]:
        """What two sets of rollouts must share to be compared: the prompts, the length limit, the temperature."""
        names = ("split", "n_prompts", "max_new_tokens", "temperature", "seed")
        return {name: getattr(self, name) for name in names}


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
    found = []
    for (j, number), one in zip(rows, drawn, strict=True):
        said = one.ids[:-1] if one.finished and one.ids.size and int(one.ids[-1]) in stop else one.ids
        found.append(
            {
                "rollout_id": f"{prompts.prompt_id[j]}:{number}",
                "prompt_id": prompts.prompt_id[j],
                "pair_id": prompts.pair_id[j],
                "family_id": int(prompts.family_id[j]),
                "sample": number,
                "prompt_ids": prompts.ids[j],
                "ids": one.ids,
                "text": one.text if one.text is not None else decoded(tokenizer, prompts.ids[j], said, one.finished),
                "finished": one.finished,
                "n_tokens": int(said.size),
                "logprob": one.logprob,
            }
        )
    return pa.Table.from_pylist(found, schema=ROLLOUTS)


def decoded(tokenizer: Any, prompt_ids: np.ndarray, ids: np.ndarray, finished: bool) -> str:
    """The text of an answer, as it continues its prompt; a character that the token limit cut in half is left out.

    Prompt and answer are decoded together, since some tokenizers drop the space at the start of what they decode.
    """

    def text(some: np.ndarray) -> str:
        whole: str = tokenizer.decode(some.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return whole

    both, before = text(np.concatenate([prompt_ids, ids])), text(prompt_ids)
    said = both[len(before) :] if both.startswith(before) else text(ids)
    return said if finished else said.rstrip("\ufffd")
