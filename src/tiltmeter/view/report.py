"""The report: one static HTML file that needs no server, no network and no build step.

The page's own scripts and style are inlined and allowed by their hashes alone (Content-Security-Policy); the data
travel as JSON in a block that the browser does not execute, and reach the page as text nodes only.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib import resources
from typing import Any

from tiltmeter.view.payload import build_payload
from tiltmeter.view.summary import ReportTables, summarise

MAX_BYTES = 12_000_000
SCRIPTS = ("dom.js", "plots.js", "sure.js", "explore.js", "trust.js", "report.js")


def build_report(tables: ReportTables, *, title: str = "", max_bytes: int = MAX_BYTES) -> str:
    """The text of `report.html` (write it as UTF-8). Deterministic: same tables, same bytes.

    `max_bytes` caps the data; what is left out is said in the page.
    """
    summary = summarise(tables, title=title)
    script = "(() => {\n'use strict';\n" + "\n".join(_asset(name) for name in SCRIPTS) + "\n})();\n"
    style = _asset("report.css")
    allowed = f"script-src {_source(script)}; style-src {_source(style)}"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    parts = {
        "policy": policy,
        "title": html.escape(f"tiltmeter · {summary.title}"),
        "style": style,
        "script": script,
        "payload": embed(build_payload(tables, summary, max_bytes=max_bytes)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("report.html"))


def embed(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029\u007f":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _asset(name: str) -> str:
    return resources.files("tiltmeter.view").joinpath("assets", name).read_text(encoding="utf-8")


def _source(content: str) -> str:
    """The CSP source expression that allows exactly this inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
