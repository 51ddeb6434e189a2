"""`demo`: the bundled planted pairs through the bundled lens, and which plants were found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pretilt.api import audit, export_site
from pretilt.audit.result import AuditResult
from pretilt.demo.planted import PlantedScore, score_audit
from pretilt.events import Events
from pretilt.result import Result

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, repr=False)
class DemoResult(Result):
    audit: AuditResult
    page: Path  # of the viewer, which opens from disk
    score: PlantedScore | None  # None for a slice

    @property
    def headline(self) -> str:
        return self.audit.headline

    @property
    def table(self) -> pa.Table:
        return self.audit.table

    def to_dict(self) -> dict[str, Any]:
        scored = self.score.to_dict() if self.score else {}
        return {"summary": self.audit.summary, **scored, "page": str(self.page)}


def run_demo(
    out: str | Path = "demo-run", *, limit: int | None = None, events: Events | None = None, **options: Any
) -> DemoResult:
    """Audit demo set A, write its viewer into `site` in the run, and score it against its truth file.

    The audit never reads that file. `limit` reads the first so many pairs: a look at every step in a minute. The plants
    stand on 5 % of all pairs each, so that a slice is not scored.
    """
    result = audit(DATA / "demo-a.jsonl.gz", out=out, limit=limit, events=events, **options)
    page = export_site(result, result.path / "site", events=events)
    if limit is not None:
        return DemoResult(result, page, None)
    truth = json.loads((DATA / "demo-a-truth.json").read_text(encoding="utf-8"))
    return DemoResult(result, page, score_audit(result, truth))
