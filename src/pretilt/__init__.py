"""Pretilt reads a preference dataset through the model about to be trained on it and says, before training, which
behaviours DPO will amplify or suppress, and which pairs are responsible."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["AuditResult", "AuditSettings", "Events", "UserError", "__version__", "audit", "fit", "open_run", "trace"]

if TYPE_CHECKING:
    from pretilt.errors import UserError
    from pretilt.events import Events
    from pretilt.pipeline import AuditResult, audit, fit, open_run
    from pretilt.pipeline.trace import trace
    from pretilt.settings import AuditSettings

_HOMES = {
    "AuditResult": "pretilt.pipeline",
    "AuditSettings": "pretilt.settings",
    "Events": "pretilt.events",
    "UserError": "pretilt.errors",
    "audit": "pretilt.pipeline",
    "fit": "pretilt.pipeline",
    "open_run": "pretilt.pipeline",
    "trace": "pretilt.pipeline.trace",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for, so that `import pretilt` stays light (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pretilt' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _no_telemetry() -> None:
    """Keep the Hub's client, and TRL through it, from reporting what is used, whatever was imported before."""
    if os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1") == "1" and "huggingface_hub" in sys.modules:
        from huggingface_hub import constants

        constants.HF_HUB_DISABLE_TELEMETRY = True


_no_telemetry()
