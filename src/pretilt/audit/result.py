"""A run, read back: tables, features and summary of a finished audit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pretilt.errors import UserError, did_you_mean
from pretilt.result import PREVIEW_ROWS, Result
from pretilt.run import Run
from pretilt.schema import (
    CONCEPTS_FILE,
    DROPPED_FILE,
    EVIDENCE_FILE,
    FEATURES,
    GROUP_MEMBERS_FILE,
    GROUPS_FILE,
    HYPOTHESES_FILE,
    LISTS,
    MANIFEST,
    PAIRS_FILE,
    PREFLIGHT_FILE,
    PROMPT_CONCEPTS_FILE,
    PROMPT_MEMBERS_FILE,
    SHARD_PARTS,
    SPANS,
    SUMMARY_FILE,
    TOKENS_FILE,
)
from pretilt.text import counted

if TYPE_CHECKING:
    from pretilt.audit.checks import Check
    from pretilt.lens.store import SpanFeatures


class AuditResult(Result):
    """What `pretilt.audit` gives: the run folder and everything in it, read and checked when asked for.

    `to_pandas()` gives `hypotheses`, one row per tested effect.

    `summary` is the JSON-able summary that `--json` prints; after a dry run it holds the pre-flight alone, and the
    tables of later steps raise UserError.
    """

    def __init__(self, run: Run, summary: dict[str, Any] | None = None) -> None:
        self.run, self._summary = run, summary

    @property
    def summary(self) -> dict[str, Any]:
        if self._summary is None:
            self._summary = self.run.json(SUMMARY_FILE) if self.run.holds(SUMMARY_FILE) else {}
        return self._summary

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def headline(self) -> str:
        if "trust" not in self.summary:
            return f"{self.path}: stopped after the pre-flight"
        trust, read = self.summary["trust"], self.summary["read"]
        return (
            f"{self.summary['title']}: {counted(read['pairs'], 'pair')}, {trust['n_tested']:,} hypotheses tested, "
            f"{trust['n_sure']:,} sure; {self.path}"
        )

    @property
    def table(self) -> pa.Table:
        return self.hypotheses

    def preview(self) -> list[dict[str, Any]]:
        from pretilt.concepts.curation import given_names

        effects = [effect for name in LISTS for effect in self.summary.get(name, ())][:PREVIEW_ROWS]
        by_hand = given_names(self.run) if effects else {}
        return [
            {
                "training would": effect["direction"],
                "concept": by_hand.get(effect["concept_id"], effect["concept"]),
                "where": effect["place"] or "over all pairs",
                "effect": effect["effect"],
                "95 % interval": f"{effect['lo']:+.3f} to {effect['hi']:+.3f}",
                "sure": "yes" if effect["is_sure"] else "no",
                "id": effect["hypothesis_id"],
            }
            for effect in effects
        ]

    @property
    def pairs(self) -> pa.Table:
        return self.run.table(PAIRS_FILE)

    @property
    def tokens(self) -> pa.Table:
        return self.run.table(TOKENS_FILE)

    @property
    def dropped(self) -> pa.Table:
        return self.run.table(DROPPED_FILE)

    @property
    def concepts(self) -> pa.Table:
        return self.run.table(CONCEPTS_FILE)

    @property
    def groups(self) -> pa.Table:
        return self.run.table(GROUPS_FILE)

    @property
    def group_members(self) -> pa.Table:
        return self.run.table(GROUP_MEMBERS_FILE)

    @property
    def prompt_concepts(self) -> pa.Table:
        return self.run.table(PROMPT_CONCEPTS_FILE)

    @property
    def prompt_members(self) -> pa.Table:
        return self.run.table(PROMPT_MEMBERS_FILE)

    @property
    def hypotheses(self) -> pa.Table:
        return self.run.table(HYPOTHESES_FILE)

    @property
    def evidence(self) -> pa.Table:
        return self.run.table(EVIDENCE_FILE)

    @property
    def preflight(self) -> dict[str, Any]:
        return self.run.json(PREFLIGHT_FILE)

    def span(self, span: str) -> SpanFeatures:
        """Sparse features of one span ("prompt", "chosen", "rejected"), one row per pair of `pairs`."""
        from pretilt.lens.store import read_span

        if span not in SPANS:
            raise UserError(f"there is no span '{span}'", fix=f"Choose one of {', '.join(SPANS)}")
        if FEATURES not in self.run.manifest["stages"]:
            raise UserError("the run holds no features", file=self.path, fix="Run `pretilt audit` again")
        shards = self.run.shards(FEATURES, FEATURES, SHARD_PARTS)
        return read_span(shards, span, self.run.manifest["lens"]["n_features"])


@dataclass(frozen=True, repr=False)
class DoctorResult(Result):
    """The checks of a run's lens and data, in the doctor's order."""

    run: Run
    checks: list[Check]

    @property
    def verdict(self) -> str:
        """The worst of the checks: "red", "amber" or "green"."""
        verdicts = {check.verdict for check in self.checks}
        return next((verdict for verdict in ("red", "amber") if verdict in verdicts), "green")

    @property
    def headline(self) -> str:
        counts = Counter(check.verdict for check in self.checks)
        return f"{self.run.path}: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items())

    @property
    def table(self) -> pa.Table:
        """One row per check; figures and limits as the text that is shown, since some are pairs of numbers."""
        rows = [check.to_dict() for check in self.checks]
        return pa.Table.from_pylist([{name: str(value) for name, value in row.items()} for row in rows])

    def preview(self) -> list[dict[str, Any]]:
        names = ("verdict", "name", "figure", "threshold", "what_to_do")
        return [{name: check.to_dict()[name] for name in names} for check in self.checks]


def open_run(path: str | Path) -> AuditResult:
    """Open a finished run folder."""
    run = Run(path)
    if run.is_new:
        folders = Path(path).parent
        other_runs = [str(file.parent) for file in sorted(folders.glob(f"*/{MANIFEST}"))]
        first = f"`pretilt audit SOURCE --out {path}` makes it" if not Path(path).exists() else ""
        first = first or "Give the folder that `pretilt audit` wrote (its --out)"
        why = f"it holds no {MANIFEST}" if Path(path).exists() else "it does not exist"
        raise UserError("this is not a run folder", file=path, why=why, fix=did_you_mean(str(path), other_runs, first))
    return AuditResult(run)
