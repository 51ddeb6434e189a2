"""Drawing answers from an OpenAI-compatible server (vLLM, llama.cpp, …) instead of a model in memory.

The prompt goes as token ids to the text-completion route, so that no template of the server's comes between. Where the
server does not give the sampled ids back, its text is tokenised again. Log-probabilities are not asked for: servers
differ in what they mean by them; `log_ratio.py` computes them for any rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pretilt.errors import UserError
from pretilt.models.sampler import Drawn
from pretilt.run import content_hash

# What vLLM and llama.cpp take beyond OpenAI's interface: the sampled ids back, and none of their sampling habits.
_BEYOND = {"return_token_ids": True, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "repeat_penalty": 1.0}


@dataclass(frozen=True)
class Endpoint:
    """Where and whom to ask."""

    base_url: str
    model: str  # the name under which the server knows it
    api_key: str = field(default="not-needed", repr=False)
    timeout: float = 300.0  # seconds for one answer
    tries: int = 5  # of one request, with growing pauses
    concurrency: int = 8

    @property
    def identity(self) -> dict[str, str]:
        """What is known of the weights behind it: the server's word."""
        return {"endpoint": self.base_url, "name": self.model}


class EndpointSampler:
    """Draws answers over HTTP, one request each; see `rollouts.Sampler`.

    A server that honours `seed` gives the same answers to the same streams; one that does not gives others each time,
    and only shards on disk are sure to stay. One that takes OpenAI's own parameters alone may cut its distribution (a
    top-k it was started with), and nobody can tell. Raises UserError where the server cannot be reached or refuses, and
    where it reads another number of prompt tokens than it was sent.
    """

    def __init__(
        self, endpoint: Endpoint, tokenizer: Any, *, stop_ids: Sequence[int], max_new_tokens: int, temperature: float
    ) -> None:
        import openai

        self.endpoint, self.tokenizer, self.stop_ids = endpoint, tokenizer, tuple(stop_ids)
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self._extra: dict[str, Any] = {**_BEYOND, "stop_token_ids": list(self.stop_ids)}
        self._sdk = openai.OpenAI(
            api_key=endpoint.api_key,
            base_url=endpoint.base_url,
            timeout=endpoint.timeout,
            max_retries=endpoint.tries - 1,
        )

    def __call__(self, prompts: Sequence[np.ndarray], streams: Sequence[str]) -> list[Drawn]:
        with ThreadPoolExecutor(self.endpoint.concurrency) as pool:
            futures = [pool.submit(self._draw, p.tolist(), s) for p, s in zip(prompts, streams, strict=True)]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def _draw(self, prompt: list[int], stream: str) -> Drawn:
        answer = self._ask(prompt, int(content_hash(stream)[:8], 16) >> 1)
        usage = answer.get("usage")
        read = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        if isinstance(read, int) and read not in (0, len(prompt)):
            raise self._error(
                f"it read {read} prompt tokens, {len(prompt)} were sent", "Serve it with the run's own tokenizer"
            )

        choices = answer.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
            raise self._error("the answer is no text completion", "Check the base URL, with its /v1")
        text = choice["text"].encode("utf-8", "replace").decode()
        finished = choice.get("finish_reason") == "stop"

        token_ids = choice.get("token_ids")
        if isinstance(token_ids, list) and all(isinstance(i, int) and 0 <= i < 2**31 for i in token_ids):
            ids = [i for i in token_ids if i not in self.stop_ids]
        else:
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = ids[: self.max_new_tokens] + ([self.stop_ids[0]] if finished and self.stop_ids else [])
        return Drawn(np.asarray(ids, np.int32), finished, None, text if finished else text.rstrip("\ufffd"))

    def _ask(self, prompt: list[int], seed: int) -> dict[str, Any]:
        import openai

        extra = self._extra
        try:
            answer = self._sdk.completions.with_raw_response.create(
                model=self.endpoint.model,
                prompt=prompt,
                max_tokens=self.max_new_tokens,
                temperature=self.temperature,
                top_p=1.0,  # servers take a model's own habits unless told
                seed=seed,
                extra_body=extra,
            )
            body = answer.http_response.json()
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if extra:  # once more with nothing that OpenAI's own interface does not have
                self._extra = {}
                return self._ask(prompt, seed)
            raise self._error(str(error)) from error
        except (openai.OpenAIError, ValueError) as error:
            raise self._error(str(error)) from error
        return body if isinstance(body, dict) else {}

    def _error(
        self, why: str, fix: str = "Finished shards are kept: mend it and give the same command again"
    ) -> UserError:
        key = self.endpoint.api_key
        reason = why.replace(key, "***") if len(key) > 6 else why
        return UserError(f"the server at {self.endpoint.base_url} gives no rollouts", why=reason[:300], fix=fix)
