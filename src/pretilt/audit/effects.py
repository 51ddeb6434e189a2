"""The tests: groups, global effects, group contrasts and prompt concepts, from tables of the run to tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array, vstack

from pretilt.audit.detector_effects import detector_views
from pretilt.audit.pattern_effects import pattern_views
from pretilt.audit.training_pairs import TrainingPairs
from pretilt.concepts.bank import NAMES, concepts_table
from pretilt.concepts.group_names import name_groups, name_sets
from pretilt.concepts.parallel import in_order
from pretilt.concepts.prompt_scores import (
    STATISTICS,
    ConceptColumns,
    Selection,
    Statistic,
    TopPairs,
    concept_columns,
    prompt_scores,
    response_scores,
)
from pretilt.concepts.step import membership
from pretilt.detectors.stored import scores_stage, stage_name
from pretilt.lens.blocks import Features, PairBlock
from pretilt.run import Run, Stage
from pretilt.schema import (
    CENTROIDS_FILE,
    CONCEPTS,
    CONCEPTS_FILE,
    FEATURES,
    GROUP_MEMBERS_FILE,
    GROUPS_FILE,
    HYPOTHESES_FILE,
    PROMPT_CONCEPTS,
    PROMPT_CONCEPTS_FILE,
    PROMPT_MEMBERS,
    PROMPT_MEMBERS_FILE,
    SHIFT_SIGMA_FILE,
    SHIFTS_FILE,
    STATISTICS_FILE,
    Concepts,
)
from pretilt.settings import AuditSettings
from pretilt.stats.columns import ColumnBuilder, Columns
from pretilt.stats.disparity import ConceptSums, DisparityBlock, disparity_block, exact_threshold, symmetric_activity
from pretilt.stats.groups import GroupModel, fit_groups, groups_to_table
from pretilt.stats.hypotheses import PAPER_RULES, DisplayRules, Hypotheses, hypotheses, tested_concepts
from pretilt.stats.sets import Sets
from pretilt.stats.view_statistics import ViewStatistics, smallest_visible, view_statistics


def statistics_stage(run: Run, settings: AuditSettings, version: int, detectors: Sequence[str] = ()) -> None:
    """Groups, global effects, group contrasts and prompt-conditioned contrasts of the training pairs; where held-out
    pairs belong. `detectors`: names of those whose scores the run holds."""
    names = ("disparity", "freq_threshold", "groups", "paper", "seed", "baseline")
    config = {name: getattr(settings, name) for name in names}
    has_patterns = "patterns" in run.manifest["stages"] and not settings.paper
    reads = ["pairs", FEATURES, "concepts", "shifts", *["patterns"] * has_patterns]
    reads += [stage(name) for name in detectors for stage in (stage_name, scores_stage)]
    with run.stage("audit", version=version, config=config, reads=reads) as stage:
        if stage.done:
            return
        rules = PAPER_RULES if settings.paper else DisplayRules()
        features = Features(run, settings)
        pairs = TrainingPairs(run, settings)
        views, large, concepts_rows, share_unbound, group_id = _feature_views(
            run, stage, settings, pairs, features, rules
        )
        prompt_tables: list[pa.Table] = []
        members: list[pa.Table] = []
        for scores in _prompt_scores(run, pairs, features):
            view, table, prompts, selected = _prompt_view(
                settings, pairs, scores, n_before=sum(map(len, concepts_rows)), n_sets=sum(map(len, prompt_tables))
            )
            views.append(view)
            large[view.view] = np.ones(view.concept_ids.size, bool)
            concepts_rows.append(table)
            prompt_tables.append(prompts)
            members.append(selected)
        if has_patterns:
            of_patterns, table = pattern_views(run, settings, pairs, group_id, first_id=sum(map(len, concepts_rows)))
            views += of_patterns
            large |= {view.view: np.ones(view.concept_ids.size, bool) for view in of_patterns}
            concepts_rows.append(table)
        if detectors:
            n_before = sum(map(len, concepts_rows))
            of_detectors, table = detector_views(run, settings, list(detectors), pairs, group_id, first_id=n_before)
            views += of_detectors
            large |= {view.view: np.ones(view.concept_ids.size, bool) for view in of_detectors}
            concepts_rows.append(table)
        tested = hypotheses(views, large, rules, seed=settings.seed)
        stage.write(CONCEPTS_FILE, pa.concat_tables(concepts_rows))
        stage.write(PROMPT_CONCEPTS_FILE, pa.concat_tables([*prompt_tables, PROMPT_CONCEPTS.empty_table()]))
        stage.write(PROMPT_MEMBERS_FILE, pa.concat_tables([*members, PROMPT_MEMBERS.empty_table()]))
        stage.write(HYPOTHESES_FILE, tested.table)
        stage.write_json(STATISTICS_FILE, {**count_tests(tested, views), "share_unbound": share_unbound})


def count_tests(tested: Hypotheses, views: list[ViewStatistics]) -> dict[str, Any]:
    """statistics.json without `share_unbound`: tests made and shown by view, and what was fitted to each view."""
    models = {
        v.view: {
            "prior_freedom": round(v.moderated.prior_freedom, 3),
            "share_null": round(float(v.mixture.weight[v.mixture.tau == 0].sum()), 4),
            "n_sure": tested.n_sure[v.view],
            "mean_icc": round(float(v.moderated.icc.mean()), 4) if v.moderated.icc.size else None,
            "smallest_visible": smallest_visible(v, n_views=len(views)),
        }
        for v in views
    }
    return {"n_tested": tested.n_tested, "n_shown": tested.n_shown, "views": models}


def _feature_views(
    run: Run, stage: Stage, settings: AuditSettings, pairs: TrainingPairs, features: Features, rules: DisplayRules
) -> tuple[list[ViewStatistics], dict[str, np.ndarray], list[pa.Table], float, np.ndarray]:
    """Global effects and group contrasts; the communities' and single features' rows of CONCEPTS; the training pairs'
    group_id."""
    named, concepts = membership(run)
    sums = ConceptSums(concepts)
    builder = ColumnBuilder(len(concepts), np.float64 if settings.disparity == "freq" else np.int16)
    activity, of_heldout = [], []
    threshold = exact_threshold(settings.freq_threshold)

    def measure(halves: tuple[PairBlock, ...]) -> tuple[DisparityBlock, csr_array, csr_array]:
        train, heldout = halves
        block = disparity_block(train.chosen, train.rejected, concepts, freq_threshold=threshold)
        of_others = symmetric_activity(heldout.chosen, heldout.rejected, concepts)
        return block, csr_array(block.activity, dtype=np.float32), csr_array(of_others, dtype=np.float32)

    for block, of_train, of_others in in_order(measure, features.split(pairs.train, prompts=False, activations=False)):
        sums.add(block)
        builder.add(block.numerators[settings.disparity])
        activity.append(of_train)
        of_heldout.append(of_others)
    concept_totals = sums.summary()
    s = csr_array(vstack(activity, format="csr"))
    del activity
    model, group_id = fit_groups(s, n_groups=settings.groups, seed=settings.seed)
    members = np.empty(pairs.train.size, dtype=np.int32)
    members[pairs.train] = group_id
    members[~pairs.train] = np.concatenate([model.assign(activities) for activities in of_heldout])
    del s, of_heldout
    size = concepts.size
    columns = builder.finish(size.astype(np.float64))
    tested = tested_concepts(concepts.is_community, concept_totals.n_pairs_active, rules)
    large = ~concepts.is_community[tested] | (size[tested] >= rules.min_community_size)
    columns = columns if tested.size == len(concepts) else columns.take(tested)
    views = [
        view_statistics(
            name, tested, columns, sets, covariates=pairs.covariates, row_half=pairs.half, seed=settings.seed
        )
        for name, sets in (("global", Sets.everything(pairs.family)), ("group", Sets.groups(group_id, pairs.family)))
        if tested.size
    ]
    _write_groups(stage, model, members, pairs, concepts)
    table = concepts_table(
        concepts,
        named=named,
        n_pairs_active=concept_totals.n_pairs_active,
        share_chosen=concept_totals.share_chosen,
        share_rejected=concept_totals.share_rejected,
        length_correlation=concept_totals.length_correlation[settings.disparity],
        mean_u_paper=concept_totals.mean_u["paper"],
        mean_u_count2=concept_totals.mean_u["count2"],
        mean_u_freq=concept_totals.mean_u["freq"],
    )
    return views, {v.view: large for v in views}, [table], concept_totals.share_unbound, group_id


def _write_groups(
    stage: Stage, model: GroupModel, members: np.ndarray, pairs: TrainingPairs, concepts: Concepts
) -> None:
    names = name_groups(pairs.texts, members[pairs.train], len(model) + 1, questions=pairs.questions)
    communities = np.flatnonzero(concepts.is_community)
    stage.write(GROUPS_FILE, groups_to_table(model, communities, [n for n, _ in names], [p for _, p in names]))
    stage.write(CENTROIDS_FILE, model.to_table())
    stage.write(GROUP_MEMBERS_FILE, pa.table({"pair_id": pairs.all["pair_id"], "group_id": members}))


def shift_lists(run: Run, kind: str) -> tuple[list[np.ndarray], pa.Table]:
    """Feature ids of the prompt concepts ("prompt_max", …) or response-shift concepts ("shift_max", …), and their
    rows of the table."""
    table = run.table(SHIFTS_FILE)
    table = table.filter(pa.array([k == kind for k in table["kind"].to_pylist()], pa.bool_()))
    return [np.asarray(ids, np.int64) for ids in table["feature_ids"].to_pylist()], table


@dataclass
class _PromptScores:
    """What one statistic's view is made of."""

    statistic: Statistic
    prompts: list[np.ndarray]  # feature ids of the prompt concepts
    shifts: pa.Table  # response-shift concepts
    u: np.ndarray  # float32 [training pairs, response-shift concepts]
    top: TopPairs
    heldout: np.ndarray  # float32 [held-out pairs, prompt concepts], prompt scores


def _prompt_scores(run: Run, pairs: TrainingPairs, features: Features) -> list[_PromptScores]:
    """Of both statistics, in one pass over the pairs; a statistic without any concept is left out."""
    columns: dict[Statistic, tuple[ConceptColumns, ConceptColumns]] = {}
    lists: dict[Statistic, tuple[list[np.ndarray], pa.Table]] = {}  # prompt concepts, response-shift concepts
    for q in STATISTICS:
        (shifts, rows), (prompts, _) = shift_lists(run, f"shift_{q}"), shift_lists(run, f"prompt_{q}")
        if shifts and prompts:
            lists[q] = prompts, rows
            sigma = run.table(SHIFT_SIGMA_FILE)[q].to_numpy()
            of_responses = concept_columns(shifts, features.n_features, q, sigma)
            columns[q] = of_responses, concept_columns(prompts, features.n_features, q)
    n, pair_ids = int(pairs.train.sum()), pairs.table["pair_id"].to_pylist()
    u = {q: np.empty((n, len(responses)), np.float32) for q, (responses, _) in columns.items()}
    selections = {q: Selection(pair_ids, len(topics)) for q, (_, topics) in columns.items()}
    heldout_scores: dict[Statistic, list[np.ndarray]] = {q: [] for q in columns}

    def measure(halves: tuple[PairBlock, ...]) -> dict[Statistic, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        train, heldout = halves
        return {
            q: (
                response_scores(train, responses),
                prompt_scores(train.prompt, topics),
                prompt_scores(heldout.prompt, topics),
            )
            for q, (responses, topics) in columns.items()
        }

    start = 0
    for block_scores in in_order(measure, features.split(pairs.train) if columns else ()):
        for q, (of_train, about_prompts, of_others) in block_scores.items():
            u[q][start : start + len(of_train)] = of_train
            selections[q].add(about_prompts)
            heldout_scores[q].append(of_others)
        start += len(of_train)
    return [
        _PromptScores(q, *lists[q], u[q], selections[q].finish(), np.concatenate(heldout_scores[q])) for q in columns
    ]


def _prompt_view(
    settings: AuditSettings, pairs: TrainingPairs, scores: _PromptScores, n_before: int, n_sets: int
) -> tuple[ViewStatistics, pa.Table, pa.Table, pa.Table]:
    """One statistic's view, its rows of CONCEPTS, PROMPT_CONCEPTS and PROMPT_MEMBERS."""
    q, prompts, top = scores.statistic, scores.prompts, scores.top
    numbers = np.arange(n_sets, n_sets + len(prompts), dtype=np.int32)
    view = view_statistics(
        f"prompt_{q}",
        np.arange(n_before, n_before + len(scores.shifts)),
        Columns(scores.u),
        Sets.selections(numbers, top.rows, pairs.family),
        covariates=pairs.covariates,
        row_half=pairs.half,
        seed=settings.seed,
    )
    names = name_sets(pairs.texts, top.rows, "prompt concept", questions=pairs.questions)
    table = pa.table(
        {
            "prompt_concept_id": numbers,
            "statistic": pa.array([q] * len(prompts)),
            "feature_ids": pa.array([ids.tolist() for ids in prompts], pa.list_(pa.int32())),
            "size": [len(ids) for ids in prompts],
            "name": [name for name, _ in names],
            "phrases": pa.array([phrases for _, phrases in names], pa.list_(pa.string())),
            "n_selected": [len(rows) for rows in top.rows],
            "cutoff": pa.array(np.where(np.isfinite(top.cutoff), top.cutoff, np.nan), pa.float64(), from_pandas=True),
        }
    ).cast(PROMPT_CONCEPTS)
    selected = [pa.table({
        "prompt_concept_id": np.repeat(numbers, [len(r) for r in top.rows]),
        "pair_id": pairs.table["pair_id"].take(pa.array(np.concatenate(top.rows))),
        "score": np.concatenate(top.scores).astype(np.float64),
    }).cast(PROMPT_MEMBERS)]  # fmt: skip
    heldout = pairs.all.filter(pa.array(~pairs.train))["pair_id"]
    row, k = np.nonzero(top.passes(scores.heldout))
    also = {"prompt_concept_id": numbers[k], "pair_id": heldout.take(pa.array(row)), "score": scores.heldout[row, k]}
    selected.append(pa.table(also).cast(PROMPT_MEMBERS))
    concepts = _shift_rows(scores.shifts, q, scores.u, n_before, pairs.length_difference)
    return view, concepts, table, pa.concat_tables(selected)


def _shift_rows(named: pa.Table, q: str, u: np.ndarray, first: int, length_difference: np.ndarray) -> pa.Table:
    """Rows of CONCEPTS for response-shift concepts; the forms of the disparity are null, they have none."""
    centred = length_difference - length_difference.mean()
    product, spread = np.zeros((2, len(named)))
    for where, block in Columns(u).blocks():
        product[where] = centred @ block
        spread[where] = np.sqrt((centred @ centred) * ((block - block.mean(axis=0)) ** 2).sum(axis=0))
    nothing = pa.nulls(len(named), pa.float64())
    columns = {
        "concept_id": np.arange(first, first + len(named), dtype=np.int32),
        "kind": pa.array([f"shift_{q}"] * len(named)),
        "feature_ids": named["feature_ids"],
        "size": [len(ids) for ids in named["feature_ids"].to_pylist()],
        **{name: named[name] for name in NAMES},
        "n_pairs_active": np.count_nonzero(u, axis=0),
        "pattern": pa.nulls(len(named), pa.string()),
        "detector": pa.nulls(len(named), pa.string()),
        "prevalence": nothing,
        "share_chosen": nothing,
        "share_rejected": nothing,
        "per_100_words": nothing,
        "length_correlation": pa.array(
            np.divide(product, spread, out=np.full(len(named), np.nan), where=spread > 0), from_pandas=True
        ),
        "mean_u_paper": nothing,
        "mean_u_count2": nothing,
        "mean_u_freq": nothing,
    }
    return pa.table({f.name: columns[f.name] for f in CONCEPTS}).cast(CONCEPTS)
