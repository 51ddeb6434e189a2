"""Names judged by held-out detection: planted traits get theirs, function words and chance get none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csc_array, csr_array

from pretilt.concepts.detection import (
    SHOWS,
    WITHOUT,
    Answers,
    auroc_of_levels,
    auroc_of_pairs,
    codes,
    halves,
    rate_levels,
    word_scores,
)
from pretilt.concepts.judged_names import CONTEXT_CAP, Corpus, Judge, context_line
from pretilt.concepts.names import ConceptName, Draft, Place
from pretilt.concepts.readable import NAME_CAP
from pretilt.concepts.terms import split_words, texts_with
from pretilt.concepts.token_contexts import Context
from pretilt.schema import Concepts

N = 1200
HOSTILE = "\u202eevil\x1b[2J «mark»\n</script>\u200b"


def _place(text: str, word: str, row: int = 0, family: int = 0) -> Place:
    at = text.index(word)
    return Place(row, "chosen", family, Context(word, (), text, at, at + len(word)))


def _draft(*words: str, phrases: tuple[str, ...] = (), places: tuple[Place, ...] = (), feature: int = 0) -> Draft:
    return Draft(list(words), [(phrase, 1.0) for phrase in phrases], list(places), [feature])


def _names(
    fires: np.ndarray, texts: list[str], drafts: list[Draft], *, bold: np.ndarray | None = None,
    prompts: list[str] | None = None, family: np.ndarray | None = None,
) -> list[ConceptName]:  # fmt: skip
    """Names of concepts of one feature each, `fires` (n, n_features)."""
    n, n_features = fires.shape
    family = np.arange(n) // 2 if family is None else family
    strength = fires * np.random.default_rng(0).uniform(0.5, 1.0, fires.shape)
    counts = np.zeros((n, 1), int) if bold is None else bold[:, None].astype(int)
    corpus = Corpus(
        strength=csr_array(strength), row_of_answer=np.stack([np.arange(n), np.full(n, -1)], axis=1),
        n_tokens=np.array([len(text.split()) for text in texts]), family=family, texts=texts,
        prompts=prompts or [""] * n, pattern_counts=counts,
        n_words=np.array([len(text.split()) for text in texts]), patterns=["bold text"], seed=0,
    )  # fmt: skip
    one_each = Concepts(csc_array(np.eye(n_features, dtype=np.int32)), np.ones(n_features, bool))
    return Judge(corpus).names(one_each, drafts)


def _filler(rng: np.random.Generator, n: int) -> list[str]:
    words = [
        "a",
        "the",
        "of",
        "and",
        "to",
        "we",
        "see",
        "what",
        "there",
        "is",
        "now",
        "then",
        "with",
        "some",
        "as",
        "it",
    ]
    return [" ".join(rng.choice(words, int(rng.integers(8, 40)))) for _ in range(n)]


def test_a_concept_that_fires_where_bold_stands_is_called_after_bold() -> None:
    rng = np.random.default_rng(1)
    texts, bold = _filler(rng, N), rng.random(N) < 0.1
    texts = [f"{text} **so**" if is_bold else text for text, is_bold in zip(texts, bold, strict=True)]
    (name,) = _names(bold[:, None], texts, [_draft("the", "of")], bold=bold)
    assert (name.name, name.kind, name.score) == ("with bold text", "pattern", 1.0)


def test_function_words_and_what_detects_nothing_are_no_name() -> None:
    rng = np.random.default_rng(2)
    texts = _filler(rng, N)
    of_word = np.array([" of " in text for text in texts])
    by_chance = rng.random(N) < 0.03
    zebra = ["zebra" if i % 97 == 0 else "" for i in range(N)]
    texts = [f"{text} {word}" for text, word in zip(texts, zebra, strict=True)]
    share = round(100 * of_word.mean())
    drafts = [_draft("of", phrases=("of the",)), _draft("zebra")]
    first, second = _names(np.stack([of_word, by_chance], axis=1), texts, drafts)
    assert (first.name, first.kind, first.score) == (f"no readable name; fires in {share} % of answers", "none", None)
    assert second.kind == "none" and second.name == "no readable name; fires in 2 % of answers"


def test_a_concept_of_long_answers_is_called_so_and_not_after_what_only_they_hold() -> None:
    rng = np.random.default_rng(3)
    n_words = rng.integers(5, 200, N)
    texts = [" ".join(rng.choice(["we", "see", "quartz", "it"], n, p=[0.4, 0.3, 0.01, 0.29])) for n in n_words]
    fires = np.stack([(n_words / 200) ** 2, (1 - n_words / 200) ** 2], axis=1)
    long, short = _names(fires, texts, [_draft("quartz"), _draft("quartz")])
    assert (long.name, long.kind) == ("that are long", "length") and (long.score or 0) > 0.9
    assert (short.name, short.kind) == ("that are short", "length")


def _with_one_of(texts: list[str], words: list[str], yes: list[bool], rng: np.random.Generator) -> list[str]:
    return [f"{text} {rng.choice(words)}" if has else text for text, has in zip(texts, yes, strict=True)]


def test_the_better_of_topic_phrase_words_and_question_is_the_name() -> None:
    rng = np.random.default_rng(4)
    texts, prompts = _filler(rng, N), ["how do they grow"] * N
    sorry, steal, quartz, bank, fish = (rng.random((5, N)) < 0.08).tolist()
    texts = [f"I am sorry, but {text}" if yes else f"sorry, {text}" for text, yes in zip(texts, sorry, strict=True)]
    texts = _with_one_of(texts, ["steal", "theft", "thieves"], steal, rng)
    texts = _with_one_of(texts, ["quartz", "gneiss"], quartz, rng)
    prompts = ["whose rivals have the best rates" if yes else p for p, yes in zip(prompts, bank, strict=True)]
    prompts = _with_one_of(prompts, ["lions", "wolves", "sharks", "goats", "kittens"], fish, rng)
    place = _place("Oh, I am sorry, but it was so", "sorry")
    drafts = [
        _draft("sorry", phrases=("sorry, but",), places=(place,)), _draft("steal", "theft"),
        _draft("quartz", "gneiss"), _draft("the"), _draft("the"),
    ]  # fmt: skip
    names = _names(np.array([sorry, steal, quartz, bank, fish]).T, texts, drafts, prompts=prompts)
    assert [name.kind for name in names] == ["phrase", "topic", "tokens", "question", "question"]
    assert names[0].name == 'says "I am «sorry, but» it was"' and names[1].name == "about theft and robbery"
    assert names[2].name == 'says "quartz", "gneiss"' and names[3].name.startswith('to questions with "')
    assert names[4].name == "to questions about animals" and min(name.score or 0 for name in names) > 0.95


def test_a_set_of_words_is_no_name_where_those_that_it_shows_are_not_the_telling_ones() -> None:
    rng = np.random.default_rng(8)
    texts, fires = _filler(rng, N), (rng.random(N) < 0.1).tolist()
    shown, others = ["quartz", "gneiss", "basalt"], ["ablate", "cozen", "dither"]
    rare = _with_one_of(texts, [*shown, *3 * others, *3 * others], fires, rng)
    often = _with_one_of(texts, [*3 * shown, *others], fires, rng)
    (bag,) = _names(np.array(fires)[:, None], often, [_draft(*shown, *others)])
    assert bag.name == 'words like "quartz", "gneiss", "basalt"'
    (other,) = _names(np.array(fires)[:, None], rare, [_draft(*shown, *others)])
    assert "quartz" not in other.name


def test_words_that_one_prompt_alone_is_about_are_no_name_however_many_answers_it_has() -> None:
    """Eight families of 25 answers have a word of their own; together the words would detect all that fires."""
    rng = np.random.default_rng(10)
    family = np.arange(N) // 25
    own = ["quartz", "gneiss", "basalt", "cozen", "dither", "ablate", "fjord", "zither"]
    texts = [f"{text} {own[f]}" if f < len(own) else text for text, f in zip(_filler(rng, N), family, strict=True)]
    (name,) = _names((family < len(own))[:, None], texts, [_draft(*own)], family=family)
    assert name.kind == "none"
    everywhere = [f"{text} {rng.choice(own)}" if f < len(own) else text for text, f in
                  zip(_filler(rng, N), np.arange(N) % 48, strict=True)]  # fmt: skip
    (name,) = _names((np.arange(N) % 48 < len(own))[:, None], everywhere, [_draft(*own)], family=np.arange(N) // 2)
    assert '"quartz", "gneiss", "basalt"' in name.name


def test_words_of_any_text_are_no_name() -> None:
    rng = np.random.default_rng(9)
    texts, fires = _filler(rng, N), (rng.random(N) < 0.1).tolist()
    texts = _with_one_of(texts, ["used", "provides"], fires, rng)
    (name,) = _names(np.array(fires)[:, None], texts, [_draft("used", "provides")])
    assert name.kind == "none"


def test_a_word_that_detects_in_the_half_that_chooses_alone_is_no_name() -> None:
    rng = np.random.default_rng(5)
    texts, fires = _filler(rng, N), rng.random(N) < 0.1
    chooses = halves(np.arange(N) // 2, np.array([len(t.split()) for t in texts]), 0).half == 0
    texts = [f"{t} zebra" if yes else t for t, yes in zip(texts, fires & chooses, strict=True)]
    (name,) = _names(fires[:, None], texts, [_draft("zebra")])
    assert name.kind == "none"


def test_contexts_are_of_different_families_and_hostile_text_is_inert() -> None:
    rng = np.random.default_rng(6)
    texts, fires = _filler(rng, N), rng.random(N) < 0.1
    texts = [f"{t} quartz" if yes else t for t, yes in zip(texts, fires, strict=True)]
    rows = np.flatnonzero(fires)[:6].tolist()
    places = [_place(f"the {w} quartz {HOSTILE}", "quartz", row, family) for w, row, family in
              zip("abcdef", rows, (1, 1, 1, 2, 2, 3), strict=True)]  # fmt: skip
    (name,) = _names(fires[:, None], texts, [_draft("quartz", places=tuple(places))])
    assert name.name == 'says "quartz"' and len(name.contexts) == 3
    assert [context[4] in group for context in sorted(name.contexts) for group in ("abc", "de", "f")].count(True) == 3
    for context in name.contexts:
        assert context.isprintable() and len(context) <= CONTEXT_CAP and context.count("«") == 1
    long = context_line(_place("x" * 500 + " quartz " + "y" * 500, "quartz"))
    assert "«quartz»" in long and len(long) <= CONTEXT_CAP


def test_few_answers_judge_nothing_and_the_name_is_that_of_the_draft() -> None:
    (name,) = _names(np.ones((6, 1)), ["a quartz"] * 6, [_draft("quartz")])
    assert (name.name, name.kind, name.score) == ('"quartz"', "tokens", None)


def test_names_are_unique_and_short() -> None:
    rng = np.random.default_rng(7)
    bold = rng.random(N) < 0.1
    texts = ["**x**" if yes else "x" for yes in bold]
    names = _names(np.stack([bold, bold], axis=1), texts, [_draft("w" * 90), _draft("w" * 90)], bold=bold)
    assert [name.name for name in names] == ["with bold text #0", "with bold text #1"]
    assert all(len(name.name) <= NAME_CAP for name in names)


# --- areas under the curve, by hand ---------------------------------------------------------------------------------


def test_areas_by_hand_in_one_stratum() -> None:
    coded = np.array([[SHOWS] * 5 + [WITHOUT] * 5], np.int8)
    levels = np.array([[2, 1, 1, 0, 0, 1, 0, 0, 0, 0]], np.int8).T
    answers = Answers(np.zeros(10, int), np.zeros(10, int))
    # 25 pairs: the 2 is above all 5; each 1 is above 4 and equal to 1; each 0 is equal to 4: 5 + 2 · 4.5 + 2 · 2 = 18
    assert auroc_of_levels(coded, levels, answers, 0) == pytest.approx(18 / 25)
    held = csc_array(levels)
    pair = np.zeros(1, int)
    assert auroc_of_pairs(coded, pair, held, pair, answers, 0) == pytest.approx(18 / 25)
    assert np.isnan(auroc_of_levels(coded, levels, answers, 1)).all()


def test_areas_compare_within_a_stratum_alone() -> None:
    """Long answers hold it all and show the concept more often: over both lengths it would detect, within each not."""
    stratum = np.repeat([0, 1], 20)
    coded = np.array([[SHOWS] * 5 + [WITHOUT] * 15 + [SHOWS] * 15 + [WITHOUT] * 5], np.int8)
    levels = np.repeat([0, 1], 20)[:, None].astype(np.int8)
    answers = Answers(stratum, np.zeros(40, int))
    pair = np.zeros(1, int)
    assert auroc_of_levels(coded, levels, answers, 0)[0, 0] == 0.5
    assert auroc_of_pairs(coded, pair, csc_array(levels), pair, answers, 0)[0] == 0.5


def test_the_strongest_fiftieth_shows_and_the_weaker_half_is_without() -> None:
    answers = Answers(np.zeros(2000, int), np.zeros(2000, int))
    (coded,) = codes(np.arange(2000.0)[:, None], answers)
    assert (coded[-40:] == SHOWS).all() and (coded[:1000] == WITHOUT).all() and not coded[1000:-40].any()
    rare = np.zeros((2000, 1))
    rare[:7] = 1.0
    (coded,) = codes(rare, answers)
    assert (coded[:7] == SHOWS).all() and (coded[7:] == WITHOUT).all()


def test_rates_have_levels_by_thirds_of_those_above_none() -> None:
    levels = rate_levels(np.array([[0, 0, 1, 2, 3, 4, 5, 6]], float).T)
    assert levels[:2].max() == 0 and levels[2:, 0].tolist() == [1, 1, 2, 2, 3, 3]


def test_a_word_of_chance_has_no_score_and_one_of_most_showing_answers_has() -> None:
    coded = np.array([[SHOWS] * 20 + [WITHOUT] * 400], np.int8)
    held = np.zeros((420, 2))
    held[:12, 0], held[:2, 1] = 1, 1
    scores = word_scores(coded, csc_array(held), Answers(np.zeros(420, int), np.zeros(420, int)), 0)
    assert scores[0].tolist() == [pytest.approx(0.8), 0.0]  # 12 of 20 against none; 2 of 20 may be chance


# --- words and phrases in texts -------------------------------------------------------------------------------------


def test_which_text_holds_which_phrase() -> None:
    texts = ["I'm Sorry, but\n\nno.", "Walking here; but no", "", "**bold** 中文字", "sorry but"]
    phrases = ["sorry, but", "walk…", "…ing", "**", "文字", "i'm", "but ⏎ no", "absent", "no. walking", "…"]
    held = texts_with(split_words(texts), phrases).toarray()
    rows = {phrase: np.flatnonzero(held[:, j]).tolist() for j, phrase in enumerate(phrases)}
    assert rows == {
        "sorry, but": [0], "walk…": [1], "…ing": [1], "**": [3], "文字": [3], "i'm": [0], "but ⏎ no": [0],
        "absent": [], "no. walking": [], "…": [],
    }  # fmt: skip


def test_words_that_are_looked_at_twice_stay_as_they_are() -> None:
    words = split_words(["b a b a", "a"])
    before = words.ids.tolist()
    assert words.presence.toarray().sum(axis=1).tolist() == [2, 1] and words.ids.tolist() == before
