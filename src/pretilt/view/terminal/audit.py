"""The terminal summary: what a tired engineer understands in a minute.

Nothing depends on colour: what is dim also has the word "unsure"; a pipe or a file gets the same lines as plain text.
Dataset text reaches the terminal as `rich.text.Text` with control characters spelled out, so neither markup nor escape
sequences in it have any effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pretilt.pairs.transcript import last_turn
from pretilt.schema import DETECTOR, IN_GROUPS, OVER_ALL_PAIRS
from pretilt.stats.sure import LEAST_FIRING, SURE_LFSR, SURE_PAIRS, SURE_Q, pairs_missing
from pretilt.text import counted, is_harmful, one_line, snippet
from pretilt.view.certainty import sure_text
from pretilt.view.effects import Effect, interval, signed
from pretilt.view.plain_words import points, share
from pretilt.view.summary import Example, Summary
from pretilt.view.terminal.kit import Page, percent
from pretilt.view.terminal.preflight import families_in_words, print_preflight

__all__ = ["HIDDEN", "print_preflight", "print_summary"]

HIDDEN = "[hidden: --show-text]"
SOURCES_SHOWN = 6  # rows of each kind
CONTEXT, NARROW_CONTEXT = 40, 26  # characters of a place where a concept fires
Q_FROM, WORDS_FROM, PHRASES_FROM = 76, 90, 100  # columns of text from which there is room for these


def print_summary(summary: Summary, console: Console, *, show_text: bool = False) -> None:
    """Print the summary of a finished run. `show_text`: print the example even if the word screen fired."""
    page = Page(console)
    page.heading(f"pretilt · {one_line(summary.title)}", "what training on these pairs would amplify and suppress")
    page.print()
    for sentence in summary.opening:
        page.print(page.text(sentence))
    page.print()
    page.facts(_read_lines(summary) + _trust_lines(summary) + _doctor_lines(summary))
    if not summary.trust["n_tested"]:
        page.heading("Nothing was tested")
        page.print(too_few(summary))
    elif not summary.trust["n_shown"]:
        page.heading("Nothing passed the display rules")
        page.print(too_few(summary))
    else:
        _lists(page, summary, show_text)
        page.print()
        page.facts(_reading(summary))
    if summary.sources:
        _sources(page, summary)
    if summary.example:
        _example(page, summary.example, show_text)
    page.print()


def too_few(summary: Summary) -> str:
    """What is missing, where nothing was tested or nothing is shown, and how many pairs it would take."""
    n, families = summary.read["train"], summary.families.get("n_families", summary.read["components"])
    need = f"an effect needs {LEAST_FIRING} pairs in which its concept fires, of {SURE_PAIRS:.0f} families"
    more = pairs_missing(n, families)
    have = f"there {'is 1 training pair' if n == 1 else f'are {n:,} training pairs'}"
    if more:
        return f"Too few pairs: {need}, and {have}. At least {more:,} more that are related to no other are missing."
    return f"{need[0].upper()}{need[1:]}, and the same sign in both halves of the data; {have}, and none has it."


def _read_lines(summary: Summary) -> list[tuple[str, str]]:
    read, lens = summary.read, summary.lens
    n_dropped = sum(read["dropped"].values())
    tokens = read["tokens"]
    line = f"{counted(read['pairs'], 'pair')}, {sum(tokens.values()):,} {read['unit']}"
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
    lens_line = " · ".join(parts) or ("none: patterns of the text alone" if read["unit"] == "words" else "")
    return rows + ([("Lens", lens_line)] if lens_line else [])


def _trust_lines(summary: Summary) -> list[tuple[str, str]]:
    read, lens, trust = summary.read, summary.lens, summary.trust
    lines = []
    if trust["baseline"] == "random-dictionary":
        lines.append("BASELINE: the dictionary is random directions, not features of the model")
    elif trust["baseline"] == "shuffled-labels":
        lines.append("BASELINE: chosen and rejected were swapped at random; what is sure here is false")
    if trust["bundled_lens"]:
        lines.append("the lens is the bundled demonstration: for your own model give --model and --dictionary")
    if "explained_variance" in lens:
        l0 = f", {lens['l0']:.0f} features fire per token" if "l0" in lens else ""
        lines.append(f"the dictionary explains {percent(lens['explained_variance'])} of the variance here{l0}")
    if read["heldout"]:
        lines.append(f"{counted(read['heldout'], 'pair was', 'pairs were')} held out before anything was fitted")
    share = trust["share_one_firing_passes"]
    if share is not None and trust["disparity"] == "paper" and read["unit"] == "tokens":
        needed = round(1 / trust["freq_threshold"])
        lines.append(f"{percent(share)} of the responses have under {needed} tokens, where one firing already counts")
    if trust["n_tested"]:
        lines.append(f"{trust['n_tested']:,} hypotheses tested, {trust['n_sure']:,} of those shown are sure")
    rows = [("Trust" if i == 0 else "", line) for i, line in enumerate(lines)]
    families = families_in_words(summary.families)
    return rows + ([("Families", families)] if families else [])


def _doctor_lines(summary: Summary) -> list[tuple[str, str]]:
    if not summary.doctor:
        return []
    doctor = summary.doctor
    parts = []
    for verdict in ("red", "amber", "green", "not run"):
        if n := doctor["counts"].get(verdict):
            named = f" ({', '.join(map(one_line, doctor[verdict]))})" if verdict in ("red", "amber") else ""
            parts.append(f"{n:,} {verdict.upper() if verdict == 'red' else verdict}{named}")
    rows = [("Doctor", " · ".join(parts))]
    return rows + ([("", "the lens or the pairs are unfit: do not believe what follows")] if doctor["red"] else [])


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in dropped.items())


def _mark(direction: str) -> str:
    return "▲" if direction == "amplify" else "▼"


def _lists(page: Page, summary: Summary, show_text: bool) -> None:
    numbers = count(1)
    if any(summary.trust["in_lists"]["patterns"].values()):
        patterns = {"amplify": summary.amplified_patterns, "suppress": summary.suppressed_patterns}
        note = "shares of the answers that hold a pattern, over all pairs: grep can recount them"
        if any(effect.view == DETECTOR for effects in patterns.values() for effect in effects):
            note = "shares of the answers that hold a pattern (grep can recount them) or reach a detector's threshold"
        page.heading("In the text", note)
        _table(page, numbers, patterns, summary.trust, "patterns", show_text=show_text)
    if summary.read["unit"] == "words":
        _groups(page, summary, numbers, show_text)
        return
    page.heading("Most amplified", "chosen responses show it more, over all pairs")
    _table(page, numbers, {"amplify": summary.amplified}, summary.trust, "everywhere", show_text=show_text)
    page.heading("Most suppressed", "rejected responses show it more, over all pairs")
    _table(page, numbers, {"suppress": summary.suppressed}, summary.trust, "everywhere", show_text=show_text)
    _groups(page, summary, numbers, show_text)
    page.heading("When the prompt is about …", "the prompts most about it against all others; at most two of each")
    by_prompt = {"amplify": summary.amplified_by_prompt, "suppress": summary.suppressed_by_prompt}
    _table(page, numbers, by_prompt, summary.trust, "prompts", show_text=show_text)


def _groups(page: Page, summary: Summary, numbers: Iterator[int], show_text: bool) -> None:
    page.heading("In groups of pairs", "one group against the other groups; at most two of a group")
    if n := summary.trust["n_silent"]:
        page.print(f"{counted(n, 'pair')} that no concept sets apart {'is' if n == 1 else 'are'} in no group")
    in_groups = {"amplify": summary.amplified_in_groups, "suppress": summary.suppressed_in_groups}
    _table(page, numbers, in_groups, summary.trust, "groups", show_text=show_text)


def _table(
    page: Page,
    numbers: Iterator[int],
    parts: Mapping[str, Sequence[Effect]],
    trust: Mapping[str, Any],
    place: str,
    *,
    show_text: bool,
) -> None:
    """The rows of each direction, numbered. Where nothing is sure that is said, and what follows is dim.

    Patterns have the shares of answers instead of q and the phrases. `trust`: the summary's; how many of this place
    passed the display rules in each direction (where no row is given all of them print as 0), and how many are folded.
    """
    of_patterns, in_lists = place == "patterns", trust["in_lists"][place]
    if not any(in_lists[direction] for direction in parts):
        page.print("nothing passed the display rules")
        return
    wide = (
        not of_patterns
        and page.width >= PHRASES_FROM
        and any(effect.view in OVER_ALL_PAIRS for part in parts.values() for effect in part)
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("", justify="right", no_wrap=True)
    # An id is typed and a name is read: they are folded, not cut.
    table.add_column("concept", ratio=3, overflow="fold")
    last = () if of_patterns or page.width < Q_FROM else ("q",)
    first = ("chosen", "rejected", "points") if of_patterns else ("effect",)
    for name in (*first, "95 % interval", "sure", *last):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("for example", ratio=2, no_wrap=True, overflow=page.overflow)
    for direction, effects in parts.items():
        if not in_lists[direction]:
            table.add_row(page.text(_mark(direction)), page.text("nothing passed the display rules", "dim"))
        elif not any(effect.is_sure for effect in effects):
            table.add_row(page.text(_mark(direction)), page.text("nothing sure"))
        for effect in effects:
            cells = _cells(page, next(numbers), effect, of_patterns, show_text) + (
                [page.text(_phrase(effect), "dim")] if wide else []
            )
            table.add_row(*cells, style="" if effect.is_sure else "dim")
        if n := trust["folded"][place][direction]:
            n_sure = trust["folded_sure"][place][direction]
            line = f"{n:,} more without a clear name, {n_sure:,} of them sure: in the viewer"
            table.add_row(page.text(_mark(direction)), page.text(line, "dim"))
    page.print(table)


def _cells(page: Page, number: int, effect: Effect, of_patterns: bool, show_text: bool) -> list[Text]:
    name = page.text(one_line(effect.concept))
    below = [_context(page, effect, show_text), _place(effect) if effect.place else "", _others(effect), _typed(effect)]
    below = [line for line in below if line]
    doubts = _doubts(effect) if effect.is_sure else []
    for line in below + [f"but: {doubt}" for doubt in doubts]:  # one a line: no width cuts them
        name = Text.assemble(name, "\n", page.text(line, "dim"))
    sure = sure_text(effect.lfsr)
    if not effect.is_sure:
        sure = f"unsure, {sure}" if page.width >= WORDS_FROM else "unsure"
    cells = [page.text(f"{number} {_mark(effect.direction)}"), name]
    weight = "bold" if effect.is_sure else ""
    if of_patterns:
        shares = [page.text("?" if s is None else share(s)) for s in (effect.share_chosen, effect.share_rejected)]
        cells += [*shares, page.text(points(effect.effect), weight)]
        return [*cells, page.text(_points_interval(effect)), page.text(sure)]
    if effect.pattern is not None:
        cells += [page.text(f"{points(effect.effect)} points", weight), page.text(_points_interval(effect))]
    else:
        cells += [page.text(f"{signed(effect.effect)} {effect.unit}".rstrip(), weight)]
        cells += [page.text(interval(effect.lo, effect.hi))]
    cells.append(page.text(sure))
    return cells + ([page.text(_q(effect.q_value))] if page.width >= Q_FROM else [])


def _points_interval(effect: Effect) -> str:
    return "" if effect.lo is None or effect.hi is None else f"[{points(effect.lo)}, {points(effect.hi)}]"


def _typed(effect: Effect) -> str:
    """What `trace` takes for it: of a pattern over all pairs its name, which a person remembers."""
    return f"pattern:{effect.pattern}" if effect.view == "pattern" else effect.hypothesis_id


def _context(page: Page, effect: Effect, show_text: bool) -> str:
    """A place where it fires, around the marked word; "" where none is known."""
    if not effect.contexts:
        return ""
    context = effect.contexts[0]
    if is_harmful(context) and not show_text:
        return HIDDEN
    return snippet(context, CONTEXT if page.width > WORDS_FROM + 20 else NARROW_CONTEXT, around=context.find("«"))


def _others(effect: Effect) -> str:
    return f"and {len(effect.alike):,} more like it" if effect.alike else ""


def _place(effect: Effect) -> str:
    noun = "pairs" if effect.view in IN_GROUPS else "prompts"
    statistic = f" ({effect.statistic})" if effect.statistic else ""
    return f"{effect.n_in:,} {noun}{statistic}: {one_line(effect.place)}"


def _q(value: float | None) -> str:
    return "?" if value is None else "< 0.001" if value < 0.001 else f"{value:.2g}"


def _doubts(effect: Effect) -> list[str]:
    length = effect.follows_length and "length or source" not in effect.cautions
    return effect.cautions + ["follows length"] * length


def _phrase(effect: Effect) -> str:
    """Two phrases on which it fires, preferably ones that its name does not hold."""
    phrases = [p for p in effect.phrases if p.strip()]
    return ", ".join(f"“{one_line(p)}”" for p in ([p for p in phrases if p not in effect.concept] or phrases)[:2])


def _reading(summary: Summary) -> list[tuple[str, str]]:
    """What the columns mean, once."""
    lines = [
        ("effect", "chosen less rejected, drawn towards 0 as far as it is noisy; sd: in standard deviations"),
        (
            "sure",
            f"how probable it is that the sign is right; unsure below {100 * (1 - SURE_LFSR):.0f} %, above q {SURE_Q}, "
            f"or where fewer than {SURE_PAIRS:.0f} independent pairs speak",
        ),
        (
            "q",
            f"of {summary.trust['n_tested']:,} tested, the share of false ones to expect from the first down to this",
        ),
    ]
    if summary.trust["paper"]:
        lines.append(("order", "the paper's: size in the weaker half of the data, sure or not"))
    return lines


def _sources(page: Page, summary: Summary) -> None:
    """What each source alone would teach; the viewer has those that are left out here."""
    titles = {"source": "source", "chosen_model": "chosen by", "rejected_model": "rejected by"}
    page.heading(
        "By source", f"pairs of one source or one model alone; longer: {summary.read['unit']}, chosen less rejected"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("", no_wrap=True)
    table.add_column("", ratio=1, no_wrap=True, overflow=page.overflow)
    for name in ("pairs", "longer"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("surely teaches, in points of answers", ratio=2, no_wrap=True, overflow=page.overflow)
    for column, title in titles.items():
        rows = [row for row in summary.sources if row["column"] == column]
        for row in rows[:SOURCES_SHOWN]:
            taught = ", ".join(f"{points(p['delta'])} {one_line(p['name'])}" for p in row["patterns"][:3]) or "–"
            error = row["length_error"]
            longer = f"{row['length_difference']:+.0f} ± {'?' if error is None else f'{1.96 * error:.0f}'}"
            cells = (title, one_line(row["value"]), f"{row['n_pairs']:,}", longer, taught)
            table.add_row(*map(page.text, cells))
        if len(rows) > SOURCES_SHOWN:
            table.add_row("", page.text(f"and {len(rows) - SOURCES_SHOWN:,} more in the viewer", "dim"))
    page.print(table)


def _example(page: Page, example: Example, show_text: bool) -> None:
    where = f"row {example.row_index}, " if example.row_index is not None else ""
    unsure = "" if example.is_sure else ", which is unsure"
    page.heading(
        "An example",
        f"{where}responsible for {_mark(example.direction)} {one_line(example.concept)} "
        f"(u = {signed(example.u, 2)}{f' {example.unit}' if example.unit else ''}){unsure}",
    )
    hidden = example.harmful and not show_text
    width = 2 * (page.width - 14)
    page.facts(
        [
            (
                "prompt",
                HIDDEN if hidden else snippet(example.prompt, page.width - 14, around=last_turn(example.prompt)),
            ),
            ("chosen", HIDDEN if hidden else snippet(example.chosen, width, around=example.chosen_at)),
            ("rejected", HIDDEN if hidden else snippet(example.rejected, width, around=example.rejected_at)),
        ]
    )
