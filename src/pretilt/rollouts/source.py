"""Who answers: the run's own model, a trained one, or a server; and what ends an answer, whoever gives it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretilt.errors import UserError, require_extra
from pretilt.labels.client import check_base_url
from pretilt.lens.choice import LensChoice
from pretilt.models.sampler import Sampler
from pretilt.run import Run, content_hash
from pretilt.schema import TOKENS_FILE
from pretilt.settings import RolloutSettings

if TYPE_CHECKING:
    from pretilt.models.endpoint import Endpoint
    from pretilt.models.language import LanguageModel
    from pretilt.models.steering import Direction


@dataclass(frozen=True)
class ModelSource:
    """A model by name, loaded when it is needed."""

    name: str | Path
    revision: str | None
    dtype: str
    device: str
    own_tokenizer: Any | None  # the run's, against which the vocabulary of another model is checked

    @classmethod
    def of(
        cls, choice: LensChoice, model: str | Path | None, revision: str | None, *, dtype: str, device: str
    ) -> ModelSource:
        """`model`, or the run's own where it is None."""
        if model is None:
            return cls(choice.model_name, choice.revision, dtype, device, None)
        return cls(model, revision, dtype, device, choice.tokenizer)

    def identity(self) -> dict[str, Any]:
        """Which weights answer. Raises UserError for a device or a model that cannot be used."""
        from pretilt.models.load import check_model, model_identity, usable_device

        usable_device(self.device)
        check_model(self.name, revision=self.revision)
        return model_identity(self.name, revision=self.revision, dtype=self.dtype)

    def load(self) -> LanguageModel:
        from pretilt.models.language import check_same_vocabulary, load_language_model

        if self.own_tokenizer is not None:
            check_same_vocabulary(self.own_tokenizer, self.name, self.revision)
        return load_language_model(self.name, revision=self.revision, device=self.device, dtype=self.dtype)


def run_stop_ids(run: Run, choice: LensChoice) -> tuple[int, ...]:
    """What ends an answer to this run's prompts: a property of the run's own model and template."""
    from pretilt.models.language import stop_ids

    tokens = run.table(TOKENS_FILE, ["chosen_ids", "chosen_content"])
    return stop_ids(choice.model_name, choice.revision, choice.tokenizer, tokens)


def longest_prompt(choice: LensChoice, settings: RolloutSettings) -> int | None:
    """The longest prompt that leaves the run's own model room for `max_new_tokens`; None: no limit stated."""
    from pretilt.models.language import max_positions
    from pretilt.models.load import load_config

    limit = max_positions(load_config(choice.model_name, revision=choice.revision))
    return None if limit is None else limit - settings.max_new_tokens


def find_endpoint(base_url: str | None, model: str | None, api_key_env: str, concurrency: int) -> Endpoint | None:
    """The server that was named, None if none was. Raises UserError for half a name or a URL that is none."""
    if base_url is None and model is None:
        return None
    if base_url is None or model is None:
        raise UserError("a server needs --base-url and --endpoint-model", why="one of them is missing")
    require_extra("labels", "sampling from a server")
    check_base_url(base_url)
    from pretilt.models.endpoint import Endpoint

    key = os.environ.get(api_key_env, "").strip()
    return Endpoint(base_url, model, key or "not-needed", concurrency=concurrency)


@dataclass(frozen=True)
class Push:
    """What the answering model is steered by: `amount` along a detector's direction, in the residual stream's units."""

    detector: str
    direction: Direction
    amount: float

    def identity(self) -> dict[str, Any]:
        """JSON-able: which push it is."""
        return {
            "detector": self.detector, "amount": self.amount,
            "direction_sha256": content_hash(self.direction.vector.tolist()),
        }  # fmt: skip


def make_sampler(
    endpoint: Endpoint | None,
    source: ModelSource,
    tokenizer: Any,
    stop: tuple[int, ...],
    settings: RolloutSettings,
    push: Push | None = None,
) -> Sampler:
    """What draws the answers: the server if there is one, else the model, which is loaded here, and steered."""
    limits: dict[str, Any] = {
        "stop_ids": stop,
        "max_new_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
    }
    if endpoint is not None:
        from pretilt.models.endpoint import EndpointSampler

        return EndpointSampler(endpoint, tokenizer, **limits)
    from pretilt.models.sample import LocalSampler

    model = source.load()
    if push is not None:
        import torch

        from pretilt.models.steering import Steering

        Steering(model.model, [push.direction]).amounts = torch.full((1, 1), push.amount)
    return LocalSampler(model, batch_size=settings.batch_size, **limits)
