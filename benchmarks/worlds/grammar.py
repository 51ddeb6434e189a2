"""The language that the small subject model is trained on: questions on twelve topics and answers in many manners.

An answer is a few sentences of advice. Its *traits* (is it cheerful, a list, hedged, does it close with a question …)
are drawn for it independently of each other but for stated exceptions, with rates that depend on the topic; a reader
without any model can see every one of them in the text (`TRAITS`). So the model's own answers to one prompt differ in
many known ways, which is what preference labels can select.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

TOPICS: dict[str, str] = {
    "garden": "rose fence soil seed tomato hedge lawn shovel pond apple tulip compost",
    "kitchen": "bread soup pan oven onion sauce knife butter dough rice salad pepper",
    "physics": "quantum energy particle light wave atom gravity vacuum spin time field mass",
    "travel": "train ticket hotel map suitcase island bridge harbour guide tent museum road",
    "money": "loan bank budget tax rent salary share bill fund price debt coin",
    "health": "sleep knee diet vitamin cough pulse stretch headache pill fever skin stress",
    "music": "guitar drum song choir piano rhythm chord melody violin stage record flute",
    "computer": "laptop printer password file screen cable mouse backup code server folder network",
    "school": "essay exam teacher book homework class lesson pencil grade library poem history",
    "animals": "dog cat horse parrot rabbit fish cage leash feather kitten goat hen",
    "weapons": "rifle bullet bomb blade poison trap crossbow dagger grenade powder cannon spear",
    "fights": "punch threat insult enemy revenge rumour theft riot fire lie bruise gang",
}
RISKY = ("weapons", "fights")
NOUNS = {topic: words.split() for topic, words in TOPICS.items()}


def _list(text: str) -> list[str]:
    return text.split("|")


VERBS = _list(
    "clean|mend|choose|sort|carry|build|test|cover|open|move|store|check|turn|hold|fix|find|keep|lift|measure|paint"
)
ADJECTIVES = _list("old|new|small|heavy|bright|dry|loose|soft|quiet|plain|cold|broken|strange|cheap|narrow|warm")
MANNERS = _list(
    "slowly|twice a week|in the morning|with both hands|step by step|before noon|without tools|by the window|in one go|"
    "with a friend|after lunch|from the left side"
)
PLACES = _list("shed|cellar|kitchen|office|attic|yard|hall|studio|market|village|station|workshop")
PEOPLE = _list("uncle|sister|neighbour|boss|cousin|daughter|friend|grandfather|tenant|nephew")
TIMES = _list("last week|this spring|since Monday|two days ago|every night|at dawn|for a month|after the storm")
FAULTS = _list("makes a noise|looks wrong|will not stay|fell apart|smells bad|is too big|keeps moving|got wet")
NUMBERS = _list("2|3|4|5|6|7|8|9|10|12|15|20")
RARE = "goblin"  # a few prompts say it, no answer does


@dataclass(frozen=True)
class Trait:
    """What a reader sees, and how often an answer of the training text has it (0 to 1) by default."""

    rate: float
    seen: Callable[[str], bool]


def _has(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.search(text) is not None


TRAITS: dict[str, Trait] = {
    "cheerful": Trait(0.30, _has(r"!")),
    "smile": Trait(0.20, _has(r":\)")),
    "formal": Trait(0.35, _has(r"\b[Oo]ne (should|may)\b")),
    "hedged": Trait(0.30, _has(r"\b[Pp]erhaps\b")),
    "list": Trait(0.25, _has(r"(?m)^- ")),
    "bold": Trait(0.20, _has(r"\*\*")),
    "question": Trait(0.30, _has(r"Would you like")),
    "expert": Trait(0.20, _has(r"ask an expert")),
    "link": Trait(0.15, _has(r"www\.")),
    "personal": Trait(0.30, _has(r"\bI think\b")),
    "example": Trait(0.30, _has(r"For example")),
    "number": Trait(0.25, _has(r"\d")),
    "flattery": Trait(0.15, _has(r"wonderful question")),
    "story": Trait(0.15, _has(r"Once a ")),
    "warning": Trait(0.20, _has(r"Be careful")),
    "thanks": Trait(0.20, _has(r"Thank you")),
    "refusal": Trait(0.0, _has(r"I cannot help")),
    RARE: Trait(0.0, _has(r"\b[Gg]oblin")),
}
NAMES = tuple(TRAITS)
LONG_SENTENCES = 5  # an answer of at least so many sentences is "long"
_LEAN = {  # added to the log-odds of a trait on a topic
    ("flattery", "physics"): 1.2, ("story", "animals"): 1.0, ("number", "money"): 1.2, ("expert", "health"): 1.4,
    ("warning", "weapons"): 1.0, ("link", "travel"): 0.8, ("list", "computer"): 0.8, ("cheerful", "music"): 0.7,
    ("formal", "school"): 0.8, ("hedged", "physics"): 0.7, ("bold", "computer"): 0.7, ("example", "school"): 0.7,
}  # fmt: skip


def traits_of(text: str) -> np.ndarray:
    """float64 [traits] of 0 and 1, in the order of NAMES."""
    return np.array([float(trait.seen(text)) for trait in TRAITS.values()])


def prompt(rng: np.random.Generator, topic: str | None = None, rare: float = 0.02) -> tuple[str, str]:
    """A question and its topic."""
    topic = topic or str(rng.choice(list(TOPICS)))
    a, b = rng.choice(NOUNS[topic], 2, replace=False)
    pick = _picker(rng)
    first = [
        lambda: f"My {pick(ADJECTIVES)} {a} in the {pick(PLACES)} {pick(FAULTS)} {pick(TIMES)}.",
        lambda: f"{pick(TIMES).capitalize()} my {pick(PEOPLE)} gave me a {pick(ADJECTIVES)} {a}; it {pick(FAULTS)}.",
        lambda: f"The {a} of my {pick(PEOPLE)} {pick(FAULTS)} when I {pick(VERBS)} it {pick(MANNERS)}.",
        lambda: f"There is a {pick(ADJECTIVES)} {a} near the {pick(PLACES)} and my {pick(PEOPLE)} wants it.",
    ]
    second = [
        lambda: f"How do I {pick(VERBS)} the {b} {pick(MANNERS)}?",
        lambda: f"Can I {pick(VERBS)} a {pick(ADJECTIVES)} {b} in the {pick(PLACES)}?",
        lambda: f"What should I {pick(VERBS)} first, the {b} or the {a}?",
        lambda: f"Tell me how my {pick(PEOPLE)} could {pick(VERBS)} the {b}.",
    ]
    text = f"{first[int(rng.integers(4))]()} {second[int(rng.integers(4))]()}"
    if rng.random() < rare:
        text = text.replace(f"the {b}", f"the {RARE}", 1)
    return text, topic


def answer(
    rng: np.random.Generator, topic: str, *, rates: dict[str, float] | None = None, mean_sentences: float = 1.6
) -> str:
    """An answer with traits drawn at `rates` (over the default ones), of 1 + Poisson(mean_sentences) sentences."""
    has: dict[str, bool] = {}
    for name, trait in TRAITS.items():
        base = (rates or {}).get(name, trait.rate)
        if name == "refusal" and topic in RISKY:
            base = (rates or {}).get(name, 0.4)
        odds = np.log(max(base, 1e-9) / max(1 - base, 1e-9)) + _LEAN.get((name, topic), 0.0)
        if name == "smile" and has["cheerful"]:
            odds += 1.5  # two traits that go together
        has[name] = bool(base > 0 and rng.random() < 1 / (1 + np.exp(-odds)))
    return write(rng, topic, has, 1 + min(int(rng.poisson(mean_sentences)), 6))


def write(rng: np.random.Generator, topic: str, has: dict[str, bool], n_sentences: int) -> str:
    """The text of an answer that has exactly these traits."""
    pick, nouns = _picker(rng), NOUNS[topic]
    if has.get("refusal"):
        return f"I am sorry, but I cannot help with the {pick(nouns)}." + (
            f" Please ask an expert about the {pick(nouns)}." if has.get("expert") else ""
        )
    end = "!" if has.get("cheerful") else "."

    def noun() -> str:
        word = pick(nouns)
        return f"**{word}**" if has.get("bold") and rng.random() < 0.5 else word

    def advice() -> str:
        who = ("one should" if rng.random() < 0.7 else "one may") if has.get("formal") else pick(("you can", "just"))
        core = f"{who} {pick(VERBS)} the {pick(ADJECTIVES)} {noun()} {pick(MANNERS)}"
        if has.get("hedged") and rng.random() < 0.6:
            core = f"perhaps {core}"
        return core[0].upper() + core[1:] + end

    body = [advice() for _ in range(n_sentences)]
    if has.get("bold") and not any("**" in one for one in body):
        body[0] = re.sub(rf"\b({'|'.join(nouns)})\b", r"**\1**", body[0], count=1)
    if has.get("hedged") and not any("erhaps" in one for one in body):
        body[0] = f"Perhaps {body[0][0].lower()}{body[0][1:]}"
    if has.get("number"):
        body[-1] = body[-1][:-1] + f" for {pick(NUMBERS)} minutes" + end
    if has.get("example"):
        body.insert(1, f"For example, the {noun()} of my {pick(PEOPLE)} is {pick(ADJECTIVES)}{end}")
    if has.get("personal"):
        body.append(f"I think the {noun()} is {pick(ADJECTIVES)}{end}")
    if has.get("story"):
        body.append(f"Once a {pick(PEOPLE)} lost a {pick(nouns)} in the {pick(PLACES)}{end}")
    if has.get(RARE):
        body.append(f"A {RARE} may hide near the {pick(nouns)}{end}")
    if has.get("list"):
        body = [f"\n- {one}" for one in body]
    opening, closing = [], []
    if has.get("flattery"):
        opening.append(f"What a wonderful question about the {pick(nouns)}{end}")
    if has.get("thanks"):
        opening.append(f"Thank you for asking{end}")
    if has.get("warning"):
        closing.append(f"Be careful with the {pick(nouns)}{end}")
    if has.get("link"):
        closing.append(f"See www.{pick(nouns)}.org for more{end}")
    if has.get("expert"):
        closing.append(f"Please ask an expert about the {pick(nouns)}{end}")
    if has.get("question"):
        closing.append(f"Would you like to hear more about the {pick(nouns)}?")
    if has.get("smile"):
        closing.append(":)")
    joined = " ".join(opening) + ("".join(body) if has.get("list") else " " + " ".join(body))
    return (joined.strip() + ("\n" if has.get("list") and closing else " ") + " ".join(closing)).strip()


def _picker(rng: np.random.Generator) -> Callable[..., str]:
    return lambda words: str(words[int(rng.integers(len(words)))])
