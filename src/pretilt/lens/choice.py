"""Which lens reads the pairs: the bundled one, or the model, layer and dictionary that were named.

The tokenizer and the dictionary are light; the model's weights are loaded when a step first needs them.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.settings import AuditSettings

if TYPE_CHECKING:
    from pretilt.lens.fidelity import Fidelity
    from pretilt.lens.lens import Lens

SAMPLE_PAIRS = 96  # pairs on which the dictionary's fidelity is measured and a random one is calibrated
# The whole audit against the arithmetic of its forward pass, on the demo: 326 s against about 3 minutes on a busy
# machine, 101 s against 17 on an idle one, where batches, concepts and evidence lag behind a bare matrix product.
WHOLE_LOW, WHOLE_HIGH = 2.0, 6.0
LEAST_START = 15.0  # seconds of loading and of steps that do not grow with the tokens
SAMPLE_BLOCK = 1024  # tokens encoded at a time: all features of all tokens of a sample would not fit in memory


@dataclass(frozen=True)
class ActivationSample:
    """Residual vectors of the content tokens of SAMPLE_PAIRS pairs, drawn by the seed."""

    x: Any  # Tensor (n, d_model) float32, prompts and responses
    of_response: Any  # Tensor (n,) bool

    @property
    def responses(self) -> Any:
        """(n_response, d_model)"""
        return self.x[self.of_response]


class LensChoice:
    """A lens by name. `lens(tokens)` loads it; `tokens` (TOKENS) is sampled where a baseline must be calibrated.

    The sample is read once: the card, the baseline and the doctor share it until `forget_sample`.
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        dictionary: str | Path,
        layer: int | None,
        settings: AuditSettings,
        bundled: bool,
    ) -> None:
        self.model_name, self.revision, self.dictionary_name = model, revision, dictionary
        self.settings, self.bundled = settings, bundled
        self._layer = layer
        self._plain: Lens | None = None
        self._lens: Lens | None = None
        self._sample: ActivationSample | None = None
        self._fidelity: Fidelity | None = None

    @cached_property
    def tokenizer(self) -> Any:
        from pretilt.models.load import load_tokenizer

        return load_tokenizer(self.model_name, revision=self.revision)

    @cached_property
    def dictionary(self) -> Any:
        from pretilt.lens.load import load_dictionary
        from pretilt.lens.metadata import check_layer_named

        factor = self.settings.norm_scaling_factor
        dictionary = load_dictionary(self.dictionary_name, device=self.settings.device, norm_scaling_factor=factor)
        if self._layer is not None:
            check_layer_named(dictionary.metadata, self._layer)
        if dictionary.normalise == "centre" and hasattr(self.config, "rms_norm_eps"):
            return dictionary.not_centred()  # TransformerLens does not centre what an RMSNorm reads
        return dictionary

    @property
    def layer(self) -> int:
        """The layer that the dictionary says it was trained on, else the one that was named; they never differ."""
        layer = self.dictionary.layer if self.dictionary.layer is not None else self._layer
        if layer is None:
            raise UserError("the layer is not known", why="the dictionary does not name its own", fix="Give --layer")
        return layer

    @cached_property
    def config(self) -> Any:
        """The text side of the model's configuration."""
        from pretilt.models.load import load_config

        return load_config(self.model_name, revision=self.revision).get_text_config()

    def check(self, events: Events) -> None:
        """Raise UserError for what can be known to be wrong before anything is read, and say what may be."""
        from pretilt.lens.lens import check_width
        from pretilt.models.load import check_model, usable_device
        from pretilt.models.subject import check_layer

        usable_device(self.settings.device)
        check_model(self.model_name, revision=self.revision)
        check_layer(self.layer, self.config.num_hidden_layers)
        check_width(self.dictionary.d_model, self.config.hidden_size)
        for caution in self.cautions():
            events.say(f"warning: {caution}")

    def cautions(self, tokens: pa.Table | None = None) -> list[str]:
        """What the dictionary says of its training that differs from this reading; with `tokens` (TOKENS) also BOS."""
        from pretilt.lens.metadata import cautions

        if self.bundled:
            return []
        adds_bos = None
        if tokens is not None and tokens.num_rows and self.tokenizer.bos_token_id is not None:
            adds_bos = tokens["prompt_ids"][0].as_py()[:1] == [self.tokenizer.bos_token_id]
        metadata, max_length = self.dictionary.metadata, self.settings.max_length
        # The name of a local folder does not say which model lies in it.
        model = None if Path(str(self.model_name)).is_dir() else str(self.model_name)
        sentences = cautions(metadata, model, max_length, adds_bos=adds_bos)
        if self.dictionary.normalise == "centre":
            sentences.append("the dictionary was trained on centred activations: their mean is taken away")
        return sentences

    def lens(self, tokens: pa.Table) -> Lens:
        """The lens itself, loaded once. Raises UserError where model, layer and dictionary do not fit."""
        if self._lens is None:
            random = self.settings.baseline == "random-dictionary"
            self._lens = self._randomised(tokens) if random else self._loaded()
        return self._lens

    def sample(self, tokens: pa.Table) -> ActivationSample:
        """What the lens' model makes of a fixed sample of these pairs; kept until `forget_sample`."""
        if self._sample is None:
            self._sample = _sample_activations(self._loaded(), tokens, self.settings)
        return self._sample

    def forget_sample(self) -> None:
        """Free the sample: for a wide model it is gigabytes."""
        self._sample = None

    def fidelity(self, tokens: pa.Table) -> Fidelity:
        """How well the dictionary that reads does on the responses of the sample."""
        if self._fidelity is None:
            from pretilt.lens.fidelity import fidelity

            x = self.sample(tokens).responses
            self._fidelity = fidelity(self.lens(tokens).dictionary, x.split(SAMPLE_BLOCK))
        return self._fidelity

    def _loaded(self) -> Lens:
        if self._plain is None:
            from pretilt.lens.lens import Lens
            from pretilt.models.subject import load_model

            model = load_model(
                self.model_name,
                revision=self.revision,
                device=self.settings.device,
                dtype=self.settings.dtype,
                layer=self.layer,
                tokenizer=self.tokenizer,
            )
            self._plain = Lens(model, self.layer, self.dictionary)
        return self._plain

    def _randomised(self, tokens: pa.Table) -> Lens:
        from pretilt.lens.baseline import random_dictionary
        from pretilt.lens.lens import Lens

        plain = self._loaded()
        random = random_dictionary(plain.dictionary, self.sample(tokens).x, seed=self.settings.seed)
        return Lens(plain.model, plain.layer, random)

    def card(self, tokens: pa.Table) -> dict[str, Any]:
        """JSON-able facts about the lens; explained variance and L0 are of the responses of a sample of these pairs."""
        lens, fidelity = self.lens(tokens), self.fidelity(tokens)
        random = self.settings.baseline == "random-dictionary"
        return {
            "bundled": self.bundled,
            "model": "SmolLM2-135M-Instruct (bundled)" if self.bundled else str(self.model_name),
            "model_identity": lens.model.identity,
            "layer": lens.layer,
            "dictionary": ("random directions like " if random else "")
            + ("bundled" if self.bundled else str(self.dictionary_name)),
            "dictionary_hash": lens.dictionary.hash,
            "norm_scaling_factor": self.settings.norm_scaling_factor,
            "cautions": self.cautions(tokens),
            "n_features": lens.n_features,
            "d_model": lens.model.d_model,
            # Not of a random dictionary, whose decoder is not fitted, and not of a few words.
            "explained_variance": None
            if random or fidelity.n_tokens < LEAST_TOKENS
            else round(fidelity.explained_variance, 4),
            "l0": round(fidelity.l0, 2),
            "n_sample_tokens": fidelity.n_tokens,
            "packed": lens.packs,
        }


def choose_lens(settings: AuditSettings, events: Events, source: Any = None) -> LensChoice:
    """The lens that the settings name; without a model and a dictionary, the bundled one.

    `source` is what is about to be read: an error then holds the command that trains a dictionary on it.
    """
    if settings.model is None and settings.dictionary is None:
        if settings.layer is not None:
            raise UserError("--layer goes with --model and --dictionary", why="the bundled lens has its own layer")
        from pretilt.models.bundled import BUNDLED_DICTIONARY, bundled_model

        if source is not None:  # a run that exists already was told when it was made
            events.say(
                "no model named: reading with the bundled lens (SmolLM2-135M-Instruct), a demonstration, not your model"
            )
        return LensChoice(str(bundled_model(events.say)), None, BUNDLED_DICTIONARY, None, settings, bundled=True)
    if settings.model is None:
        why = "a dictionary belongs to one model"
        raise UserError("--model is missing", why=why, fix="Name both, or neither for the bundled lens")
    if settings.dictionary is None:
        raise UserError(
            "--dictionary is missing",
            why="a model is read through a dictionary that was trained on it",
            fix=f"Give a published one, or train it on your pairs: {_fit_command(settings, source)} ; "
            "then add --dictionary my-dictionary",
        )
    from pretilt.models.sources import dictionary_folder

    dictionary_folder(settings.dictionary)  # what is not there, or needs another package, is said before all work
    return LensChoice(
        settings.model, settings.model_revision, settings.dictionary, settings.layer, settings, bundled=False
    )


def _fit_command(settings: AuditSettings, source: Any) -> str:
    """`pretilt fit` for this model and source, on the middle layer unless another is named."""
    from pretilt.models.load import load_config

    model, layer = str(settings.model), settings.layer
    if layer is None:
        config = load_config(model, revision=settings.model_revision).get_text_config()
        layer = config.num_hidden_layers // 2
    pairs = shlex.quote(str(source)) if isinstance(source, str | Path) else "PAIRS"
    return f"pretilt fit {pairs} --model {shlex.quote(model)} --layer {layer} --out my-dictionary"


def _sample_activations(lens: Lens, tokens: pa.Table, settings: AuditSettings) -> ActivationSample:
    import torch

    from pretilt.lens.measure import content_activations
    from pretilt.lens.packing import Rows

    rng = np.random.default_rng(settings.seed)
    rows = np.sort(rng.permutation(tokens.num_rows)[:SAMPLE_PAIRS])
    sample = Rows.from_table(tokens.take(pa.array(rows)))
    parts, of_response = [], []
    for batch, x in content_activations(lens, sample, settings.batch_tokens):
        parts.append(x)
        of_response.append(torch.from_numpy(batch.span > 0).to(x.device))
    return ActivationSample(torch.cat(parts), torch.cat(of_response))


def harvest_estimate(preflight: Mapping[str, Any], choice: LensChoice) -> dict[str, Any]:
    """Tokens to read and a rough time of the whole audit.

    `seconds_forward` is the arithmetic of the forward up to the layer at the speed of a matrix product, measured here
    and now; `seconds_low` and `seconds_high` what the whole audit then takes. All three are None on a device other
    than the CPU, whose speed is not measured here.
    """
    n_tokens = int(preflight["tokens"]["read"])
    config = choice.config
    width, hidden = int(config.hidden_size), int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    heads = int(getattr(config, "num_attention_heads", 1) or 1)
    keys = int(getattr(config, "num_key_value_heads", None) or heads) / heads
    per_block = 2 * (2 * width**2 * (1 + keys) + 3 * width * hidden)
    flops = (choice.layer + 1) * per_block + 2 * width * choice.dictionary.n_features
    seconds = n_tokens * flops / _flops_per_second() if choice.settings.device == "cpu" else None
    names = ("seconds_forward", "seconds_low", "seconds_high")
    whole = (0.0, 1.0), (LEAST_START, WHOLE_LOW), (LEAST_START, WHOLE_HIGH)
    times = [None if seconds is None else round(start + times * seconds, 1) for start, times in whole]
    return {"tokens": n_tokens, "flops_per_token": flops, **dict(zip(names, times, strict=True))}


def _flops_per_second() -> float:
    """Floating-point operations per second of a matrix product of the size a forward pass makes, here and now."""
    import torch

    a, b = torch.ones(1024, 576), torch.ones(576, 1536)
    a @ b
    start = time.perf_counter()
    for _ in range(10):
        a @ b
    return 10 * 2 * 1024 * 576 * 1536 / (time.perf_counter() - start)


LEAST_TOKENS = 200  # of responses: on fewer, reconstruction and firing rates are those of a few words, not of a lens
