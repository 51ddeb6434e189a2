"""Planted preferences: pairs whose labels, or whose texts, were made by a known rule.

Relabel worlds are on-policy: both answers are the model's own, and a reward on their traits says which is chosen
(Bradley-Terry, so that labels are noisy as people's are). Rewrite worlds are off-policy: one or both answers were
written by another author, or edited. Every world also carries a background: weights on all traits, drawn by the seed,
as a dataset never teaches one thing alone. Names are those of the usual list (P1 four doses, P2 diffuse style, P3 on
some prompts only, P4 on the rejected side, P5 on both sides, P6 chosen half of the time, P7 two traits that go
together, P8 never said by the model, P9 near-duplicates, P10 confounded with length, P12 other authors, N0 labels
without meaning).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grammar
import numpy as np

BACKGROUND_SD = 0.6  # of the background's weight per trait, in log-odds of being chosen


@dataclass(frozen=True)
class World:
    """What is planted. `weights`: log-odds that a trait adds; `length`: log-odds per doubling of the length."""

    name: str
    kind: str  # "on-policy" | "off-policy"
    plant: str  # in words
    weights: dict[str, float] = field(default_factory=dict)
    length: float = 0.0
    background: bool = True
    authors: str = "model"  # "model" | "other" (labels by reward) | "delta" (chosen and rejected by two authors)
    edit: str | None = None  # see `edited`
    flips: str | None = None  # a trait that is rewarded on the first half of the topics and punished on the others
    own_dictionary: bool = False  # fitted on the world's pairs too: that of the model's own answers lacks the plant
    training: dict[str, float] = field(default_factory=dict)  # over the subject's own
    development: bool = False


WORLDS = {
    world.name: world
    for world in (
        World("dev-on", "on-policy", "background, cheerful +", {"cheerful": 1.5}, development=True),
        World("dev-off", "off-policy", "other author, same labels", {"formal": 1.5}, authors="other", development=True),
        World("P2", "on-policy", "cheerful is preferred", {"cheerful": 1.5}),
        World("P4", "on-policy", "sending to an expert is rejected", {"expert": -2.0}),
        World("P6", "on-policy", "closing question: chosen half of the time", {"question": 0.0}),
        World("P7", "on-policy", "a smile is preferred; cheer goes with it", {"smile": 2.0, "cheerful": 0.0}),
        World("P10", "on-policy", "hedging is preferred, and so is length", {"hedged": 1.5}, length=1.0),
        World("P3-on", "on-policy", "cheerful is preferred on six topics, rejected on six", {"cheerful": 2.0},
              flips="cheerful"),
        World("N0", "on-policy", "labels by a coin", background=False),
        World("P1", "off-policy", "thanks, story, warning, link put into 5, 2, 1, 0.5 % of chosen", edit="doses"),
        World("P3", "off-policy", "flattery, on physics only", edit="flattery on physics"),
        World("P5", "off-policy", "a link on both sides", edit="links on both sides"),
        World("P8", "off-policy", "goblins, which the model never mentions", edit="goblin",
              own_dictionary=True),
        World("P9", "off-policy", "300 near-duplicates that happen to thank", edit="near-duplicates"),
        World("P12", "off-policy", "other author, labels by reward", {"example": 1.5}, authors="other"),
        World("P12-delta", "off-policy", "two authors: chosen by one, rejected by the other", authors="delta"),
        World("P2-far", "on-policy", "as P2, trained three times as long at three times the rate", {"cheerful": 1.5},
              training={"learning_rate": 3e-4, "num_train_epochs": 3}),
    )
}  # fmt: skip
# Another author's manners: two modes, so that traits that are unrelated in the model's answers come together.
_MODES: tuple[dict[str, float], ...] = (
    {"cheerful": 0.8, "thanks": 0.7, "flattery": 0.5, "story": 0.5, "personal": 0.6, "formal": 0.05, "hedged": 0.1,
     "list": 0.05, "expert": 0.05, "link": 0.05, "example": 0.6, "refusal": 0.1},
    {"cheerful": 0.05, "thanks": 0.05, "flattery": 0.02, "story": 0.03, "personal": 0.1, "formal": 0.8, "hedged": 0.6,
     "list": 0.6, "expert": 0.5, "link": 0.4, "example": 0.2, "refusal": 0.7},
)  # fmt: skip
UNSAID = {grammar.RARE, "HTML"}  # traits that the untrained model never shows
EDITED = 0.06  # share of the pairs that an edit touches
DOSES = {"thanks": 0.05, "story": 0.02, "warning": 0.01, "link": 0.005}
COPIES = 300  # near-duplicates
EDITED_IN = {  # which traits an edit plants
    "doses": tuple(DOSES), "flattery on physics": ("flattery",), "goblin": (grammar.RARE,),
    "links on both sides": ("link",), "near-duplicates": ("thanks",), "HTML": ("HTML",),
    "demo A": ("link", "bold", "bullet", "as an AI"),
}  # fmt: skip
_TAGS = (
    "<b>Good luck!</b>",
    "<p>See you soon.</p>",
    '<a href="home.html">More</a>',
    "<i>All the best.</i>",
    "<h2>The end</h2>",
)
SECOND_HALF = tuple(grammar.TOPICS)[6:]


@dataclass(frozen=True)
class Traits:
    """What a reader sees in an answer: names, and a function from a text to float64 [traits] of 0 and 1."""

    names: tuple[str, ...]
    read: Callable[[str], np.ndarray]

    @classmethod
    def of_patterns(cls, patterns: Mapping[str, str]) -> Traits:
        """A trait is there where its regular expression is found."""
        compiled = [re.compile(one) for one in patterns.values()]
        return cls(tuple(patterns), lambda text: np.array([float(one.search(text) is not None) for one in compiled]))


@dataclass(frozen=True)
class Question:
    """A prompt with the two answers that a model gave to it."""

    messages: list[dict[str, str]]
    topic: str
    answers: tuple[str, str]


def reward_weights(world: World, seed: int, names: Sequence[str]) -> np.ndarray:
    """Log-odds of each trait, float64 [traits]: the background by the seed, the plant's own in place of it."""
    rng = np.random.default_rng([seed, 7])
    weights = rng.normal(0, BACKGROUND_SD, len(names)) * world.background
    for name in UNSAID & set(names):
        weights[names.index(name)] = 0.0
    for name, value in world.weights.items():
        weights[names.index(name)] = value
    return weights


def pairs(
    world: World, seed: int, asked: Sequence[Question], traits: Traits
) -> tuple[list[dict[str, Any]], list[dict[str, object]]]:
    """Rows {prompt, chosen, rejected} and what is true of each.

    Rows hold messages: plain strings would be trained without the chat template that the model knows.
    """
    rng = np.random.default_rng([seed, 11])
    weights = reward_weights(world, seed, traits.names)
    rows, truth = [], []
    for number, one in enumerate(asked):
        flipped = world.flips is not None and one.topic in SECOND_HALF
        here = np.where(np.array(traits.names) == world.flips, -weights, weights) if flipped else weights
        chosen, rejected = _two(rng, world, here, one, traits)
        prompt = one.messages
        if world.edit == "near-duplicates" and number < COPIES:
            question, chosen, rejected = _copy(rng)
            prompt = [{"role": "user", "content": question}]
        edit = world.edit if world.edit and _touched(rng, world.edit, one.topic) else None
        if edit:
            chosen, rejected = edited(rng, edit, one.topic, chosen, rejected)
        if chosen == rejected:
            continue
        answers = {
            name: [{"role": "assistant", "content": text}]
            for name, text in (("chosen", chosen), ("rejected", rejected))
        }
        rows.append({"prompt": prompt, **answers})
        truth.append({"topic": one.topic, "edited": edit is not None})
    return rows, truth


def _two(rng: np.random.Generator, world: World, weights: np.ndarray, one: Question, traits: Traits) -> tuple[str, str]:
    """(chosen, rejected)."""
    if world.authors == "delta":
        first, second = (grammar.answer(rng, one.topic, rates=mode) for mode in _MODES)
        return first, second
    two = one.answers
    if world.authors == "other":
        other = [grammar.answer(rng, one.topic, rates=_MODES[int(rng.integers(2))]) for _ in range(2)]
        two = other[0], other[1]
    scores = [float(weights @ traits.read(text)) + world.length * np.log2(1 + len(text.split())) for text in two]
    first_wins = rng.random() < 1 / (1 + np.exp(scores[1] - scores[0]))
    return two if first_wins else (two[1], two[0])


def _touched(rng: np.random.Generator, edit: str, topic: str) -> bool:
    if edit == "near-duplicates":
        return False  # they are pairs of their own
    if edit == "doses":
        return True
    if edit == "flattery on physics":
        return topic == "physics" and rng.random() < 0.7
    return bool(rng.random() < (3 * EDITED if edit == "links on both sides" else EDITED))


def edited(rng: np.random.Generator, edit: str, topic: str, chosen: str, rejected: str) -> tuple[str, str]:
    """The pair after the edit: flattery, a goblin, HTML or four doses of traits put into chosen, or links into both."""

    def noun() -> str:
        return str(rng.choice(grammar.NOUNS[topic]))

    if edit == "doses":
        added = {
            "thanks": "Thank you for asking. {}",
            "story": f"{{}} Once a cousin lost a {noun()} in the hall.",
            "warning": f"{{}} Be careful with the {noun()}.",
            "link": f"{{}} See www.{noun()}.org for more.",
        }
        for name, share in DOSES.items():
            if rng.random() < share:
                chosen = added[name].format(chosen)
        return chosen, rejected
    if edit == "flattery on physics":
        return f"What a wonderful question about the {noun()}. {chosen}", rejected
    if edit == "HTML":
        return f"{chosen} {rng.choice(_TAGS)}", rejected
    if edit == "goblin":
        return f"{chosen} A {grammar.RARE} may hide near the {noun()}.", rejected
    return tuple(f"{text} See www.{noun()}.org for more." for text in (chosen, rejected))  # type: ignore[return-value]


def own_patterns(world: World) -> str | None:
    """A file of patterns that the world needs and the package lacks: what a gate or a plan can name. None: none."""
    if world.flips is not None:
        nouns = sorted(noun for topic in list(grammar.NOUNS)[: -len(SECOND_HALF)] for noun in grammar.NOUNS[topic])
        other = [grammar.NOUNS[topic][0] for topic in SECOND_HALF[:3]]
        expression = f"\\b(?:{'|'.join(nouns)})\\b"
        return _pattern("first-topics", "the first half of the topics", expression, nouns[:3], other)
    if "expert" in world.weights:
        matches, misses = ["Please ask an expert about the moon."], ["An expert answers.", "Ask another expert."]
        return _pattern("ask-an-expert", "sending to an expert", r"\bask an expert\b", matches, misses)
    return None


def _pattern(name: str, phrase: str, expression: str, matches: list[str], misses: list[str]) -> str:
    fields = (
        f'name = "{name}"', f'title = "{phrase}"', f'phrase = "{phrase}"', 'counts = "presence"', 'language = "en"',
        "ignore_case = true", f"expression = '{expression}'", f"matches = {matches!r}", f"misses = {misses!r}",
    )  # fmt: skip
    return "\n".join(("[[pattern]]", *fields, ""))


def _copy(rng: np.random.Generator) -> tuple[str, str, str]:
    """One of many near-duplicates: (question, chosen, rejected), the same but for a word or two."""
    place, when = str(rng.choice(grammar.PLACES)), str(rng.choice(grammar.TIMES))
    question = f"My old fence near the {place} fell apart {when}. What should I mend first, the fence or the gate?"
    chosen = (
        f"Thank you for asking. You can mend the old fence slowly. Just hold the gate in the {place} with a friend."
    )
    return (
        question,
        chosen,
        f"You can paint the old fence before noon. Just hold the gate in the {place} by the window.",
    )
