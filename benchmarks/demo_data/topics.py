"""The prompts of the two demo sets: hand-written subjects put into hand-written ways of asking (`text/*.toml`).

Every set has twelve everyday topics, a thirteenth that is the plain neighbour of the local plant (physics at home
beside pseudo-profound physics), and prompts that make the local plants *conditional*: the sensitive topic with and
without a request for resources, ordinary topics with such a request, mischief inside a frame and without one, the frame
without mischief. Near-duplicate families (the trap) are kept apart under their own topic.

A *family* is what is not independent: prompts about the same subject, or the same near-duplicate template.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Message = dict[str, str]

SETS = ("a", "b")
SEEDS = {"a": 101, "b": 202}
TWO_TURN_SHARE = 0.1  # of all prompts outside the trap
COUNTS = {"musing": 64, "asks": 54, "tells": 46, "framed": 54, "plain": 24, "harmless": 40}


@dataclass(frozen=True)
class Prompt:
    """One prompt of a demo set. `kind` tells which plants may stand on it; see `COUNTS` and `plants.py`."""

    prompt_id: str  # "a-0001": the set and the position in `prompts(set)`
    topic: str
    kind: str  # "ordinary", "resources", "trap" or a key of COUNTS
    family: str
    messages: tuple[Message, ...]

    @property
    def text(self) -> str:
        """What is asked, without an opening exchange."""
        return self.messages[-1]["content"]


@cache
def read_text(name: str) -> dict[str, Any]:
    """A file of `text/`, with every block of lines split into a list."""
    source = (Path(__file__).parent / "text" / f"{name}.toml").read_text(encoding="utf-8")

    def split(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: split(inner) for key, inner in value.items()}
        return [line for line in value.splitlines() if line] if "\n" in value else value

    return split(tomllib.loads(source))


def deck(items: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Draw without end, each item once before any returns."""
    while True:
        yield from rng.sample(items, len(items))


def _fill(frames: Sequence[str], n: int, slots: dict[str, Sequence[str]], rng: random.Random) -> list[tuple[str, str]]:
    """`n` distinct (text, first slot's filling); every frame and every filling is used equally often, within one."""
    decks = {name: deck(items, rng) for name, items in slots.items() if items}
    frame_deck = deck(frames, rng)
    filling_of_text: dict[str, str] = {}
    while len(filling_of_text) < n:
        filling = {name: next(d) for name, d in decks.items()}
        text = next(frame_deck).format(**filling)
        filling_of_text[text[0].upper() + text[1:]] = next(iter(filling.values()))
    return list(filling_of_text.items())


def _ordinary(topic: str, subjects: Sequence[str], forms: Iterator[str]) -> list[tuple[str, str]]:
    """Two prompts on every subject, in different forms."""
    subject_of_text: dict[str, str] = {}
    for subject in subjects:
        while sum(s == subject for s in subject_of_text.values()) < 2:
            text = next(forms).format(s=subject)
            subject_of_text[text[0].upper() + text[1:]] = subject
    return list(subject_of_text.items())


_PERSONS = (  # mischief is written for "they": the frames that say "we", "I" or "you" need another person
    ((" we ", "we {a}", "and i {a}"), "our", "we", "ours"),
    (("how can i", "me the easiest", "what do i", "my plan", "one {a}", "what would", "any trick"), "my", "I", "mine"),
)


def _in_person(frame: str, act: str) -> str:
    for marks, determiner, who, possessive in _PERSONS:
        if any(mark in frame.lower() for mark in marks):
            were = "was" if who == "I" else "were"
            act = (
                act.replace("they were", f"{who} {were}")
                .replace("theirs", possessive)
                .replace("their ", f"{determiner} ")
            )
    return act


def prompts(which: str) -> list[Prompt]:
    """All prompts of set "a" or "b", in a fixed order: about 970, all different."""
    text, asking = read_text(f"set-{which}"), read_text("requests")
    rng = random.Random(SEEDS[which])
    rows: list[tuple[str, str, str, str]] = []  # topic, kind, family, text

    forms = deck(asking["ordinary"], rng)
    for topic, subjects in text["ordinary"].items():
        rows += [(topic, "ordinary", subject, t) for t, subject in _ordinary(topic, subjects, forms)]

    musing, sensitive, framed = text["musing"], text["sensitive"], text["framed"]
    slots = {"x": musing["x"], "y": musing.get("y", [])}
    rows += [(musing["topic"], "musing", x, t) for t, x in _fill(musing["frames"], COUNTS["musing"], slots, rng)]
    for kind in ("asks", "tells"):
        filled = _fill(sensitive[kind], COUNTS[kind], {"s": sensitive["subjects"]}, rng)
        rows += [(sensitive["topic"], kind, subject, t) for t, subject in filled]
    subjects = text["resources"]["subjects"]
    filled = _fill(sensitive["asks"], len(subjects), {"s": subjects}, rng)
    rows += [(text["resources"]["topic"], "resources", subject, t) for t, subject in filled]

    for kind, frames, acts in (
        ("framed", framed["frames"], framed["harms"]),
        ("plain", framed["plain"], framed["harms"]),
        ("harmless", framed["frames"], framed["harmless"]),
    ):
        frame_deck, act_deck = deck(frames, rng), deck(acts, rng)
        acted: dict[str, str] = {}
        while len(acted) < COUNTS[kind]:
            frame, act = next(frame_deck), next(act_deck)
            acted[frame.format(a=_in_person(frame, act))] = act
        rows += [(framed["topic"], kind, act, t) for t, act in acted.items()]

    openings = deck(asking["openings"], rng)
    set_prompts: list[Prompt] = []
    for topic, kind, family, content in rows:
        turns: tuple[Message, ...] = ({"role": "user", "content": content},)
        if rng.random() < TWO_TURN_SHARE:
            user, assistant = next(openings).split(" / ")
            turns = ({"role": "user", "content": user}, {"role": "assistant", "content": assistant}, *turns)
        set_prompts.append(Prompt(f"{which}-{len(set_prompts):04d}", topic, kind, f"{topic}: {family}", turns))
    trap = text["trap"]
    for name in sorted(key for key in trap if key.startswith("family_")):
        template, *fillings = trap[name]
        for filling in fillings:
            turns = ({"role": "user", "content": template.format(n=filling)},)
            set_prompts.append(Prompt(f"{which}-{len(set_prompts):04d}", trap["topic"], "trap", f"trap: {name}", turns))
    if len({p.text for p in set_prompts}) != len(set_prompts):
        raise ValueError(f"set {which}: two prompts have the same text")
    return set_prompts
