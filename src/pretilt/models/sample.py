"""Drawing answers from a Hugging Face model: batched `generate`, a random stream per answer, log-probabilities kept.

`generate` is told to take the most likely token, after a processor has made the drawn one the only one: so its cache
and stopping are used, while each answer has a stream of its own. A token is drawn by inverting the cumulative
distribution at one uniform number, which no other answer of the batch enters. Nothing is cut from the distribution:
a top-p or top-k would take away the support that importance weights need.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from pretilt.errors import UserError
from pretilt.models.language import LanguageModel
from pretilt.models.load import memory_errors
from pretilt.models.sampler import Drawn


def uniforms(stream: str, n: int) -> np.ndarray:
    """The first n numbers of a named random stream, (n,) float64 in [0, 1); the same on every machine."""
    key = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key)).random(n)


class LocalSampler:
    """Draws answers from a model in memory; see `rollouts.Sampler`.

    `stop_ids` end an answer. Raises UserError if the model's probabilities are not finite, if a prompt and
    `max_new_tokens` do not fit the model, and if a batch does not fit the device.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        stop_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float = 1.0,
        batch_size: int = 32,
    ) -> None:
        self.model, self.stop_ids, self.max_new_tokens = model, tuple(stop_ids), max_new_tokens
        self.temperature, self.batch_size = temperature, batch_size
        self._config = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            use_cache=True,
            eos_token_id=list(self.stop_ids) or None,
            pad_token_id=self._padding,
        )

    @property
    def _padding(self) -> int:
        return self.stop_ids[0] if self.stop_ids else 0

    def __call__(self, prompts: Sequence[np.ndarray], streams: Sequence[str]) -> list[Drawn]:
        self._check(prompts)
        order = sorted(range(len(prompts)), key=lambda i: prompts[i].size)  # little padding
        drawn: dict[int, Drawn] = {}
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            with memory_errors("Give a smaller --batch-size"):
                drawn.update(
                    zip(rows, self._batch([prompts[i] for i in rows], [streams[i] for i in rows]), strict=True)
                )
        return [drawn[i] for i in range(len(prompts))]

    def _check(self, prompts: Sequence[np.ndarray]) -> None:
        longest = max((p.size for p in prompts), default=0) + self.max_new_tokens
        if self.model.max_positions is not None and longest > self.model.max_positions:
            raise UserError(
                f"a prompt and {self.max_new_tokens} new tokens are {longest} tokens",
                why=f"the model reads at most {self.model.max_positions}",
                fix="Give a smaller --max-new-tokens",
            )
        self.model.check_ids(prompts)

    def _batch(self, prompts: Sequence[np.ndarray], streams: Sequence[str]) -> list[Drawn]:
        width = max(p.size for p in prompts)
        ids = torch.full((len(prompts), width), self._padding)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - prompt.size :] = torch.from_numpy(prompt.astype(np.int64))
            mask[row, width - prompt.size :] = 1

        device = self.model.device
        chooser = _Chooser(
            np.stack([uniforms(s, self.max_new_tokens) for s in streams]), width, self.temperature, device
        )

        with torch.inference_mode():
            grown = self.model.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=self._config,
                logits_processor=LogitsProcessorList([chooser]),
            )

        logprobs = chooser.logprobs.cpu().numpy()
        return [
            self._drawn(np.asarray(new, np.int32), logprobs[row]) for row, new in enumerate(grown[:, width:].tolist())
        ]

    def _drawn(self, ids: np.ndarray, logprobs: np.ndarray) -> Drawn:
        stops = np.flatnonzero(np.isin(ids, self.stop_ids))
        ids = ids[: stops[0] + 1] if stops.size else ids
        logprob = float(logprobs[: ids.size].sum())
        if not np.isfinite(logprob):
            raise UserError(
                "the model gives no finite probabilities",
                why="its weights or activations overflow",
                fix="Give --dtype float32 or bfloat16, or a model whose training did not diverge",
            )
        return Drawn(ids, bool(stops.size), logprob)


class _Chooser(LogitsProcessor):
    """Leaves of every row's scores (B, V) the drawn token alone, and keeps its log-probability."""

    def __init__(self, uniform: np.ndarray, width: int, temperature: float, device: torch.device) -> None:
        self._float = torch.float32 if device.type == "mps" else torch.float64  # which has no double precision
        self._uniform = torch.from_numpy(uniform).to(device, self._float)  # (B, max_new_tokens)
        self._width, self._temperature = width, temperature
        self.logprobs = torch.zeros_like(self._uniform)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # On some devices `generate` runs on for a step before it sees that every answer has ended.
        step = min(input_ids.shape[1] - self._width, self._uniform.shape[1] - 1)
        logp = torch.log_softmax(scores.float() / (self._temperature or 1.0), dim=-1)
        if self._temperature:
            cumulative = logp.exp().cumsum(dim=-1, dtype=self._float)  # float32 sums would misplace rare tokens
            drawn = torch.searchsorted(cumulative, self._uniform[:, step, None] * cumulative[:, -1:], right=True)
            drawn.clamp_(max=scores.shape[1] - 1)
        else:
            drawn = logp.argmax(dim=-1, keepdim=True)
        self.logprobs[:, step] = logp.gather(1, drawn)[:, 0].to(self._float)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn, 0.0)
