"""Pretilt reads a preference dataset through the model about to be trained on it and says, before training, which
behaviours DPO will amplify or suppress, and which pairs are responsible."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pretilt.version import __version__

if TYPE_CHECKING:
    from pretilt.api import (
        audit,
        compare,
        describe,
        detector,
        doctor,
        dose,
        export,
        export_atlas,
        export_site,
        fit,
        forecast,
        mark,
        open_run,
        rollouts,
        shape,
        trace,
        train,
        verify,
        verify_plan,
        view,
        what_if,
    )
    from pretilt.audit.result import AuditResult
    from pretilt.errors import UserError
    from pretilt.events import Events
    from pretilt.settings import AuditSettings

__all__ = [
    "AuditResult",
    "AuditSettings",
    "Events",
    "UserError",
    "__version__",
    "audit",
    "compare",
    "describe",
    "detector",
    "doctor",
    "dose",
    "export",
    "export_atlas",
    "export_site",
    "fit",
    "forecast",
    "mark",
    "open_run",
    "rollouts",
    "shape",
    "trace",
    "train",
    "verify",
    "verify_plan",
    "view",
    "what_if",
]
_ELSEWHERE = {
    "AuditResult": "pretilt.audit.result",
    "AuditSettings": "pretilt.settings",
    "Events": "pretilt.events",
    "UserError": "pretilt.errors",
}
_STEPS = set(__all__) - _ELSEWHERE.keys() - {"__version__"}
_HOMES = {**dict.fromkeys(_STEPS, "pretilt.api"), **_ELSEWHERE}


class _Package(ModuleType):
    """Importing the floor `pretilt.trace` would put that package in the place of the function `pretilt.trace`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _STEPS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


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
