"""Which concept stands for each planted trait, what was forecast of it, and what a reader of the answers sees."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plants
import pyarrow.compute as pc

from pretilt.audit.result import open_run
from pretilt.forecast.inputs import Bank, pair_deltas, rollouts_of
from pretilt.labels.judge import auroc
from pretilt.rollouts.step import open_rollouts
from pretilt.run import Run
from pretilt.settings import AuditSettings
from pretilt.verify.inputs import stored_forecast

COVERED = 0.9  # AUROC from which a concept stands for a trait


@dataclass(frozen=True)
class Found:
    """One trait of one world. NaN where nothing is known."""

    trait: str
    weight: float  # log-odds that the labels give it
    planted: bool  # the world's own, not its background
    concept: int  # of all communities and features the one that tells the trait best in the reference rollouts
    auroc: float  # of that concept in the rollouts before training, other prompts; in [0, 1]. A trait that the model
    # never says is looked for in the pairs: chosen on every other one, judged on the rest
    forecast: float
    sure: bool  # its interval excludes 0
    needs_sft: bool
    seen: float  # change of the share of answers in which a reader sees the trait
    se: float

    @property
    def covered(self) -> bool:
        return self.auroc >= COVERED

    @property
    def resolved(self) -> bool:
        return abs(self.seen) > 2 * self.se

    @property
    def right(self) -> bool:
        """The forecast's sign is that of what a reader sees."""
        return bool(np.sign(self.forecast) == np.sign(self.seen))


def found(folder: Path, traits: plants.Traits) -> list[Found]:
    """All traits of a finished world."""
    truth, result = (json.loads((folder / name).read_text()) for name in ("truth.json", "result.json"))
    run = open_run(folder / "run").run
    forecast = stored_forecast(run)
    keep = forecast.bank.feature_view
    bank = forecast.bank.take(keep)
    answers = [_answers(folder / "run", role, bank, forecast.about["form"], traits) for role in ("reference", "before")]
    column = {name: values[keep] for name, values in forecast.column.items()}
    everywhere = forecast.table.filter(pc.equal(forecast.table["view"], "global")).sort_by("concept_id")
    needs = np.array(everywhere["needs_sft"].to_pylist(), bool)[keep]
    u, differs = _pairs(folder / "run", bank, forecast.about["form"], traits)
    told = []
    for t, name in enumerate(traits.names):
        first, second = ((has[:, t], score) for has, score in answers)
        if not first[0].any():  # the model never says it: which concept tells the pairs that do?
            says = differs[:, t] > 0
            first, second = (says[::2], u[::2]), (says[1::2], u[1::2])
        best = _best(*first)
        seen = result["traits"][name]
        one = Found(
            trait=name,
            weight=truth["weights"][name],
            planted=name in truth["world"]["weights"] or name in plants.EDITED_IN.get(truth["world"]["edit"], ()),
            concept=int(bank.concept_ids[best]),
            auroc=auroc(second[0].tolist(), second[1][:, best].tolist()),
            forecast=float(column["shift"][best]),
            sure=bool(column["shift_lo"][best] > 0 or column["shift_hi"][best] < 0),
            needs_sft=bool(needs[best]),
            seen=seen["after"] - seen["before"],
            se=seen["se"],
        )
        told.append(one)
    return told


def _answers(run: Path, role: str, bank: Bank, form: str, traits: plants.Traits) -> tuple[np.ndarray, np.ndarray]:
    """(which traits each answer has, bool [R, traits]; its concept scores [R, M]), both by prompt."""
    opened = open_run(run).run
    samples = open_rollouts(Run(run), role).samples
    prompts = np.array(samples["prompt_id"].to_pylist())
    by_prompt = np.argsort(prompts, kind="stable")
    texts = samples["text"].to_pylist()
    scored = rollouts_of(opened, role, bank, form)  # type: ignore[arg-type]
    if not np.array_equal(scored.prompt_ids[scored.prompt], prompts[by_prompt]):
        raise ValueError(f"some rollouts '{role}' of {run} could not be read")
    return np.stack([traits.read(texts[i]) for i in by_prompt]).astype(bool), scored.c


def _pairs(run: Path, bank: Bank, form: str, traits: plants.Traits) -> tuple[np.ndarray, np.ndarray]:
    """(u [n, M] of the training pairs, traits of chosen minus those of rejected [n, traits])."""
    opened = open_run(run).run
    settings = AuditSettings(**opened.manifest["settings"])
    deltas, ids = pair_deltas(opened, settings, bank, form)  # type: ignore[arg-type]
    table = opened.table("pairs.parquet", ["pair_id", "chosen", "rejected"]).to_pylist()
    rows = {row["pair_id"]: row for row in table}
    differs = [
        traits.read(_said(rows[i]["chosen"])) - traits.read(_said(rows[i]["rejected"]))
        for i in ids["pair_id"].to_pylist()
    ]
    return deltas.u, np.stack(differs)


def _said(messages: list[dict[str, str]]) -> str:
    return messages[-1]["content"]


def _best(has: np.ndarray, score: np.ndarray) -> int:
    areas = [auroc(has.tolist(), column.tolist()) for column in score.T] if has.any() and not has.all() else [0.5]
    return int(np.nanargmax(areas))
