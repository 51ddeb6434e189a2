"""What `pretilt compare --json` prints: two runs side by side."""

from __future__ import annotations

from pretilt.reports.base import Number, Report


class ComparedRun(Report):
    """One of the two."""

    path: str
    source: str  # where its pairs came from
    model: str | None  # null for a run that read the text alone
    pairs: int  # training pairs
    concepts: int
    has_forecast: bool
    has_verification: bool


class SharedPairs(Report):
    """Training pairs by where they stand."""

    both: int
    turned: int  # the same two answers with the labels the other way round
    first_alone: int
    second_alone: int


class ComparedConcept(Report):
    """One row of the table."""

    concept_id: int
    other_id: int
    kind: str
    name: str
    first: float
    second: float
    difference: float
    error: Number
    q_value: Number


class ComparisonReport(Report):
    """Two runs, first and second."""

    first: ComparedRun
    second: ComparedRun
    pairs: SharedPairs
    compared: int  # concepts that both runs have
    kinds: dict[str, int]  # of them
    first_alone: int  # concepts of the first run that the second does not have
    second_alone: int
    features: str  # why features are not compared; "" where they are
    sure: int
    differing: list[ComparedConcept]  # the sure ones, most standard errors first
    smallest: Number  # difference that would be sure of half of the patterns, in share of answers
