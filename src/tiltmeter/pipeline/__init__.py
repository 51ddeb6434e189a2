"""The steps in order: what the command line and `tiltmeter.audit` call."""

from __future__ import annotations

from tiltmeter.pipeline.auditing import audit
from tiltmeter.pipeline.fitting import fit
from tiltmeter.pipeline.result import AuditResult, open_run

__all__ = ["AuditResult", "audit", "fit", "open_run"]
