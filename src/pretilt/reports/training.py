"""train.json, and rollouts-<role>.json: what was trained on what, and what was sampled from which model."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from pretilt.reports.base import Counts, Number, Report


class SplitOfPairs(Report):
    given: int
    kept: int
    dropped_by_trainer: list[str]  # ids of pairs
    read_differently_by_audit: int
    equal_responses: int


class TrainedPairs(Report):
    train: SplitOfPairs
    heldout: SplitOfPairs | None = None
    swapped: int


class SplitMeasures(Report):
    """Means over some pairs of a split; log-probabilities in nats."""

    pairs: int
    mean_margin: Number
    margin_se: Number
    mean_weight: Number  # what the loss still gives a pair, in [0, 1]
    accuracy: Number
    chosen_drift: Number  # per response
    rejected_drift: Number
    chosen_drift_per_token: Number
    rejected_drift_per_token: Number
    rms_log_ratio: Number


class Regime(Report):
    """Whether the training stayed near its start, and in which words the reports say so."""

    name: str
    words: str
    train: SplitMeasures | None
    heldout: SplitMeasures | None = None


class TrainSettings(Report):
    dpo: dict[str, Any]
    lora: dict[str, Any] | None


class ShuffledLabels(Report):
    shuffled: bool
    seed: int


class ForecastSeal(Report):
    sha256: str
    written: str


class PlanOfTraining(Report):
    """The compiled plan that was trained under, and when what it changes was foretold."""

    name: str
    actions_sha256: str
    what_if_sha256: str
    written: str
    directions_sha256: str | None = None  # of the directions along which the policy is steered


class Applied(Report):
    """What the training loss was given, counted there and held against the plan."""

    pairs: int  # that are left to train on
    passed: int  # that went through the loss since the training was begun or resumed
    passes: int  # times a pair did
    offsets: int
    weights: int
    masked_tokens: int
    instructed: int  # responses that the policy read after an instruction
    pushed: int  # responses under which the policy was steered


class TrainReport(Report):
    """train.json: the identity of the training when it begins; when it is finished, also what came of it."""

    format_version: int
    key: str
    processes: int
    finished: bool
    forecast: ForecastSeal | None  # the run's sealed forecast when training began
    pairs_sha256: str | None = None
    model: dict[str, str | None] | None = None
    labels: ShuffledLabels | None = None
    max_length: int | None = None
    settings: TrainSettings | None = None
    plan: PlanOfTraining | None = None
    applied: Applied | None = None
    model_name: str | None = None
    source: str | None = None
    measurement_id: str | None = None
    pairs: TrainedPairs | None = None
    resumed_from_step: int | None = None
    seconds: dict[str, float] | None = None
    steps: int | None = None
    epochs: float | None = None
    regime: Regime | None = None
    dpo: dict[str, Any] | None = None  # the trainer's whole resolved configuration
    lora: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    log: list[dict[str, Any]] | None = None
    files: dict[str, str] = Field(default_factory=dict)  # of the trained model → SHA-256

    @model_validator(mode="after")
    def _is_whole_once_finished(self) -> Self:
        of_beginning = ("pairs_sha256", "model", "max_length", "settings", "model_name", "pairs")
        of_end = ("seconds", "steps", "epochs", "regime", "dpo", "versions", "log")
        missing = [name for name in (*of_beginning, *of_end) if getattr(self, name) is None]
        if self.finished and missing:
            raise ValueError(f"a finished training without '{missing[0]}'")
        return self


class RolloutSettingsUsed(Report):
    split: str
    n_prompts: int | None
    per_prompt: int
    max_new_tokens: int
    temperature: float
    seed: int
    batch_size: int
    prompts_per_shard: int


class PromptCounts(Report):
    pairs: int
    distinct: int
    too_long: int
    empty: int
    used: int


class RolloutCounts(Report):
    """sampled = finished + cut = read + empty + dropped."""

    sampled: int
    finished: int
    cut: int
    read: int
    empty: int
    dropped: Counts  # by reason
    truncated: int
    retokenised: int


class RolloutTokens(Report):
    sampled: int
    read: int


class Steered(Report):
    """What the answering model was pushed by."""

    detector: str
    amount: float  # length in the residual stream
    direction_sha256: str


class RolloutsReport(Report):
    """rollouts-<role>.json."""

    role: str
    steered: Steered | None = None
    model: dict[str, str | None]
    measurement_id: str
    stop_ids: list[int]
    settings: RolloutSettingsUsed
    prompts: PromptCounts
    rollouts: RolloutCounts
    tokens: RolloutTokens
