"""Write docs/reference.md, the functions of the front door, and docs/schemas, the JSON Schemas of the reports.

python scripts/reference.py
"""

from __future__ import annotations

import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

from pretilt import api, reports

DOCS = Path(__file__).parents[1] / "docs"
PAGE, SCHEMAS = DOCS / "reference.md", DOCS / "schemas"
FUNCTIONS = (
    "audit", "fit", "doctor", "trace", "compare", "detector", "describe", "rollouts", "forecast", "mark", "shape",
    "what_if", "export", "train", "verify", "verify_plan", "dose", "view", "export_site", "export_atlas", "open_run",
)  # fmt: skip
HEAD = """# Python reference

Made from the docstrings by `python scripts/reference.py`. Every function that takes a `run` takes a
folder, a `Run` or the result of any other function. Every result prints as one line, shows a small
table in a notebook, and gives its rows by `.to_pandas()` where it has rows. On the command line the
same options are written `--max-length`, in the same order of work: `pretilt --help`.
"""


def reference() -> str:
    """The page as Markdown."""
    return HEAD + "".join(f"\n## {name}\n\n{_entry(getattr(api, name))}" for name in FUNCTIONS)


def _entry(function: Any) -> str:
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    required = [p.name for p in own if p.default is p.empty]
    named = [f"{p.name}={p.default!r}" for p in own if p.default is not p.empty]
    call = f"    pretilt.{function.__name__}({', '.join(required)}{', …' if named else ''})\n"
    text, _, options = (inspect.getdoc(function) or "").partition("\n\nOptions:\n")
    entries = (line.strip().partition(": ") for line in options.splitlines())
    lines = [textwrap.fill(f"- `{name}`: {meaning}", 100, subsequent_indent="  ") for name, _, meaning in entries]
    paragraphs = [p if p.startswith("    ") else textwrap.fill(p, 100) for p in text.split("\n\n")]
    text = "\n\n".join(paragraphs)
    return f"{call}\n{text}\n" + ("\n" + "\n".join(lines) + "\n" if lines else "")


def schema_files() -> dict[str, str]:
    """File name → text of every JSON Schema."""
    return {
        name.replace(".json", ".schema.json"): json.dumps(schema, indent=2) + "\n"
        for name, schema in reports.schemas().items()
    }


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    SCHEMAS.mkdir(exist_ok=True)
    for name, text in schema_files().items():
        (SCHEMAS / name).write_text(text, encoding="utf-8")
