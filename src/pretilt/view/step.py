"""Writing the pages of a run."""

from __future__ import annotations

from typing import Any

from pretilt.run import Run
from pretilt.schema import PAGE_FILE, SUMMARY_FILE
from pretilt.version import __version__
from pretilt.view.summary import AUDIT_STAGES, report_tables

VERSION = 7  # raise it when a change of code can change the bytes


def write_report(run: Run) -> dict[str, Any]:
    """The page and summary.json, made anew where what they show has changed. Returns the summary."""
    from pretilt.view.page.report import build_report
    from pretilt.view.summary import summarise

    reads = [name for name in AUDIT_STAGES if name in run.manifest["stages"]]
    from pretilt.labels.described import described

    recorded = ("lens", "settings", "versions", "measurement_id", "source")
    facts = {name: run.manifest[name] for name in recorded if name in run.manifest}
    facts |= {"described": names} if (names := described(run)) else {}
    with run.stage("report", version=VERSION, config={"pretilt": __version__}, reads=reads, inputs=facts) as stage:
        if not stage.done:
            tables = report_tables(run, as_audited=True)
            stage.write_json(SUMMARY_FILE, summarise(tables, title=run.manifest["source"]).to_dict())
            stage.write_text(PAGE_FILE, build_report(tables, title=run.manifest["source"]))
    return run.json(SUMMARY_FILE)
