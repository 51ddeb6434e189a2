"""Write docs/patterns.md: its first part by hand, below the mark the patterns that come with the package.

python scripts/patterns.py
"""

from __future__ import annotations

import json
from pathlib import Path

from pretilt.concepts.pattern_files import bundled_patterns
from pretilt.concepts.patterns import CODE_BLOCK, INLINE_CODE, Pattern

PAGE = Path(__file__).parents[1] / "docs" / "patterns.md"
MARK = "<!-- Everything below is made by scripts/patterns.py. -->"
MAX_CELL_CHARS = 40


def page() -> str:
    """The page as Markdown: what stands above the mark stays."""
    by_hand, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    if not mark:
        raise SystemExit(f"{PAGE} has lost its line {MARK}")
    patterns = bundled_patterns()
    return f"{by_hand}{MARK}\n\n{_table(patterns)}\n{_expressions(patterns)}"


def _table(patterns: tuple[Pattern, ...]) -> str:
    n_rewriters = sum(bool(p.rewriter) for p in patterns)
    lines = [
        f"## The {len(patterns)} patterns of the package\n",
        f"{n_rewriters} of them have a rewriter, which takes the trait out of a text.\n",
        "| name | what it is | counts | language | matches | does not match | rewriter |",
        "|---|---|---|---|---|---|---|",
    ]
    for p in patterns:
        matches = "<br>".join(_cell(e.text) for e in p.matches[:2])
        misses = "<br>".join(_cell(e.text) for e in p.misses[:2])
        rewriter = " → ".join(_cell(text) for text in p.rewritten[0]) if p.rewritten else ""
        title = p.title.replace("|", "\\|")
        lines.append(
            f"| [`{p.name}`](#{p.name}) | {title} | {p.counts} | {p.language} | {matches} | {misses} | {rewriter} |"
        )
    return "\n".join(lines) + "\n"


def _expressions(patterns: tuple[Pattern, ...]) -> str:
    lines = [
        "\n## Expressions\n",
        "A block of code, and inline code:\n",
        f"    {CODE_BLOCK}\n    {INLINE_CODE}",
    ]
    for p in patterns:
        what = f"a function of the package, `{p.function}`." if p.function else f"reads {p.reads}."
        lines.append(f"\n### {p.name}\n\n{p.title[0].upper()}{p.title[1:]}: {what}")
        if p.expression:
            lines.append(f"\n    {p.expression}")
        if p.rewriter:
            lines.append("\nRewriter:\n")
            lines += [f"    {step.expression}  →  {json.dumps(step.replacement)}" for step in p.rewriter]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """An example as code in a cell of a table, in one line, cut where it is long."""
    shown = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"')
    shown = shown[: MAX_CELL_CHARS - 1] + "…" if len(shown) > MAX_CELL_CHARS else shown
    shown = shown.replace("|", "\\|")
    fence = "```" if "``" not in shown and "`" in shown else "````" if "`" in shown else "`"
    return f"{fence} {shown} {fence}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
