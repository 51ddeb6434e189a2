"""Topics: whole words, any case, several different words before one word many times; and the list that comes along."""

from __future__ import annotations

from collections import Counter

import numpy as np

from pretilt.concepts.names import says_something
from pretilt.concepts.readable import NAME_CAP
from pretilt.concepts.terms import split_words
from pretilt.concepts.topics import MOST_LEVEL, Topic, bundled_topics, topic_levels


def test_levels_count_different_whole_words_in_any_case() -> None:
    topics = (Topic("fish", frozenset({"cod", "eel", "roe", "ray"})), Topic("none of it", frozenset({"absent"})))
    texts = ["Cod and COD, cod.", "codec eels array", "eel; cod\nroe-ray", "", "cod eel roe ray 'cod'"]
    levels = topic_levels(split_words(texts), topics)
    assert levels[:, 0].tolist() == [1, 0, 2, 0, MOST_LEVEL] and not levels[:, 1].any()
    assert levels.dtype == np.int8


def test_hostile_and_empty_texts_are_about_nothing() -> None:
    levels = topic_levels(split_words(["\u202e\x00 <b>", "中文字"]), bundled_topics())
    assert not levels.any()
    assert topic_levels(split_words([]), bundled_topics()).shape == (0, len(bundled_topics()))


def test_every_topic_that_comes_along_has_enough_words_and_none_that_says_nothing() -> None:
    topics = bundled_topics()
    assert len({topic.title for topic in topics}) == len(topics) >= 60
    for topic in topics:
        assert 25 <= len(topic.words) <= 64, topic.title
        assert len(f"to questions about {topic.title}") <= NAME_CAP, topic.title
        assert all(word == word.lower() and says_something(word) for word in topic.words), topic.title
        assert split_words([" ".join(sorted(topic.words))]).ids.size == len(topic.words), topic.title
    shared = Counter(word for topic in topics for word in topic.words)
    assert max(shared.values()) <= 2 and sum(n > 1 for n in shared.values()) < 0.03 * len(shared)


def test_a_sentence_of_everyday_is_about_what_a_reader_says() -> None:
    topics = bundled_topics()
    sentences = {
        "The thief robbed a house and was caught stealing.": "theft and robbery",
        "Simmer the onions, then stir in flour and butter.": "cooking and recipes",
        "My sister and her cousins visited grandma.": "family",
        "Verbs and nouns in Spanish grammar": "languages and words",
        "The senator won the election by two thousand votes.": "government and politics",
    }
    levels = topic_levels(split_words(list(sentences)), topics)
    assert [topics[k].title for k in levels.argmax(axis=1)] == list(sentences.values())
