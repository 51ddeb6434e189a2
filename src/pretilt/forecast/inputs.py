"""Concept scores of a run's pairs and rollouts: one bank of concepts, one form, so that forecast and outcome can meet.

Nothing here reads a label or a result: which concepts are in the bank is known before anything is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.concepts.bank import concepts_from_table
from pretilt.concepts.parallel import in_order
from pretilt.concepts.pattern_step import pattern_counts, question, stored_patterns
from pretilt.concepts.patterns import count
from pretilt.concepts.prompt_scores import STATISTICS, ConceptColumns, Statistic, concept_columns
from pretilt.detectors.stored import presence
from pretilt.errors import UserError
from pretilt.forecast.samples import PairDeltas, Rollouts
from pretilt.forecast.scores import ScoreForm, log_length, score_responses
from pretilt.lens.blocks import Features, PairBlock, Span, train_rows
from pretilt.pairs.shuffle import label_swap
from pretilt.rollouts.step import detectors_of_rollouts, open_rollouts
from pretilt.run import Run
from pretilt.schema import (
    CONCEPTS_FILE,
    DETECTOR,
    GROUP_MEMBERS_FILE,
    GROUPS_FILE,
    PAIRS_FILE,
    PATTERN,
    PROMPT_CONCEPTS_FILE,
    PROMPT_MEMBERS_FILE,
    SHIFT_SIGMA_FILE,
    Concepts,
)
from pretilt.settings import AuditSettings, settings_of
from pretilt.stats.disparity import exact_threshold
from pretilt.stats.hypotheses import PAPER_RULES, DisplayRules, tested_concepts
from pretilt.stats.sure import LEAST_FIRING

COMMUNITY, FEATURE = "community", "feature"


@dataclass(frozen=True)
class Bank:
    """The M concepts of a forecast."""

    concept_ids: np.ndarray  # int32 [M], ascending; rows of concepts.parquet
    kind: list[str]  # [M], as in concepts.parquet

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def communities(self) -> np.ndarray:
        """bool [M]"""
        return np.array([kind == COMMUNITY for kind in self.kind], bool)

    @property
    def feature_view(self) -> np.ndarray:
        """bool [M]: communities and single features, the concepts of group contrasts."""
        return np.array([kind in (COMMUNITY, FEATURE) for kind in self.kind], bool)

    @property
    def patterns(self) -> np.ndarray:
        """bool [M]: patterns of the text."""
        return np.array([kind == PATTERN for kind in self.kind], bool)

    @property
    def detectors(self) -> np.ndarray:
        """bool [M]: directions and probes."""
        return np.array([kind == DETECTOR for kind in self.kind], bool)

    @property
    def present_or_not(self) -> np.ndarray:
        """bool [M]: patterns and detectors, whose score of a response is 0 or 1; they are the bank's last."""
        return self.patterns | self.detectors

    def of(self, statistic: str) -> np.ndarray:
        """bool [M]: the response-shift concepts of "max" or "freq", the concepts of that prompt-conditioned view."""
        return np.array([kind == f"shift_{statistic}" for kind in self.kind], bool)

    def take(self, keep: np.ndarray) -> Bank:
        """The concepts under a mask, bool [M]."""
        return Bank(self.concept_ids[keep], [kind for kind, is_kept in zip(self.kind, keep, strict=True) if is_kept])


def concept_bank(run: Run) -> Bank:
    """Every concept that the audit tests: communities, features, patterns and detectors that stand in enough pairs,
    response-shift concepts.

    The rule is the audit's own (`stats.hypotheses.tested_concepts`) and is applied to concepts.parquet: neither the
    labels nor any result decide. Raises UserError for a run without concepts.
    """
    table = run.table(CONCEPTS_FILE, ["concept_id", "kind", "n_pairs_active"])
    kind = table["kind"].to_pylist()
    rules = PAPER_RULES if settings_of(run).paper else DisplayRules()
    of_features = np.array([k in (COMMUNITY, FEATURE) for k in kind], bool)
    keep = ~of_features
    rows = np.flatnonzero(of_features)
    community = np.array([kind[row] == COMMUNITY for row in rows], bool)
    n_active = table["n_pairs_active"].to_numpy()
    keep[rows[tested_concepts(community, n_active[rows], rules)]] = True
    keep &= ~(np.isin(np.array(kind, object), (PATTERN, DETECTOR)) & (n_active < LEAST_FIRING))
    if not keep.any():
        raise UserError(
            "the run holds no concept to forecast",
            file=run.path / CONCEPTS_FILE,
            why="no community was found, and no feature or pattern stands in enough pairs",
            fix="Audit more pairs, or read them through another dictionary",
        )
    return Bank(table["concept_id"].to_numpy().astype(np.int32), kind).take(keep)


class Scorer:
    """c(y) of the concepts of features of a bank, [N, M'] in its order: no patterns, no detectors."""

    def __init__(self, run: Run, settings: AuditSettings, bank: Bank, form: ScoreForm) -> None:
        n_features: int = run.manifest["lens"]["n_features"]
        table = run.table(CONCEPTS_FILE, ["concept_id", "kind", "feature_ids"])
        bank_rows = table.take(pa.array(np.searchsorted(table["concept_id"].to_numpy(), bank.concept_ids)))
        if bank_rows["kind"].to_pylist() != bank.kind:
            raise ValueError("the bank is of another run")
        self.concepts: Concepts = concepts_from_table(bank_rows.filter(pa.array(bank.feature_view)), n_features)
        self.shifts: list[ConceptColumns] = []
        for q in STATISTICS:
            if bank.of(q).any():
                self.shifts.append(_shift_columns(run, bank_rows.filter(pa.array(bank.of(q))), n_features, q))
        self.form, self.threshold = form, exact_threshold(settings.freq_threshold)
        self.needs_activations = any(columns.statistic == "max" for columns in self.shifts)

    def __call__(self, response: Span) -> np.ndarray:
        return score_responses(response, self.concepts, self.shifts, self.form, self.threshold)


def _shift_columns(run: Run, table: pa.Table, n_features: int, q: Statistic) -> ConceptColumns:
    """Standardised by the spread of D over the training pairs, as the audit's own shift concepts are."""
    lists = [np.asarray(ids, np.int64) for ids in table["feature_ids"].to_pylist()]
    return concept_columns(lists, n_features, q, run.table(SHIFT_SIGMA_FILE)[q].to_numpy())


def pair_deltas(run: Run, settings: AuditSettings, bank: Bank, form: ScoreForm) -> tuple[PairDeltas, pa.Table]:
    """u = c(chosen) - c(rejected) of the training pairs [n, M], in the order of pairs.parquet, and their pair_id.

    Families are the units; the one nuisance covariate is the difference in log length (content tokens). `level` is the
    mean of both scores over the pairs, weighted by u²: where the two responses differ, it stands between them; of shift
    concepts, whose scores have no upper end so that a few pairs would decide, it is 0. Labels are those of the
    settings: with the baseline "shuffled-labels" families have changed places, as in the audit.
    Raises UserError without a training pair.
    """
    pairs = run.table(PAIRS_FILE, ["pair_id", "family_id"])
    train = train_rows(run)
    if not train.any():
        raise UserError("the run holds no training pair", file=run.path / PAIRS_FILE)
    if bank.present_or_not.any():
        return _present_or_not(run, settings, bank, form)
    score = Scorer(run, settings, bank, form)

    def measure(block: PairBlock) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        longer = log_length(block.chosen.n_tokens) - log_length(block.rejected.n_tokens)
        chosen, rejected = score(block.chosen), score(block.rejected)
        return chosen - rejected, longer, ((chosen - rejected) ** 2 * (chosen + rejected) / 2).sum(axis=0)

    u, length = np.empty((int(train.sum()), len(bank))), np.empty(int(train.sum()))
    start, between = 0, np.zeros(len(bank))
    blocks = Features(run, settings).blocks(train, prompts=False, activations=score.needs_activations)
    for some, longer, middle in in_order(measure, blocks):
        block = slice(start, start + len(some))
        u[block], length[block], start = some, longer, block.stop
        between += middle
    table = pairs.filter(pa.array(train))
    family = table["family_id"].to_numpy()
    square = np.einsum("nm,nm->m", u, u)
    level = np.divide(between, square, out=np.zeros(len(bank)), where=(square > 0) & bank.feature_view)
    return PairDeltas.of(u, family, nuisance=length[:, None], level=level), table.select(["pair_id"])


def _present_or_not(run: Run, settings: AuditSettings, bank: Bank, form: ScoreForm) -> tuple[PairDeltas, pa.Table]:
    """`pair_deltas` of a bank that holds patterns or detectors: 1 where one is present; its level is one half.

    The nuisance covariate of patterns alone is the difference in log length in words, which needs no tokens; of
    detectors without concepts of features that in content tokens.
    """
    train = train_rows(run)
    names = ["pair_id", "family_id", "n_chosen_tokens", "n_rejected_tokens"]
    pairs = run.table(PAIRS_FILE, names).filter(pa.array(train))
    counts = pattern_counts(run, settings).take(train)
    parts = [counts.u[:, pattern_columns(run, bank, counts.names)].astype(np.float64)]
    if bank.detectors.any():
        chosen, rejected = (side[train].astype(np.float64) for side in presence(run, detector_names(run, bank)))
        parts.append(chosen - rejected)
    u = np.concatenate(parts, axis=1)
    level = np.full(u.shape[1], 0.5)

    if not bank.present_or_not.all():
        of_features, _ = pair_deltas(run, settings, bank.take(~bank.present_or_not), form)
        nuisance, feature_level = of_features.nuisance, of_features.level
        u = np.concatenate([of_features.u, u], axis=1)
        level = np.concatenate([np.zeros(0) if feature_level is None else feature_level, level])
    elif bank.patterns.all():
        nuisance = (log_length(counts.chosen_words) - log_length(counts.rejected_words))[:, None]
    else:
        longer = [log_length(pairs[f"n_{side}_tokens"].to_numpy()) for side in ("chosen", "rejected")]
        swap = label_swap(run, settings)
        sign = 1.0 if swap is None else np.where(swap[train], -1.0, 1.0)
        nuisance = (sign * (longer[0] - longer[1]))[:, None]
    return PairDeltas.of(u, pairs["family_id"].to_numpy(), nuisance=nuisance, level=level), pairs.select(["pair_id"])


def detector_names(run: Run, bank: Bank) -> list[str]:
    """Of the bank's detectors, in its order."""
    table = run.table(CONCEPTS_FILE, ["concept_id", "detector"])
    name_of = dict(zip(table["concept_id"].to_pylist(), table["detector"].to_pylist(), strict=True))
    return [name_of[concept] for concept in bank.concept_ids[bank.detectors].tolist()]


def pattern_columns(run: Run, bank: Bank, names: Sequence[str]) -> list[int]:
    """Where the bank's patterns stand among the counted ones."""
    table = run.table(CONCEPTS_FILE, ["concept_id", "pattern"])
    name_of = dict(zip(table["concept_id"].to_pylist(), table["pattern"].to_pylist(), strict=True))
    return [names.index(name_of[concept]) for concept in bank.concept_ids[bank.patterns].tolist()]


def _pattern_scores(run: Run, bank: Bank, samples: pa.Table) -> np.ndarray:
    """1.0 where a pattern of the bank stands in a rollout, else 0.0, [R, number of patterns]."""
    patterns = stored_patterns(run)
    chosen = [list(patterns.values())[i] for i in pattern_columns(run, bank, list(patterns))]
    pairs = run.table(PAIRS_FILE, ["pair_id", "prompt"])
    is_asked = pc.is_in(pairs["pair_id"], pc.unique(samples["pair_id"]))
    prompts = {row["pair_id"]: question(row["prompt"]) for row in pairs.filter(is_asked).to_pylist()}
    questions = [prompts[pair_id] for pair_id in samples["pair_id"].to_pylist()]
    return (count(chosen, samples["text"], questions) > 0).astype(np.float64)


def rollouts_of(run: Run, role: str, bank: Bank, form: ScoreForm, *, beside: np.ndarray | None = None) -> Rollouts:
    """Scores of a role's rollouts, [R, M] by prompt_id, near-duplicate prompts one unit, nuisance the log length.

    A rollout that said nothing scores 0; one that could not be read is left out. `beside` [R] becomes one column more,
    the last; rollouts in which it is not finite are left out. Raises UserError for a role that the run does not hold,
    or that another measurement read, and where no rollout could be read.
    """
    from pretilt.rollouts.reading import EMPTY, READ

    result = open_rollouts(run, role)
    reading, samples, features = result.reading, result.samples, result.features
    keep = np.array([status in (READ, EMPTY) for status in reading["status"].to_pylist()], bool)
    if not keep.any():
        raise UserError(f"none of the rollouts '{role}' could be read", file=run.path)
    if beside is not None:
        keep &= np.isfinite(beside)
    of_features = bank.take(~bank.present_or_not)
    scores = [Scorer(run, settings_of(run), of_features, form)(features)] if len(of_features) else []
    scores += [_pattern_scores(run, bank, samples)] if bank.patterns.any() else []
    if bank.detectors.any():  # they are the bank's last
        scores.append(detectors_of_rollouts(run, role, detector_names(run, bank)).astype(np.float64))
    if beside is not None:
        scores.append(beside[:, None].astype(np.float64))
    return Rollouts.of(
        np.concatenate(scores, axis=1)[keep],
        np.array(samples["prompt_id"].to_pylist())[keep],
        family=samples["family_id"].to_numpy()[keep],
        nuisance=log_length(features.n_tokens)[keep, None],
    )


def pairs_of_prompts(run: Run, role: str, prompt_ids: Sequence[str]) -> list[str]:
    """The pair_id that the rollouts of a role name for each prompt; with `prompts_in`, where a prompt belongs."""
    samples = open_rollouts(run, role).samples
    named = dict(zip(samples["prompt_id"].to_pylist(), samples["pair_id"].to_pylist(), strict=True))
    return [named[str(prompt)] for prompt in prompt_ids]


def prompts_in(run: Run, prompt_pair_ids: Sequence[str]) -> dict[str, dict[int, np.ndarray]]:
    """Which prompts belong where: view ("group", "prompt_max", …) to its sets to rows, int64 ascending.

    Prompts are named by a pair_id each, of training or held-out pairs; rows count into that list. Every group and
    every prompt concept is there, if only with no rows.
    """
    row = {str(pair): i for i, pair in enumerate(prompt_pair_ids)}
    if len(row) < len(prompt_pair_ids):
        raise ValueError("every prompt is named by a pair of its own")
    groups, prompt_concepts = run.table(GROUPS_FILE, ["group_id"]), run.table(PROMPT_CONCEPTS_FILE)
    rows: dict[str, dict[int, list[int]]] = {"group": {int(g): [] for g in groups["group_id"].to_pylist()}}
    statistic = dict(
        zip(prompt_concepts["prompt_concept_id"].to_pylist(), prompt_concepts["statistic"].to_pylist(), strict=True)
    )
    for q in STATISTICS:
        rows[f"prompt_{q}"] = {int(k): [] for k, kind in statistic.items() if kind == q}
    members = run.table(GROUP_MEMBERS_FILE)
    for pair, group in zip(members["pair_id"].to_pylist(), members["group_id"].to_pylist(), strict=True):
        if pair in row:
            rows["group"][int(group)].append(row[pair])
    rows["pattern_group"] = rows["detector_group"] = rows["group"]
    members = run.table(PROMPT_MEMBERS_FILE, ["pair_id", "prompt_concept_id"])
    for pair, k in zip(members["pair_id"].to_pylist(), members["prompt_concept_id"].to_pylist(), strict=True):
        if pair in row:
            rows[f"prompt_{statistic[k]}"][int(k)].append(row[pair])
    return {
        view: {where: np.array(sorted(row_numbers), np.int64) for where, row_numbers in sets.items()}
        for view, sets in rows.items()
    }
