"""A trace on the terminal: what a tired engineer understands in a minute.

The tokens on which the concept fires stand in « », or in << >> where the terminal shows ASCII alone; quotation marks of
this shape in the text itself are shown as “ ”, so that it cannot forge them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pretilt.artifacts import finite
from pretilt.pairs.transcript import last_turn
from pretilt.schema import DETECTOR, OVER_ALL_PAIRS, PATTERN
from pretilt.stats.sure import is_sure
from pretilt.text import counted, one_line, snippet, visible
from pretilt.trace.types import Contribution, EffectTrace, Fired, Lesson, PairTrace, Quote, Trace
from pretilt.view.certainty import side_inside, signed, verdict
from pretilt.view.effects import MOST_UNSURE, interval, unit_of, written_unit
from pretilt.view.plain_words import points
from pretilt.view.terminal.audit import HIDDEN
from pretilt.view.terminal.kit import Page

_OPEN, _CLOSE = "\ue000", "\ue001"  # private use; none is left in what is printed
_OWN = str.maketrans({"«": "“", "»": "”", _OPEN: "\ufffd", _CLOSE: "\ufffd"})
_SETS = {
    "group": "in the group",
    "pattern_group": "in the group",
    "detector_group": "in the group",
    "prompt_max": "on prompts about",
    "prompt_freq": "on prompts about",
}
_SIDES = {"amplify": "chosen", "suppress": "rejected"}
_LONG_CONTRIBUTION = 3  # lines of a response
_LONG_PAIR = 10
_READING = "carries: its share of the effect · pair: its place among all pairs · rank: the effect's place in its list"
SPACIOUS = 90  # columns from which there is room for the tokens beside an effect


def print_trace(trace: Trace, console: Console, *, show_text: bool = False) -> None:
    """Print a trace. `show_text`: print texts even where the word screen fires."""
    page = Page(console)
    if isinstance(trace, EffectTrace):
        _effect(page, trace, show_text)
    else:
        _pair(page, trace, show_text)
    page.print()


def excerpt(text: str, spans: Sequence[Fired], width: int, marks: tuple[str, str] = ("«", "»")) -> str:
    """About `width` characters on one line around the strongest span, every run of adjacent spans between marks."""
    marked, focus = _with_marks(text, spans)
    focus = len(_flat(marked[:focus]))
    flat = _flat(marked)
    if len(flat) > width:
        start = max(0, min(focus - width // 3, len(flat) - width))
        space = flat.find(" ", start, start + 20)
        start = space + 1 if start and space >= 0 else start
        stop = min(len(flat), start + width - 2)
        space = flat.rfind(" ", start + width // 2, stop)
        stop = space if stop < len(flat) and space >= 0 else stop
        cut = flat[start:stop].strip()
        # A run that the window cuts is marked on the part that is shown.
        cut = _OPEN * (flat.count(_OPEN, 0, start) > flat.count(_CLOSE, 0, start)) + cut
        cut += _CLOSE * (cut.count(_OPEN) > cut.count(_CLOSE))
        flat = ("…" if start else "") + cut + ("…" if stop < len(flat) else "")
    return visible(flat).replace(_OPEN, marks[0]).replace(_CLOSE, marks[1])


def _with_marks(text: str, spans: Sequence[Fired]) -> tuple[str, int]:
    """The text with a mark around every run of adjacent spans, and where its strongest span begins."""
    out, at, focus, is_open = "", 0, 0, False
    strongest = max((act for _, _, act in spans), default=0.0)
    for start, stop, act in spans:
        if start > at:
            out += _CLOSE * is_open + text[at:start].translate(_OWN)
            is_open = False
        out += _OPEN * (not is_open)
        focus = focus or len(out) * (act == strongest)
        out += text[start:stop].translate(_OWN)
        at, is_open = stop, True
    return out + _CLOSE * is_open + text[at:].translate(_OWN), focus


def _flat(marked: str) -> str:
    """One line; marks close around words, none around white space alone."""
    single = " ".join(marked.split())
    single = single.replace(f"{_OPEN} ", f" {_OPEN}").replace(f" {_CLOSE}", f"{_CLOSE} ").replace(_OPEN + _CLOSE, "")
    return " ".join(single.split())


def _mark(direction: str) -> str:
    return "▲" if direction == "amplify" else "▼"


def _amount(value: float | None, kind: str, digits: int = 3) -> str:
    return f"{signed(value, digits)} {unit_of(kind)}".rstrip()


def _size(value: float | None, kind: str) -> str:
    """An effect in the unit that it is read in: of a pattern or detector in percentage points of answers."""
    return f"{points(value)} points" if kind in (PATTERN, DETECTOR) else _amount(value, kind)


def _percent(share: float | None) -> str:
    if share is None or not math.isfinite(share):
        return "?"
    return f"{100 * share:.2g} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def _effect(page: Page, trace: EffectTrace, show_text: bool) -> None:
    page.heading(f"pretilt · trace of {trace.id}")
    page.print()
    where = f"{_SETS[trace.view]} {one_line(trace.place)}" if trace.view in _SETS else "over all pairs"
    page.print(f"{_mark(trace.direction)} {one_line(trace.concept)} {where}: {_claim(trace)}")
    page.print()
    page.facts(_figures(trace))
    read = any(contribution.chosen_fired is not None for contribution in trace.responsible + trace.against)
    marks = " ".join(_marks(page))
    side = _SIDES[trace.direction]
    page.heading("Most responsible", f"{side} shows it more" + (f"; {marks}: it fires here" if read else ""))
    _contributions(page, trace.kind, trace.responsible, show_text)
    page.heading("Pull the other way")
    _contributions(page, trace.kind, trace.against, show_text)


def _claim(trace: EffectTrace) -> str:
    """What training would do, where that is sure; else what these pairs show, which may be chance."""
    side, other = _SIDES[trace.direction], _SIDES["suppress" if trace.direction == "amplify" else "amplify"]
    if trace.row is None:
        return f"the {side} responses show it more in these pairs; this was not tested"
    sure, sign = is_sure(trace.row), 1 if trace.direction == "amplify" else -1
    inside = sign if trace.view in OVER_ALL_PAIRS else side_inside(trace.row)
    if inside is not None and inside != sign:
        words = f"the {other} responses show it more in these pairs too, but less than in the others"
        if inside == 0:
            words = f"neither side clearly shows it more in these pairs, the {side} responses do against the others"
        return words + ("" if sure else "; this may be chance")
    if sure:
        return f"training would {trace.direction} it"
    return f"the {side} responses show it more in these pairs; this may be chance"


def _figures(trace: EffectTrace) -> list[tuple[str, str]]:
    row, kind = trace.row or {}, trace.kind
    phrases = ", ".join(f"“{one_line(phrase)}”" for phrase in trace.phrases[:6] if phrase.strip())
    lines = [("fires on", phrases)] if phrases else []
    shrunken = finite(row.get("posterior_delta"))
    if shrunken is not None:
        limits = _limits(row, "posterior", kind)
        lines.append(("shrunken", _with_limits(shrunken, kind, limits)))
    limits = _limits(row, "ci", kind)
    observed = _with_limits(trace.delta, kind, limits)
    families = f" of {counted(row['family_n'], 'family', 'families')}" if row.get("family_n") is not None else ""
    if row and trace.view not in OVER_ALL_PAIRS:
        inside, outside = (_size(finite(row[f"mean_{side}"]), kind) for side in ("in", "out"))
        the_others = "the other" if row["n_out"] == 1 else f"the {row['n_out']:,} others"
        observed += f": {inside} in {counted(row['n_in'], 'pair')}{families}, {outside} in {the_others}"
    elif row:
        observed += f": mean of {counted(row['n_in'], 'pair')}{families}"
    counts = f"{trace.n_with:,} carry it, {trace.n_against:,} pull the other way, {trace.n_neither:,} do neither"
    lines += [("as observed", observed), ("how sure", _sureness(trace))]
    lines += [("pairs", f"{counts}; together {_size(trace.total, kind)}")]
    lines += [("carried by", f"the first {_carry(trace.pairs_carry)} of the pairs")]
    families = "family" if trace.n_families == 1 else "families"
    lines += [("", f"the first {_carry(trace.families_carry)} of the {trace.n_families:,} {families}")]
    shares = (*trace.pairs_carry.values(), *trace.families_carry.values())
    if any(math.isfinite(share) and round(100 * share) > 100 for share in shares):  # as printed
        lines.append(("", "above 100 %: the rest pulls the other way"))
    return lines


def _limits(row: Mapping[str, Any], name: str, kind: str) -> str:
    """The 95 % interval in the unit of the effect, "" where there is none."""
    lo, hi = finite(row.get(f"{name}_lo")), finite(row.get(f"{name}_hi"))
    if kind in (PATTERN, DETECTOR) and lo is not None and hi is not None:
        return f"[{points(lo)}, {points(hi)}]"
    return interval(lo, hi)


def _with_limits(value: float, kind: str, limits: str) -> str:
    return _size(value, kind) + (f", 95 % {limits}" if limits else "")


def _carry(shares: Mapping[float, float]) -> str:
    return ", ".join(f"{_percent(share)}: {_percent(carried)}" for share, carried in shares.items())


def _sureness(trace: EffectTrace) -> str:
    row, kind = trace.row, trace.kind
    if row is None and kind.startswith("shift_") and trace.view in OVER_ALL_PAIRS:
        return "Not tested: a response-shift concept is tested on prompts alone; this is its mean over all pairs."
    if row is None:
        return "Not tested, or not among the hypotheses that a large run keeps."
    q = finite(row["q_value"])
    words = [verdict(row, written_unit(kind)).sentence]
    words += [f"q {q:.2g}."] if q is not None else []
    return " ".join([*words, f"Rank {row['rank']:,} of its list." if row["shown"] else "Not shown in the lists."])


def _marks(page: Page) -> tuple[str, str]:
    return ("«", "»") if page.unicode else ("<<", ">>")


def _contributions(page: Page, kind: str, listed: Sequence[Contribution], show_text: bool) -> None:
    if not listed:
        page.print("none")
    for number, contribution in enumerate(listed, 1):
        pair = contribution.pair
        family = f"family {pair.family_id}" + (f" ({pair.family_size:,} pairs)" if pair.family_size > 1 else "")
        place = "" if contribution.inside else ", outside"
        amount, u = _amount(contribution.contribution, kind, 4), _amount(contribution.u, kind, 2)
        figures = f"{amount}, {_percent(contribution.share)} of the effect, u {u}"
        head = Table.grid(padding=(0, 2, 0, 0))
        head.add_column(width=2, justify="right")
        head.add_column()
        head.add_row(
            Text(f"{number}"), page.text(f"{figures}{place} · row {pair.row_index}, {family}, {pair.pair_id}", "bold")
        )
        page.print()
        page.print(head)
        fired = (contribution.chosen_fired or (), contribution.rejected_fired or ())
        _texts(page, pair, fired, show_text, indent=4, lines=_LONG_CONTRIBUTION)


def _texts(
    page: Page, pair: Quote, fired: tuple[Sequence[Fired], Sequence[Fired]], show_text: bool, *, indent: int, lines: int
) -> None:
    """The prompt, and both responses side by side."""
    room = page.width - 2 - indent
    table = Table.grid(padding=(0, 3, 0, 0))
    if pair.harmful and not show_text:
        table.add_row(page.text(HIDDEN))
    else:
        prompt = snippet(pair.prompt, max(1, lines - 2) * room - 10, around=last_turn(pair.prompt))
        page.print(_indented(page.text(f"prompt: {prompt}"), indent))
        column = (room - 3) // 2
        table.add_column(width=column, overflow="fold")
        table.add_column(width=column, overflow="fold")
        sides = zip(("chosen", "rejected"), (pair.chosen, pair.rejected), fired, strict=True)
        cells = [f"{name}: {excerpt(text, spans, lines * column - 12, _marks(page))}" for name, text, spans in sides]
        table.add_row(*map(page.text, cells))
    page.print(_indented(table, indent))


def _indented(what: Text | Table, indent: int) -> Text | Table:
    if not indent:
        return what
    table = Table.grid()
    table.add_column(width=indent)
    table.add_column()
    table.add_row("", what)
    return table


def _pair(page: Page, trace: PairTrace, show_text: bool) -> None:
    pair, tested = trace.pair, trace.pair.split == "train"
    page.heading(f"pretilt · trace of pair {one_line(pair.pair_id)}")
    page.print()
    alone = "no other pair is of its family" if pair.family_size == 1 else f"{pair.family_size:,} pairs share it"
    rows = [("row", f"{pair.row_index}" + ("" if tested else ", held out: nothing was fitted or tested on it"))]
    rows += [("family", f"{pair.family_id}: {alone}"), ("group", f"{trace.group_id}: {one_line(trace.group)}")]
    topics = [f"{one_line(topic['name'])} ({topic['statistic']})" for topic in trace.prompt_concepts[:5]]
    more = len(trace.prompt_concepts) - len(topics)
    if topics:
        rows.append(("prompt is about", "; ".join(topics) + (f"; and {more:,} more" if more else "")))
    page.facts(rows)
    page.print()
    _texts(page, pair, ((), ()), show_text, indent=0, lines=_LONG_PAIR)
    if tested:
        _lessons(page, "What it teaches, over all pairs", trace.everywhere, with_place=False)
        _lessons(page, "What it teaches, in the sets of pairs that it is in", trace.in_places, with_place=True)
        if trace.everywhere or trace.in_places:
            page.print(_READING)
    page.heading("Unusual here", "concepts on which few pairs are as strong")
    table = _table(page, [("concept", 3)], ["u", "as strong"])
    for unusual in trace.unusual:
        rarity = "no other pair" if unusual.tail == 0 else f"{_percent(unusual.tail)} of the pairs"
        cells = [
            _mark("amplify" if unusual.u > 0 else "suppress"),
            one_line(unusual.concept),
            _amount(unusual.u, unusual.kind, 2),
        ]
        table.add_row(*map(page.text, [*cells, rarity]))
    page.print(table if trace.unusual else "none")


def _lessons(page: Page, title: str, lessons: Sequence[Lesson], *, with_place: bool) -> None:
    sure = [lesson for lesson in lessons if lesson.is_sure]
    if not lessons:
        page.heading(title)
        page.print("no effect that is shown rests on it")
        return
    page.heading(title, "" if sure else f"nothing sure; at most {MOST_UNSURE} of what may be chance")
    words = [("concept", 3), *([("where", 3)] if with_place else [])]
    spoken = page.width >= SPACIOUS and any(lesson.fires_on for lesson in lessons)
    table = _table(page, words, ["as observed", "carries", "pair", "rank"])
    if spoken:
        table.add_column("fires on", ratio=2, no_wrap=True, overflow=page.overflow)
    for lesson in sure or lessons[:MOST_UNSURE]:
        concept = Text.assemble(page.text(one_line(lesson.concept)), page.text(f"\n{lesson.hypothesis_id}", "dim"))
        cells = [one_line(lesson.place)] if with_place else []
        cells += [
            _size(lesson.delta, lesson.kind),
            _percent(lesson.share),
            f"{lesson.pair_rank:,}",
            f"{lesson.rank:,}",
        ]
        cells += [", ".join(map(one_line, lesson.fires_on))] if spoken else []
        table.add_row(page.text(_mark(lesson.direction)), concept, *map(page.text, cells))
    page.print(table)


def _table(page: Page, words: Sequence[tuple[str, int]], numbers: Sequence[str]) -> Table:
    """A mark, columns of words with their share of the room, and columns of numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("")
    for name, ratio in words:
        table.add_column(name, ratio=ratio, no_wrap=True, overflow=page.overflow)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
