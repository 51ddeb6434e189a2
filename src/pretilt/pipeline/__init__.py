"""The steps in order: what the command line and `pretilt.audit` call."""

from __future__ import annotations

from pretilt.pipeline.auditing import audit
from pretilt.pipeline.fitting import fit
from pretilt.pipeline.result import AuditResult, open_run

__all__ = ["AuditResult", "audit", "fit", "open_run"]
