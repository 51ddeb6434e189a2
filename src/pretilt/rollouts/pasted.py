"""A text that somebody pastes, read as the run's own pairs were read: same model, template, cut, pooling and concepts.

So its figures are those that the audit would have given the same pair, had the dataset held it. A pasted prompt is one
turn of a user.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from pretilt.audit.evidence import feature_scores
from pretilt.concepts.prompt_scores import STATISTICS, concept_columns, prompt_scores
from pretilt.concepts.step import membership
from pretilt.detectors.reading import response_states
from pretilt.detectors.stored import detector_names, load_detector, thresholds
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.lens.blocks import PairBlock, SpanRows
from pretilt.lens.choice import choose_lens
from pretilt.lens.lens import Lens
from pretilt.lens.measure import measure
from pretilt.lens.packing import Rows
from pretilt.lens.pooling import SpanPool
from pretilt.pairs.chat import PairTokens, tokenise
from pretilt.pairs.pair import Drop, Message, Pair
from pretilt.rollouts.step import sealed_lens
from pretilt.run import Run
from pretilt.schema import CENTROIDS_FILE, CONCEPTS_FILE, PAIRS_FILE, PROMPT_CONCEPTS_FILE, SILENT_GROUP, SPANS
from pretilt.settings import settings_of
from pretilt.stats.disparity import symmetric_activity
from pretilt.stats.groups import GroupModel

PLACEHOLDER = "."  # read after a prompt that comes without answers: a causal model reads the prompt alike


@dataclass(frozen=True)
class Pasted:
    """What the lens makes of a pasted prompt, answer or pair."""

    u: dict[int, float]  # concept_id to u, as the audit scores a pair; concepts of features and detectors, 0 left out
    group_id: int | None  # the group that such a pair belongs to; None without both answers, or where it is silent
    prompt_concepts: dict[int, float]  # prompt_concept_id to score, of those that the prompt belongs to, highest first
    truncated: bool  # a response was cut where the audit cuts


class PastedReader:
    """Reads texts through the lens of a run; model and dictionary are loaded with the first of them, and kept."""

    def __init__(self, run: Run, events: Events) -> None:
        self.run, self._events = run, events
        self._settings = settings_of(run)

    @cached_property
    def _loaded(self) -> tuple[Lens, object]:
        """The lens, which must be the one that read the pairs, and the tokenizer."""
        choice = choose_lens(self._settings, self._events)
        return sealed_lens(self.run, choice, self._settings, self.run.manifest["measurement_id"]), choice.tokenizer

    def read(self, prompt: str, chosen: str, rejected: str) -> Pasted:
        """An answer of "" is not given: it shows nothing, which is not the same as an empty answer.

        Raises UserError where model or dictionary are not those of the audit or cannot be loaded, and for a text that
        they cannot read.
        """
        tokens = self._tokens(prompt, chosen, rejected)
        rows = Rows(
            SPANS,
            [tuple(getattr(tokens, f"{span}_ids") for span in SPANS)],
            [tuple(getattr(tokens, f"{span}_content") for span in SPANS)],
        )
        lens, _ = self._loaded
        measured = measure(lens, rows, batch_tokens=self._settings.batch_tokens)
        is_given = {"prompt": True, "chosen": bool(chosen), "rejected": bool(rejected)}
        block = PairBlock(*(_span_rows(measured.spans[span], lens.n_features, is_given[span]) for span in SPANS))

        table = self.run.table(CONCEPTS_FILE, ["concept_id", "kind", "feature_ids", "pattern", "detector"])
        of_features = table.filter(pc.and_(pc.is_null(table["pattern"]), pc.is_null(table["detector"])))
        u: dict[int, float] = {}
        if chosen or rejected:
            scores = feature_scores(self.run, self._settings, of_features, [block])
            u = {concept: float(column[0]) for concept, (column, _) in scores.items()}
            u |= self._detected(table, rows, is_given)

        return Pasted(
            u={concept: value for concept, value in u.items() if value},
            group_id=self._group(block) if chosen and rejected else None,
            prompt_concepts=self._prompt_concepts(block) if prompt else {},
            truncated=tokens.truncated,
        )

    def _tokens(self, prompt: str, chosen: str, rejected: str) -> PairTokens:
        """Of a pair in the shape of most of the run's: turns of a chat, or plain strings."""
        is_chat = self.run.table(PAIRS_FILE, ["is_chat"])["is_chat"].to_numpy()
        first, second = chosen or rejected or PLACEHOLDER, rejected or chosen or PLACEHOLDER
        pair = Pair(
            row_index=0,
            prompt=(Message("user", prompt),),
            chosen=(Message("assistant", first),),
            rejected=(Message("assistant", second),),
            is_chat=bool(is_chat.mean() >= 0.5),
        )
        _, tokenizer = self._loaded
        tokens = next(tokenise([pair], tokenizer, max_length=self._settings.max_length))
        if isinstance(tokens, Drop):
            raise UserError(
                "the text cannot be read", why=f"{tokens.reason}: {tokens.detail}", fix="Paste another, or a part of it"
            )
        return tokens

    def _detected(self, table: pa.Table, rows: Rows, is_given: dict[str, bool]) -> dict[int, float]:
        """u of the detectors: whether each answer reaches the threshold, chosen less rejected."""
        held_names = set(detector_names(self.run))
        concept_of = {
            name: concept
            for concept, name in zip(table["concept_id"].to_pylist(), table["detector"].to_pylist(), strict=True)
            if name in held_names
        }
        if not concept_of:
            return {}
        detectors = {name: (load_detector(self.run, name)[0], thresholds(self.run, name)[0]) for name in concept_of}
        u = dict.fromkeys(concept_of.values(), 0.0)
        lens, _ = self._loaded
        for states in response_states(lens, rows, batch_tokens=self._settings.batch_tokens):
            for name, (detector, threshold) in detectors.items():
                scores = detector.scores(states.h, states.starts)
                for i, span in enumerate(states.span.tolist()):
                    of_answer = scores[states.starts[i] : states.starts[i + 1]]
                    if is_given[SPANS[span]] and of_answer.max() >= threshold:
                        u[concept_of[name]] += 1.0 if SPANS[span] == "chosen" else -1.0
        return u

    def _group(self, block: PairBlock) -> int | None:
        _, concepts = membership(self.run)
        activity = symmetric_activity(block.chosen, block.rejected, concepts)
        model = GroupModel.from_table(self.run.table(CENTROIDS_FILE))
        group_id = int(model.assign(csr_array(activity, dtype=np.float32))[0])
        return None if group_id == SILENT_GROUP else group_id

    def _prompt_concepts(self, block: PairBlock) -> dict[int, float]:
        table = self.run.table(PROMPT_CONCEPTS_FILE, ["prompt_concept_id", "statistic", "feature_ids", "cutoff"])
        passed: dict[int, float] = {}
        for statistic in STATISTICS:
            rows = table.filter(pc.equal(table["statistic"], statistic)).to_pylist()
            lists = [np.asarray(row["feature_ids"], np.int64) for row in rows]
            n_features: int = self.run.manifest["lens"]["n_features"]
            scores = prompt_scores(block.prompt, concept_columns(lists, n_features, statistic))[0]
            for row, score in zip(rows, scores.tolist(), strict=True):
                if score > 0 and score >= row["cutoff"]:
                    passed[row["prompt_concept_id"]] = score
        return dict(sorted(passed.items(), key=lambda item: -item[1]))


def _span_rows(pool: SpanPool, n_features: int, is_given: bool) -> SpanRows:
    """One row; where the span was not given, of one token on which nothing fires."""
    n_entries = pool.feature_id.size if is_given else 0
    places = pool.feature_id[:n_entries], np.array([0, n_entries])
    shape = (1, n_features)
    return SpanRows(
        pool.n_tokens if is_given else np.ones(1, np.int32),
        csr_array((pool.fire_count[:n_entries], *places), shape=shape),
        csr_array((pool.act_max[:n_entries], *places), shape=shape),
    )
