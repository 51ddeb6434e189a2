"""The report: one static HTML file that needs no server, no network and no build step.

The page's own scripts and style are inlined and allowed by their hashes alone (Content-Security-Policy); the data
travel as JSON in a block that the browser does not execute, and reach the page as text nodes only.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from pretilt.schema import PAGE_FILE
from pretilt.view.page.payload import build_payload
from pretilt.view.site.shards import embed as embed
from pretilt.view.summary import ReportTables, summarise

MAX_BYTES = 12_000_000
SCRIPTS = ("dom.js", "plots.js", "sure.js", "explore.js", "trust.js", "report.js")
STYLES = ("report.css",)


def build_report(tables: ReportTables, *, title: str = "", max_bytes: int = MAX_BYTES) -> str:
    """The text of `report.html` (write it as UTF-8). Deterministic: same tables, same bytes.

    `max_bytes` caps the data; what is left out is said in the page.
    """
    summary = summarise(tables, title=title)
    payload = build_payload(tables, summary, max_bytes=max_bytes)
    return static_page(PAGE_FILE, payload, title=summary.title, scripts=SCRIPTS, styles=STYLES)


def static_page(template: str, payload: Any, *, title: str, scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A page of our own: one file, its scripts and style inlined and allowed by hash, its data as text alone."""
    script = "(() => {\n'use strict';\n" + "\n".join(_asset(name) for name in scripts) + "\n})();\n"
    style = "".join(_asset(name) for name in styles)
    allowed = f"script-src {_source(script)}; style-src {_source(style)}"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    parts = {
        "policy": policy,
        "title": html.escape(f"pretilt · {title}"),
        "style": style,
        "script": script,
        "payload": embed(payload),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset(template))


def _asset(name: str) -> str:
    return resources.files("pretilt.view").joinpath("assets", name).read_text(encoding="utf-8")


def _source(content: str) -> str:
    """The CSP source expression that allows exactly this inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
