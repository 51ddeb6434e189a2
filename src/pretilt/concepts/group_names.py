"""Names for groups of prompts: their most typical prompt, or the terms that distinguish them from all others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import scipy.sparse as sp

from pretilt.concepts.log_odds import log_odds
from pretilt.concepts.readable import NAME_CAP, make_unique, readable, shorten

_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff"  # vowel signs are no word characters to `re`
_WORD = re.compile(rf"[^\W_][\w{_MARKS}'’-]*")
_CONTRACTION = re.compile(r"(?:n't|'(?:d|ll|re|ve|m))\Z")
_UNSPACED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Thai … Han
_RUN = re.compile(f"[{_UNSPACED}]+")
PROMPT_CAP = 80  # characters of a prompt that stands for its group
_TERMS_OF_SET = 24  # by which it is told how typical a prompt is
_LONG, _SHORT, _FEW_WORDS = 0.7, 0.4, 4  # what a prompt is worth that must be cut, or that has fewer words
_MIN_Z = 1.64  # a term below could be chance: one-sided 5 %
_ENGLISH_EXTRA = {  # fillers of chat that scikit-learn's list lacks
    *(
        "it's",
        "that's",
        "what's",
        "there's",
        "here's",
        "he's",
        "she's",
        "who's",
        "let's",
        "just",
        "like",
        "know",
        "want",
    ),
    *(
        "really",
        "does",
        "did",
        "doing",
        "done",
        "ok",
        "okay",
        "yes",
        "yeah",
        "think",
        "got",
        "going",
        "way",
        "lot",
        "thing",
    ),
    *("things", "something", "make", "get", "good", "use", "need", "tell", "sure", "say", "said"),
}


@cache
def function_words() -> frozenset[str]:
    """English words that tell nothing of what a text is about, in small letters."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return ENGLISH_STOP_WORDS | _ENGLISH_EXTRA


def name_groups(
    prompts: Sequence[str],
    group_of_prompt: np.ndarray,
    n_groups: int,
    *,
    n_phrases: int = 8,
    prior_prompts: float = 20.0,
    max_words: int = 400,
    questions: Sequence[str] | None = None,
) -> list[tuple[str, list[str]]]:
    """(name, distinguishing terms, best first) of the groups 0 … n_groups - 1; group 0, the silent one, as well.

    `group_of_prompt` is (n_prompts,) integers; a negative one is in no group, but counts among the others. A term is a
    word, two neighbouring words, or two or three neighbouring characters of a script without spaces. What counts is
    in how many of a group's prompts it occurs, against how many of the other prompts: log-odds with a Dirichlet prior
    of `prior_prompts` prompts (Monroe et al. 2008), ranked by their z; a name needs a term in two prompts of the group,
    or in all of a single one. Only the last `max_words` words of a prompt are read. Names are unique, never empty and
    at most 48 characters; one without terms is called after its id.

    With `questions`, as many as prompts and what is shown of each, the name is the question of the group that holds
    most of these terms for its length, “quoted” and at most 80 characters; no two groups have the same.
    """
    group = np.asarray(group_of_prompt, dtype=np.int64)
    if group.size != len(prompts):
        raise ValueError(f"{group.size} groups given for {len(prompts)} prompts")
    members = [np.flatnonzero(group == g) for g in range(n_groups)]
    return name_sets(
        prompts,
        members,
        "group",
        n_phrases=n_phrases,
        prior_prompts=prior_prompts,
        max_words=max_words,
        questions=questions,
    )


def name_sets(
    prompts: Sequence[str],
    members: Sequence[np.ndarray],
    noun: str,
    *,
    n_phrases: int = 8,
    prior_prompts: float = 20.0,
    max_words: int = 400,
    questions: Sequence[str] | None = None,
) -> list[tuple[str, list[str]]]:
    """The same for sets of prompts that may overlap, each given by its rows; `noun` names one without terms.

    Of equally typical questions the first of the set's rows is taken.
    """
    terms, documents = _count_terms(prompts, max_words)
    n_groups = len(members)
    size = np.array([len(rows) for rows in members], dtype=np.int64)

    ones = np.ones(int(size.sum()), dtype=np.int64)
    place = (np.repeat(np.arange(n_groups), size), np.concatenate([*members, np.zeros(0, np.int64)]).astype(np.int64))
    membership = sp.csr_array((ones, place), shape=(n_groups, len(prompts)))

    inside = sp.csr_array(membership @ documents)
    total = np.bincount(documents.indices, minlength=documents.shape[1])
    typical = log_odds(inside, size, total, len(prompts), prior_trials=prior_prompts, against_rest=True)

    often = inside.data >= np.minimum(2, size[typical.row])
    rank = np.where(often & (typical.z >= np.where(size[typical.row] > 1, _MIN_Z, 0.0)), typical.z, -np.inf)

    phrases, typical_terms = [], []

    for i in range(n_groups):
        entries = slice(inside.indptr[i], inside.indptr[i + 1])
        order = np.lexsort((typical.term[entries], -rank[entries]))[: 6 * n_phrases]
        order = order[np.isfinite(rank[entries][order])]
        best = order[:_TERMS_OF_SET]
        typical_terms.append(dict(zip(typical.term[entries][best].tolist(), rank[entries][best].tolist(), strict=True)))
        scored_terms = [
            (readable(terms[t]), int(n))
            for t, n in zip(typical.term[entries][order], inside.data[entries][order], strict=True)
        ]
        phrases.append(_distinct(scored_terms)[:n_phrases])

    names = [_join(terms_of_set) or f"{noun} {i}" for i, terms_of_set in enumerate(phrases)]
    if questions is not None:
        quoted = _typical_questions(questions, members, typical_terms, terms, max_words)
        taken = [question or name for question, name in zip(quoted, names, strict=True)]
        return list(zip(make_unique(taken, range(n_groups), PROMPT_CAP), phrases, strict=True))
    return list(zip(make_unique(names, range(n_groups)), phrases, strict=True))


def _typical_questions(
    questions: Sequence[str],
    members: Sequence[np.ndarray],
    weight_of_term: Sequence[dict[int, float]],
    terms: Sequence[str],
    max_words: int,
) -> list[str]:
    """The most typical question of every set that no set before it has, quoted; "" for a set whose questions hold none
    of its terms. How typical: the weights of the terms that it holds, over the root of how many terms it has in all."""
    held = _count_terms(questions, max_words, vocabulary=terms)[1]
    n_terms = np.diff(held.indptr)
    shown = [_shown_question(question) for question in questions]
    is_long = np.array([len(question) > PROMPT_CAP - 2 for question in shown], bool)
    is_short = np.array([len(question.split()) < _FEW_WORDS for question in shown], bool)
    worth = np.where(is_long, _LONG, 1.0) * np.where(is_short, _SHORT, 1.0) / np.sqrt(n_terms + 3.0)

    taken: set[str] = set()
    names = []
    for rows, weights in zip(members, weight_of_term, strict=True):
        vector = np.zeros(len(terms))
        vector[list(weights)] = list(weights.values())
        score = (held[rows] @ vector) * worth[rows] if len(terms) and len(rows) else np.zeros(0)
        name = ""
        for i in np.argsort(-score, kind="stable")[: len(members) + 1].tolist():
            question = shown[rows[i]]
            if score[i] <= 0 or question.casefold() in taken:
                continue
            taken.add(question.casefold())
            name = f"“{shorten(question, PROMPT_CAP - 2)}”"
            break
        names.append(name)
    return names


def _shown_question(question: str) -> str:
    """On one line, control characters spelled out, without quotation marks of ours."""
    return readable(" ".join(question[: 8 * PROMPT_CAP].split())).replace("“", '"').replace("”", '"')


def _count_terms(
    prompts: Sequence[str], max_words: int, vocabulary: Sequence[str] | None = None
) -> tuple[list[str], sp.csr_array]:
    """The terms, and the (n_prompts, n_terms) 0/1 matrix of which prompt holds which; those of `vocabulary` alone."""
    from sklearn.feature_extraction.text import CountVectorizer

    if vocabulary is not None and not vocabulary:
        return [], sp.csr_array((len(prompts), 0), dtype=np.int64)
    stop = function_words()

    def analyse(prompt: str) -> list[str]:
        words = _WORD.findall(prompt.casefold().replace("’", "'"))[-max_words:]
        terms: list[str] = []
        before = ""

        for word in (w.rstrip("_-'") for w in words):
            if not word.isascii() and _RUN.search(word):
                terms += [
                    r[i : i + n] for r in _RUN.findall(word) for n in (2, 3) for i in range(max(1, len(r) - n + 1))
                ]
                before = ""
            elif word in stop or len(word) < 2 or word.isdigit() or _CONTRACTION.search(word, 1):
                before = ""
            else:
                terms.append(word)
                if before and before != word:
                    terms.append(f"{before} {word}")
                before = word

        return terms

    least = 2 if len(prompts) > 50 and vocabulary is None else 1
    vectoriser = CountVectorizer(analyzer=analyse, binary=True, min_df=least, dtype=np.int64, vocabulary=vocabulary)
    try:
        counts = vectoriser.fit_transform(prompts)
    except ValueError:  # scikit-learn raises it where no term is left
        return [], sp.csr_array((len(prompts), 0), dtype=np.int64)
    return vectoriser.get_feature_names_out().tolist(), sp.csr_array(counts)


def _distinct(scored_terms: list[tuple[str, int]]) -> list[str]:
    """Terms in order without repeats: a word gives way to the pair of words it is mostly in, one form to another."""
    selected: list[tuple[str, int]] = []
    for term, count in scored_terms:
        words = term.split(" ")
        same = [
            i for i, (other, _) in enumerate(selected) if any(_alike(a, b) for a in words for b in other.split(" "))
        ]
        if not same:
            selected.append((term, count))
        elif (
            len(words) > 1
            and len(same) == 1
            and " " not in selected[same[0]][0]
            and count >= 0.6 * selected[same[0]][1]
        ):
            selected[same[0]] = (term, count)
    return [term for term, _ in selected]


def _alike(a: str, b: str) -> bool:
    if _RUN.match(a) and _RUN.match(b):
        return a in b or b in a or a[1:] == b[:-1] or b[1:] == a[:-1]
    short, long = sorted((a, b), key=len)
    ending = long[len(short) :] if long.startswith(short) else None
    return ending is not None and (ending in ("", "s", "'s", "es") or (len(short) >= 4 and len(ending) <= 3))


def _join(terms: list[str]) -> str:
    name = ""
    for term in terms:
        longer = f"{name}, {term}" if name else shorten(term)
        if len(longer) > NAME_CAP:
            break
        name = longer
        if name.count(",") >= 3:
            break
    return name
