"""The paragraph that opens the summary: what training would change, in shares of answers, and only what is sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pretilt.text import counted, one_line
from pretilt.view.certainty import CAUTIONS
from pretilt.view.effects import Effect

MOST_NAMED = 3  # traits of each direction that the paragraph names


def share(value: float) -> str:
    """A share of answers in per cent, two digits where it is small: "29 %", "5.3 %", "0.2 %"."""
    percent = 100 * value
    if 0 < percent < 0.05:
        return "under 0.1 %"
    return f"{percent:.1f} %" if 0 < percent < 9.95 else f"{percent:.0f} %"


def points(value: float | None) -> str:
    """A difference of two shares of answers in percentage points: "+5.1"; "?" where it is not known."""
    if value is None:
        return "?"
    return f"{100 * value:+.1f}" if round(100 * value, 1) else "0"


def opening(
    amplified: Sequence[Effect],
    suppressed: Sequence[Effect],
    n_sure: Mapping[str, int],
    smallest_visible: Mapping[str, float | None],
    n_pairs: int,
    n_independent: float | None,
) -> list[str]:
    """Sentences for somebody who knows the model's behaviour and not our statistics.

    `amplified`, `suppressed`: patterns over all pairs, sure or not; `n_sure` by view; `smallest_visible` by view: the
    difference that these pairs would have shown in four of five cases.
    """
    parts = [_change(effects, word) for effects, word in ((amplified, "more"), (suppressed, "less"))]
    changes = [part for part in parts if part]
    sentences = []
    if changes:
        sentences.append(f"Training on these pairs would make the model use {' It would use '.join(changes)}")
    n_named = sum(min(MOST_NAMED, sum(e.is_sure for e in effects)) for effects in (amplified, suppressed))
    if more := sum(n_sure.values()) - n_named:
        singular, plural = ("more effect is", "more effects are")
        if not changes:
            singular, plural = ("effect of another kind is", "effects of other kinds are")
        sentences.append(f"{counted(more, singular, plural)} sure: see the lists.")
    if changes:
        return sentences

    nothing = "Nothing that stands in the text of the answers is surely favoured or disfavoured by these labels."
    return [nothing, *_power(smallest_visible.get("pattern"), n_pairs, n_independent), *sentences]


def _change(effects: Sequence[Effect], word: str) -> str:
    named = [effect for effect in effects if effect.is_sure][:MOST_NAMED]
    if not named:
        return ""
    traits = [_trait(effect) for effect in named]
    listed = " and ".join([", ".join(traits[:-1]), traits[-1]] if len(traits) > 1 else traits)
    return f"{listed} {word}."


def _trait(effect: Effect) -> str:
    name = one_line(effect.concept)
    if effect.share_chosen is None or effect.share_rejected is None:
        return name
    # That pairs are near-duplicates is true of all traits alike, and is said once, with the families.
    doubts = [CAUTIONS.get(caution, caution) for caution in effect.cautions if caution != "near-duplicates"]
    shares = f"in {share(effect.share_chosen)} of chosen and {share(effect.share_rejected)} of rejected answers"
    return f"{name} ({'; '.join([shares, *doubts[:1]])})"


def _power(smallest: float | None, n_pairs: int, n_independent: float | None) -> list[str]:
    """How large a difference would have been seen, and what it would take to see a smaller one."""
    if smallest is None or not smallest > 0:
        return ["The patterns stand in too few answers to test any of them."]
    are_related = n_independent is not None and n_independent < 0.95 * n_pairs
    worth = f", worth {n_independent:,.0f} independent ones," if are_related else ""
    return [
        f"With these {n_pairs:,} pairs{worth} a difference of {100 * smallest:.1f} percentage points in the share of "
        f"answers would have been seen in four of five cases; for half of it four times as many pairs are needed."
    ]
