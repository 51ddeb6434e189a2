"""What the shards hold, and what the server answers, typed: `web/src/lib/contract.ts` is made of this file.

`python scripts/contract.py` writes it; a test holds every shard of a site against its model. What is a report of the
run has the report's own model. Null means that a number is not defined.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from pretilt.reports.audit import Preflight, Read, SourceRow, SummaryFamilies, SummaryLens, Trust
from pretilt.reports.base import Check, Number, Report
from pretilt.view.site.contract_outcomes import Candidate, Dose, Forecast, Plan, Verified, Versus, WhatIf

View = Literal["global", "group", "prompt_max", "prompt_freq", "pattern", "pattern_group", "detector", "detector_group"]
Level = Literal["sure", "probably", "unsure", "unknown"]
Turn = tuple[str, str]  # role, text
Fire = tuple[float, float, float, float]  # turn, start, stop, strength in 0 … 1


class ViewFacts(Report):
    rows: int
    left_out: int
    shards: int
    of_shard: int


class AnswerShards(Report):
    roles: list[str]
    shards: int


class Has(Report):
    forecast: bool
    verification: bool
    verifications: bool
    plans: bool
    doses: bool
    versus: bool


class Index(Report):
    """What a page reads first."""

    schema_version: int
    pretilt: str
    title: str
    views: dict[View, ViewFacts]
    n_pairs: int
    n_train: int
    pairs_of_shard: int
    concepts_of_shard: int
    n_concepts: int
    fired: list[int]
    answers: AnswerShards | None
    has: Has
    is_text_alone: bool
    towards_verdict: str  # the command that comes next on the way to a verification; "" where there is one
    files: list[str]
    errors: list[str]


class Notable(Report):
    """One of the three things to look at."""

    hypothesis_id: str
    direction: Literal["amplify", "suppress"]
    title: str
    sentence: str
    how_sure: str
    cautions: list[str]
    is_sure: bool


class Histogram(Report):
    edges: list[float]
    counts: list[int]


class DroppedRow(Report):
    row_index: int | None
    reason: str | None
    detail: str | None


class DroppedRows(Report):
    """The first of them, and how many there are."""

    n: int
    rows: list[DroppedRow]


class Overview(Report):
    title: str
    opening: list[str]
    read: Read
    lens: SummaryLens
    trust: Trust
    preflight: Preflight
    dropped: DroppedRows
    lengths: Histogram
    families: SummaryFamilies
    sources: list[SourceRow]
    doctor: list[Check]
    files: list[tuple[str, str]]
    versions: dict[str, str]
    settings: dict[str, Any]
    seconds: dict[str, float]
    alike: dict[str, list[str]]
    notable: list[Notable]
    lists: dict[str, list[str]]


class Concepts(Report):
    """Columns by concept, in the order of concept_id; names as the audit gave them."""

    concept_id: list[int]
    kind: list[str]
    pattern: list[str | None]
    detector: list[str | None]
    size: list[int]
    name_kind: list[str | None]
    name_score: list[Number]
    n_pairs_active: list[Number]
    prevalence: list[Number]
    share_chosen: list[Number]
    share_rejected: list[Number]
    per_100_words: list[Number]
    length_correlation: list[Number]
    name: list[str]
    vague: list[bool]
    unit: list[str]
    phrases: list[list[str]]
    contexts: list[list[str]]


class GroupFacts(Report):
    group_id: int
    name: str
    size: int
    concept_ids: list[int]


class PromptFacts(Report):
    prompt_concept_id: int
    statistic: str
    name: str
    size: int
    phrases: list[str]


class Places(Report):
    groups: list[GroupFacts]
    prompt_concepts: list[PromptFacts]


class Coded(Report):
    """A column of few different texts; code -1 is none."""

    names: list[str]
    codes: list[int]


class Facts(Report):
    """Columns by pair, in the order of pairs.parquet."""

    row_index: list[int]
    family_id: list[int]
    group_id: list[int]
    train: list[bool]
    length: list[int]
    source: Coded
    chosen_model: Coded
    rejected_model: Coded


class RowShard(Report):
    """Columns of a shard of hypotheses.parquet, those that every page reads; the others by their names."""

    model_config = ConfigDict(extra="allow")
    hypothesis_id: list[str]
    sure: list[bool]
    level: list[int]
    where: list[int]
    concept_id: list[int]
    shown: list[bool]


class WordShard(Report):
    sentence: list[str]
    how_sure: list[str]
    cautions: list[list[str]]


class PairTexts(Report):
    pair_id: str
    row: int
    prompt: list[Turn]
    chosen: list[Turn]
    rejected: list[Turn]
    chosen_score: float = 0
    rejected_score: float = 0
    harmful: bool


class Scores(Report):
    """Pairs that have a concept, by their place in pairs.parquet."""

    places: list[int]
    u: list[float]


FiredShard = dict[str, tuple[list[Fire], list[Fire]]]  # place of a pair → what fires in chosen and in rejected
ScoreShard = dict[str, Scores]


class Answer(Report):
    """One prompt, answered before and after training: by role the text, and whether it ended by itself."""

    prompt: str
    answers: dict[str, tuple[str, bool]]
    harmful: bool


class Curation(Report):
    """What people did to names; see `concepts/curation.py`."""

    names: dict[str, str]
    pinned: list[int]
    merged: dict[str, int]
    values: dict[str, Literal["good", "bad"]]


class PairPlaces(Report):
    """The map: a point of every training pair, and x, y, radius of every group's disc; all 0 to 9999."""

    x: list[int]
    y: list[int]
    discs: list[tuple[int, int, int]]
    by_likeness: bool


class Spots(Report):
    """A point of every concept, or of every group and then every prompt concept, 0 to 9999, y downwards.

    `n_pairs`: training pairs that the likeness was measured on. `n_alone`: points along the lower edge, like no other.
    """

    x: list[int]
    y: list[int]
    n_pairs: int
    n_alone: int
    by_likeness: bool


class PatternFacts(Report):
    title: str | None
    counts: str | None
    reads: str | None
    expression: str | None
    function: str | None


Patterns = dict[str, PatternFacts]


class PastedPattern(Report):
    """How often a pattern stands in the pasted answers."""

    concept_id: int
    chosen: int
    rejected: int
    u: int


class AlikePair(Report):
    """A training pair: its place, in how many of the patterns it goes along, and by how much."""

    pair: int
    patterns: int
    weight: float


class Pasted(Report):
    """What a pasted answer or pair holds, and the training pairs that teach the same, and the contrary."""

    patterns: list[PastedPattern]
    same: list[AlikePair]
    contrary: list[AlikePair]


class PastedConcept(Report):
    """u of a pasted answer or pair, as the audit scores a pair."""

    concept_id: int
    u: float


class PastedReading(Report):
    """What the lens makes of a pasted prompt, answer or pair; concepts of features and detectors."""

    concepts: list[PastedConcept]
    group: int | None
    prompt_concepts: list[int]
    truncated: bool


SHARDS: dict[str, Any] = {  # by the first word of a shard's name
    "index": Index, "overview": Overview, "concepts": Concepts, "places": Places, "facts": Facts, "rows": RowShard,
    "words": WordShard, "u": ScoreShard, "fired": FiredShard, "pairs": list[PairTexts], "answers": list[Answer],
    "forecast": Forecast, "verification": Verified, "verifications": list[Verified], "plans": list[Plan],
    "doses": list[Dose], "curation": Curation,
    "patterns": Patterns, "map": PairPlaces, "likeness": Spots, "overlap": Spots, "versus": Versus,
}  # fmt: skip
CALLS: dict[str, Any] = {"what-if": WhatIf, "compare": dict[str, list[Candidate]], "ask": Pasted, "read": PastedReading}
