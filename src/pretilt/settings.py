"""What a run can be told: one field per option, with its default and its meaning. The command line and the Python
interface are generated from it, so that default, type and help have one source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pretilt.errors import UserError
from pretilt.literals import read_yaml

if TYPE_CHECKING:
    from pretilt.run import Run

MOST = 2**31 - 1  # what the libraries below hold in an integer; their errors would not name the option


class AuditSettings(BaseModel):
    """Options of `pretilt audit`; the YAML file of `--config` has the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # what is read
    source_config: str | None = Field(None, description="Configuration of a Hub dataset.")
    split: str | None = Field(None, description="Split of a Hub dataset or of a saved dataset folder.")
    revision: str | None = Field(None, description="Revision (branch, tag or commit) of a Hub dataset.")
    columns: dict[str, str] = Field({}, description="Columns named by hand: our name → the source's name.")
    turns: Literal["drop", "last"] = Field(
        "drop",
        description="Conversations that differ before their last turn: drop them, or keep the last turn where the "
        "contexts then match.",
    )
    k_wise: Literal["best-worst", "best-random", "all"] = Field(
        "best-worst", description="Which pairs to make of rows with several ranked answers."
    )
    limit: int | None = Field(None, ge=1, description="Read only the first N rows.")
    max_row_mb: int = Field(
        64, ge=1, le=2**20, description="Megabytes that a row of a local file may hold; a larger one is refused."
    )
    max_length: int = Field(
        1024, ge=8, le=MOST, description="Tokens per prompt + response, truncated as the trainer does."
    )
    holdout: float = Field(
        0.1, ge=0, lt=1, description="Share of near-duplicate components set apart before anything is fitted."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of every random choice.")

    # the lens
    model: str | None = Field(None, description="The model about to be trained: Hub id or folder. Default: bundled.")
    model_revision: str | None = Field(None, description="Revision of the model on the Hub.")
    dictionary: str | None = Field(
        None,
        description="SAELens folder or release/sae_id of the dictionary. Default: bundled.",
    )
    norm_scaling_factor: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Factor on the model's activations, for a dictionary that was trained on rescaled ones and does "
        "not hold it.",
    )
    layer: int | None = Field(None, ge=0, le=MOST, description="Decoder block whose output is read, from 0.")
    device: str = Field("cpu", description="Torch device of the forward pass.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Precision of the model.")
    batch_tokens: int = Field(
        1024,
        ge=64,
        le=MOST,
        description="Token budget of one forward batch: small for CPUs, which gain nothing from padding.",
    )

    # concepts, groups, tests
    graph: Literal["mutual-knn", "paper"] = Field(
        "mutual-knn", description="Co-firing graph: mutual nearest neighbours, or the paper's global top 1 %."
    )
    resolution: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Leiden resolution, higher for smaller communities. Default: by the number of features.",
    )
    disparity: Literal["paper", "count2", "freq"] = Field(
        "paper", description="Form of the signed disparity u (docs/statistics.md)."
    )
    freq_threshold: float = Field(0.01, gt=0, lt=1, description="Share of a response's tokens on which it must fire.")
    groups: int | None = Field(
        None, ge=1, le=MOST, description="Number of groups. Default: 512, fewer for small data, by a stated rule."
    )
    baseline: Literal["none", "random-dictionary", "shuffled-labels"] = Field(
        "none",
        description="Put a baseline in place of the lens (random directions firing as often as the dictionary's) or of "
        "the labels (chosen and rejected swapped for a random half of the families).",
    )
    despite_doctor: bool = Field(False, description="Rank even though the doctor finds the lens or the data broken.")
    paper: bool = Field(False, description="The paper's graph, disparity, display rules and ranking, nothing of ours.")

    @classmethod
    def load(cls, config: Path | None = None, **given: Any) -> AuditSettings:
        """Settings from a YAML file, overridden by the arguments that are not None.

        Raises UserError for an unknown name or a value of the wrong type or range, naming it.
        """
        values = read_yaml(config) if config is not None else {}
        values.update({name: value for name, value in given.items() if value is not None})
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            known = ", ".join(cls.model_fields)
            fix = f"Known options: {known}" if first["type"] == "extra_forbidden" else ""
            raise UserError(f"option '{name}' is not accepted", why=first["msg"], fix=fix, file=config) from error

    def resolved(self) -> AuditSettings:
        """The same settings with `paper` spelled out."""
        return (
            self.model_copy(update={"graph": "paper", "disparity": "paper", "resolution": self.resolution or 1.0})
            if self.paper
            else self
        )

    @classmethod
    def help(cls, name: str) -> str:
        """What the option means, and what it may be where it is one of a few words."""
        field = cls.model_fields[name]
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        return (field.description or "") + (f" One of {', '.join(choices)}." if choices else "")


def settings_of(run: Run) -> AuditSettings:
    """The options that a run was made with. Raises UserError for those of another version."""
    try:
        return AuditSettings.load(**run.manifest["settings"])
    except UserError as error:
        raise UserError(
            "the run was made with options of another version",
            file=run.path,
            why=f"{error.what}: {error.why}",
            fix="Read it with the version that made it, or audit the data again into a new folder",
        ) from error
