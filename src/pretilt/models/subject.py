"""The subject model: any causal language model of Hugging Face, read at the output of one decoder block.

The forward pass is stopped at that block by its own forward hook, so later blocks, the final norm and the LM head are
never computed; `hidden_states` cannot be used instead, because its last entry lies behind the final norm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pretilt.errors import UserError
from pretilt.models.load import (
    commit_of,
    load_causal_lm,
    load_config,
    load_tokenizer,
    memory_errors,
    model_identity,
    usable_device,
)
from pretilt.models.sources import first_line

_FLOAT32_TOLERANCE, _HALF_TOLERANCE = 1e-4, 5e-2  # relative, of activations that should be equal


class _Stop(Exception):
    """Carries the residual stream out of the forward pass."""

    def __init__(self, residual: Tensor) -> None:
        super().__init__()
        self.residual = residual


class SubjectModel:
    """A causal LM whose residual stream can be read after any decoder block.

    `n_layers` counts the model's decoder blocks, `d_model` is the width of the residual stream, `max_positions` the
    longest sequence it can read (None: no limit stated), `n_vocab` the number of token ids it can read.
    `identity` is JSON-able and tells which weights these are: Hub name and commit, or the SHA-256 of a folder's files.
    """

    def __init__(self, model: Any, tokenizer: Any, identity: dict[str, Any]) -> None:
        config = model.config.get_text_config()
        self.config, self.tokenizer, self.identity = config, tokenizer, identity
        self.n_layers = int(config.num_hidden_layers)
        self.d_model = int(config.hidden_size)
        self.max_positions: int | None = getattr(config, "max_position_embeddings", None)
        self.n_vocab = int(model.get_input_embeddings().weight.shape[0])
        self._decoder = model.get_decoder().eval()
        self._blocks = find_blocks(self._decoder, self.n_layers)

    @property
    def device(self) -> torch.device:
        return next(self._decoder.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self._decoder.parameters()).dtype

    def check_layer(self, layer: int) -> None:
        """Raise UserError if the model has no decoder block `layer`, or if it was freed."""
        check_layer(layer, self.n_layers)
        if layer >= len(self._blocks):
            raise UserError(
                f"layer {layer} is not in memory",
                why=f"the model was loaded up to layer {len(self._blocks) - 1}",
                fix="Load it again with this layer",
            )

    def has_rms_norm(self, layer: int) -> bool:
        """True if a norm of the block divides by the root mean square without taking the mean away."""
        return any("RMSNorm" in type(module).__name__ for module in self._blocks[layer].modules())

    def keep_up_to(self, layer: int) -> None:
        """Free the decoder blocks above `layer`; they cannot be read any more."""
        self.check_layer(layer)
        del self._blocks[layer + 1 :]

    @torch.inference_mode()
    def residual(self, layer: int, input_ids: Tensor, **inputs: Tensor) -> Tensor:
        """Output of decoder block `layer` (`hidden_states[layer + 1]`), (batch, length, d_model) in the model's dtype.

        `input_ids` is (batch, length) int64; `inputs` may hold `attention_mask` and `position_ids`. Without a mask the
        reading is causal, so padding on the right changes nothing before it.
        """
        self.check_layer(layer)
        handle = self._blocks[layer].register_forward_hook(_stop)
        try:
            self._decoder(input_ids=input_ids, use_cache=False, **inputs)
        except _Stop as stop:
            return stop.residual
        except NotImplementedError as error:
            raise _not_on_device(self.device, self.dtype, error) from error
        except RuntimeError as error:
            if "not implemented for" not in str(error):
                raise
            raise _not_on_device(self.device, self.dtype, error) from error
        finally:
            handle.remove()
        raise UserError(
            f"decoder block {layer} is not run on text alone", why="it reads an image", fix="Give --layer another"
        )


def check_layer(layer: int, n_layers: int) -> None:
    if not 0 <= layer < n_layers:
        raise UserError(
            f"layer {layer} does not exist",
            why=f"the model has {n_layers} layers, 0 to {n_layers - 1}",
            fix="Give --layer one of these",
        )


def _not_on_device(device: torch.device, dtype: torch.dtype, error: Exception) -> UserError:
    fix = "Give --dtype float32 or bfloat16, or another --device"
    return UserError(f"the model cannot be run in {dtype} on {device}", why=first_line(error), fix=fix)


def _stop(_module: nn.Module, _args: Any, output: Any) -> None:
    raise _Stop(output[0] if isinstance(output, tuple) else output)


def find_blocks(decoder: nn.Module, n_layers: int) -> nn.ModuleList:
    """The decoder's list of blocks: the heaviest ModuleList with as many entries as the model has layers."""
    lists = [m for m in decoder.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if not lists:
        raise UserError(
            f"cannot find the decoder blocks of {type(decoder).__name__}",
            why=f"it has no list of {n_layers} blocks",
            fix="Give a decoder-only causal language model",
        )
    return max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()))


def load_model(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    layer: int | None = None,
    tokenizer: Any = None,
) -> SubjectModel:
    """Load a causal LM from the Hub or a folder (a folder that exists wins). Never runs the model's own code.

    With `layer` the blocks above it are freed before the model goes to `device`; the LM head always is. `dtype` is
    "float32", "bfloat16" or "float16". Raises UserError for an unknown or unreachable id, a folder without a model,
    weights missing from the checkpoint (they would be random), a layer or device that does not exist.
    """
    where = usable_device(device)
    commit = commit_of(name_or_path, revision)
    n_layers = load_config(name_or_path, revision=commit).get_text_config().num_hidden_layers
    if layer is not None:
        check_layer(layer, n_layers)

    tokenizer = tokenizer if tokenizer is not None else load_tokenizer(name_or_path, revision=commit)

    # The LM head goes with the last reference to the model, unless it is the embedding.
    model = load_causal_lm(name_or_path, revision=commit, dtype=dtype)
    subject = SubjectModel(model, tokenizer, model_identity(name_or_path, revision=commit, dtype=dtype))
    del model
    if layer is not None:
        subject.keep_up_to(layer)
    with memory_errors("Give --device cpu or a smaller --dtype"):
        subject._decoder.to(where)
    _check_causal(subject, subject.n_layers - 1 if layer is None else layer)

    return subject


def _check_causal(subject: SubjectModel, layer: int) -> None:
    """Raise UserError where a token's activations depend on later tokens, as those of BERT or of a prefix model."""
    ids = torch.arange(2, 10, device=subject.device)[None] % subject.n_vocab
    other = ids.clone()
    other[0, -1] = (other[0, -1] + 1) % subject.n_vocab
    first, second = (subject.residual(layer, both)[0, :-1].float() for both in (ids, other))
    tolerance = _FLOAT32_TOLERANCE if subject.dtype == torch.float32 else _HALF_TOLERANCE
    if float((first - second).norm()) > tolerance * float(first.norm()):
        raise UserError(
            f"{type(subject._decoder).__name__} reads a token together with the tokens behind it",
            why="it is no causal language model, and a response's activations would depend on what follows",
            fix="Give a decoder-only causal language model",
        )
