"""Writing the pages of a run."""

from __future__ import annotations

from typing import Any

from pretilt.run import Run
from pretilt.schema import FEATURES, PAGE_FILE, SUMMARY_FILE
from pretilt.version import __version__
from pretilt.view.summary import report_tables

VERSION = 4  # raise it when a change of code can change the bytes


def write_report(run: Run) -> dict[str, Any]:
    """The page and summary.json, made anew where what they show has changed. Returns the summary."""
    from pretilt.view.page.report import build_report
    from pretilt.view.summary import summarise

    reads = ["pairs", FEATURES, "doctor", "concepts", "shifts", "audit", "evidence"]
    from pretilt.labels.described import described

    facts = {name: run.manifest[name] for name in ("lens", "settings", "versions", "measurement_id", "source")}
    facts |= {"described": names} if (names := described(run)) else {}
    with run.stage("report", version=VERSION, config={"pretilt": __version__}, reads=reads, inputs=facts) as stage:
        if not stage.done:
            tables = report_tables(run)
            stage.write_json(SUMMARY_FILE, summarise(tables, title=run.manifest["source"]).to_dict())
            stage.write_text(PAGE_FILE, build_report(tables, title=run.manifest["source"]))
    return run.json(SUMMARY_FILE)
