"""A run, read back: tables, features and summary of a finished audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pretilt.errors import UserError, did_you_mean
from pretilt.run import MANIFEST, Run
from pretilt.schema import FEATURES, SHARD_PARTS, SPANS

if TYPE_CHECKING:
    from pretilt.lens.store import SpanFeatures


class AuditResult:
    """What `pretilt.audit` gives: the run folder and everything in it, read and checked when asked for.

    `summary` is the JSON-able summary that `--json` prints; after a dry run it holds the pre-flight alone, and the
    tables of later steps raise UserError.
    """

    def __init__(self, run: Run, summary: dict[str, Any] | None = None) -> None:
        self.run, self._summary = run, summary

    @property
    def summary(self) -> dict[str, Any]:
        if self._summary is None:
            self._summary = self.run.json("summary.json") if self.run.holds("summary.json") else {}
        return self._summary

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def report(self) -> Path:
        """The page: one static file."""
        return self.run.path / "report.html"

    @property
    def pairs(self) -> pa.Table:
        return self.run.table("pairs.parquet")

    @property
    def tokens(self) -> pa.Table:
        return self.run.table("tokens.parquet")

    @property
    def dropped(self) -> pa.Table:
        return self.run.table("dropped.parquet")

    @property
    def concepts(self) -> pa.Table:
        return self.run.table("concepts.parquet")

    @property
    def groups(self) -> pa.Table:
        return self.run.table("groups.parquet")

    @property
    def group_members(self) -> pa.Table:
        return self.run.table("group_members.parquet")

    @property
    def prompt_concepts(self) -> pa.Table:
        return self.run.table("prompt_concepts.parquet")

    @property
    def prompt_members(self) -> pa.Table:
        return self.run.table("prompt_members.parquet")

    @property
    def hypotheses(self) -> pa.Table:
        return self.run.table("hypotheses.parquet")

    @property
    def evidence(self) -> pa.Table:
        return self.run.table("evidence.parquet")

    @property
    def preflight(self) -> dict[str, Any]:
        return self.run.json("preflight.json")

    def span(self, span: str) -> SpanFeatures:
        """Sparse features of one span ("prompt", "chosen", "rejected"), one row per pair of `pairs`."""
        from pretilt.lens.store import read_span

        if span not in SPANS:
            raise UserError(f"there is no span '{span}'", fix=f"Choose one of {', '.join(SPANS)}")
        if FEATURES not in self.run.manifest["stages"]:
            raise UserError("the run holds no features", file=self.path, fix="Run `pretilt audit` again")
        shards = self.run.shards(FEATURES, FEATURES, SHARD_PARTS)
        return read_span(shards, span, self.run.manifest["lens"]["n_features"])


def open_run(path: str | Path) -> AuditResult:
    """Open a finished run folder."""
    run = Run(path)
    if run.is_new:
        folders = Path(path).parent
        others = [str(file.parent) for file in sorted(folders.glob(f"*/{MANIFEST}"))]
        first = f"`pretilt audit SOURCE --out {path}` makes it" if not Path(path).exists() else ""
        first = first or "Give the folder that `pretilt audit` wrote (its --out)"
        why = f"it holds no {MANIFEST}" if Path(path).exists() else "it does not exist"
        raise UserError("this is not a run folder", file=path, why=why, fix=did_you_mean(str(path), others, first))
    return AuditResult(run)
