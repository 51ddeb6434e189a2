"""What every test reads of the training pairs beside their scores: family, length difference, source and prompt."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pretilt.concepts.pattern_step import question
from pretilt.lens.blocks import prompt_texts, train_rows
from pretilt.pairs.shuffle import label_swap
from pretilt.run import Run
from pretilt.schema import PAIRS_FILE
from pretilt.settings import AuditSettings
from pretilt.stats.adjusted import covariates
from pretilt.stats.contrast import row_half


class TrainingPairs:
    """The training pairs' side information, in the order of the blocks."""

    def __init__(self, run: Run, settings: AuditSettings) -> None:
        names = ["pair_id", "row_index", "family_id", "prompt", "source", "n_chosen_tokens", "n_rejected_tokens"]
        self.all = run.table(PAIRS_FILE, names)
        self.train = train_rows(run)
        self.table = self.all.filter(pa.array(self.train))
        self.family = self.table["family_id"].to_numpy()
        self.half = row_half(self.table["row_index"].to_numpy()) if settings.paper else None
        length = [self.table[f"n_{side}_tokens"].to_numpy().astype(np.int64) for side in ("chosen", "rejected")]
        self.length_difference = length[0] - length[1]
        swap = label_swap(run, settings)
        if swap is not None:
            self.length_difference = np.where(swap[self.train], -1, 1) * self.length_difference
        self.covariates = covariates(self.length_difference, self.table["source"].to_pylist())
        self.texts = prompt_texts(self.table)
        self.questions = [question(messages) for messages in self.table["prompt"].to_pylist()]
