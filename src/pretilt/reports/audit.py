"""The reports of an audit: what was read, the doctor's checks, the tests made, and what the terminal prints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pretilt.reports.base import Check, Counts, Direction, Number, Report

# --- preflight.json: what the reader found ----------------------------------------------------------------------------


class Rows(Report):
    read: int
    kept: int
    dropped: Counts  # by reason


class PairCounts(Report):
    kept: int
    train: int
    heldout: int
    plain_strings: int  # without chat turns
    truncated: int  # at max_length, as the trainer does


class Duplicates(Report):
    pairs: int
    prompts: int
    contradicting_pairs: int


class Components(Report):
    count: int
    largest: int
    pairs_in_components_of_2_or_more: int


class Relation(Report):
    meaning: str
    links: int
    pairs: int
    largest: int
    only_by_it: int


class Families(Report):
    n_pairs: int
    n_families: int
    share_in_families: float
    largest: int
    kish_n_eff: float
    by_relation: dict[str, Relation]
    notes: list[str]
    straddling: int  # families with pairs on both sides of the held-out split


class LengthBias(Report):
    """Tokens of chosen minus tokens of rejected."""

    mean_chosen: Number
    mean_rejected: Number
    mean_difference: Number
    standard_error: Number
    share_chosen_longer: Number
    share_equal: Number


class Scores(Report):
    known: int
    disagree: int  # scored against their label
    equal: int


class ModelPair(Report):
    chosen: str | None
    rejected: str | None
    pairs: int


class Models(Report):
    known: int
    combinations: int
    table: list[ModelPair]  # the most frequent
    other: int  # pairs of combinations that the table leaves out


class Tokens(Report):
    prompt: int
    chosen: int
    rejected: int
    prompt_content: int
    chosen_content: int
    rejected_content: int
    read: int  # through the lens, the prompt once per response
    content: int


class Preflight(Report):
    """preflight.json."""

    format: str
    rows: Rows
    pairs: PairCounts
    duplicates: Duplicates
    components: Components
    families: Families
    length_bias: LengthBias
    scores: Scores
    models: Models
    chat_template_trouble: Counts
    tokens: Tokens
    max_length: int | None  # null: nothing is truncated
    notes: list[str]


# --- doctor.json, statistics.json -------------------------------------------------------------------------------------


class Doctor(Report):
    """doctor.json."""

    checks: list[Check]


class ViewStatistics(Report):
    prior_freedom: Number  # null: infinite
    share_null: Number
    n_sure: int
    mean_icc: Number
    smallest_visible: Number  # |delta| that would be sure in four of five cases


class Statistics(Report):
    """statistics.json: tests made and shown per view."""

    n_tested: Counts
    n_shown: Counts
    views: dict[str, ViewStatistics]
    share_unbound: Number


# --- summary.json: what the terminal prints ---------------------------------------------------------------------------


class SummaryTokens(Report):
    prompt: int
    chosen: int
    rejected: int


class Read(Report):
    format: str | None
    rows_in: int
    pairs: int
    dropped: Counts
    train: int
    heldout: int
    components: int
    tokens: SummaryTokens
    unit: Literal["tokens", "words"]  # of lengths
    mean_length_difference: Number
    share_chosen_longer: Number


class SummaryLens(Report):
    model: str | None = None
    layer: int | None = None
    dictionary: str | None = None
    n_features: int | None = None
    explained_variance: Number = None
    l0: Number = None
    measurement_id: str | None = None


class Trust(Report):
    disparity: str
    freq_threshold: float
    share_one_firing_passes: Number
    bundled_lens: bool
    baseline: str
    paper: bool
    tested: Counts
    shown: Counts
    in_lists: dict[str, Counts]  # place → direction → effects that would print as other than 0
    folded: dict[str, Counts]  # of these, effects without a clear name that the lists of this summary leave out
    folded_sure: dict[str, Counts]  # those of them that are sure
    n_silent: int | None  # pairs that no concept sets apart, which are in no group
    n_tested: int
    n_shown: int
    sure: Counts
    n_sure: int


class SummaryFamilies(Report):
    n_pairs: int | None = None
    n_families: int | None = None
    share_in_families: Number = None
    largest: int | None = None
    kish_n_eff: Number = None
    straddling: int | None = None


class SummaryDoctor(Report):
    counts: Counts = Field(default_factory=dict)
    red: list[str] = Field(default_factory=list)
    amber: list[str] = Field(default_factory=list)


class ListedEffect(Report):
    hypothesis_id: str
    view: str
    direction: Direction
    rank: int
    concept_id: int
    concept: str
    name_kind: str | None
    name_score: Number
    contexts: list[str]
    alike: list[str]  # hypotheses of the list for which this one stands
    phrases: list[str]
    n_features: int
    where: int
    place: str
    statistic: str
    unit: str
    effect: Number  # shrunken
    lo: Number
    hi: Number
    delta: Number  # as observed
    ci_lo: Number
    ci_hi: Number
    mean_in: Number
    mean_out: Number
    side_inside: Literal[-1, 0, 1] | None  # of the place: 1 chosen shows it more there, -1 rejected, 0 neither
    n_in: int
    n_out: int
    family_n: int
    n_eff: Number
    lfsr: Number
    q_value: Number
    is_sure: bool
    level: str
    how_sure: str
    cautions: list[str]
    pattern: str | None
    share_chosen: Number
    share_rejected: Number
    per_100_words: Number
    share_of_pairs: Number
    follows_length: bool | None
    sentence: str


class ExamplePair(Report):
    hypothesis_id: str
    concept: str
    direction: Direction
    pair_id: str
    row_index: int | None
    u: float
    unit: str
    prompt: str
    chosen: str
    rejected: str
    chosen_at: int
    rejected_at: int
    harmful: bool
    is_sure: bool


class TaughtPattern(Report):
    pattern: str
    name: str
    delta: float
    error: float
    share_chosen: float
    share_rejected: float


class SourceRow(Report):
    """The training pairs of one source, or by one model, alone."""

    column: Literal["source", "chosen_model", "rejected_model"]
    value: str
    n_pairs: int
    n_families: int
    length_difference: float
    length_error: Number  # null: the pairs are one family
    share_chosen_longer: float
    patterns: list[TaughtPattern]


class SummaryReport(Report):
    """summary.json."""

    title: str
    opening: list[str]  # sentences for somebody who does not know the statistics
    read: Read
    lens: SummaryLens
    trust: Trust
    families: SummaryFamilies
    sources: list[SourceRow]
    doctor: SummaryDoctor
    amplified_patterns: list[ListedEffect]
    suppressed_patterns: list[ListedEffect]
    amplified: list[ListedEffect]
    suppressed: list[ListedEffect]
    amplified_in_groups: list[ListedEffect]
    suppressed_in_groups: list[ListedEffect]
    amplified_by_prompt: list[ListedEffect]
    suppressed_by_prompt: list[ListedEffect]
    example: ExamplePair | None
