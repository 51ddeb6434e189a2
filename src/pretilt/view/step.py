"""Writing what a finished audit is summarised as."""

from __future__ import annotations

from typing import Any

from pretilt.run import Run
from pretilt.schema import SUMMARY_FILE
from pretilt.version import __version__
from pretilt.view.summary import AUDIT_STAGES, report_tables, summarise

VERSION = 8  # raise it when a change of code can change the bytes


def write_summary(run: Run) -> dict[str, Any]:
    """summary.json, made anew where what it says has changed. Returns it."""
    from pretilt.labels.described import described

    reads = [name for name in AUDIT_STAGES if name in run.manifest["stages"]]
    recorded = ("lens", "settings", "versions", "measurement_id", "source")
    facts = {name: run.manifest[name] for name in recorded if name in run.manifest}
    facts |= {"described": names} if (names := described(run)) else {}
    with run.stage("report", version=VERSION, config={"pretilt": __version__}, reads=reads, inputs=facts) as stage:
        if not stage.done:
            tables = report_tables(run, as_audited=True)
            stage.write_json(SUMMARY_FILE, summarise(tables, title=run.manifest["source"]).to_dict())
    return run.json(SUMMARY_FILE)
