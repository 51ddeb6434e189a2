"""The terminal summary and the pre-flight: what a tired engineer understands in a minute.

Nothing depends on colour; a pipe or a file gets the same lines as plain text. Dataset text reaches the terminal as
`rich.text.Text` with control characters spelled out, so neither markup nor escape sequences in it have any effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tiltmeter.view.effects import Effect, interval, signed
from tiltmeter.view.screen import one_line, snippet
from tiltmeter.view.summary import Example, Summary
from tiltmeter.view.tables import finite

HIDDEN = "[hidden: --show-text]"
COPIES = (
    ("pairs", "repeated pairs"),
    ("prompts", "repeated prompts"),
    ("contradicting_pairs", "pairs that another one contradicts"),
)
NARROW, WIDE = 60, 120
_ASCII = str.maketrans(
    {"…": "~", "▲": "+", "▼": "-", "·": ",", "–": "-", "•": "*", "‹": "<", "›": ">", "“": '"', "”": '"', "±": "+-"}
)


class _Page:
    """A console with our margins: 60–120 columns, and ASCII where the terminal cannot show more."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.width = max(NARROW, min(WIDE, console.width))
        self.unicode = (console.encoding or "utf-8").lower().replace("-", "").startswith("utf")
        self.overflow: Literal["ellipsis", "crop"] = "ellipsis" if self.unicode else "crop"

    def text(self, content: str, style: str = "") -> Text:
        if not self.unicode:
            content = content.translate(_ASCII).encode(self.console.encoding, "replace").decode(self.console.encoding)
        return Text(content, style=style)

    def print(self, renderable: Text | Table | str = "") -> None:
        shown = Padding(self.text(renderable) if isinstance(renderable, str) else renderable, (0, 0, 0, 2))
        if self.console.is_terminal:
            self.console.print(shown, width=self.width)
            return
        with self.console.capture() as lines:  # plain text keeps no padding at the ends of its lines
            self.console.print(shown, width=self.width)
        for line in lines.get().splitlines():
            self.console.print(Text(line.rstrip()), soft_wrap=True)

    def heading(self, title: str, note: str = "") -> None:
        self.print()
        self.print(Text.assemble(self.text(title, "bold"), self.text(f"  {note}" if note else "", "dim")))

    def facts(self, rows: Sequence[tuple[str, str]]) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, width=max((len(label) for label, _ in rows), default=0))
        table.add_column(overflow="fold")
        for label, value in rows:
            table.add_row(self.text(label, "dim"), self.text(value))
        self.print(table)


def print_summary(
    summary: Summary, console: Console, *, report: str | Path | None = None, show_text: bool = False
) -> None:
    """Print the summary of a finished run. `show_text`: print the example even if the word screen fired."""
    page = _Page(console)
    page.heading(f"tiltmeter · {one_line(summary.title)}", "what training on these pairs would amplify and suppress")
    page.print()
    page.facts(_read_lines(summary) + _trust_lines(summary))
    if not summary.trust["n_tested"]:
        page.heading("Nothing was tested")
        page.print(
            "There were too few pairs, or no concept fired in enough of them. The counts above say what was read."
        )
    else:
        _effects(page, "Most amplified", "chosen responses show it more, over all pairs", summary.amplified)
        _effects(page, "Most suppressed", "rejected responses show it more, over all pairs", summary.suppressed)
        _places(page, summary.amplified_in_groups + summary.suppressed_in_groups)
    if summary.example:
        _example(page, summary.example, show_text)
    if report is not None:
        page.print()
        page.facts([("Report", str(report)), ("", "opens in any browser, offline: every hypothesis with its pairs")])
    page.print()


def _read_lines(summary: Summary) -> list[tuple[str, str]]:
    read, lens = summary.read, summary.lens
    n_dropped = sum(read["dropped"].values())
    tokens = read["tokens"]
    line = f"{read['pairs']:,} pairs, {sum(tokens.values()):,} tokens"
    if n_dropped:
        line += f" · {n_dropped:,} of {read['rows_in']:,} rows dropped ({_reasons(read['dropped'])})"
    else:
        line += " · no row dropped"
    rows = [("Read", line)]
    parts = [str(lens["model"])] if "model" in lens else []
    parts += [f"layer {lens['layer']}"] if "layer" in lens else []
    if "dictionary" in lens:
        parts.append(
            f"dictionary {lens['dictionary']}" + (f" ({lens['n_features']:,} features)" if "n_features" in lens else "")
        )
    return rows + ([("Lens", " · ".join(parts))] if parts else [])


def _trust_lines(summary: Summary) -> list[tuple[str, str]]:
    read, lens, trust = summary.read, summary.lens, summary.trust
    lines = []
    if trust["baseline"] == "random-dictionary":
        lines.append("BASELINE: the dictionary is random directions, not features of the model")
    if trust["bundled_lens"]:
        lines.append("the lens is the bundled demonstration: for your own model give --model and --dictionary")
    if "explained_variance" in lens:
        l0 = f", {lens['l0']:.0f} features fire per token" if "l0" in lens else ""
        lines.append(f"the dictionary explains {lens['explained_variance']:.0%} of the variance here{l0}")
    if read["heldout"]:
        lines.append(f"{read['heldout']:,} pairs were held out before anything was fitted")
    share = trust["share_one_firing_passes"]
    if share is not None and trust["disparity"] == "paper":
        needed = round(1 / trust["freq_threshold"])
        lines.append(f"{share:.0%} of the responses have under {needed} tokens, where a single firing already counts")
    if trust["n_tested"]:
        lines.append(
            f"{trust['n_tested']:,} hypotheses tested, {trust['n_shown']:,} shown: both halves of the data agree"
        )
    return [("Trust" if i == 0 else "", line) for i, line in enumerate(lines)]


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in dropped.items())


def _mark(direction: str) -> str:
    return "▲" if direction == "amplify" else "▼"


def _table(page: _Page, words: Sequence[tuple[str, int]], numbers: Sequence[str]) -> Table:
    """A mark, columns of words with their share of the room, and columns of numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("")
    for name, ratio in words:
        table.add_column(name, ratio=ratio, no_wrap=True, overflow=page.overflow)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _effects(page: _Page, title: str, note: str, effects: Sequence[Effect]) -> None:
    page.heading(title, note)
    if not effects:
        page.print("nothing passed the display rules")
        return
    table = _table(page, [("concept", 3)], ("effect", "95 % interval", "of pairs"))
    doubtful = any(map(_doubts, effects))
    if doubtful:
        table.add_column("caution", no_wrap=True)
    if page.width >= 90:
        table.add_column("for example", ratio=2, no_wrap=True, overflow=page.overflow)
    for effect in effects:
        share = "?" if effect.share_of_pairs is None else f"{effect.share_of_pairs:.0%}"
        cells = [page.text(_mark(effect.direction)), page.text(one_line(effect.concept))]
        cells += [page.text(signed(effect.effect), "bold"), page.text(interval(effect.ci_lo, effect.ci_hi))]
        cells += [page.text(share)] + [page.text(_doubts(effect), "dim")] * doubtful
        if page.width >= 90:
            cells.append(page.text(_phrase(effect), "dim"))
        table.add_row(*cells)
    page.print(table)


def _doubts(effect: Effect) -> str:
    return ", ".join(["may be chance"] * effect.may_be_chance + ["follows length"] * effect.follows_length)


def _phrase(effect: Effect) -> str:
    """Two phrases on which it fires, preferably ones that its name does not hold."""
    phrases = [p for p in effect.phrases if p.strip()]
    return ", ".join(f"“{one_line(p)}”" for p in ([p for p in phrases if p not in effect.concept] or phrases)[:2])


def _places(page: _Page, effects: Sequence[Effect]) -> None:
    page.heading("Where", "one group of pairs against all others; at most two of a group")
    if not effects:
        page.print("no group of pairs stands out")
        return
    names = [("concept", 3), ("in the group", 2)]
    table = _table(page, names, ("inside", "elsewhere", "pairs", "halves"))
    for effect in effects:
        numbers = [
            signed(effect.mean_in, 2),
            signed(effect.mean_out, 2),
            f"{effect.n_in:,}",
            "agree" if effect.consistent else "differ",
        ]
        words = [_mark(effect.direction), one_line(effect.concept), one_line(effect.group)]
        table.add_row(*(page.text(cell) for cell in words + numbers))
    page.print(table)


def _example(page: _Page, example: Example, show_text: bool) -> None:
    where = f"row {example.row_index}, " if example.row_index is not None else ""
    page.heading(
        "An example",
        f"{where}responsible for {_mark(example.direction)} {one_line(example.concept)} (u = {signed(example.u, 2)})",
    )
    hidden = example.harmful and not show_text
    width = 2 * (page.width - 14)
    page.facts(
        [
            ("prompt", HIDDEN if hidden else snippet(example.prompt, page.width - 14)),
            ("chosen", HIDDEN if hidden else snippet(example.chosen, width, around=example.chosen_at)),
            ("rejected", HIDDEN if hidden else snippet(example.rejected, width, around=example.rejected_at)),
        ]
    )


def print_preflight(preflight: Mapping[str, Any], console: Console) -> None:
    """Print what the reader found before any forward pass; numbers that are missing are left out."""
    page = _Page(console)
    page.heading("Pre-flight")
    lines = _row_lines(preflight) + _copy_lines(preflight) + _length_line(preflight) + _label_lines(preflight)
    lines += [
        ("template", f"{n:,} pairs: {one_line(kind)}")
        for kind, n in (preflight.get("chat_template_trouble") or {}).items()
        if n
    ]
    lines += _cost_line(preflight) + [("note", one_line(note)) for note in preflight.get("notes") or []]
    page.facts(lines or [("", "nothing was read")])
    page.print()


def _row_lines(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows, pairs = preflight.get("rows") or {}, preflight.get("pairs") or {}
    lines = [("rows read", f"{rows['read']:,}")] if "read" in rows else []
    if "kept" in pairs:
        heldout = f", {pairs['heldout']:,} of them held out" if pairs.get("heldout") else ""
        lines.append(("pairs kept", f"{pairs['kept']:,}{heldout}"))
    lines += [
        ("dropped" if i == 0 else "", f"{n:,} {one_line(reason)}")
        for i, (reason, n) in enumerate((rows.get("dropped") or {}).items())
    ]
    if pairs.get("truncated"):
        at = f", at {preflight['max_length']:,} tokens as the trainer would" if preflight.get("max_length") else ""
        lines.append(("truncated", f"{pairs['truncated']:,} pairs{at}"))
    return lines


def _copy_lines(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    copies, families = preflight.get("duplicates") or {}, preflight.get("components") or {}
    parts = [f"{copies[key]:,} {text}" for key, text in COPIES if copies.get(key)]
    lines = [("copies", ", ".join(parts))] if parts else []
    if families.get("count"):
        lines.append(
            (
                "families",
                f"{families['count']:,} sets of near-duplicate prompts, the largest of {families.get('largest', 1):,}",
            )
        )
    return lines


def _length_line(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    length = preflight.get("length_bias") or {}
    mean, error, share = (finite(length.get(k)) for k in ("mean_difference", "standard_error", "share_chosen_longer"))
    if mean is None:
        return []
    line = f"chosen is {abs(mean):.1f} tokens {'longer' if mean >= 0 else 'shorter'} on average"
    line += f" (95 % ± {1.96 * error:.1f})" if error is not None else ""
    line += f", longer in {share:.0%} of the pairs" if share is not None else ""
    return [("length", line)]


def _label_lines(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Scores against labels, and which model wrote what."""
    scores, models = preflight.get("scores") or {}, (preflight.get("models") or {}).get("table") or []
    lines = (
        [("scores", f"{scores['disagree']:,} of {scores['known']:,} pairs are scored against their label")]
        if scores.get("disagree")
        else []
    )
    for i, m in enumerate(models[:3]):
        who = f"{one_line(str(m.get('chosen') or '?'))} over {one_line(str(m.get('rejected') or '?'))}"
        lines.append(("models" if i == 0 else "", f"{m.get('pairs', 0):,} pairs: {who}"))
    more = len(models) - 3
    return lines + ([("", f"and {more:,} more combinations")] if more > 0 else [])


def _cost_line(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    to_read = (preflight.get("tokens") or {}).get("read")
    if to_read is None:
        return []
    seconds = finite((preflight.get("estimate") or {}).get("seconds"))
    time = f", about {_duration(seconds)} here" if seconds is not None else ""
    return [("to read", f"{to_read:,} tokens through the lens{time}")]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
