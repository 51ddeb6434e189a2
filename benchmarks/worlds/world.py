"""One world from its pairs to its verdict, by the product's own steps, each resumable and skipped where finished."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import plants

from pretilt.events import Events
from pretilt.run import Run

HOLDOUT = 0.2
Pairs = tuple[
    list[dict[str, Any]], list[dict[str, object]]
]  # rows {prompt, chosen, rejected}, and what is true of each


@dataclass(frozen=True)
class Subject:
    """A model under test, its dictionary, its questions with two answers of its own, and how large its worlds are."""

    name: str
    lens: dict[str, Any]  # model, dictionary and layer; none: the bundled ones
    traits: plants.Traits
    questions: Callable[[int], Sequence[plants.Question]]  # by seed
    reference_prompts: int  # for Sigma_0: training prompts, four rollouts each
    per_prompt: int  # rollouts of each held-out prompt, before as after
    rollouts: dict[str, Any]  # max_new_tokens, batch_size …
    training: dict[str, Any]
    refit: Callable[[Path, Path], None] | None = None  # a dictionary for given pairs, into a folder
    source: Path | None = None  # real pairs, as they are; `questions` then go unasked
    planted: Callable[[], Pairs] | None = None  # pairs with their truth that are ready made; the same
    audit: dict[str, Any] = field(default_factory=dict)  # settings over the defaults


def build(world: plants.World, subject: Subject, seed: int, out: Path) -> Path:
    """pairs.jsonl and truth.json of a world."""
    source = out / "pairs.jsonl"
    if source.exists():
        return source
    if subject.planted is not None:
        rows, truth = subject.planted()
    else:
        rows, truth = plants.pairs(world, seed, subject.questions(seed), subject.traits)
    out.mkdir(parents=True, exist_ok=True)
    names = subject.traits.names
    weights = dict(zip(names, plants.reward_weights(world, seed, names).tolist(), strict=True))
    (out / "truth.json").write_text(json.dumps({"world": asdict(world), "weights": weights, "rows": truth}))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source


def run_world(world: plants.World, subject: Subject, seed: int, out: Path, *, controls: bool = False) -> None:
    """The world's result in result.json; `controls`: then random directions, shuffled labels, no step and a pilot."""
    result = out / "result.json"
    if not result.exists():
        result.write_text(json.dumps(_result(world, subject, seed, out), indent=1))
    if controls and not (out / "random" / "verification.json").exists():
        _controls(out / "run", subject, seed, out)


def _result(world: plants.World, subject: Subject, seed: int, out: Path) -> dict[str, Any]:
    import pretilt
    from pretilt.api import forecast as forecast_run
    from pretilt.api import rollouts as rollouts_run
    from pretilt.api import train as train_model
    from pretilt.api import verify as verify_run

    clock = Clock()
    source = subject.source or build(world, subject, seed, out)
    clock("pairs")
    run = out / "run"
    lens = dict(subject.lens)
    if world.own_dictionary and subject.refit is not None:
        lens["dictionary"] = str(out / "dictionary")
        subject.refit(source, out / "dictionary")
    reading = {**lens, **subject.audit, "holdout": HOLDOUT, "seed": seed, "despite_doctor": True}
    if (patterns := plants.own_patterns(world)) is not None:
        reading["patterns"] = str(out / "patterns.toml")
        (out / "patterns.toml").write_text(patterns, encoding="utf-8")
    pretilt.audit(source, out=run, **reading, events=Events())
    clock("audit")
    length = {"seed": seed, **subject.rollouts}
    rollouts_run(
        run, "reference", split="train", n_prompts=subject.reference_prompts, per_prompt=4, **length,
        reuse=_bank(out, "reference"),
    )  # fmt: skip
    clock("reference rollouts")
    forecast_run(run, seed=seed)
    clock("forecast")
    trained = train_model(run, seed=seed, **{**subject.training, **world.training})
    clock("training")
    rollouts_run(run, "before", per_prompt=subject.per_prompt, **length, reuse=_bank(out, "before"))
    rollouts_run(run, "after", str(trained.path))
    clock("rollouts")
    verify_run(run, importance=True)
    clock("verification")
    return {
        "world": world.name, "kind": world.kind, "plant": world.plant, "subject": subject.name, "seed": seed,
        "regime": trained.report["regime"], "traits": seen_traits(run, subject.traits), "seconds": clock.seconds,
    }  # fmt: skip


def _bank(out: Path, role: str) -> Path | None:
    """A world of the same seed that holds the untrained model's answers of this role: most of its prompts are ours."""
    for run in sorted(out.parent.glob(f"*-{out.name.rpartition('-')[2]}/run")):
        if run.parent != out and (run / f"rollouts-{role}.json").exists():
            return run
    return None


def _controls(run: Path, subject: Subject, seed: int, out: Path) -> None:
    """A pilot on 5 % of the steps, a model trained on shuffled labels, one trained for no step, and the same world read
    through random directions."""
    import pretilt
    from pretilt.api import forecast as forecast_run
    from pretilt.api import rollouts as rollouts_run
    from pretilt.api import train as train_model
    from pretilt.api import verify as verify_run

    steps = json.loads((run / "trained" / "train.json").read_text())["steps"]
    length = {"seed": seed, **subject.rollouts}
    pilot = {"max_steps": math.ceil(0.05 * steps), "lr_scheduler_type": "constant", "warmup_steps": 0}
    for name, options in (("pilot", pilot), ("shuffled", {"shuffled_labels": True}), ("zero-step", {"max_steps": 0})):
        made = train_model(run, seed=seed, out=out / name, **{**subject.training, **options})
        rollouts_run(run, f"after-{name}", str(made.path))
        verify_run(run, after=f"after-{name}", trained=made.path, name=name)
    random = out / "random"
    reading = {**subject.lens, **subject.audit, "holdout": HOLDOUT, "seed": seed, "despite_doctor": True}
    pretilt.audit(
        subject.source or out / "pairs.jsonl", out=random, **reading, baseline="random-dictionary", events=Events()
    )
    rollouts_run(
        random, "reference", split="train", n_prompts=subject.reference_prompts, per_prompt=4, **length, reuse=run
    )
    forecast_run(random, seed=seed)
    rollouts_run(random, "before", per_prompt=subject.per_prompt, **length, reuse=run)
    rollouts_run(random, "after", str(run / "trained"))
    verify_run(random, trained=run / "trained")


class Clock:
    """Seconds between calls, by name; of an interrupted world only those since it went on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.monotonic()

    def __call__(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self.last = round(now - self.last, 1), now


def seen_traits(run: Path, traits: plants.Traits) -> dict[str, dict[str, float]]:
    """What a reader sees: share of the rollouts that have each trait, before and after, with its standard error."""
    from pretilt.rollouts.step import open_rollouts

    found: dict[str, list[np.ndarray]] = {}
    for role in ("before", "after"):
        samples = open_rollouts(Run(run), role).samples
        seen = np.stack([traits.read(text) for text in samples["text"].to_pylist()])
        ids = np.unique(samples["prompt_id"].to_pylist(), return_inverse=True)[1].ravel()
        found[role] = [np.bincount(ids, column) / np.bincount(ids) for column in seen.T]
    told = {}
    for name, before, after in zip(traits.names, found["before"], found["after"], strict=True):
        told[name] = {
            "before": float(before.mean()),
            "after": float(after.mean()),
            "se": float((after - before).std(ddof=1) / np.sqrt(before.size)),
        }
    return told
