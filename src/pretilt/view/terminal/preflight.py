"""The pre-flight in the terminal: what the reader found before any forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from pretilt.artifacts import finite
from pretilt.text import counted, one_line
from pretilt.view.terminal.kit import Page, percent

COPIES = (
    ("pairs", "repeated pair", "repeated pairs"),
    ("prompts", "repeated prompt", "repeated prompts"),
    ("contradicting_pairs", "pair that another one contradicts", "pairs that another one contradicts"),
)


def print_preflight(preflight: Mapping[str, Any], console: Console) -> None:
    """Print what the reader found before any forward pass; numbers that are missing are left out."""
    page = Page(console)
    page.heading("Pre-flight")
    lines = _row_lines(preflight) + _copy_lines(preflight) + _family_lines(preflight)
    lines += _length_line(preflight) + _label_lines(preflight)
    lines += [
        ("template", f"{counted(n, 'pair')}: {one_line(kind)}")
        for kind, n in (preflight.get("chat_template_trouble") or {}).items()
        if n
    ]
    lines += [("REFUSED", one_line(f"{check['name']}: {check['meaning']}. {check['what_to_do']}"))
              for check in preflight.get("refused") or []]  # fmt: skip
    of_families = (preflight.get("families") or {}).get("notes") or []  # they stand with the families
    notes = [note for note in preflight.get("notes") or [] if note not in of_families]
    lines += _cost_line(preflight) + [("note", one_line(note)) for note in notes]
    page.facts(lines or [("", "nothing was read")])
    page.print()


def _row_lines(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows, pairs = preflight.get("rows") or {}, preflight.get("pairs") or {}
    lines = [("format", one_line(preflight["format"]))] if preflight.get("format") else []
    lines += [("rows read", f"{rows['read']:,}")] if "read" in rows else []
    if "kept" in pairs:
        heldout = f", {pairs['heldout']:,} of them held out" if pairs.get("heldout") else ""
        lines.append(("pairs kept", f"{pairs['kept']:,}{heldout}"))
    lines += [
        ("dropped" if i == 0 else "", f"{n:,} {one_line(reason)}")
        for i, (reason, n) in enumerate((rows.get("dropped") or {}).items())
    ]
    if pairs.get("truncated"):
        at = f", at {preflight['max_length']:,} tokens as the trainer would" if preflight.get("max_length") else ""
        lines.append(("truncated", f"{counted(pairs['truncated'], 'pair')}{at}"))
    return lines


def _copy_lines(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    copies = preflight.get("duplicates") or {}
    parts = [counted(copies[key], singular, plural) for key, singular, plural in COPIES if copies.get(key)]
    return [("copies", ", ".join(parts))] if parts else []


def families_in_words(families: Mapping[str, Any]) -> str:
    """How many pairs are independent, from the pre-flight's report on families; "" where they were not sought."""
    if not families.get("n_families"):
        return ""
    n, n_families, share = families["n_pairs"], families["n_families"], families["share_in_families"]
    if n_families == n:
        if n == 1:
            return "1 pair, a family of its own"
        return f"{n:,} pairs, each a family of its own: none is related to another"
    # Kish's number takes the pairs of a family for copies of each other: the truth lies between it and all pairs.
    effective = f"the effective sample is at least {families['kish_n_eff']:,.0f}"
    of_families = f"{counted(n, 'pair is', 'pairs are')} {counted(n_families, 'family', 'families')}"
    return f"{of_families}; {percent(share)} of the pairs share one; {effective}"


def _family_lines(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    families = preflight.get("families") or {}
    lines = [families_in_words(families)] if families.get("n_families") else []
    lines += [f"held-out and training pairs share {n:,} of them" for n in [families.get("straddling")] if n]
    lines += [one_line(str(note)) for note in families.get("notes") or []]
    return [("families" if i == 0 else "", line) for i, line in enumerate(lines)]


def _length_line(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    length = preflight.get("length_bias") or {}
    mean, error, share = (finite(length.get(k)) for k in ("mean_difference", "standard_error", "share_chosen_longer"))
    if mean is None:
        return []
    if round(mean, 1):
        unit = "tokens" if (preflight.get("tokens") or {}).get("read", 1) else "words"
        line = f"chosen is {abs(mean):.1f} {unit} {'longer' if mean > 0 else 'shorter'} on average"
    else:
        line = "chosen and rejected are equally long on average"
    line += f" (95 % ± {1.96 * error:.1f})" if error is not None else ""
    line += f"; chosen is longer in {percent(share)} of the pairs" if share is not None else ""
    return [("length", line)]


def _label_lines(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Scores against labels, and which model wrote what."""
    scores, authors = preflight.get("scores") or {}, preflight.get("models") or {}
    models = authors.get("table") or []
    lines = []
    if disagree := scores.get("disagree"):
        of_pairs = f"{disagree:,} of {counted(scores['known'], 'pair')}"
        lines.append(("scores", f"{of_pairs} {'is' if disagree == 1 else 'are'} scored against their label"))
    for i, m in enumerate(models[:3]):
        who = f"{one_line(str(m.get('chosen') or '?'))} over {one_line(str(m.get('rejected') or '?'))}"
        lines.append(("models" if i == 0 else "", f"{counted(m.get('pairs', 0), 'pair')}: {who}"))
    more = authors.get("combinations", len(models)) - 3  # the table holds the most frequent alone
    return lines + ([("", f"and {counted(more, 'more combination')}")] if more > 0 else [])


def _cost_line(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    to_read = (preflight.get("tokens") or {}).get("read")
    if not to_read:
        return []
    estimate = preflight.get("estimate") or {}
    lo, hi = (finite(estimate.get(f"seconds_{bound}")) for bound in ("low", "high"))
    lines = [("to read", f"{counted(to_read, 'token')} through the lens")]
    if lo is None or hi is None:
        return lines
    low, high = _duration(lo), _duration(hi)
    span = f"about {low}" if low == high else f"{low} to {high}"
    return [*lines, ("time", f"{span} for the whole audit on this machine, by its speed now")]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
