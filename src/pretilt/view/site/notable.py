"""The three things to look at first: what is sure and large over all pairs, and what is so in one place alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pretilt.text import one_line
from pretilt.view.certainty import CAUTIONS
from pretilt.view.effects import Effect
from pretilt.view.plain_words import share
from pretilt.view.summary import Summary

MOST = 3


def notable(summary: Summary) -> list[dict[str, Any]]:
    """At most three of {"hypothesis_id", "direction", "title", "sentence", "how_sure", "cautions", "is_sure"}.

    One that training would amplify, one that it would suppress, one that shows in a group or on some prompts only;
    where one of the three is missing, the next of the others. What is sure comes first.
    """
    overall = {
        "amplify": [*summary.amplified_patterns, *summary.amplified],
        "suppress": [*summary.suppressed_patterns, *summary.suppressed],
    }
    local = [
        *summary.amplified_by_prompt, *summary.suppressed_by_prompt,
        *summary.amplified_in_groups, *summary.suppressed_in_groups,
    ]  # fmt: skip
    lists = [_sure_first(effects) for effects in (*overall.values(), local)]
    chosen: list[Effect] = []
    for only_sure in (True, False):
        for depth in range(MOST):
            for effects in lists:
                if depth < len(effects) and effects[depth].is_sure == only_sure and effects[depth] not in chosen:
                    chosen.append(effects[depth])
        if chosen:
            break  # beside something sure nothing unsure is named
    return [_entry(effect) for effect in chosen[:MOST]]


def _sure_first(effects: Sequence[Effect]) -> list[Effect]:
    """And of those first what is so inside of its place, not only less so there than elsewhere."""

    def is_elsewhere(effect: Effect) -> bool:
        return effect.side_inside is not None and effect.side_inside != (1 if effect.direction == "amplify" else -1)

    return sorted(effects, key=lambda effect: (not effect.is_sure, is_elsewhere(effect), effect.level != "sure"))


def _entry(effect: Effect) -> dict[str, Any]:
    name = one_line(effect.concept)
    return {
        "hypothesis_id": effect.hypothesis_id,
        "direction": effect.direction,
        "title": f"{name}, on {one_line(effect.place)}" if effect.place else name,
        "sentence": _shares(effect) + effect.sentence,
        "how_sure": effect.how_sure,
        "cautions": [CAUTIONS.get(caution, caution) for caution in effect.cautions],
        "is_sure": effect.is_sure,
    }


def _shares(effect: Effect) -> str:
    if effect.place or effect.share_chosen is None or effect.share_rejected is None:
        return ""
    return f"In {share(effect.share_chosen)} of chosen and {share(effect.share_rejected)} of rejected answers. "
