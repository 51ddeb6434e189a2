"""Names without a language model: planted text, fragments of words, hostile text, caps and uniqueness."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from pretilt.concepts.bank import build_concepts
from pretilt.concepts.group_names import name_groups, name_sets
from pretilt.concepts.log_odds import log_odds
from pretilt.concepts.names import name_concepts
from pretilt.concepts.readable import NAME_CAP, make_unique, readable, shorten
from pretilt.concepts.token_contexts import TokenContexts
from pretilt.schema import PEAKS, TOKEN_COUNTS, TOKENS

FILLER = ["the", "answer", "is", "that", "you", "can", "go", "on", "and", "see", "what", "there", "to", "do", "now"]


class Corpus:
    """A toy corpus: pieces are tokens, joined without a separator; features fire on every occurrence of theirs."""

    def __init__(self, responses: list[list[str]], prompts: list[list[str]] | None = None) -> None:
        self.prompts = prompts or [[" hi"]] * len(responses)
        self.responses = responses
        self.pieces = sorted({p for text in responses + self.prompts for p in text} | {"<eos>"})
        self.id = {piece: i for i, piece in enumerate(self.pieces)}

    def decode(self, ids: list[int]) -> str:
        return "".join(self.pieces[i] for i in ids)

    def tokens(self) -> pa.Table:
        rows = []
        for i, (prompt, text) in enumerate(zip(self.prompts, self.responses, strict=True)):
            row: dict[str, object] = {"pair_id": f"p{i}"}
            for span, own in (("prompt", prompt), ("chosen", text), ("rejected", [])):
                row[f"{span}_ids"] = [self.id[p] for p in own] + [self.id["<eos>"]]
                row[f"{span}_content"] = [True] * len(own) + [False]
            rows.append(row)
        return pa.Table.from_pylist(rows, schema=TOKENS)

    def totals(self) -> np.ndarray:
        return np.bincount([self.id[p] for text in self.responses for p in text], minlength=len(self.pieces))

    def fire(self, fires_on: dict[int, list[str]]) -> tuple[pa.Table, pa.Table]:
        """TOKEN_COUNTS and PEAKS of features that fire on every occurrence of their pieces."""
        counts, peaks = [], []
        for feature, pieces in fires_on.items():
            for piece in pieces:
                n = int(self.totals()[self.id[piece]])
                if n:
                    counts.append({"feature_id": feature, "token_id": self.id[piece], "fire_count": n})
            places = [
                (i, span, t)
                for span, texts in (("chosen", self.responses), ("prompt", self.prompts))
                for i, text in enumerate(texts)
                for t, p in enumerate(text)
                if p in pieces
            ]
            for rank, (i, span, t) in enumerate(places[:8]):
                act = 9.0 - rank
                peaks.append({"feature_id": feature, "pair_id": f"p{i}", "span": span, "position": t, "act": act})
        return pa.Table.from_pylist(counts, schema=TOKEN_COUNTS), pa.Table.from_pylist(peaks, schema=PEAKS)

    def names(self, fires_on: dict[int, list[str]], community: list[int] | None = None) -> list[tuple[str, list[str]]]:
        n_features = max([*fires_on, len(community or []) - 1]) + 1
        labels = np.array(community if community is not None else [-1] * n_features)
        concepts = build_concepts(labels, np.arange(n_features, 0, -1), min_community=2, min_pairs=1)
        counts, peaks = self.fire(fires_on)
        found = name_concepts(concepts, counts, self.totals(), peaks, self.tokens(), self.decode)
        return [(name.name, name.phrases) for name in found]


def sentence(*planted: str, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    around = [f" {word}" for word in rng.choice(FILLER, 14)]
    return around[:7] + list(planted) + around[7:]


def test_a_concept_is_called_after_what_it_fires_on_and_its_commonest_phrase():
    plants = [[" visit", " https", "://", "example"], [" visit", " https", "://", "other"], [" link", " now"]]
    corpus = Corpus([sentence(*plants[i % 3], seed=i) for i in range(12)] + [sentence(seed=50 + i) for i in range(12)])
    (name, phrases), *_ = corpus.names({0: [" https"], 1: [" https", " link"]}, community=[0, 0])
    assert name.startswith('"https", "link"') and name.endswith("· visit https")
    assert phrases[:2] == ["https", "link"] and "visit https" in phrases


def test_case_and_space_variants_are_one_word():
    corpus = Corpus([sentence(word, seed=i) for i, word in enumerate([" Sorry", " sorry", " sorry", " SORRY"] * 3)])
    (name, phrases), *_ = corpus.names({0: [" Sorry", " sorry", " SORRY"]})
    assert name.casefold().count("sorry") == 1 and '"sorry"' in name and phrases[0] == "sorry"


def test_a_fragment_becomes_the_word_it_is_a_piece_of():
    corpus = Corpus([sentence(" fl", "av", "our", seed=i) for i in range(8)])
    assert corpus.names({0: ["av"]})[0][0].startswith('"flavour"')


def test_a_fragment_of_many_words_is_marked_as_one():
    ends = ["ing", "ed", "er", "s", "able", "ings"]
    corpus = Corpus([sentence(" walk", end, seed=i) for i, end in enumerate(ends)])
    assert corpus.names({0: [" walk"]})[0][1][0] == "walk…"
    starts = [" think", " read", " sing", " cook", " sleep", " drink"]
    corpus = Corpus([sentence(start, "ing", seed=i) for i, start in enumerate(starts)])
    assert corpus.names({0: ["ing"]})[0][1][0] == "…ing"


def test_a_frequent_word_is_no_name_when_the_concept_fires_on_it_no_more_than_anyone():
    corpus = Corpus([sentence(" quartz", seed=i) for i in range(10)])
    pieces = [" quartz"] + [p for p in corpus.pieces if p.strip() in FILLER]
    (name, phrases), *_ = corpus.names({0: [" quartz"], 1: pieces})
    assert name.startswith('"quartz"') and len(phrases) >= 1


def test_punctuation_and_line_breaks_are_shown():
    corpus = Corpus([sentence("\n\n", "- ", "**", f"word{i}", "**", seed=i) for i in range(8)])
    by_feature = corpus.names({0: ["**"], 1: ["\n\n"], 2: ["- "]})
    assert '"**"' in by_feature[0][0] and "⏎" in by_feature[1][0] and "-" in by_feature[2][0]


def test_function_words_alone_are_no_name_and_stand_behind_words_that_say_something():
    corpus = Corpus([sentence(" the", " quartz", " of", seed=i) for i in range(10)])
    of_phrase, of_word = (name for name, _ in corpus.names({0: [" the", " of"], 1: [" the", " quartz"]}))
    assert of_phrase == "the quartz of"
    assert of_word.startswith('"quartz"') and '"the"' not in of_word
    order = np.random.default_rng(0)
    corpus = Corpus([[str(w) for w in order.permutation([" the", " of", " and", " to", " in"])] for _ in range(12)])
    ((name, phrases),) = corpus.names({0: [" the", " of"]})
    assert name.startswith("no readable name · ") and '"the"' in name and len(name) <= 48 and "the" in phrases


def test_contractions_are_whole():
    corpus = Corpus([sentence(" I", "'m", " sorry", seed=i) for i in range(6)])
    assert corpus.names({0: ["'m"]})[0][0].startswith('"I\'m"')


def test_hyphenated_words_are_whole():
    corpus = Corpus([sentence(" the", " Trans", "-", "Siberian", " railway", seed=i) for i in range(6)])
    for piece in (" Trans", "-", "Siberian"):
        name, phrases = corpus.names({0: [piece]})[0]
        assert name.startswith('"Trans-Siberian"') and not any(p.startswith("-") or p.endswith("-") for p in phrases)


def test_phrases_need_different_texts_and_responses():
    same = sentence(" blue", " moon", " shines", seed=1)
    corpus = Corpus([same] * 8, prompts=[[" how", " blue", " is", f" w{i}"] for i in range(8)])
    (name, phrases), *_ = corpus.names({0: [" blue"]})
    assert name == '"blue"' and phrases == ["blue"]


def test_template_tokens_are_not_part_of_a_name():
    corpus = Corpus([[f" w{i}", " done"] for i in range(6)])
    assert not any("eos" in text for name, phrases in corpus.names({0: [" done"]}) for text in [name, *phrases])


def test_a_concept_that_never_fired_is_called_after_its_features_and_names_are_unique():
    corpus = Corpus([sentence(" alpha", seed=i) for i in range(6)])
    names = [name for name, _ in corpus.names({0: [" alpha"], 1: [" alpha"]}, community=[-1, -1, -1, 5, 5])]
    assert names[0] == "2 features: 3, 4"
    assert names[1].startswith('"alpha"') and names[1].endswith(" #1") and names[2].endswith(" #2")
    assert names[3] == "feature 2" and len(set(names)) == 4


def test_names_do_not_depend_on_the_order_of_peaks_or_counts():
    corpus = Corpus([sentence(" alpha", " beta", seed=i) for i in range(10)])
    concepts = build_concepts(np.array([0, 0, -1]), np.array([3, 2, 1]), min_community=2, min_pairs=1)
    counts, peaks = corpus.fire({0: [" alpha"], 1: [" beta"], 2: [" beta", " alpha"]})
    shuffled = np.random.default_rng(0).permutation(len(peaks))
    first = name_concepts(concepts, counts, corpus.totals(), peaks, corpus.tokens(), corpus.decode)
    again = name_concepts(
        concepts, counts[::-1], corpus.totals(), peaks.take(pa.array(shuffled)), corpus.tokens(), corpus.decode
    )
    assert first == again


def test_a_peak_of_an_unknown_pair_is_refused():
    corpus = Corpus([sentence(" alpha", seed=i) for i in range(3)])
    concepts = build_concepts(np.array([-1]), np.array([1]), min_pairs=1)
    counts, peaks = corpus.fire({0: [" alpha"]})
    with pytest.raises(ValueError, match="pair p0 of the peaks is not among the tokens"):
        name_concepts(concepts, counts, corpus.totals(), peaks, corpus.tokens()[1:], corpus.decode)


HOSTILE = [
    "\u202egnp.exe",  # right-to-left override
    "\x1b[31mred",  # terminal escape
    "a\x00b\x07",
    "<script>alert(1)</script>",
    "zero\u200bwidth\ufeff",
    "\u2066isolate\u2069",
    "tag\U000e0041",
    "line\u2028break\r\nnext\tcell",
    "\ud800",  # a lone surrogate
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_harmless(text):
    shown = readable(text)
    assert shown and not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in shown)
    shown.encode("utf-8")
    corpus = Corpus([sentence(" " + text, seed=i) for i in range(6)])
    for name, phrases in corpus.names({0: [" " + text]}):
        assert 0 < len(name) <= NAME_CAP
        for part in [name, *phrases]:
            assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in part)


def test_readable_by_hand():
    assert readable("a\nb\r\nc\td") == "a⏎b⏎c⇥d"
    assert readable("\u202egnp") == "\\u{202e}gnp" and readable("\x1b[0m") == "\\u{1b}[0m"
    assert readable("two   spaces\u00a0x") == "two spaces x"
    assert readable("<b>&amp;") == "<b>&amp;"  # text, not markup: the view escapes it
    family = "\U0001f468\u200d\U0001f469"
    assert readable(family) == family and readable("a\u200db") == "a\\u{200d}b"


def test_shorten_keeps_the_cap_and_whole_characters():
    assert shorten("x" * 48) == "x" * 48 and shorten("x" * 49) == "x" * 47 + "…"
    assert shorten("e\u0301" * 5, 6) == "e\u0301e\u0301…"
    assert shorten("e\u0301" * 5, 5) == "e\u0301e\u0301…"


def test_unique_names_even_when_a_name_looks_like_a_suffix():
    names = make_unique(["a", "A", "a #0", "b"], range(4))
    assert len({n.casefold() for n in names}) == 4 and names[2:] == ["a #0", "b"]
    long = make_unique(["y" * 48, "y" * 48], [10, 11])
    assert [len(n) for n in long] == [48, 48] and long[0].endswith("… #10")


def test_log_odds_by_hand():
    # One set with 4 of 10 trials on a term of 10 in 100; prior worth 0.5 + ... of the background: (10.5 / 101) * 20.
    prior = 20 * 10.5 / 101
    inside = np.log((4 + prior) / (6 + 20 - prior))
    outside = np.log((10 + prior) / (90 + 20 - prior))
    found = log_odds(sp.csr_array([[4, 0]]), np.array([10]), np.array([10, 90]), 100, prior_trials=20)
    assert found.term.tolist() == [0] and found.share == pytest.approx([0.4])
    assert found.log_odds == pytest.approx([inside - outside]) and found.log_odds[0] > 0
    assert found.z == pytest.approx([(inside - outside) / np.sqrt(1 / (4 + prior) + 1 / (10 + prior))])


def test_log_odds_against_the_rest_take_the_set_out_of_its_background():
    # 4 of 10 trials inside, and so 6 of 90 outside.
    prior = 20 * 10.5 / 101
    expected = np.log((4 + prior) / (6 + 20 - prior)) - np.log((6 + prior) / (84 + 20 - prior))
    counts, trials, background = sp.csr_array([[4, 0]]), np.array([10]), np.array([10, 90])
    found = log_odds(counts, trials, background, 100, prior_trials=20, against_rest=True)
    assert found.log_odds == pytest.approx([expected])


class BytePieces:
    """A tokeniser that splits a character over two tokens and drops the space at the start of a decoded text."""

    def decode(self, ids: list[int]) -> str:
        raw = b"".join([b" caf", "é".encode()[:1], "é".encode()[1:], b" au", b" lait"][i] for i in ids)
        return raw.decode("utf-8", errors="replace").removeprefix(" ")


def test_contexts_survive_tokenisers_that_split_characters():
    ids = [0, 1, 2, 3, 4]
    row = {"pair_id": "p", "prompt_ids": ids, "prompt_content": [True] * 5}
    row |= {"chosen_ids": ids, "chosen_content": [True] * 5, "rejected_ids": [], "rejected_content": []}
    contexts = TokenContexts(pa.Table.from_pylist([row], schema=TOKENS), BytePieces().decode)
    assert [contexts.at("chosen", 0, t).word for t in range(5)] == ["café", "café", "café", "au", "lait"]
    assert "au lait" in contexts.at("chosen", 0, 3).phrases
    with pytest.raises(IndexError):
        contexts.at("rejected", 0, 0)


def test_group_names_tell_what_the_group_is_about():
    drugs = [f"where can I buy cocaine or other drugs {w}" for w in ("today", "online", "in Rome", "for a party")] * 5
    dogs = [f"my dog barks at {w}, how do I train a dog?" for w in ("cars", "people", "birds", "the moon")] * 5
    names = name_groups(drugs + dogs + ["something else entirely"], np.array([1] * 20 + [2] * 20 + [0]), 4)
    assert "cocaine" in names[1][0] and "dog" in names[2][0] and "dog" not in names[1][0]
    assert not {"where", "can", "how", "do", "the", "my"} & {t for _, terms in names for t in terms}
    assert names[3] == ("group 3", []) and names[0][0]
    assert all(0 < len(name) <= NAME_CAP for name, _ in names)


def test_group_names_in_other_languages():
    texts = (
        ["我想买一部手机", "怎么修理手机", "我的手机丢了"] * 4
        + ["как испечь хлеб", "рецепт хлеба"] * 6
        + ["हिन्दी भाषा सीखना"] * 6
    )
    names = name_groups(texts, np.repeat([0, 1, 2], [12, 12, 6]), 3)
    assert "手机" in names[0][0] and "хлеб" in names[1][0] and "भाषा" in names[2][0]


def test_group_names_count_prompts_not_repeats_of_a_word():
    once = [f"talk about kayaks and rivers {i}" for i in range(10)]
    shouting = ["spam " * 500] + [f"talk about bread {i}" for i in range(9)]
    names = name_groups(once + shouting, np.repeat([0, 1], 10), 2)
    assert "spam" not in names[1][0] and "bread" in names[1][0]


def test_hostile_and_empty_prompts_name_groups_safely():
    names = name_groups(["\u202eevil\x1b[2J evil", "", "!!! ???", "a" * 10_000], np.array([0, 1, 2, 3]), 4)
    assert names[1][0] == "group 1" and names[2][0] == "group 2" and len({n for n, _ in names}) == 4
    assert all(len(n) <= NAME_CAP and n.isprintable() for n, _ in names)
    assert name_groups([], np.zeros(0, dtype=int), 2) == [("group 0", []), ("group 1", [])]
    with pytest.raises(ValueError, match="2 groups given for 1 prompts"):
        name_groups(["x"], np.array([0, 1]), 2)


def test_a_group_is_called_after_its_most_typical_prompt_and_no_two_after_the_same():
    drugs = [f"how much of the drug is safe {i}" for i in range(20)]
    dogs = [f"my dog barks at night {i}" for i in range(18)] + ["dog", "my dog barks " + "at the loud cars " * 20]
    prompts = drugs + dogs
    names = name_groups(prompts, np.repeat([1, 2], 20), 3, questions=prompts)
    assert names[1][0].startswith("“how much of the drug") and names[2][0].startswith("“my dog barks at night")
    assert names[0] == ("group 0", []) and "drug" in " ".join(names[1][1])
    sets = name_sets(prompts, [np.arange(20), np.arange(20), np.arange(1)], "set", questions=prompts)
    assert len({name for name, _ in sets}) == 3


def test_a_typical_prompt_is_one_line_of_80_characters_whatever_it_holds():
    hostile = ["\u202eevil\x1b[2J “dragons”\n\nfly </script> high " + "and far away " * 30 + str(i) for i in range(6)]
    (name, _), (other, _) = name_groups(hostile + ["plain bread"] * 6, np.repeat([0, 1], 6), 2, questions=hostile * 2)
    assert name.startswith("“\\u{202e}evil") and name.endswith("…”") and len(name) <= 80 and name.isprintable()
    assert name.count("“") == 1 and other.isprintable()


def test_a_group_whose_questions_hold_none_of_its_terms_keeps_its_terms():
    prompts = ["dragons fly"] * 6 + ["bread rises"] * 6
    assert name_groups(prompts, np.repeat([0, 1], 6), 2, questions=["yes"] * 12)[0][0] == "dragons fly"
