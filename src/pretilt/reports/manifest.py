"""run.json: what a run folder holds, and under which key each of its files was made."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pretilt.reports.base import Number, Report


class StageRecord(Report):
    """A finished step: its files are believed only under this key and with these hashes."""

    key: str
    version: int
    config: dict[str, Any]
    seconds: float
    files: dict[str, str]  # path in the run → SHA-256


class LensCard(Report):
    """The model and the dictionary that read the pairs."""

    model: str
    layer: int
    dictionary: str
    dictionary_hash: str
    model_identity: dict[str, str | None]
    norm_scaling_factor: float | str | None
    cautions: list[str]
    bundled: bool
    n_features: int
    d_model: int
    explained_variance: Number
    l0: Number
    n_sample_tokens: int
    packed: bool


class SealedForecast(Report):
    """A forecast of the run, also one that a later forecast replaced."""

    sha256: str
    written: str
    form: str
    rung: str
    rollouts: str | None
    sealed_before_training: bool


class SealedWhatIf(Report):
    """What a plan was predicted to change, also of a plan that was replaced."""

    name: str
    sha256: str
    written: str
    sealed_before_training: bool


class Manifest(Report):
    """run.json. Its own hash, `sha256`, was checked and taken off before it is read."""

    format_version: int
    stages: dict[str, StageRecord]
    pretilt: str | None = None
    source: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    reading: str | None = None  # hash of the chat template and the tokenizer
    measurement_id: str | None = None
    lens: LensCard | None = None
    forecasts: list[SealedForecast] = Field(default_factory=list)
    what_ifs: list[SealedWhatIf] = Field(default_factory=list)
