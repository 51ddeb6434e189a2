"""Names that a reader can check: of several ways to call a concept the one that best detects the answers it fires in.

A name continues "answers …": *with bold text* (a pattern), *about theft and robbery* (a topic), *says "I'm «sorry,
but» I"* (a phrase where it stands), *says "steal", "theft"* (words), *to questions about money and banking* or *to
questions with "bank"* (topic or words of the prompt), *that are long*. Each is scored as `concepts.detection` has it:
one half of the families chooses the name, the other gives its score. What detects little is no name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csc_array, csr_array

from pretilt.concepts.detection import (
    Answers,
    auroc_of_length,
    auroc_of_levels,
    auroc_of_pairs,
    codes,
    halves,
    rate_levels,
    word_scores,
)
from pretilt.concepts.names import TOKENS, ConceptName, Draft, Place, says_something
from pretilt.concepts.readable import NAME_CAP, PERHAPS, UNNAMED, make_unique, readable, shorten
from pretilt.concepts.terms import Words, split_words, texts_with
from pretilt.concepts.topics import bundled_topics, topic_levels
from pretilt.schema import Concepts

PATTERN, TOPIC, PHRASE, QUESTION, LENGTH, NONE = "pattern", "topic", "phrase", "question", "length", "none"
# The first of those that detect equally well is the name.
KINDS = (PATTERN, TOPIC, PHRASE, TOKENS, QUESTION, LENGTH, NONE)
EQUAL = 0.03  # of scores
ALMOST_ALL, MOSTLY = 0.9, 0.8  # a pattern names a concept from this score on; below the first it says "mostly"
LEAST_CHOSEN, LEAST_SCORE = 0.65, 0.6  # of the half that chooses, and of the half that judges
BY_LENGTH = 0.8  # of both halves: from it on a concept without a clear name is one of long answers, or of short ones
CLEAR = 0.7  # of the half that judges: below it a name says "perhaps"
LEAST_FAMILIES = 5  # of the half that chooses, with an answer (or prompt) that holds a word or phrase of a name
LEAST_WORD = 0.6  # of a word that no peak offered, of the answer or of the prompt
MOST_WORDS = 3  # that a name shows
LEAST_SHOWN = 0.65  # of the half that judges: the words that a name shows, where it is made of more, detect this alone
SET_SIZES = (1, 2, 3, 6, 12)  # words of which an answer may hold any; two of them count more than one
BLOCK = 128  # concepts worked on at a time
N_CONTEXTS, CONTEXT_CAP = 3, 72
OPEN, CLOSE = "«", "»"
_AROUND = 2  # words on either side of a phrase


@dataclass(frozen=True)
class Corpus:
    """n answers, of which names are told apart.

    `strength` CSR float (n, n_features) >= 0: how strongly each feature fires at most. `row_of_answer` int
    (n_pairs, 2): the rows of the answers of the pairs of the tokens, chosen and rejected, -1 for those that are not
    looked at. `pattern_counts` int (n, P) and `n_words` (n,); `patterns`: what each of the P is called after "more".
    `texts`, `prompts`: n each.
    """

    strength: csr_array
    row_of_answer: np.ndarray
    n_tokens: np.ndarray
    family: np.ndarray
    texts: Sequence[str]
    prompts: Sequence[str]
    pattern_counts: np.ndarray
    n_words: np.ndarray
    patterns: Sequence[str]
    seed: int


@dataclass(frozen=True)
class _Candidate:
    concept: int  # within the block
    kind: str
    text: str
    words: tuple[str, ...]  # any of them in the answer
    of_prompt: tuple[str, ...] = ()  # any of them in the prompt
    shown: int = -1  # of a name that shows a part of its words: the number of the candidate made of that part


class Judge:
    """Names concepts by what detects them in one corpus, which is split into words once."""

    def __init__(self, corpus: Corpus) -> None:
        self.answers: Answers = halves(corpus.family, corpus.n_tokens, corpus.seed)
        rates = 100.0 * corpus.pattern_counts / np.maximum(corpus.n_words, 1)[:, None]
        present = (corpus.pattern_counts > 0).astype(np.int8)
        self._levels = np.concatenate([present, rate_levels(rates)], axis=1)
        self._patterns = list(corpus.patterns)
        self._row_of_answer = corpus.row_of_answer
        self._strength = csr_array(corpus.strength, dtype=np.float32)
        self._texts, self._prompts = split_words(corpus.texts), split_words(corpus.prompts)
        self._topics = [topic.title for topic in bundled_topics()]
        self._topic_levels = [topic_levels(words, bundled_topics()) for words in (self._texts, self._prompts)]
        self._family = np.unique(corpus.family, return_inverse=True)[1]
        self._text_words, self._prompt_words = (self._telling(words) for words in (self._texts, self._prompts))

    def names(self, concepts: Concepts, drafts: Sequence[Draft]) -> list[ConceptName]:
        """Of every concept, in order; unique. A concept that too few answers show keeps the name of its draft."""
        size = np.maximum(concepts.size, 1).astype(np.float32)
        membership = csc_array(concepts.membership, dtype=np.float32)
        names: list[ConceptName] = []
        for first in range(0, len(drafts), BLOCK):
            part = slice(first, first + BLOCK)
            strength = csr_array(self._strength @ csc_array(membership[:, part])).toarray() / size[part]
            names += self._block(strength, drafts[part])
        unique = make_unique([name.name for name in names], range(len(names)))
        return [replace(name, name=text) for name, text in zip(names, unique, strict=True)]

    def _block(self, strength: np.ndarray, drafts: Sequence[Draft]) -> list[ConceptName]:
        drafts = [self._by_strength(draft, strength[:, i]) for i, draft in enumerate(drafts)]
        coded = codes(strength, self.answers)
        candidates = self._candidates(coded, drafts)
        scores = self._scores(coded, candidates)

        offers: list[list[tuple[int, float, float, str, str]]] = [[] for _ in drafts]
        for candidate, chooses, judges in zip(candidates, *scores, strict=True):
            if candidate.shown < 0 or scores[1][candidate.shown] >= LEAST_SHOWN:
                offers[candidate.concept].append(
                    (KINDS.index(candidate.kind), chooses, judges, candidate.kind, candidate.text)
                )
        for i, column, chooses, judges in self._first_columns(coded, self._levels):
            if chooses >= MOSTLY:
                text = _with(self._patterns[column % len(self._patterns)], mostly=chooses < ALMOST_ALL)
                offers[i].append((KINDS.index(PATTERN), chooses, judges, PATTERN, text))
        for levels, kind, before in zip(
            self._topic_levels, (TOPIC, QUESTION), ("about", "to questions about"), strict=True
        ):
            for i, column, chooses, judges in self._first_columns(coded, levels):
                offers[i].append(
                    (KINDS.index(kind), chooses, judges, kind, shorten(f"{before} {self._topics[column]}"))
                )

        of_length = [auroc_of_length(strength, self.answers, half) for half in (0, 1)]
        shares = (strength > 0).mean(axis=0) if strength.size else np.zeros(len(drafts))
        is_judged = [any(np.isfinite(chooses) for _, chooses, *_ in offer) for offer in offers]
        is_judged = [judged or _enough(coded[i], self.answers) for i, judged in enumerate(is_judged)]
        return [
            _best(draft, offer, share, *lengths) if judged else _unjudged(draft, share)
            for draft, offer, share, judged, *lengths in zip(
                drafts, offers, shares.tolist(), is_judged, *(part.tolist() for part in of_length), strict=True
            )
        ]

    def _first_columns(self, coded: np.ndarray, levels: np.ndarray) -> list[tuple[int, int, float, float]]:
        """(concept, column, score of the half that chooses, and of the half that judges): of every concept the column
        of `levels` (n, P) that detects it best in the half that chooses."""
        if not levels.shape[1]:
            return []
        chooses, judges = (auroc_of_levels(coded, levels, self.answers, half) for half in (0, 1))
        columns = np.nan_to_num(chooses).argmax(axis=1).tolist()
        return [(i, k, float(chooses[i, k]), float(judges[i, k])) for i, k in enumerate(columns)]

    def _by_strength(self, draft: Draft, strength: np.ndarray) -> Draft:
        """With the places first that lie in the answers in which the whole concept, not a feature of it, fires most."""
        answer = [self._row_of_answer[place.row, int(place.span == "rejected")] for place in draft.places]
        order = sorted(range(len(answer)), key=lambda i: -strength[answer[i]] if answer[i] >= 0 else 0.0)
        return replace(draft, places=[draft.places[i] for i in order])

    def _candidates(self, coded: np.ndarray, drafts: Sequence[Draft]) -> list[_Candidate]:
        candidates: list[_Candidate] = []
        of_texts, of_prompts = (
            _detecting(columns, coded, self.answers) for columns in (self._text_words, self._prompt_words)
        )
        usual = self._usual({term for draft in drafts for term in (*draft.words, *(p for p, _ in draft.phrases))})
        for i, draft in enumerate(drafts):
            for phrase, _ in draft.phrases:
                if phrase in usual and any(map(says_something, phrase.split())):
                    candidates.append(_Candidate(i, PHRASE, _says([_in_context(phrase, draft.places)]), (phrase,)))
            word_lists = [[word for word in draft.words if word in usual and says_something(word)], of_texts[i]]
            for words in word_lists:
                shown = -1
                for n in sorted({min(len(words), n) for n in SET_SIZES} - {0}):
                    if n == MOST_WORDS:
                        shown = len(candidates)
                    text = _says(words[:n]) if n <= MOST_WORDS else _words_like(words)
                    part = shown if n > MOST_WORDS else -1
                    candidates.append(_Candidate(i, TOKENS, text, tuple(words[:n]), shown=part))
            for n in range(1, len(of_prompts[i]) + 1):
                of_prompt = of_prompts[i][:n]
                candidates.append(_Candidate(i, QUESTION, _to_questions(of_prompt), (), tuple(of_prompt)))
        return candidates

    def _n_families(self, held: csc_array) -> np.ndarray:
        """How many families of the half that chooses have an answer that holds each column of `held` (n, n_terms)."""
        rows = np.flatnonzero(self.answers.half == 0)
        shape = (int(self._family.max(initial=-1)) + 1, self._family.size)
        of_family = csr_array((np.ones(rows.size, np.float32), (self._family[rows], rows)), shape=shape)
        return np.bincount(csr_array(of_family @ held).indices, minlength=held.shape[1])

    def _usual(self, terms: set[str]) -> set[str]:
        """Those in answers of several families of the half that chooses: others are what one prompt is about, or were
        found in the half that judges."""
        ordered = sorted(terms)
        n_families = self._n_families(csc_array(texts_with(self._texts, ordered).astype(np.float32)))
        return {term for term, n in zip(ordered, n_families.tolist(), strict=True) if n >= LEAST_FAMILIES}

    def _telling(self, words: Words) -> tuple[list[str], csc_array]:
        """The words that say something, held by neither few families nor most texts, and which text holds which."""
        presence = csc_array(words.presence)
        is_usual = self._n_families(presence) >= LEAST_FAMILIES
        is_usual &= (np.diff(presence.indptr) >= len(words) // 1000) & (np.diff(presence.indptr) <= len(words) // 2)
        keep = [i for i in np.flatnonzero(is_usual).tolist() if len(words.vocabulary[i]) > 2]
        keep = [i for i in keep if words.vocabulary[i][0].isalpha() and says_something(words.vocabulary[i])]
        return [words.vocabulary[i] for i in keep], csc_array(presence[:, keep])

    def _scores(self, coded: np.ndarray, candidates: Sequence[_Candidate]) -> tuple[list[float], list[float]]:
        """Of every candidate, by the half that chooses and by the half that judges; NaN where too few answers show."""
        n = self.answers.half.size
        held = csc_array((n, len(candidates)), dtype=np.int8)
        for words, lists in (
            (self._texts, [candidate.words for candidate in candidates]),
            (self._prompts, [candidate.of_prompt for candidate in candidates]),
        ):
            terms = sorted({term for list_ in lists for term in list_})
            number = {term: i for i, term in enumerate(terms)}
            rows = [number[term] for list_ in lists for term in list_]
            columns = np.repeat(np.arange(len(lists)), [len(list_) for list_ in lists])
            any_of = csc_array((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(terms), len(lists)))
            counts = csc_array(texts_with(words, terms).astype(np.int32) @ any_of)
            several = np.array([len(list_) > MOST_WORDS for list_ in lists])
            counts.data = np.minimum(counts.data, 1 + np.repeat(several, np.diff(counts.indptr)))
            held = csc_array(held + counts.astype(np.int8))
        concept = np.array([candidate.concept for candidate in candidates], np.int64)
        column = np.arange(len(candidates))
        chooses, judges = (auroc_of_pairs(coded, concept, held, column, self.answers, half) for half in (0, 1))
        return chooses.tolist(), judges.tolist()


def _enough(coded: np.ndarray, answers: Answers) -> bool:
    """True if both halves have answers that show the concept, and others: then "no name" is known, not unknown."""
    levels = np.zeros((coded.size, 1), np.int8)
    return all(np.isfinite(auroc_of_levels(coded[None], levels, answers, half)[0, 0]) for half in (0, 1))


def _best(
    draft: Draft, offers: Sequence[tuple[int, float, float, str, str]], share: float, chooses_length: float,
    judges_length: float,
) -> ConceptName:  # fmt: skip
    """The first kind among the offers that detect best in the half that chooses; none where it detects too little.

    Where it is not clear and the length of an answer detects the concept, that is its name.
    """
    by_length = [(abs(score - 0.5) + 0.5, score > 0.5) for score in (chooses_length, judges_length)]
    of_length = min(by_length)[0] >= BY_LENGTH and by_length[0][1] == by_length[1][1]
    best = max((chooses for _, chooses, *_ in offers if np.isfinite(chooses)), default=0.0)
    if best >= LEAST_CHOSEN:
        equal = [offer for offer in offers if offer[1] >= best - EQUAL]
        _, _, judges, kind, text = min(equal, key=lambda offer: (offer[0], -offer[1], len(offer[4])))
        if np.isfinite(judges) and judges >= (CLEAR if of_length else LEAST_SCORE):
            text = text if judges >= CLEAR else shorten(f"{PERHAPS} {text}")
            return ConceptName(text, draft.shown_phrases, kind, round(judges, 4), _contexts(draft, text))
    if of_length:
        text = "that are long" if by_length[1][1] else "that are short"
        return ConceptName(text, draft.shown_phrases, LENGTH, round(by_length[1][0], 4), _contexts(draft, ""))
    return ConceptName(_unnamed(share), draft.shown_phrases, NONE, None, _contexts(draft, ""))


def _unjudged(draft: Draft, share: float) -> ConceptName:
    if draft.name.startswith(UNNAMED):
        return ConceptName(_unnamed(share), draft.shown_phrases, NONE, None, _contexts(draft, ""))
    return ConceptName(draft.name, draft.shown_phrases, TOKENS, None, _contexts(draft, draft.name))


def _unnamed(share: float) -> str:
    percent = 100 * share
    return (
        f"{UNNAMED}; fires in {percent:.1f} % of answers"
        if percent < 1
        else f"{UNNAMED}; fires in {percent:.0f} % of answers"
    )


# --- words that detect a concept, wherever it fires -----------------------------------------------------------------


def _detecting(columns: tuple[list[str], csc_array], coded: np.ndarray, answers: Answers) -> list[list[str]]:
    """Up to three words for every concept that detect it in the half that chooses, best first."""
    vocabulary, presence = columns
    if not vocabulary:
        return [[] for _ in coded]
    scores = word_scores(coded, presence, answers, 0)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :MOST_WORDS]
    return [[vocabulary[k] for k in row if scores[i, k] >= LEAST_WORD] for i, row in enumerate(best.tolist())]


# --- how a name reads -----------------------------------------------------------------------------------------------


def _with(phrase: str, *, mostly: bool) -> str:
    text = phrase.removeprefix("answers ") if phrase.startswith("answers that ") else f"with {phrase}"
    return shorten(f"mostly {text}" if mostly else text)


def _says(words: Sequence[str]) -> str:
    """`says "steal", "theft"`, with as many words as fit."""
    return f"says {_quoted(words)}"


def _words_like(words: Sequence[str]) -> str:
    return f"words like {_quoted(words[:MOST_WORDS], NAME_CAP - 12)}"


def _to_questions(words: Sequence[str]) -> str:
    return f"to questions with {_quoted(words, NAME_CAP - 18)}"


def _quoted(words: Sequence[str], cap: int = NAME_CAP - 6) -> str:
    text = ""
    for word in words:
        longer = f'{text}, "{shorten(word, 36)}"' if text else f'"{shorten(word, 36)}"'
        if text and len(longer) > cap:
            break
        text = longer
    return text


def _in_context(phrase: str, places: Sequence[Place]) -> str:
    """The phrase marked among the words around it: those of the first place, strongest first, that holds it."""
    for place in places:
        text = _plain(place.context.text)
        at = text.casefold().find(phrase.casefold())
        if at >= 0 and len(text.casefold()) == len(text):
            before, after = text[:at].split(), text[at + len(phrase) :].split()
            spaces = " " if text[:at].endswith(" ") else "", " " if text[at + len(phrase) :].startswith(" ") else ""
            left, right = " ".join(before[-_AROUND:]) + spaces[0], spaces[1] + " ".join(after[:_AROUND])
            while len(left) + len(phrase) + len(right) > 32 and (left or right):
                left, right = left.partition(" ")[2], right.rpartition(" ")[0]
            return f"{left}{OPEN}{text[at : at + len(phrase)]}{CLOSE}{right}"
    return phrase


def _contexts(draft: Draft, name: str) -> tuple[str, ...]:
    """Up to three places of different families and words around them, first those whose word the name holds."""
    lowered = name.casefold()
    places = sorted(
        draft.places, key=lambda place: not (place.context.word and place.context.word.casefold() in lowered)
    )
    contexts: list[str] = []
    families: Counter[int] = Counter()
    for place in places:
        text = context_line(place)
        if not families[place.family] and text not in contexts:
            families[place.family] += 1
            contexts.append(text)
        if len(contexts) == N_CONTEXTS:
            break
    return tuple(contexts)


def context_line(place: Place) -> str:
    """The words around a place on one line of at most 72 characters, the word of the peak between « and »."""
    context = place.context
    before, word, after = (
        _plain(part)
        for part in (
            context.text[: context.start], context.text[context.start : context.end], context.text[context.end :]
        )
    )  # fmt: skip
    room = max(0, CONTEXT_CAP - min(len(word), 40) - 4)
    before = before if len(before) <= room // 2 else "…" + before[len(before) - room // 2 :].partition(" ")[2]
    return f"{before}{OPEN}{shorten(word or '␣', 40)}{CLOSE}{shorten(after, max(room - len(before), 1))}".strip()


def _plain(text: str) -> str:
    """Readable, without our own marks."""
    return readable(text).replace(OPEN, "‹").replace(CLOSE, "›")
