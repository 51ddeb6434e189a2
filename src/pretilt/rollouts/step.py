"""`rollouts`: answers of a model to a run's prompts, sampled, read through the run's own lens, and kept in the run.

Every role ("before", "after", any other name) has its own artifacts; see docs/artifacts.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.audit.result import open_run
from pretilt.detectors.stored import thresholds
from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.lens.choice import LensChoice, choose_lens
from pretilt.lock import writes
from pretilt.models.sampler import Sampler
from pretilt.pairs.chat import reading_hash
from pretilt.result import Result
from pretilt.rollouts.sampling import SAMPLES, sample
from pretilt.rollouts.source import ModelSource, Push, find_endpoint, longest_prompt, make_sampler, run_stop_ids
from pretilt.run import Run, Shards
from pretilt.schema import CONCEPTS_FILE, PAIRS_FILE, TOKENS_FILE, TRAIN_REPORT, TRAINED_FOLDER
from pretilt.settings import AuditSettings, RolloutSettings, settings_of
from pretilt.text import counted

if TYPE_CHECKING:
    from pretilt.lens.lens import Lens
    from pretilt.lens.store import SpanFeatures

BEFORE, AFTER = "before", "after"
# Raise a stage's number when a change of code can change its bytes.
SAMPLES_VERSION, FEATURES_VERSION = 1, 1
_ROLE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, repr=False)
class RolloutResult(Result):
    """The rollouts of one role; `report` is rollouts-<role>.json."""

    run: Run
    role: str
    report: dict[str, Any]

    @property
    def headline(self) -> str:
        return f"{self.run.path}: {counted(self.report['rollouts']['sampled'], 'rollout')} '{self.role}'"

    @property
    def table(self) -> pa.Table:
        """`samples`."""
        return self.samples

    @property
    def samples(self) -> pa.Table:
        """Schema verify.rollouts.ROLLOUTS, one row per rollout."""
        return joined(samples_of(self.run, self.role), SAMPLES)

    @property
    def reading(self) -> pa.Table:
        """Schema verify.reading.ROLLOUT_FEATURES, the rows of `samples`."""
        from pretilt.rollouts.reading import ROLLOUT

        return joined(self.run.shards(features_stage(self.role), features_folder(self.role), (ROLLOUT,)), ROLLOUT)

    @property
    def features(self) -> SpanFeatures:
        """Sparse features, the rows of `samples`; a rollout that was empty or could not be read is an empty row."""
        from pretilt.rollouts.reading import rollout_features

        return rollout_features(self.reading, self.run.manifest["lens"]["n_features"])


def samples_stage(role: str) -> str:
    return f"rollouts-{role}"


def features_stage(role: str) -> str:
    return f"rollouts-{role}-features"


def folder(role: str) -> str:
    return f"rollouts/{role}"


def features_folder(role: str) -> str:
    return f"{folder(role)}/features"


def report_file(role: str) -> str:
    return f"rollouts-{role}.json"


def samples_of(run: Run, role: str) -> Shards:
    """The samples of a role that have been finished."""
    return run.shards(samples_stage(role), folder(role), (SAMPLES,))


def joined(shards: Shards, part: str) -> pa.Table:
    return pa.concat_tables([shards.read(part, number) for number in range(shards.count())])


@writes("rollouts")
def rollouts_run(
    run: Run,
    role: str = BEFORE,
    model: str | Path | None = None,
    *,
    revision: str | None = None,
    base_url: str | None = None,
    endpoint_model: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    replace: bool = False,
    reuse: str | Path | None = None,
    push: Push | None = None,
    events: Events | None = None,
    **options: Any,
) -> RolloutResult:
    """Sample rollouts to a run's prompts and read them with the run's measurement; what is there already is kept.

    Without `model` the run's own one answers, whatever the role; a role that begins with "after" must name its model
    (a folder or Hub id), or a server: `base_url` and `endpoint_model`. `options` are the fields of
    `RolloutSettings`; one that is not given is as it was when this role, else "before", was sampled. An
    "after" must have the prompts, length limit and temperature of "before". `device` and `dtype` of sampling default
    to the run's; the lens keeps its own dtype. Rollouts of the same role that were made otherwise are replaced only
    with `replace`. `reuse` is another run: what it holds of this role, of the same model to the same prompts, is taken
    from there, and the result is the same; options that are not given are as they were there. `push` steers the model
    while it answers. Raises UserError for every mistake of the input, and where the lens is not the one that read the
    pairs.
    """
    events = watching(events)
    if not _ROLE.fullmatch(role):
        raise UserError(f"'{role}' cannot name rollouts", fix="Use small letters, digits, - and _, for example after-2")
    endpoint = find_endpoint(base_url, endpoint_model, api_key_env, concurrency)
    if role.startswith(AFTER) and model is None and endpoint is None:
        model = _trained_here(run, role)
    sealed = run.manifest.get("measurement_id")
    if sealed is None:
        raise UserError("the lens has not read all pairs yet", file=run.path, fix="Run `pretilt audit` again")
    audited = settings_of(run)
    other = None if reuse is None else open_rollouts(open_run(reuse).run, role)
    settings = _settings(run, role, options, None if other is None else other.report["settings"])
    choice = choose_lens(audited.model_copy(update={"device": device} if device else {}), events)
    source = ModelSource.of(choice, model, revision, dtype=dtype or audited.dtype, device=device or audited.device)
    stop, longest = run_stop_ids(run, choice), longest_prompt(choice, settings)

    @cache
    def lens() -> Lens:
        return sealed_lens(run, choice, audited, sealed)

    answered = {"role": role, "model": endpoint.identity if endpoint else source.identity(), "stop_ids": list(stop)}
    if push is not None:
        if endpoint is not None:
            raise UserError("a server cannot be steered", fix="Give the model as a folder or Hub id")
        answered["steered"] = push.identity()
    with run.stage(
        samples_stage(role),
        version=SAMPLES_VERSION,
        config=settings.model_dump(),
        reads=["pairs"],
        inputs={**answered, "longest_prompt": longest},
    ) as stage:
        if not stage.done:
            if not replace:
                _check_free(Shards(run.path / folder(role), stage.key, (SAMPLES,)), role)
            shards = stage.shards(folder(role), (SAMPLES,))
            lens()  # refuses before hours are spent
            from pretilt.rollouts.prompts import select_prompts
            from pretilt.rollouts.reuse import Reuse

            prompts = select_prompts(
                run.table(PAIRS_FILE),
                run.table(TOKENS_FILE, ["prompt_ids"]),
                split=settings.split,
                n_prompts=settings.n_prompts,
                seed=settings.seed,
                max_prompt_tokens=longest,
            )
            events.say(f"rollouts '{role}': {settings.per_prompt} answers to {len(prompts):,} prompts")
            make = partial(make_sampler, endpoint, source, choice.tokenizer, stop, settings, push)
            draw: Sampler
            if other is None:
                draw = make()
            else:
                draw = Reuse(other.run.path, other.report, other.samples, answered, settings, make)
            sample(
                prompts,
                draw,
                choice.tokenizer,
                shards,
                settings,
                role=role,
                stop_ids=stop,
                progress=lambda done, total: events.progress("rollouts", done, total, "rollouts"),
            )
            if isinstance(draw, Reuse):
                events.say(f"{draw.taken:,} of them taken from {reuse}")
            stage.add_shards(shards)
            stage.write_json(f"{folder(role)}/prompts.json", prompts.counts)
    facts = {**answered, "settings": settings.model_dump(), "measurement_id": sealed}
    _read(run, role, facts, lens, choice.tokenizer, audited, events)
    _read_by_detectors(run, role, tested_detectors(run), lens, lambda: choice.tokenizer, audited, events)
    return RolloutResult(run, role, run.json(report_file(role)))


def tested_detectors(run: Run) -> list[str]:
    """Names of the detectors that are concepts of the run, ascending by concept_id."""
    return [name for name in run.table(CONCEPTS_FILE, ["detector"])["detector"].to_pylist() if name is not None]


def detectors_of_rollouts(run: Run, role: str, names: list[str], events: Events | None = None) -> np.ndarray:
    """bool [R, D]: the trait of each detector is present in each rollout of a role; a rollout without tokens has none.

    What a detector has not read yet it reads first, through the run's own lens.
    """
    from pretilt.rollouts.detector_scores import stored_rollout_scores

    audited, events = settings_of(run), watching(events)

    @cache
    def choice() -> LensChoice:
        return choose_lens(audited, events)

    def lens() -> Lens:
        return sealed_lens(run, choice(), audited, run.manifest["measurement_id"])

    _read_by_detectors(run, role, names, lens, lambda: choice().tokenizer, audited, events)
    columns = [stored_rollout_scores(run, role, name) >= thresholds(run, name)[0] for name in names]
    return np.column_stack(columns)


def _read_by_detectors(
    run: Run,
    role: str,
    names: list[str],
    lens: Callable[[], Lens],
    tokenizer: Callable[[], Any],
    audited: AuditSettings,
    events: Events,
) -> None:
    if names:
        from pretilt.rollouts.detector_scores import score_rollouts_stages

        samples = samples_of(run, role)
        score_rollouts_stages(run, role, names, samples, [samples_stage(role)], lens, tokenizer, audited, events)


def open_rollouts(run: Run, role: str) -> RolloutResult:
    """Rollouts that `rollouts_run` has finished. Raises UserError if there are none, or of another measurement."""
    from pretilt.rollouts.reading import check_measurement

    if features_stage(role) not in run.manifest["stages"]:
        raise UserError(f"the run holds no rollouts '{role}'", file=run.path, fix="Run `pretilt rollouts` first")
    result = RolloutResult(run, role, run.json(report_file(role)))
    check_measurement(run.manifest["measurement_id"], result.report["measurement_id"])
    return result


def _trained_here(run: Run, role: str) -> Path:
    """The model that `pretilt train` left in the run. Raises UserError without one, and for the role of another."""
    folder = run.path / TRAINED_FOLDER
    if role == AFTER and (folder / TRAIN_REPORT).is_file():
        return folder
    raise UserError(
        f"no model is named for the rollouts '{role}'",
        file=run.path,
        why=f"{TRAINED_FOLDER}/ would answer as '{AFTER}' alone" if folder.is_dir() else "nothing was trained here yet",
        fix="Give --model FOLDER, or run `pretilt train` first",
    )


def _settings(run: Run, role: str, options: dict[str, Any], theirs: dict[str, Any] | None) -> RolloutSettings:
    """`theirs`: of the run whose rollouts are to be taken."""

    def of(which: str) -> dict[str, Any] | None:
        config: dict[str, Any] | None = run.manifest["stages"].get(samples_stage(which), {}).get("config")
        return config

    before = of(BEFORE)
    settings = RolloutSettings.like(of(role) or theirs or before or {}, **options)
    if role.startswith(AFTER) and before is not None:
        theirs = RolloutSettings.like(before).sampled_as
        for name, value in settings.sampled_as.items():
            if value != theirs[name]:
                raise UserError(
                    f"rollouts '{role}' could not be compared with '{BEFORE}'",
                    why=f"{name} is {value}, there it was {theirs[name]}",
                    fix="Leave the option out, or sample both anew",
                )
    return settings


def sealed_lens(run: Run, choice: LensChoice, audited: AuditSettings, sealed: str) -> Lens:
    """The lens of a run. Raises UserError where its measurement is not `sealed`, the one that read the pairs."""
    from pretilt.rollouts.reading import check_measurement

    lens = choice.lens(run.table(TOKENS_FILE))
    check_measurement(sealed, lens.measurement_id(reading_hash(choice.tokenizer), audited.max_length))
    return lens


def _check_free(shards: Shards, role: str) -> None:
    """Raise UserError if the folder holds whole shards of other rollouts: they may have cost hours."""
    if other_shards := shards.of_others():
        raise UserError(
            f"the run holds other rollouts '{role}'",
            file=other_shards[0],
            why="they were sampled with other settings, by another model or to other prompts",
            fix="Give the role another name, or --replace to lose them",
        )


def _read(
    run: Run,
    role: str,
    facts: dict[str, Any],
    lens: Callable[[], Lens],
    tokenizer: Any,
    audited: AuditSettings,
    events: Events,
) -> None:
    from pretilt.rollouts.reading import ROLLOUT, harvest_rollouts

    config = {"measurement_id": facts["measurement_id"], "batch_tokens": audited.batch_tokens}
    with run.stage(
        features_stage(role), version=FEATURES_VERSION, config=config, reads=["pairs", samples_stage(role)]
    ) as stage:
        if stage.done:
            return
        samples, shards = samples_of(run, role), stage.shards(features_folder(role), (ROLLOUT,))
        harvest_rollouts(
            samples,
            run.table(PAIRS_FILE),
            lens(),
            tokenizer,
            shards,
            max_length=audited.max_length,
            batch_tokens=audited.batch_tokens,
            progress=lambda done, total: events.progress("reading rollouts", done, total, "shards"),
        )
        stage.add_shards(shards)
        prompts = run.json(f"{folder(role)}/prompts.json")
        counts = _counts(joined(samples, SAMPLES), joined(shards, ROLLOUT))
        stage.write_json(report_file(role), {**facts, "prompts": prompts, **counts})


def _counts(samples: pa.Table, reading: pa.Table) -> dict[str, Any]:
    """What became of the rollouts, by count: sampled = finished + cut = read + empty + dropped."""
    from pretilt.rollouts.reading import EMPTY, READ

    status = Counter(reading["status"].to_pylist())
    finished = pc.sum(samples["finished"]).as_py()
    return {
        "rollouts": {
            "sampled": len(samples),
            "finished": finished,
            "cut": len(samples) - finished,
            "read": status.pop(READ, 0),
            "empty": status.pop(EMPTY, 0),
            "dropped": dict(sorted(status.items())),
            "truncated": pc.sum(reading["truncated"]).as_py(),
            "retokenised": pc.sum(reading["retokenised"]).as_py(),
        },
        "tokens": {"sampled": pc.sum(samples["n_tokens"]).as_py(), "read": pc.sum(reading["n_tokens"]).as_py()},
    }
