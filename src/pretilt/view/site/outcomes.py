"""What was foretold, decided and said: forecast, plans and answers of the models, as shards."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pretilt.errors import UserError
from pretilt.labels.described import renamed
from pretilt.pairs.transcript import transcript
from pretilt.rollouts.sampling import SAMPLES
from pretilt.rollouts.step import samples_stage
from pretilt.run import Run
from pretilt.schema import (
    FORECAST_FILE,
    FORECAST_REPORT,
    OUTCOME_FILE,
    OUTCOME_REPORT,
    PAIRS_FILE,
    PLAN_FILE,
    ROLLOUTS_REPORT,
    SHAPE_FOLDER,
    SHAPE_REPORT,
    WHAT_IF_FILE,
)
from pretilt.text import is_harmful
from pretilt.view.site.shards import columns

FORECAST_COLUMNS = (
    "concept_id", "mean", "one_step", "converged", "shift", "shift_lo", "shift_hi", "rewarded", "rewarded_lo",
    "rewarded_hi", "prevalence", "prevalence_upper", "needs_sft", "unclear", "shuffled",
)  # fmt: skip
OF_FORECAST = ("form", "rung", "rollouts", "signs_known", "auc_heldout", "written", "sealed_before_training", "sha256")
ANSWERS = 50  # prompts of a shard
MOST_PROMPTS = 2000


def forecast(run: Run) -> dict[str, Any] | None:
    """The sealed forecast over all pairs, by concept; None where there is none."""
    if not run.holds(FORECAST_FILE):
        return None
    table, report = run.table(FORECAST_FILE), run.json(FORECAST_REPORT)
    overall = table.filter(pc.equal(table["view"], "global"))
    return {
        "report": {name: report[name] for name in OF_FORECAST},
        "rows": columns(overall.select([name for name in FORECAST_COLUMNS if name in overall.column_names])),
    }


def plans(run: Run, errors: list[str]) -> list[dict[str, Any]]:
    """Every compiled plan: its text, what it touches, its what-if, and what came of it where that is known.

    One that cannot be read is left out, with the reason among the errors.
    """
    names = sorted({path.parent.name for path in run.path.glob(f"{SHAPE_FOLDER}/*/{SHAPE_REPORT}")})
    held_names = [name for name in names if run.holds(f"{SHAPE_FOLDER}/{name}/{SHAPE_REPORT}")]
    read = [readable(lambda name=name: _plan(run, name), errors) for name in held_names]
    return [entry for entry in read if entry is not None]


def _plan(run: Run, name: str) -> dict[str, Any]:
    folder = f"{SHAPE_FOLDER}/{name}"
    report = run.json(f"{folder}/{SHAPE_REPORT}")
    entry = {
        "name": name,
        "text": run.file(f"{folder}/{PLAN_FILE}").read_text(encoding="utf-8"),
        "report": {**report, "items": renamed(run, report["items"])},
        "what_if": columns(run.table(f"{folder}/{WHAT_IF_FILE}")),
    }
    if run.holds(f"{folder}/{OUTCOME_REPORT}"):
        entry["outcome"] = run.json(f"{folder}/{OUTCOME_REPORT}")
        entry["outcome_rows"] = columns(run.table(f"{folder}/{OUTCOME_FILE}"))
    return entry


class Answers:
    """The same prompts answered before and after training, side by side; the first answer of each role."""

    def __init__(self, run: Run) -> None:
        sampled = [role for role in ("before", "reference", "after") if self._is_sampled(run, role)]
        # The reference is the untrained model too: it stands in where nothing was sampled to compare with.
        self.roles = [role for role in sampled if role != "reference" or "before" not in sampled]
        self._prompts: dict[str, dict[str, Any]] = {}
        for role in self.roles:
            shards = run.shards(samples_stage(role), f"rollouts/{role}", [SAMPLES])
            for number in range(shards.count()):
                table = shards.read(SAMPLES, number, ["prompt_id", "pair_id", "sample", "text", "finished"])
                for row in table.filter(pc.equal(table["sample"], 0)).to_pylist():
                    entry = self._prompts.setdefault(row["prompt_id"], {"pair_id": row["pair_id"], "answers": {}})
                    entry["answers"][role] = [row["text"], row["finished"]]
        # Prompts that every role answered stand first: they can be compared.
        self._order = sorted(self._prompts, key=lambda p: -len(self._prompts[p]["answers"]))[:MOST_PROMPTS]
        self.n_shards = -(-len(self._order) // ANSWERS)
        self._run = run

    @staticmethod
    def _is_sampled(run: Run, role: str) -> bool:
        return (
            run.holds(ROLLOUTS_REPORT.replace(".json", f"-{role}.json"))
            and samples_stage(role) in (run.manifest["stages"])
        )

    def shard(self, number: int) -> list[dict[str, Any]]:
        """[{"prompt", "answers": {role: [text, finished]}, "harmful"}]"""
        entries = [self._prompts[p] for p in self._order[number * ANSWERS : (number + 1) * ANSWERS]]
        pairs = self._run.table(PAIRS_FILE, ["pair_id", "prompt", "is_chat"])
        is_named = pc.is_in(pairs["pair_id"], pa.array([entry["pair_id"] for entry in entries], pa.string()))
        texts = {
            row["pair_id"]: transcript(row["prompt"], is_chat=row["is_chat"])
            for row in pairs.filter(is_named).to_pylist()
        }
        shown = []
        for entry in entries:
            prompt = texts.get(entry["pair_id"], "")
            said_texts = [text for text, _ in entry["answers"].values()]
            shown.append({"prompt": prompt, "answers": entry["answers"], "harmful": is_harmful(prompt, *said_texts)})
        return shown


def readable(load: Any, errors: list[str]) -> Any:
    """What `load()` gives; None, with the reason among the errors, where an artifact cannot be read."""
    try:
        return load()
    except UserError as error:
        errors.append(str(error))
        return None
