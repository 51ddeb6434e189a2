"""A lens: subject model + layer + dictionary. What it measures is named by a `measurement_id`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pretilt.errors import UserError
from pretilt.lens.packing import packs_exactly
from pretilt.lens.pooling import POOLING_VERSION
from pretilt.models.subject import SubjectModel
from pretilt.run import content_hash

if TYPE_CHECKING:
    from pretilt.lens.dictionary import Dictionary


def check_width(dictionary_width: int, model_width: int) -> None:
    """Raise UserError unless the dictionary reads as many dimensions as the model's residual stream has."""
    if dictionary_width != model_width:
        raise UserError(
            "the dictionary does not fit the model",
            why=f"it reads activations of width {dictionary_width}, the model has {model_width}",
            fix="Give a dictionary that was trained on this model",
        )


@dataclass(frozen=True)
class Lens:
    """Features of `dictionary`, read from the output of decoder block `layer` (from 0) of `model`.

    Raises UserError if the layer does not exist or the dictionary's width is not the model's.
    """

    model: SubjectModel
    layer: int
    dictionary: Dictionary

    def __post_init__(self) -> None:
        self.model.check_layer(self.layer)
        check_width(self.dictionary.d_model, self.model.d_model)
        if self.dictionary.normalise == "centre" and self.model.has_rms_norm(self.layer):
            raise UserError(
                "the dictionary was trained on centred activations",
                why="the model's RMSNorm tells a centred residual stream from one that is not",
                fix="Give a dictionary that was trained on this model",
            )

    @property
    def n_features(self) -> int:
        return self.dictionary.n_features

    @cached_property
    def packs(self) -> bool:
        """True if prompt, chosen and rejected can be read in one sequence: tried on the model itself, on first use."""
        return packs_exactly(self.model, self.layer)

    def measurement_id(self, template_hash: str, max_length: int) -> str:
        """Names the measurement: two tables with different ids must never be put side by side.

        `template_hash` names how text becomes tokens and content masks, `max_length` where it is cut. How a batch is
        made up is not part of it: packing is used only where it gives the activations of plain reading.
        """
        return content_hash(
            {
                "model": self.model.identity,
                "layer": self.layer,
                "dictionary": self.dictionary.hash,
                "template": template_hash,
                "max_length": max_length,
                "pooling": POOLING_VERSION,
            }
        )
