"""What every sampler of answers has in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Drawn:
    """One sampled answer."""

    ids: np.ndarray  # (n,) int32, the stop token included
    finished: bool  # a stop token ended it
    logprob: float | None = None
    text: str | None = None  # where the sampler knows it better than its ids tell


Sampler = Callable[[Sequence[np.ndarray], Sequence[str]], list[Drawn]]
"""From prompts' ids and the names of random streams, one per answer, to the answers in the same order."""
