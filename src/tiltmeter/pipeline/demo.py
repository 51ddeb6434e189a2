"""`demo`: the bundled planted pairs through the bundled lens, and which plants were found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiltmeter.events import Events
from tiltmeter.pipeline.auditing import audit
from tiltmeter.pipeline.planted import PlantedScore, score_audit
from tiltmeter.pipeline.result import AuditResult

DATA = Path(__file__).parents[1] / "demo" / "data"


@dataclass(frozen=True)
class DemoResult:
    audit: AuditResult
    score: PlantedScore

    def to_dict(self) -> dict[str, Any]:
        return {"summary": self.audit.summary, **self.score.to_dict(), "report": str(self.audit.report)}


def run_demo(out: str | Path = "demo-run", *, events: Events | None = None, **options: Any) -> DemoResult:
    """Audit demo set A and score it against its truth file, which the audit never reads."""
    result = audit(DATA / "demo-a.jsonl.gz", out=out, events=events, **options)
    truth = json.loads((DATA / "demo-a-truth.json").read_text(encoding="utf-8"))
    return DemoResult(result, score_audit(result, truth))
