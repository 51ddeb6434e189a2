"""The steps from features to concepts: co-firing communities, and prompt and response-shift concepts, with names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from scipy.sparse import csc_array, csr_array, vstack

from pretilt.concepts.bank import active_pairs_per_feature, build_concepts, concepts_from_table, feature_lists
from pretilt.concepts.cofiring import find_communities
from pretilt.concepts.judged_names import Corpus, Judge
from pretilt.concepts.names import ConceptName, draft_names
from pretilt.concepts.pattern_step import answer_text, pattern_counts, question, stored_patterns
from pretilt.concepts.prompt_scores import STATISTICS, Statistic
from pretilt.concepts.shifts import ShiftConcepts, find_shifts
from pretilt.lens.blocks import Features, shards_of, train_rows
from pretilt.lens.choice import LensChoice
from pretilt.lens.store import merge_peaks, merge_token_counts
from pretilt.pairs.shuffle import label_swap
from pretilt.run import Run
from pretilt.schema import (
    COMMUNITIES_FILE,
    FEATURES,
    MEMBERSHIP_FILE,
    PAIRS_FILE,
    SHIFT_SIGMA_FILE,
    SHIFTS_FILE,
    SHIFTS_REPORT,
    TOKENS_FILE,
    Concepts,
)
from pretilt.settings import AuditSettings

SAMPLE_SPANS = 100_000  # responses whose co-firing is looked at
NAMING_PAIRS = 10_000  # training pairs whose answers choose and judge names


def default_resolution(n_fired: int) -> float:
    """Leiden resolution for a graph of `n_fired` features: 40 from 4,000 on (chosen on demo A), less for fewer."""
    return float(np.clip(n_fired / 100, 1.0, 40.0))


def concepts_stage(run: Run, settings: AuditSettings, lens: LensChoice, version: int) -> None:
    """Co-firing on the training responses → communities and single features, with names."""
    names = ("graph", "resolution", "seed", "paper", "baseline")
    config = {name: getattr(settings, name) for name in names}
    with run.stage("concepts", version=version, config=config, reads=["pairs", FEATURES, "patterns"]) as stage:
        if stage.done:
            return

        fired, active = fired_sample(Features(run, settings), train_rows(run), settings.seed)
        communities = find_communities(
            fired,
            graph=settings.graph,
            resolution=settings.resolution or default_resolution(int((active > 0).sum())),
            seed=settings.seed,
        )

        concepts = build_concepts(communities.community, active, paper=settings.paper)
        concept_names = _namer(run, settings, lens.tokenizer)(concepts)

        kinds = ["community" if c else "feature" for c in concepts.is_community]
        stage.write(MEMBERSHIP_FILE, _table(kinds, feature_lists(concepts), concept_names))
        stage.write_json(COMMUNITIES_FILE, communities.report())


def fired_sample(features: Features, train: np.ndarray, seed: int) -> tuple[csr_array, np.ndarray]:
    """Which features fire in a sample of the training responses, and in how many of all training pairs each does.

    CSR 0/1 (at most 100,000 responses, n_features), chosen and rejected of the same pairs; int64 (n_features,).
    """
    rows = np.flatnonzero(train)
    drawn = np.random.default_rng(seed).choice(rows, min(rows.size, SAMPLE_SPANS // 2), replace=False)
    sampled = np.isin(rows, drawn)
    fired, active = [], np.zeros(features.n_features, dtype=np.int64)
    for block in features.blocks(train, prompts=False, activations=False):
        active += active_pairs_per_feature(block.chosen.fire_count, block.rejected.fire_count)
        sampled_pairs, sampled = block.take(sampled[: len(block)]), sampled[len(block) :]
        fired += [sampled_pairs.chosen.fire_count > 0, sampled_pairs.rejected.fire_count > 0]
    return csr_array(vstack(fired, format="csr")), active


def shifts_stage(run: Run, settings: AuditSettings, lens: LensChoice, version: int) -> None:
    """Prompt concepts and response-shift concepts of both statistics; prompt concepts are named with their pairs."""
    config = {"seed": settings.seed, "paper": settings.paper, "baseline": settings.baseline}
    with run.stage("shifts", version=version, config=config, reads=["pairs", FEATURES, "patterns"]) as stage:
        if stage.done:
            return

        features, train = Features(run, settings), train_rows(run)
        shifts = find_shifts(
            partial(features.blocks, train), features.n_features, seed=settings.seed, paper=settings.paper
        )

        name = _namer(run, settings, lens.tokenizer)
        lists, sigma = shift_tables(shifts, lambda clusters: name(_as_concepts(clusters, features.n_features)))

        stage.write(SHIFTS_FILE, lists)
        stage.write(SHIFT_SIGMA_FILE, sigma)
        stage.write_json(SHIFTS_REPORT, {q: shifts[q].report() for q in STATISTICS})


def shift_tables(
    shifts: dict[Statistic, ShiftConcepts], named: Callable[[Sequence[np.ndarray]], Sequence[ConceptName]]
) -> tuple[pa.Table, pa.Table]:
    """SHIFTS and SIGMA; `named` gives names to lists of feature ids."""
    kinds: list[str] = []
    lists: list[Sequence[int]] = []
    names: list[ConceptName] = []
    for q in STATISTICS:
        for kind, clusters in (("shift", shifts[q].shift_concepts), ("prompt", shifts[q].prompt_concepts)):
            kinds += [f"{kind}_{q}"] * len(clusters)
            lists += [ids.tolist() for ids in clusters]
            names += named(clusters)
    return _table(kinds, lists, names), pa.table({q: shifts[q].sigma for q in STATISTICS})


def membership(run: Run) -> tuple[pa.Table, Concepts]:
    """The communities and single features, as stored and as the statistics need them."""
    table = run.table(MEMBERSHIP_FILE)
    return table, concepts_from_table(table, run.manifest["lens"]["n_features"])


def _as_concepts(clusters: Sequence[np.ndarray], n_features: int) -> Concepts:
    rows = np.concatenate([*clusters, np.zeros(0, np.int32)]).astype(np.int64)
    columns = np.repeat(np.arange(len(clusters)), [len(c) for c in clusters])
    ones = np.ones(rows.size, np.int32)
    member = csc_array((ones, (rows, columns)), shape=(n_features, len(clusters)))
    member.sort_indices()
    return Concepts(member, np.ones(len(clusters), bool))


def _table(kinds: Sequence[str], lists: Sequence[Sequence[int]], names: Sequence[ConceptName]) -> pa.Table:
    return pa.table(
        {
            "concept_id": pa.array(np.arange(len(kinds)), pa.int32()),
            "kind": pa.array(kinds, pa.string()),
            "feature_ids": pa.array(lists, pa.list_(pa.int32())),
            "name": pa.array([n.name for n in names], pa.string()),
            "name_kind": pa.array([n.kind for n in names], pa.string()),
            "name_score": pa.array([n.score for n in names], pa.float64()),
            "contexts": pa.array([list(n.contexts) for n in names], pa.list_(pa.string())),
            "phrases": pa.array([n.phrases for n in names], pa.list_(pa.string())),
        }
    )


def _namer(run: Run, settings: AuditSettings, tokenizer: Any) -> Callable[[Concepts], list[ConceptName]]:
    """A function that names concepts; what it reads is read once for all calls."""
    inputs, judge = naming_inputs(run, tokenizer), Judge(naming_corpus(run, settings))
    family = run.table(PAIRS_FILE, ["family_id"])["family_id"].to_numpy()

    def names(concepts: Concepts) -> list[ConceptName]:
        return judge.names(concepts, draft_names(concepts, *inputs, family=family))

    return names


NamingInputs: TypeAlias = tuple[pa.Table, np.ndarray, pa.Table, pa.Table, Callable[[list[int]], str]]


def naming_inputs(run: Run, tokenizer: Any) -> NamingInputs:
    """Token counts, totals of the vocabulary, peaks, tokens and the decoder, as `draft_names` takes them."""
    tokens, shards = run.table(TOKENS_FILE), shards_of(run)
    totals = np.zeros(len(tokenizer), dtype=np.int64)
    for side in ("chosen", "rejected"):
        ids = tokens[f"{side}_ids"].combine_chunks().flatten().to_numpy()
        content = tokens[f"{side}_content"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        totals += np.bincount(ids[content], minlength=totals.size)

    def decode(ids: list[int]) -> str:
        text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    return merge_token_counts(shards), totals, merge_peaks(shards), tokens, decode


def naming_corpus(run: Run, settings: AuditSettings) -> Corpus:
    """The answers by which names are judged: both of at most NAMING_PAIRS training pairs, chosen ones first."""
    keep = train_rows(run).copy()
    rows = np.flatnonzero(keep)
    keep[np.random.default_rng(settings.seed).permutation(rows)[NAMING_PAIRS:]] = False

    features = Features(run, settings)
    strength: dict[str, list[csr_array]] = {"chosen": [], "rejected": []}
    for block in features.blocks(keep, prompts=False):
        strength["chosen"].append(csr_array(block.chosen.act_max))
        strength["rejected"].append(csr_array(block.rejected.act_max))

    names = ["prompt", "chosen", "rejected", "family_id", "n_chosen_tokens", "n_rejected_tokens"]
    pairs = run.table(PAIRS_FILE, names).filter(pa.array(keep))
    patterns, stored = pattern_counts(run, settings).take(keep), stored_patterns(run)
    swap = label_swap(run, settings)
    texts = [[answer_text(messages) for messages in pairs[side].to_pylist()] for side in ("chosen", "rejected")]
    n_tokens = [pairs[f"n_{side}_tokens"].to_numpy() for side in ("chosen", "rejected")]
    if swap is not None:
        turned = swap[keep]
        texts = [
            [pair[int(turn) ^ side] for pair, turn in zip(zip(*texts, strict=True), turned, strict=True)]
            for side in (0, 1)
        ]
        n_tokens = [np.where(turned, n_tokens[1 - side], n_tokens[side]) for side in (0, 1)]
    row_of_answer = np.full((keep.size, 2), -1, np.int64)
    row_of_answer[keep] = np.arange(len(pairs))[:, None] + np.array([0, len(pairs)])
    if swap is not None:
        row_of_answer[swap] = row_of_answer[swap, ::-1]
    questions = [question(messages) for messages in pairs["prompt"].to_pylist()]
    return Corpus(
        strength=csr_array(vstack([*strength["chosen"], *strength["rejected"]], format="csr")),
        row_of_answer=row_of_answer,
        n_tokens=np.concatenate(n_tokens),
        family=np.tile(pairs["family_id"].to_numpy(), 2),
        texts=[*texts[0], *texts[1]],
        prompts=questions * 2,
        pattern_counts=np.concatenate([patterns.chosen, patterns.rejected]),
        n_words=np.concatenate([patterns.chosen_words, patterns.rejected_words]),
        patterns=[stored[name].phrase for name in patterns.names],
        seed=settings.seed,
    )
