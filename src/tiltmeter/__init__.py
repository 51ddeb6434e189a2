"""Tiltmeter reads a preference dataset through the model about to be trained on it and says, before training, which
behaviours DPO will amplify or suppress, and which pairs are responsible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["AuditResult", "AuditSettings", "UserError", "__version__", "audit", "open_run", "trace"]

if TYPE_CHECKING:
    from tiltmeter.errors import UserError
    from tiltmeter.pipeline import AuditResult, audit, open_run
    from tiltmeter.pipeline.trace import trace
    from tiltmeter.settings import AuditSettings

_HOMES = {
    "AuditResult": "tiltmeter.pipeline",
    "AuditSettings": "tiltmeter.settings",
    "UserError": "tiltmeter.errors",
    "audit": "tiltmeter.pipeline",
    "open_run": "tiltmeter.pipeline",
    "trace": "tiltmeter.pipeline.trace",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for, so that `import tiltmeter` stays light (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tiltmeter' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
