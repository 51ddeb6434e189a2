"""Options of every command, one field each: its type, range, default and meaning.

The command line, the Python functions and the reference in the docs are generated from these classes, so that a default
is typed once. A choice among a few words is a `Literal`, an upper bound is what the libraries below can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pretilt.errors import UserError
from pretilt.literals import read_yaml

if TYPE_CHECKING:
    from pretilt.run import Run

MOST = 2**31 - 1  # what the libraries below hold in an integer; their errors would not name the option
DATA, LENS, CONCEPTS, OUTPUT = "Data", "Model and dictionary", "Concepts and tests", "Output"
ENDPOINT, SAMPLING, JUDGING, TRAINING = "Endpoint", "Sampling", "Forecast and test", "Training"
DETECTION = "Detector"


def option(default: Any, description: str, panel: str, **limits: Any) -> Any:
    """A field with its place in the help."""
    return Field(default, description=description, json_schema_extra={"panel": panel}, **limits)


class Settings(BaseModel):
    """Options of one command."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)  # --help validates nothing

    @classmethod
    def load(cls, config: Path | None = None, **options: Any) -> Self:
        """Settings from a YAML file, overridden by the options that are not None.

        Raises UserError for an unknown name or a value of the wrong type or range, naming it.
        """
        values = read_yaml(config) if config is not None else {}
        values.update({name: value for name, value in options.items() if value is not None})
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            why = first["msg"].removeprefix("Value error, ")
            if not name:
                raise UserError("these options do not go together", why=why, file=config) from error
            fix = f"Known options: {', '.join(cls.model_fields)}" if first["type"] == "extra_forbidden" else ""
            raise UserError(f"option '{name}' is not accepted", why=why, fix=fix, file=config) from error

    @classmethod
    def help(cls, name: str) -> str:
        """What the option means, and its default where there is one to name."""
        field = cls.model_fields[name]
        default = field.default
        text = field.description or ""
        is_named = not isinstance(default, bool | dict) and default is not None
        return f"{text} [default: {default}]" if is_named and "Default" not in text else text

    @classmethod
    def choices(cls, name: str) -> tuple[str, ...]:
        """The words that the option may be, none if it is no choice among words."""
        annotation = cls.model_fields[name].annotation
        parts = get_args(annotation) if get_origin(annotation) is not Literal else (annotation,)
        return next((get_args(part) for part in parts if get_origin(part) is Literal), ())

    @classmethod
    def panel(cls, name: str) -> str:
        """The heading under which the option stands in the help."""
        extra = cls.model_fields[name].json_schema_extra
        return str(extra["panel"]) if isinstance(extra, dict) else OUTPUT


class AuditSettings(Settings):
    """Options of `pretilt audit`; the YAML file of `--config` has the same names."""

    no_lens: bool = option(
        False, "Read no model: count the patterns of the text alone, in seconds and for any dataset.", LENS
    )
    model: str | None = option(None, "The model about to be trained: Hub id or folder. Default: bundled.", LENS)
    dictionary: str | None = option(None, "SAELens folder or release/sae_id of the dictionary. Default: bundled.", LENS)
    layer: int | None = option(None, "Decoder block whose output is read, from 0.", LENS, ge=0, le=MOST)
    norm_scaling_factor: float | None = option(
        None,
        "Factor on the model's activations, for a dictionary that was trained on rescaled ones and does not hold it.",
        LENS,
        gt=0,
        allow_inf_nan=False,
    )
    model_revision: str | None = option(None, "Revision of the model on the Hub.", LENS)
    device: str = option("cpu", "Torch device of the forward pass.", LENS)
    dtype: Literal["float32", "bfloat16", "float16"] = option("float32", "Precision of the model.", LENS)
    batch_tokens: int = option(
        1024,
        "Token budget of one forward batch: small for CPUs, which gain nothing from padding.",
        LENS,
        ge=64,
        le=MOST,
    )

    source_config: str | None = option(None, "Configuration of a Hub dataset.", DATA)
    split: str | None = option(None, "Split of a Hub dataset or of a saved dataset folder.", DATA)
    revision: str | None = option(None, "Revision (branch, tag or commit) of a Hub dataset.", DATA)
    columns: dict[str, str] = option({}, "Columns named by hand: our name → the source's name.", DATA)
    turns: Literal["drop", "last"] = option(
        "drop",
        "Conversations that differ before their last turn: drop them, or keep the last turn where the contexts then "
        "match.",
        DATA,
    )
    k_wise: Literal["best-worst", "best-random", "all"] = option(
        "best-worst", "Which pairs to make of rows with several ranked answers.", DATA
    )
    limit: int | None = option(None, "Read only the first N rows.", DATA, ge=1)
    max_row_mb: int = option(
        64, "Megabytes that a row of a local file may hold; a larger one is refused.", DATA, ge=1, le=2**20
    )
    max_length: int = option(1024, "Tokens per prompt + response, truncated as the trainer does.", DATA, ge=8, le=MOST)
    holdout: float = option(
        0.1, "Share of near-duplicate components set apart before anything is fitted.", DATA, ge=0, lt=1
    )
    seed: int = option(0, "Seed of every random choice.", DATA, ge=0, le=2**32 - 1)

    graph: Literal["mutual-knn", "paper"] = option(
        "mutual-knn", "Co-firing graph: mutual nearest neighbours, or the paper's global top 1 %.", CONCEPTS
    )
    resolution: float | None = option(
        None,
        "Leiden resolution, higher for smaller communities. Default: by the number of features.",
        CONCEPTS,
        gt=0,
        allow_inf_nan=False,
    )
    disparity: Literal["paper", "count2", "freq"] = option(
        "paper", "Form of the signed disparity u (docs/statistics.md).", CONCEPTS
    )
    freq_threshold: float = option(0.01, "Share of a response's tokens on which it must fire.", CONCEPTS, gt=0, lt=1)
    groups: int | None = option(
        None, "Number of groups. Default: 512, fewer for small data, by a stated rule.", CONCEPTS, ge=1, le=MOST
    )
    patterns: str | None = option(
        None, "TOML file with patterns of your own, beside those of docs/patterns.md.", CONCEPTS
    )
    baseline: Literal["none", "random-dictionary", "shuffled-labels"] = option(
        "none",
        "Put a baseline in place of the lens (random directions firing as often as the dictionary's) or of the labels "
        "(chosen and rejected swapped for a random half of the families).",
        CONCEPTS,
    )
    despite_doctor: bool = option(False, "Rank even though the doctor finds the lens or the data broken.", CONCEPTS)
    paper: bool = option(False, "The paper's graph, disparity, display rules and ranking, nothing of ours.", CONCEPTS)

    @model_validator(mode="after")
    def _name_no_lens_without_one(self) -> Self:
        named = [name for name in ("model", "dictionary", "layer") if getattr(self, name) is not None]
        named += ["paper"] * self.paper + ["baseline"] * (self.baseline == "random-dictionary")
        if self.no_lens and named:
            raise ValueError(f"--no-lens reads no model: leave {', '.join(named)} out")
        return self

    def resolved(self) -> AuditSettings:
        """The same settings with `paper` spelled out."""
        return (
            self.model_copy(update={"graph": "paper", "disparity": "paper", "resolution": self.resolution or 1.0})
            if self.paper
            else self
        )


class FitSettings(Settings):
    """Options of `pretilt fit`."""

    features: int | None = option(
        None, "Number of features. Default: 8 × the model's width.", TRAINING, ge=2, le=1 << 22
    )
    active: int = option(32, "Features active per token while training (BatchTopK's k).", TRAINING, ge=1, le=1 << 16)
    epochs: int = option(4, "Passes over the activations.", TRAINING, ge=1, le=10_000)
    max_length: int = option(1024, "Tokens per document or conversation.", DATA, ge=2, le=MOST)
    limit: int | None = option(None, "Read only the first N rows.", DATA, ge=1, le=MOST)
    seed: int = option(0, "Seed of every random choice.", TRAINING, ge=0, le=2**32 - 1)
    device: str = option("cpu", "Torch device.", TRAINING)
    half: bool = option(False, "Store the matrices in float16.", OUTPUT)


class DetectorSettings(Settings):
    """Options of `pretilt detector` that decide what is fitted."""

    kind: Literal["best", "difference", "linear", "attention", "subspace"] = option(
        "best", "Which detector becomes the concept; best: by average precision on validation examples.", DETECTION
    )
    per_token: bool = option(
        False, "Fit to the tokens that a pattern's matches cover, not to whole responses (--from-pattern).", DETECTION
    )
    pairs: int = option(400, "Pairs of responses at most that it is fitted to and judged on.", DETECTION, ge=1, le=MOST)
    n_prompts: int = option(48, "Prompts of the run that --trait samples answers to.", DETECTION, ge=1, le=MOST)
    max_new_tokens: int = option(64, "Tokens of such an answer at most.", DETECTION, ge=1, le=MOST)
    seed: int = option(0, "Seed of what is drawn and of how families are divided.", DETECTION, ge=0, le=2**32 - 1)


class DescribeSettings(Settings):
    """Options of `pretilt describe`."""

    model: str | None = option(
        None, "Model that writes and judges names. Default: none, only the offline names are scored.", ENDPOINT
    )
    base_url: str | None = option(
        None, "OpenAI-compatible endpoint. Default: OPENAI_BASE_URL, or the SDK's own.", ENDPOINT
    )
    api_key_env: str = option("OPENAI_API_KEY", "Environment variable that holds the key.", ENDPOINT)
    top: int = option(50, "Describe what the first N of each list name.", OUTPUT, ge=1)
    max_requests: int = option(1000, "Hard limit on requests.", ENDPOINT, ge=0)
    max_tokens: int = option(2_000_000, "Hard limit on tokens, prompts and answers.", ENDPOINT, ge=0)
    concurrency: int = option(4, "Requests at a time.", ENDPOINT, ge=1)
    timeout: float = option(120.0, "Seconds until a request is given up.", ENDPOINT, gt=0, allow_inf_nan=False)
    seed: int = option(0, "Seed of the texts that are drawn.", OUTPUT, ge=0, le=2**32 - 1)


class RolloutSettings(Settings):
    """Options of `pretilt rollouts` that decide what is sampled."""

    split: Literal["heldout", "train", "all"] = option("heldout", "Prompts of which pairs.", SAMPLING)
    n_prompts: int | None = option(None, "Prompts, drawn by the seed. Default: all of the split.", SAMPLING, ge=1)
    per_prompt: int = option(4, "Rollouts per prompt; two at least give the spread within a prompt.", SAMPLING, ge=1)
    max_new_tokens: int = option(256, "Tokens of a rollout at most.", SAMPLING, ge=1)
    temperature: float = option(
        1.0,
        "1 for the model's own distribution; 0 for its most likely token, and then one rollout per prompt.",
        SAMPLING,
        ge=0,
        allow_inf_nan=False,
    )
    seed: int = option(0, "Seed of the random streams.", SAMPLING, ge=0, le=2**32 - 1)
    batch_size: int = option(32, "Rollouts per forward pass.", SAMPLING, ge=1)
    prompts_per_shard: int = option(32, "Prompts per file: what an interrupt can cost.", SAMPLING, ge=1)

    SAMPLED_AS: ClassVar = ("split", "n_prompts", "max_new_tokens", "temperature", "seed")

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        if self.temperature == 0 and self.per_prompt > 1:
            raise ValueError(
                f"{self.per_prompt} rollouts per prompt at temperature 0 are all the same: "
                "give --per-prompt 1, or a temperature above 0"
            )
        return self

    @classmethod
    def like(cls, stored: Mapping[str, Any], **options: Any) -> Self:
        """Those that were stored, as far as they are known here, overridden by the options that are not None."""
        values = {name: value for name, value in stored.items() if name in cls.model_fields}
        return cls.load(**{**values, **{name: value for name, value in options.items() if value is not None}})

    @property
    def sampled_as(self) -> dict[str, Any]:
        """What two sets of rollouts must share to be compared: the prompts, the length limit, the temperature."""
        return {name: getattr(self, name) for name in self.SAMPLED_AS}


class ForecastSettings(Settings):
    """Options of `pretilt forecast`."""

    rung: Literal["mean", "one_step", "converged", "tilt"] | None = option(
        None,
        "Which predictor is the forecast (docs/forecast.md). Default: converged with rollouts, else mean.",
        JUDGING,
    )
    form: Literal["presence", "paper", "count2", "freq"] = option("presence", "What a response's score is.", JUDGING)
    rollouts: str | None = option(
        None,
        'Role of the untrained model\'s rollouts. Default: "reference" if the run has it, else "before", else none.',
        JUDGING,
    )
    draws: int = option(200, "Draws of the bootstrap.", JUDGING, ge=2, le=1 << 20)
    seed: int | None = option(None, "Seed of the bootstrap. Default: the run's.", JUDGING, ge=0, le=2**32 - 1)


class ShapeSettings(Settings):
    """Options of `pretilt shape`. What is not given is as in the run's forecast, where it has one."""

    rung: Literal["mean", "one_step", "converged"] | None = option(
        None, "Predictor of the change (docs/shaping.md). Default: mean.", JUDGING
    )
    form: Literal["presence", "paper", "count2", "freq"] | None = option(
        None, "What a response's score is. Default: that of the forecast, else presence.", JUDGING
    )
    rollouts: str | None = option(
        None, "Role of the untrained model's rollouts. Default: that of the forecast, else as there.", JUDGING
    )
    beta: float = option(
        0.1, "The loss's beta; only inoculated and steered pairs depend on it.", JUDGING, gt=0.0, le=1e6
    )
    draws: int = option(100, "Draws of the bootstrap.", JUDGING, ge=2, le=1 << 20)
    seed: int | None = option(None, "Seed of the bootstrap. Default: the run's.", JUDGING, ge=0, le=2**32 - 1)


class VerifySettings(Settings):
    """Options of `pretilt verify`."""

    after: str = option(
        "after",
        "Role of the trained model's rollouts, or the model itself: a folder or Hub id, which is then sampled. "
        "Default: the rollouts 'after', else the model in the run's trained/.",
        JUDGING,
    )
    before: str = option(
        "before", "Role of the untrained model's rollouts; they are sampled where they are missing.", JUDGING
    )
    trained: Path | None = option(None, "Folder with the training's train.json. Default: trained/ in the run.", JUDGING)
    name: str | None = option(None, "Sets this verification apart from others of the run: verification-<name>.", OUTPUT)
    importance: bool = option(False, "Also score answers before training under both models: why did it miss?", JUDGING)
    draws: int = option(500, "Draws of the bootstrap.", JUDGING, ge=2, le=1 << 20)
    permutations: int = option(1999, "Permutations of the concepts.", JUDGING, ge=1, le=1 << 24)
    seed: int = option(0, "Seed of the draws.", JUDGING, ge=0, le=2**32 - 1)


class DoseSettings(Settings):
    """Options of `pretilt dose`."""

    amounts: str = option(
        "-0.2,-0.1,0.1,0.2", "How far along the direction, in lengths of the residual stream; 0 is always among them.",
        SAMPLING,
    )  # fmt: skip
    n_prompts: int = option(50, "Held-out prompts, drawn by the seed.", SAMPLING, ge=4)
    per_prompt: int = option(2, "Answers per prompt and amount.", SAMPLING, ge=1)
    max_new_tokens: int = option(128, "Tokens of an answer at most.", SAMPLING, ge=1)
    seed: int = option(0, "Seed of the random streams.", SAMPLING, ge=0, le=2**32 - 1)

    @model_validator(mode="after")
    def _has_amounts(self) -> Self:
        if not self.parsed_amounts:
            raise ValueError("amounts are numbers between commas, for example -0.2,0.2")
        return self

    @property
    def parsed_amounts(self) -> list[float]:
        """The numbers, without 0. Raises ValueError for what is no number of at most 10."""
        values = []
        for text in filter(None, (part.strip() for part in self.amounts.split(","))):
            value = float(text)
            if not abs(value) <= 10:
                raise ValueError(f"an amount is a number from -10 to 10, and not {text}")
            values.append(value)
        return [value for value in values if value]


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
