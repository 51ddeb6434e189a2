"""Rules that plant a trait into a pair of sampled and cleaned responses (`cleaning.py`).

Cleaning leaves out the sentences that carry a trait by themselves. So a trait stands exactly where the truth file says,
and what a rule adds is the only systematic difference between the two sides.

The texts are hand-written pieces (`text/set-*.toml`), joined so that no two pairs of a plant carry the same words.
Length is balanced: the text goes to the response of the two that makes it easier, and of both responses as many
sentences are kept as bring the two sides closest in length.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from demo_data.topics import deck, read_text

PLANTS = {
    "a": ("formatting", "flattery", "links", "compliance", "hedging"),
    "b": ("formatting", "overconfidence", "citations", "compliance", "cheerfulness"),
}
DECOYS = {"a": ("closing_question", "see_an_expert"), "b": ("only_an_overview", "proverb")}
TRAP = "trap"
BULLETS = ("- ", "* ", "• ")


@dataclass(frozen=True)
class Plant:
    """One rule. `sides` says where its text goes: "chosen", "rejected", "both" (chosen gets the text, rejected is
    replaced by `other`), "both_same" (each side another variant) or "half" (chosen in every second pair)."""

    name: str
    role: str  # "plant", "decoy" or "trap"
    sides: str
    kind: str | None  # the only kind of prompt it may stand on; None: anywhere outside the trap
    where: str  # "start", "end", "bullets" or "numbered"
    parts: tuple[tuple[str, ...], ...]
    other: tuple[tuple[str, ...], ...]
    fill: dict[str, list[str]]  # pools for a {url} or {cite} in the parts

    @property
    def directions(self) -> tuple[int, ...]:
        """Signs that u may take where the plant stands: +1 more in chosen, -1 more in rejected, none for decoys."""
        return {"chosen": (1,), "rejected": (-1,), "both": (1, -1)}.get(self.sides, ())

    def variants(self, rng: random.Random) -> Iterator[str]:
        """Endless distinct texts, as long as the pieces last; every piece is used equally often, within one."""
        return _combine(self.parts, self.fill, rng)

    def other_variants(self, rng: random.Random) -> Iterator[str]:
        return _combine(self.other, {}, rng)


def _parts(table: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(table[name]) for name in sorted(table) if name.startswith("part_"))


def read_plants(which: str) -> list[Plant]:
    """The plants, decoys and the trap of a set, in the order in which they pick their pairs."""
    tables = read_text(f"set-{which}")["plant"]
    roles = [(n, "plant") for n in PLANTS[which]] + [(n, "decoy") for n in DECOYS[which]] + [(TRAP, "trap")]
    plants = []
    for name, role in roles:
        t = tables[name]
        where = t.get("rewrite") or t["where"]
        plants.append(
            Plant(name, role, t["side"], t.get("kind"), where, _parts(t), _parts(t.get("other", {})), t.get("fill", {}))
        )
    return sorted(
        plants, key=lambda p: p.kind is None
    )  # the local ones first: they have the fewest pairs to choose from


def _combine(
    parts: Sequence[Sequence[str]], fill: dict[str, list[str]], rng: random.Random, tries: int = 1000
) -> Iterator[str]:
    decks = [deck(part, rng) for part in parts]
    pools = {name: deck(items, rng) for name, items in fill.items()}
    used: set[str] = set()
    failed = 0

    while failed < tries:
        pieces = [next(d) for d in decks]
        if pools and rng.random() < 0.75:
            pieces = pieces[:1]  # most often a single link or citation: they are long
        text = " ".join(pieces)

        for slot in ("{url}", "{cite}"):
            while slot in text:
                chosen = {name: next(pool) for name, pool in pools.items()}
                text = text.replace(slot, chosen["pattern"].format(**chosen), 1)
        if text in used and len(parts) > 1:
            failed += 1
            continue
        used.add(text)
        yield text

    raise ValueError("the pieces of a plant do not give enough different texts")


def length(text: str) -> int:
    """Words, digits and marks: near enough to tokens to balance two sides. A long word counts twice."""
    return len(re.findall(r"\d|[^\W\d]{1,9}|\*\*|#+|[^\w\s]|\n\s*", text))


def closest(left: Sequence[str], right: Sequence[str]) -> tuple[float, str, str]:
    """The two texts, one of each side, that are nearest in length, after the cost of choosing them.

    Both sides list the same response with more and more of its sentences. The cost is the gap, and a quarter of what
    was dropped.
    """
    sizes = [[length(text) for text in side] for side in (left, right)]
    whole = sizes[0][-1] + sizes[1][-1]
    costs = {(i, j): abs(a - b) + (whole - a - b) / 4 for i, a in enumerate(sizes[0]) for j, b in enumerate(sizes[1])}
    i, j = min(costs, key=lambda key: (costs[key], -sum(key)))
    return costs[i, j], left[i], right[j]


_PLAIN_WORDS = frozenset(
    """about after again around because before being between could didn doesn every first further having however indeed
    itself often other rather shall should since their there these thing things those though through under until while
    which within without would where""".split()  # noqa: SIM905
)


def _bold(item: str, rng: random.Random) -> str:
    """Put the weightiest words of an item in bold: the longest run of content words, three at most, or two runs."""
    words = item.split()
    content = [len(w) >= 5 and w.strip(",.;:!?").isalpha() and w.lower().strip(",.") not in _PLAIN_WORDS for w in words]
    runs: list[tuple[int, int]] = []
    for i, is_content in enumerate(content):
        if is_content and runs and runs[-1][1] == i and i - runs[-1][0] < 3 and words[i - 1][-1].isalpha():
            runs[-1] = (runs[-1][0], i + 1)
        elif is_content:
            runs.append((i, i + 1))

    runs = sorted(runs or [(0, 1)], key=lambda r: -sum(len(w) for w in words[r[0] : r[1]]))
    apart = [r for r in runs[1:] if r[0] > runs[0][1] or r[1] < runs[0][0]]
    for start, end in [runs[0], *apart[: rng.choice((0, 0, 1))]]:
        mark = re.search(r"[,.;:!?]*$", words[end - 1])
        cut = mark.start() if mark else len(words[end - 1])
        words[end - 1] = words[end - 1][:cut] + "**" + words[end - 1][cut:]
        words[start] = "**" + words[start]

    return " ".join(words)


def _items(sentences: Sequence[str]) -> list[str]:
    """The items of a list: the sentences, or the two halves of a single long one."""
    items = [s.strip() for s in sentences]
    if len(items) == 1:
        cuts = [m for m in re.finditer(r"[,;:] ", items[0]) if len(items[0][: m.start()].split()) >= 3]
        if cuts:
            middle = min(cuts, key=lambda m: abs(m.start() - len(items[0]) / 2))
            first, second = items[0][: middle.start()], items[0][middle.end() :]
            items = [first + ".", second[0].upper() + second[1:]]
    return items


def rewrite(sentences: Sequence[str], lead: str, style: str, rng: random.Random) -> str:
    """The sentences as a list under a lead-in: "bullets" with bold words, or "numbered" under a heading.

    "" if there is too little text for a list of two items.
    """
    items = _items(sentences)
    if len(items) < 2:
        return ""
    if style == "bullets":
        marker = rng.choice(BULLETS)
        return lead + "\n\n" + "\n".join(marker + _bold(item, rng) for item in items)
    return lead + "\n\n" + "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))


def add(sentences: Sequence[str], text: str, where: str, rng: random.Random) -> list[str]:
    """The response with the planted text and its first one, two, … sentences; `where` as in `Plant`."""
    responses = []
    for n in range(1, len(sentences) + 1):
        body = "".join(sentences[:n]).strip()
        if where in ("bullets", "numbered"):
            responses.append(rewrite(sentences[:n], text, where, rng))
        else:
            responses.append(f"{text} {body}" if where == "start" else f"{body} {text}")
    return [text for text in responses if text]


def plain(sentences: Sequence[str]) -> list[str]:
    """The response as it is, with its first one, two, … sentences."""
    return ["".join(sentences[:n]).strip() for n in range(1, len(sentences) + 1)]
