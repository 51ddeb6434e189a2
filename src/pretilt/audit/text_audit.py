"""The audit without a lens: patterns of the text alone, over all pairs and in groups of prompts that share words.

No model is loaded and none is named; what it finds can be recounted with grep.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from pretilt.audit.effects import count_tests
from pretilt.audit.evidence import evidence_stage
from pretilt.audit.pattern_effects import pattern_views
from pretilt.audit.result import AuditResult
from pretilt.audit.sources import sources_stage
from pretilt.audit.training_pairs import TrainingPairs
from pretilt.concepts.group_names import name_groups
from pretilt.concepts.pattern_step import patterns_stage
from pretilt.events import Events
from pretilt.lens.blocks import prompt_texts
from pretilt.pairs.step import pairs_stage
from pretilt.run import Run
from pretilt.schema import (
    CENTROIDS_FILE,
    CONCEPTS_FILE,
    GROUP_MEMBERS_FILE,
    GROUPS,
    GROUPS_FILE,
    HYPOTHESES_FILE,
    PREFLIGHT_FILE,
    PROMPT_CONCEPTS,
    PROMPT_CONCEPTS_FILE,
    PROMPT_MEMBERS,
    PROMPT_MEMBERS_FILE,
    STATISTICS_FILE,
)
from pretilt.settings import AuditSettings
from pretilt.stats.groups import GroupModel, fit_groups
from pretilt.stats.hypotheses import DisplayRules, hypotheses

VERSIONS = {"audit": 7, "evidence": 2}  # raise a stage's number when a change of code can change its bytes
MAX_WORDS = 4096  # of the vocabulary of prompts, the most frequent
MIN_PROMPTS, MAX_SHARE = 3, 0.2  # a word of fewer prompts, or of more of them, says nothing of what a prompt is about


def audit_text(
    run: Run, source: Any, settings: AuditSettings, facts: dict[str, Any], dry_run: bool, events: Events
) -> AuditResult:
    """All steps of an audit without a lens; `facts` go to the manifest."""
    pairs_stage(run, source, settings, None, events)
    preflight = {**run.json(PREFLIGHT_FILE), "refused": []}
    events.preflight(preflight)
    if dry_run:
        return AuditResult(run, {"preflight": preflight})

    for name, value in facts.items():
        run.record(name, value)
    events.say("patterns: what stands in the text of each response")
    patterns_stage(run, settings)
    events.say("statistics: which patterns the label selects, everywhere and in groups of prompts")
    _statistics_stage(run, settings)
    sources_stage(run, settings)
    evidence_stage(run, settings, None, VERSIONS["evidence"], events)
    return AuditResult(run)


def _statistics_stage(run: Run, settings: AuditSettings) -> None:
    config = {name: getattr(settings, name) for name in ("groups", "seed", "baseline")}
    with run.stage("audit", version=VERSIONS["audit"], config=config, reads=["pairs", "patterns"]) as stage:
        if stage.done:
            return

        pairs = TrainingPairs(run, settings)
        words = _prompt_words(prompt_texts(pairs.all), pairs.train)
        model, group_id = fit_groups(csr_array(words[pairs.train]), n_groups=settings.groups, seed=settings.seed)
        members = np.empty(pairs.train.size, np.int32)
        members[pairs.train], members[~pairs.train] = group_id, model.assign(csr_array(words[~pairs.train]))

        views, concepts = pattern_views(run, settings, pairs, group_id, first_id=0)
        shown = {view.view: np.ones(view.concept_ids.size, bool) for view in views}
        tested = hypotheses(views, shown, DisplayRules(), seed=settings.seed)

        stage.write(GROUPS_FILE, _groups(model, pairs, group_id))
        stage.write(GROUP_MEMBERS_FILE, pa.table({"pair_id": pairs.all["pair_id"], "group_id": members}))
        stage.write(CENTROIDS_FILE, model.to_table())
        stage.write(CONCEPTS_FILE, concepts)
        stage.write(PROMPT_CONCEPTS_FILE, PROMPT_CONCEPTS.empty_table())
        stage.write(PROMPT_MEMBERS_FILE, PROMPT_MEMBERS.empty_table())
        stage.write(HYPOTHESES_FILE, tested.table)
        stage.write_json(STATISTICS_FILE, {**count_tests(tested, views), "share_unbound": None})


def _prompt_words(prompts: list[str], train: np.ndarray) -> csr_array:
    """Weighted words of each prompt, CSR float32 [n_pairs, n_words], values >= 0; words of the training prompts alone.

    A word counts the less the more prompts have it (tf-idf, as scikit-learn has it). No column where no word is left.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        sublinear_tf=True, max_features=MAX_WORDS, min_df=MIN_PROMPTS, max_df=MAX_SHARE, dtype=np.float32
    )
    try:
        vectorizer.fit([prompt for prompt, is_train in zip(prompts, train, strict=True) if is_train])
    except ValueError:  # too few prompts, or no word in MIN_PROMPTS of them
        return csr_array((len(prompts), 1), dtype=np.float32)
    return csr_array(vectorizer.transform(prompts))


def _groups(model: GroupModel, pairs: TrainingPairs, group_id: np.ndarray) -> pa.Table:
    names = name_groups(pairs.texts, group_id, len(model) + 1, questions=pairs.questions)
    return pa.table(
        {
            "group_id": np.arange(len(model) + 1, dtype=np.int32),
            "size": model.sizes,
            "name": [name for name, _ in names],
            "phrases": [phrases for _, phrases in names],
            "concept_ids": pa.array([[] for _ in names], pa.list_(pa.int32())),
        },
        schema=GROUPS,
    )
