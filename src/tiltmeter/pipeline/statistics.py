"""The steps after the harvest: concepts, then groups and tests, then evidence, from tables of the run to tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csc_array, csr_array, vstack

from tiltmeter.concepts.bank import (
    active_pairs_per_feature,
    build_concepts,
    concepts_from_table,
    concepts_table,
    feature_lists,
)
from tiltmeter.concepts.cofiring import find_communities
from tiltmeter.concepts.group_names import name_groups
from tiltmeter.concepts.names import name_concepts
from tiltmeter.events import Events
from tiltmeter.lens.store import iter_shards, merge_peaks, merge_token_counts
from tiltmeter.pipeline.lenses import LensChoice, pair_tokens
from tiltmeter.pipeline.result import FEATURES, SHARD_PARTS
from tiltmeter.run import Run, Shards
from tiltmeter.schema import Concepts
from tiltmeter.settings import AuditSettings
from tiltmeter.stats.contrast import ContrastSums, global_effects, group_contrasts
from tiltmeter.stats.disparity import (
    ConceptSums,
    DisparityBlock,
    disparity_block,
    exact_threshold,
    signed_disparity,
    stack,
)
from tiltmeter.stats.evidence import PairTokens, Tracer, build_evidence
from tiltmeter.stats.groups import fit_groups, groups_to_table
from tiltmeter.stats.hypotheses import PAPER_RULES, DisplayRules, contrasts_to_table, tested_concepts

EVIDENCE_RANKS = 25  # hypotheses per view and direction whose pairs are kept with their tokens
EVIDENCE_PAIRS = 8  # pairs of each
MEMBERSHIP = "membership.parquet"


def _shards(run: Run) -> Shards:
    return Shards(run.path / FEATURES, run.manifest["stages"][FEATURES]["key"], SHARD_PARTS)


def _train(run: Run) -> np.ndarray:
    """Which rows of pairs.parquet everything is fitted and tested on."""
    return pc.equal(run.table("pairs.parquet", ["split"])["split"], "train").to_numpy()


@dataclass(frozen=True)
class _Counts:
    """What the statistics read of a span: (n,) content tokens and (n, n_features) CSR fire counts."""

    n_tokens: np.ndarray
    fire_count: csr_array


def _responses(run: Run, keep: np.ndarray) -> Iterator[tuple[_Counts, _Counts]]:
    """(chosen, rejected) of the rows to keep, shard by shard."""
    start = 0
    for block in iter_shards(_shards(run), run.manifest["lens"]["n_features"]):
        chosen, rejected = block["chosen"], block["rejected"]
        rows = np.flatnonzero(keep[start : start + len(chosen.n_tokens)])
        start += len(chosen.n_tokens)
        yield tuple(_Counts(span.n_tokens[rows], span.fire_count[rows]) for span in (chosen, rejected))  # type: ignore[misc]


def default_resolution(n_fired: int) -> float:
    """Leiden resolution for a graph of `n_fired` features: 40 from 4,000 on (chosen on demo A), less for fewer."""
    return float(np.clip(n_fired / 100, 1.0, 40.0))


def concepts_stage(run: Run, settings: AuditSettings, lens: LensChoice, version: int) -> None:
    """Co-firing on the training responses → communities and single features, with names."""
    config = {
        "graph": settings.graph,
        "resolution": settings.resolution,
        "seed": settings.seed,
        "paper": settings.paper,
    }
    with run.stage("concepts", version=version, config=config, reads=["pairs", FEATURES]) as stage:
        if stage.done:
            return
        train = _train(run)
        fired, active = [], np.zeros(run.manifest["lens"]["n_features"], dtype=np.int64)
        for chosen, rejected in _responses(run, train):
            fired += [chosen.fire_count > 0, rejected.fire_count > 0]
            active += active_pairs_per_feature(chosen.fire_count, rejected.fire_count)
        communities = find_communities(
            csr_array(vstack(fired, format="csr")),
            graph=settings.graph,
            resolution=settings.resolution or default_resolution(int((active > 0).sum())),
            seed=settings.seed,
        )
        concepts = build_concepts(communities.community, active, paper=settings.paper)
        names = _names(run, concepts, lens.tokenizer)
        table = pa.table(
            {
                "concept_id": pa.array(np.arange(len(concepts)), pa.int32()),
                "kind": ["community" if c else "feature" for c in concepts.is_community],
                "feature_ids": pa.array(feature_lists(concepts), pa.list_(pa.int32())),
                "name": [n.name for n in names],
                "phrases": pa.array([n.phrases for n in names], pa.list_(pa.string())),
            }
        )
        stage.write(MEMBERSHIP, table)
        stage.write_json("communities.json", communities.report())


def _names(run: Run, concepts: Concepts, tokenizer: Any) -> list[Any]:
    tokens, shards = run.table("tokens.parquet"), _shards(run)
    totals = np.zeros(len(tokenizer), dtype=np.int64)
    for side in ("chosen", "rejected"):
        ids = tokens[f"{side}_ids"].combine_chunks().flatten().to_numpy()
        content = tokens[f"{side}_content"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        totals += np.bincount(ids[content], minlength=totals.size)

    def decode(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    return name_concepts(concepts, merge_token_counts(shards), totals, merge_peaks(shards), tokens, decode)


def _concepts(run: Run) -> tuple[pa.Table, Concepts]:
    table = run.table(MEMBERSHIP)
    return table, concepts_from_table(table, run.manifest["lens"]["n_features"])


def _disparities(
    run: Run, concepts: Concepts, settings: AuditSettings, keep: np.ndarray
) -> tuple[DisparityBlock, ConceptSums]:
    sums, blocks = ConceptSums(concepts), []
    for chosen, rejected in _responses(run, keep):
        block = disparity_block(chosen, rejected, concepts, freq_threshold=exact_threshold(settings.freq_threshold))
        sums.add(block)
        wanted = {settings.disparity, "freq"}  # the tested form, and the intensity that orders equal ones
        blocks.append(replace(block, numerators={f: x for f, x in block.numerators.items() if f in wanted}))
    return stack(blocks), sums


def statistics_stage(run: Run, settings: AuditSettings, version: int) -> None:
    """Groups, global effects and group contrasts of the training pairs; groups of the held-out pairs."""
    names = ("disparity", "freq_threshold", "groups", "paper", "seed")
    config = {name: getattr(settings, name) for name in names}
    with run.stage("audit", version=version, config=config, reads=["pairs", FEATURES, "concepts"]) as stage:
        if stage.done:
            return
        membership, concepts = _concepts(run)
        rules = PAPER_RULES if settings.paper else DisplayRules()
        train = _train(run)
        pairs = run.table("pairs.parquet", ["pair_id", "row_index", "component_id", "prompt"])
        of_train = pairs.filter(pa.array(train))
        block, sums = _disparities(run, concepts, settings, train)
        about = sums.summary()
        model, group_id = fit_groups(block.activity, n_groups=settings.groups, seed=settings.seed)
        component = of_train["component_id"].to_numpy()
        size, numerator = concepts.size, block.numerators[settings.disparity]
        tested = tested_concepts(concepts.is_community, about.n_pairs_active, rules)
        everywhere = ContrastSums.overall(component, len(concepts), size)
        by_group = ContrastSums.by_group(
            group_id, of_train["row_index"].to_numpy(), component, len(model), len(concepts), size
        )
        for one in (everywhere, by_group):
            one.add(numerator)
            one.finish()
        found = contrasts_to_table(
            [global_effects(everywhere, tested), group_contrasts(by_group, tested)], size, concepts.is_community, rules
        )
        stage.write(
            "concepts.parquet",
            concepts_table(
                concepts,
                names=membership["name"].to_pylist(),
                phrases=membership["phrases"].to_pylist(),
                n_pairs_active=about.n_pairs_active,
                prevalence=about.prevalence,
                length_correlation=about.length_correlation[settings.disparity],
                mean_u_paper=about.mean_u["paper"],
                mean_u_count2=about.mean_u["count2"],
                mean_u_freq=about.mean_u["freq"],
            ),
        )
        names_of_groups = name_groups(_prompt_texts(of_train), group_id, len(model) + 1)
        communities = np.flatnonzero(concepts.is_community)
        stage.write(
            "groups.parquet",
            groups_to_table(model, communities, [n for n, _ in names_of_groups], [p for _, p in names_of_groups]),
        )
        stage.write("centroids.parquet", model.to_table())
        members = np.empty(len(train), dtype=np.int32)
        members[train] = group_id
        if not train.all():
            members[~train] = model.assign(_disparities(run, concepts, settings, ~train)[0].activity)
        stage.write("group_members.parquet", pa.table({"pair_id": pairs["pair_id"], "group_id": members}))
        stage.write("hypotheses.parquet", found.table)
        counts = {"n_tested": found.n_tested, "n_shown": found.n_shown, "share_unbound": about.share_unbound}
        stage.write_json("statistics.json", counts)


def _prompt_texts(pairs: pa.Table) -> list[str]:
    """The prompts as one text each: the turns' contents, a line between them."""
    return ["\n".join(m["content"] for m in messages) for messages in pairs["prompt"].to_pylist()]


def evidence_stage(run: Run, settings: AuditSettings, lens: LensChoice, version: int, events: Events) -> None:
    """The responsible pairs of the best-ranked hypotheses, read once more for the tokens that fired."""
    config = {"ranks": EVIDENCE_RANKS, "pairs": EVIDENCE_PAIRS}
    with run.stage("evidence", version=version, config=config, reads=["pairs", FEATURES, "concepts", "audit"]) as stage:
        if stage.done:
            return
        _, concepts = _concepts(run)
        train = _train(run)
        pairs = run.table("pairs.parquet", ["pair_id", "prompt"]).filter(pa.array(train))
        hypotheses = run.table("hypotheses.parquet")
        listed = hypotheses.filter(pc.field("shown") & (pc.field("rank") <= EVIDENCE_RANKS))
        wanted = np.unique(listed["concept_id"].to_numpy())
        tracer = make_tracer(run, settings, wanted)
        pair_ids = pairs["pair_id"].to_pylist()
        texts = dict(zip(pair_ids, _prompt_texts(pairs), strict=True))
        features = dict(enumerate(feature_lists(concepts)))

        def read(requests: Any) -> list[PairTokens]:
            tokens = run.table("tokens.parquet")
            return pair_tokens(lens.lens(tokens), lens.tokenizer, tokens, requests, features, events)

        table = build_evidence(hypotheses, tracer, texts, read, max_rank=EVIDENCE_RANKS, max_pairs=EVIDENCE_PAIRS)
        stage.write("evidence.parquet", table)


@dataclass(frozen=True)
class TrainDisparities:
    """Of the training pairs, CSR (n_pairs, n_concepts): `u` as tested, `v`, and `presence`, blind to the label."""

    u: csr_array
    v: csr_array
    presence: csr_array


def train_disparities(run: Run, settings: AuditSettings) -> TrainDisparities:
    """Computed from the features; nothing of this size is stored."""
    _, concepts = _concepts(run)
    train = _train(run)
    block, _ = _disparities(run, concepts, settings, train)
    both = [
        csr_array((chosen.fire_count > 0).astype(float) + (rejected.fire_count > 0).astype(float))
        for chosen, rejected in _responses(run, train)
    ]
    presence = csr_array(vstack(both, format="csr") @ csr_array(concepts.membership, dtype=float))
    u = signed_disparity(block.numerators[settings.disparity], concepts.size)
    return TrainDisparities(u, block.numerators["freq"], presence)


def make_tracer(run: Run, settings: AuditSettings, concept_ids: np.ndarray) -> Tracer:
    """Contributions of the training pairs to the effects on some concepts."""
    found = train_disparities(run, settings)
    members = run.table("group_members.parquet").filter(pa.array(_train(run)))
    columns = np.asarray(concept_ids, dtype=np.int64)
    return Tracer(
        members["pair_id"].to_pylist(),
        members["group_id"].to_numpy(),
        columns,
        csc_array(csc_array(found.u)[:, columns]),
        csc_array(csc_array(found.v)[:, columns]),
    )
