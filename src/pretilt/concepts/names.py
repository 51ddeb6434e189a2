"""Readable names for concepts without any language model: the tokens and phrases that tell where a concept fires.

Tokens: how much more often the concept fires on a vocabulary entry than that entry occurs in the responses (log-odds
with a Dirichlet prior), weighted by the share of the concept's firings. Phrases: what its strongest places have in
common. No statistic reads a name.
"""

from __future__ import annotations

import string
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from pretilt.concepts.bank import feature_lists
from pretilt.concepts.group_names import function_words
from pretilt.concepts.log_odds import log_odds
from pretilt.concepts.readable import NAME_CAP, UNNAMED, make_unique, readable, shorten
from pretilt.concepts.token_contexts import LOST, Context, TokenContexts
from pretilt.schema import Concepts

_CANDIDATES = 24  # vocabulary entries looked at per concept
_TOKENS, _PHRASES = 6, 4  # kept per concept; a name shows up to three and one
_PRIOR_FIRINGS = 20.0
_PEAKS = 256  # places read per concept
_PLAIN_PUNCTUATION = set(".,;:'\"’“”()[]{}-–—␣⏎ ")
_NEGATIONS = {"not", "no", "never", "nothing", "none", "nobody", "cannot", "without"}
# Of any text, whatever it is about and however it is written.
_LIGHT_WORDS = """
use uses used using provide provides provided providing include includes included including contain contains containing
involve involves involved involving require requires required various different several certain thing things way ways
kind kinds type types sort sorts lot lots case cases part parts aspect aspects factor factors item items also make makes
made making take takes taken taking put puts putting come comes coming came become becomes new one ones
"""
_LIGHT = frozenset(_LIGHT_WORDS.split())
TOKENS = "tokens"
_FAINT = 0.1  # a token whose weight is below this share of the best one's is noise


@dataclass(frozen=True)
class ConceptName:
    name: str  # unique, 1 to 48 characters, one line
    phrases: list[str]  # tokens, then phrases, best first
    kind: str = TOKENS  # one of KINDS: what the name is made of
    score: float | None = None  # held-out area under the curve (`concepts.detection`); None where nothing was judged
    contexts: tuple[str, ...] = ()  # up to three places where it fires most, the word marked, of different families


@dataclass(frozen=True)
class Place:
    """A place in a response where a concept fires strongly."""

    row: int  # of the tokens
    span: str  # "chosen" | "rejected"
    family: int
    context: Context


@dataclass(frozen=True)
class Draft:
    """What a name may be made of. Words are those behind the tokens it fires on, phrases what its peaks share."""

    words: list[str]  # best first
    phrases: list[tuple[str, float]]  # with the share of the places that hold them
    places: list[Place]  # strongest first
    features: list[int]

    @property
    def name(self) -> str:
        """The name without any score, 1 to 48 characters."""
        return _compose(self.words, self.phrases) or _fallback(self.features)

    @property
    def shown_phrases(self) -> list[str]:
        return self.words[:_TOKENS] + [p for p, _ in self.phrases[:_PHRASES]]


@dataclass
class _Peaks:
    """What the strongest places of one concept have in common."""

    words: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # token id → words it was in
    texts: set[str] = field(default_factory=set)  # the different ones: repeated text is no more evidence
    phrases: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # phrase → texts that hold it
    spelling: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    places: list[Place] = field(default_factory=list)


def name_concepts(
    concepts: Concepts,
    token_counts: pa.Table,
    token_totals: np.ndarray,
    peaks: pa.Table,
    tokens: pa.Table,
    decode: Callable[[list[int]], str],
    *,
    peaks_per_feature: int = 8,
) -> list[ConceptName]:
    """Names of all concepts, in order, that no score has judged; arguments as those of `draft_names`."""
    drafts = draft_names(
        concepts, token_counts, token_totals, peaks, tokens, decode, peaks_per_feature=peaks_per_feature
    )
    unique = make_unique([draft.name for draft in drafts], range(len(concepts)))
    return [ConceptName(name, draft.shown_phrases) for name, draft in zip(unique, drafts, strict=True)]


def draft_names(
    concepts: Concepts,
    token_counts: pa.Table,
    token_totals: np.ndarray,
    peaks: pa.Table,
    tokens: pa.Table,
    decode: Callable[[list[int]], str],
    *,
    peaks_per_feature: int = 8,
    family: np.ndarray | None = None,
) -> list[Draft]:
    """What names of all concepts may be made of, in order.

    `token_counts` (TOKEN_COUNTS; repeated rows add up), `token_totals` (n_vocabulary,) occurrences of every entry among
    the response tokens, `peaks` (PEAKS; in any order), `tokens` (TOKENS; every pair of `peaks` is in it), `family` of
    every row of `tokens` (None: each is its own). A concept that never fired is called after its features.
    """
    contexts = TokenContexts(tokens, decode)
    candidates = _candidates(concepts, token_counts, np.asarray(token_totals))
    family_of_row = np.arange(len(tokens)) if family is None else family
    peaks_of_concept = _read_peaks(concepts, peaks, tokens, contexts, peaks_per_feature, family_of_row)
    common = _common_words(candidates, peaks_of_concept, contexts)
    return [
        Draft(_words(weighted_tokens, place, common, contexts), _phrases(place), place.places, features)
        for weighted_tokens, place, features in zip(candidates, peaks_of_concept, feature_lists(concepts), strict=True)
    ]


def _candidates(concepts: Concepts, token_counts: pa.Table, token_totals: np.ndarray) -> list[list[tuple[int, float]]]:
    """(token id, weight) of the most typical vocabulary entries of every concept, best first."""
    membership: Any = concepts.membership
    n_vocabulary = int(max(token_totals.size, pc.max(token_counts["token_id"]).as_py() or 0) + 1)

    totals = np.zeros(n_vocabulary)
    totals[: token_totals.size] = token_totals

    cells = (token_counts["feature_id"].to_numpy(), token_counts["token_id"].to_numpy())
    shape = (membership.shape[0], n_vocabulary)
    fired_on = sp.csr_array((token_counts["fire_count"].to_numpy().astype(np.float64), cells), shape=shape)
    counts = sp.csr_array(sp.csr_array(membership.T).astype(np.float64) @ fired_on)
    # Features of one community fire on the same token: as evidence that counts once, hence the mean over features.
    counts = sp.csr_array(sp.diags_array(1.0 / np.maximum(concepts.size, 1)) @ counts)

    trials = np.asarray(counts.sum(axis=1)).ravel()
    typical = log_odds(counts, trials, totals, max(float(totals.sum()), 1.0), prior_trials=_PRIOR_FIRINGS)
    weight = typical.share * typical.log_odds

    order = np.lexsort((typical.term, -weight, typical.row))
    order = order[weight[order] > 0]
    row = typical.row[order]
    rank = np.arange(order.size) - np.searchsorted(row, row, side="left")
    order = order[rank < _CANDIDATES]

    out: list[list[tuple[int, float]]] = [[] for _ in range(len(concepts))]
    best = zip(typical.row[order].tolist(), typical.term[order].tolist(), weight[order].tolist(), strict=True)
    for concept, token, value in best:
        out[concept].append((token, value))
    return out


def _read_peaks(
    concepts: Concepts,
    peaks: pa.Table,
    tokens: pa.Table,
    contexts: TokenContexts,
    peaks_per_feature: int,
    family: np.ndarray,
) -> list[_Peaks]:
    """The contexts of every concept's strongest places: first the strongest of each feature, then the second, …"""
    peaks_of_concept = [_Peaks() for _ in range(len(concepts))]
    membership: Any = concepts.membership
    concept_of = np.full(membership.shape[0], -1, dtype=np.int64)
    concept_of[membership.indices] = np.repeat(np.arange(len(concepts)), np.diff(membership.indptr))

    feature, act = peaks["feature_id"].to_numpy(), peaks["act"].to_numpy()
    order = np.lexsort((-act, feature))

    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size) - np.searchsorted(feature[order], feature[order], side="left")
    order = np.lexsort((feature, rank, concept_of[feature]))
    order = order[(rank[order] < peaks_per_feature) & (concept_of[feature[order]] >= 0)]
    concept_of_row = concept_of[feature[order]]
    order = order[np.arange(order.size) - np.searchsorted(concept_of_row, concept_of_row, side="left") < _PEAKS]

    chosen = peaks.take(pa.array(order))
    rows = pc.index_in(chosen["pair_id"], value_set=tokens["pair_id"].combine_chunks())
    if rows.null_count:
        missing = chosen["pair_id"].filter(pc.is_null(rows))[0].as_py()
        raise ValueError(f"pair {missing} of the peaks is not among the tokens")

    places = zip(
        concept_of[feature[order]].tolist(),
        chosen["span"].to_pylist(),
        rows.to_pylist(),
        chosen["position"].to_pylist(),
        strict=True,
    )

    for concept, span, row, position in places:
        concept_peaks, context = peaks_of_concept[concept], contexts.at(span, row, position)
        concept_peaks.words[contexts.token_id(span, row, position)][context.word] += 1
        if span == "prompt":  # explains a token, but concepts are about responses
            continue
        concept_peaks.texts.add(context.text)
        concept_peaks.places.append(Place(row, span, int(family[row]), context))
        for phrase in context.phrases:
            key = phrase.casefold()
            concept_peaks.phrases[key].add(context.text)
            concept_peaks.spelling[key][phrase] += 1
    return peaks_of_concept


def _common_words(
    candidates: list[list[tuple[int, float]]], places: list[_Peaks], contexts: TokenContexts
) -> dict[int, Counter[str]]:
    """For candidates that no peak explains: the words that the token is part of in the responses at large."""
    unread = {
        token for weighted_tokens, place in zip(candidates, places, strict=True) for token, _ in weighted_tokens[:8]
    }
    words: dict[int, Counter[str]] = defaultdict(Counter)
    for token, span, row, position in contexts.occurrences(np.array(sorted(unread), dtype=np.int64)):
        words[token][contexts.at(span, row, position).word] += 1
    return words


def _words(
    weighted_tokens: list[tuple[int, float]], place: _Peaks, common: dict[int, Counter[str]], contexts: TokenContexts
) -> list[str]:
    """The distinct words behind the candidate tokens, the heaviest first; spellings of one word add up."""
    weight: dict[str, float] = defaultdict(float)
    spelling: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for token, value in weighted_tokens:
        word = _whole(contexts.piece(token), place.words.get(token) or common.get(token) or Counter())
        if word:
            weight[word.casefold()] += value
            spelling[word.casefold()][word] += value
    floor = _FAINT * max(weight.values(), default=0.0)
    keys = sorted((k for k in weight if weight[k] >= floor), key=lambda k: (-weight[k], k))
    legible = [k for k in keys if not (k.startswith("…") or k.endswith("…")) or len(k.strip("…")) > 2]
    keys = legible or keys  # fragments of one or two letters are left out where there is anything else
    return [max(spelling[k].items(), key=lambda item: (item[1], item[0]))[0] for k in keys]


def _whole(piece: str, words: Counter[str]) -> str:
    """The word that a token stands for: the one it is in most of the time, else the fragment, marked as one."""
    alone = readable(piece).strip() or ("␣" if piece else "")
    n = words.total()

    merged: Counter[str] = Counter()
    for word, count in words.items():
        merged[word.casefold()] += count

    if n:
        key, count = max(merged.items(), key=lambda item: (item[1], item[0]))
        if 2 * count >= n and key and LOST not in key:
            return max((w for w in words if w.casefold() == key), key=lambda w: (words[w], w))

    if LOST in alone:
        return ""
    if n and not merged[alone.casefold()] and alone[-1:].isalpha():
        starts, ends = (all(test(w, alone.casefold()) for w in merged) for test in (str.startswith, str.endswith))
        return f"{alone}…" if starts else f"…{alone}" if ends else f"…{alone}…"
    return alone


def _phrases(place: _Peaks) -> list[tuple[str, float]]:
    """(phrase, share of the texts) for phrases in at least two different texts, none much like a better one."""
    scored = []
    for key, texts in place.phrases.items():
        words = len(key.split())
        if len(texts) >= 2 and (words > 1 or len(key) > 2):
            text = max(place.spelling[key].items(), key=lambda item: (item[1], item[0]))[0]
            scored.append((len(texts) * np.log2(1.5 + words), text))

    selected: list[tuple[str, float]] = []
    for _, text in sorted(scored, key=lambda item: (-item[0], item[1])):
        if not any(_overlap(text.casefold(), other.casefold()) for other, _ in selected):
            selected.append((text, len(place.phrases[text.casefold()]) / len(place.texts)))
        if len(selected) == _PHRASES:
            break
    return selected


def _overlap(a: str, b: str) -> bool:
    """True if one phrase holds the other or shares at least half of the words of the shorter one, two or more."""
    words_a, words_b = set(a.split()), set(b.split())
    shared = len(words_a & words_b)
    return a in b or b in a or (shared >= 2 and 2 * shared >= min(len(words_a), len(words_b)))


def _compose(words: list[str], phrases: list[tuple[str, float]]) -> str:
    """`"link", "https" · visit https://`: up to three tokens, and the phrase if it is what the places share.

    Words that say something come alone; where there is none, a phrase that holds one; else the name says that it is no
    name, with the tokens behind it.
    """
    telling = [word for word in words if says_something(word)]
    if words and not telling:
        said_by_phrase = [p for p, _ in phrases if any(map(says_something, p.split()))]
        if said_by_phrase:
            return shorten(said_by_phrase[0])
        return _unnamed(words)
    words = telling
    shown = [f'"{shorten(word, 20)}"' for word in words[:3]]
    named = {word.casefold() for word in words[:3]}
    candidates = [
        p for p, share in phrases if share >= 1 / 3 and p.casefold().strip(string.punctuation + " ") not in named
    ]
    phrase = candidates[0] if candidates else ""

    while shown:
        tokens = ", ".join(shown)
        if phrase and len(tokens) + 3 + len(phrase) <= NAME_CAP:
            return f"{tokens} · {phrase}"
        if not phrase and len(tokens) <= NAME_CAP:
            return tokens
        if len(shown) == 1:
            if phrase:
                phrase, shown = "", [f'"{shorten(word, 20)}"' for word in words[:3]]
                continue
            return shorten(tokens)
        shown.pop()
    return shorten(phrases[0][0]) if phrases else ""


def says_something(word: str) -> bool:
    """No function word but a negation, no word of any text ("used"), no bare punctuation: ** or # say something."""
    text = word.strip("…").casefold()
    if any(character.isalnum() for character in text):
        text = text.strip(string.punctuation)
        return text in _NEGATIONS or (text not in _LIGHT and text not in function_words())
    return not set(text) <= _PLAIN_PUNCTUATION


def _unnamed(words: list[str]) -> str:
    """`no readable name · "the", "a"`, with as many tokens as fit."""
    name = UNNAMED
    for i, word in enumerate(words[:3]):
        longer = f'{name}{", " if i else " · "}"{shorten(word, 12)}"'
        if len(longer) > NAME_CAP:
            break
        name = longer
    return name


def _fallback(features: list[int]) -> str:
    if len(features) == 1:
        return f"feature {features[0]}"
    return shorten(f"{len(features)} features: {', '.join(map(str, features[:8]))}")
