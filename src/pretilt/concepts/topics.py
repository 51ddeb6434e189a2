"""What texts can be about, in plain words: topics, each a list of English words that are looked up as whole words.

The topics stand in `topics.toml`, which was made for no dataset. How much a text is about one is how many different
words of its list the text holds, so that one word many times is not a topic.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from scipy.sparse import csc_array, csr_array

from pretilt.concepts.terms import Words

FILE = "topics.toml"
MOST_LEVEL = 3  # different words of a topic; more of them are no more about it


@dataclass(frozen=True)
class Topic:
    title: str  # continues "about": "theft and robbery"
    words: frozenset[str]  # in small letters


@cache
def bundled_topics() -> tuple[Topic, ...]:
    """The topics that come with the package, in the order of the file."""
    text = (resources.files("pretilt.concepts") / FILE).read_text(encoding="utf-8")
    return tuple(Topic(entry["title"], frozenset(entry["words"].split())) for entry in tomllib.loads(text)["topic"])


def topic_levels(words: Words, topics: tuple[Topic, ...]) -> np.ndarray:
    """How many different words of each topic each text holds, at most MOST_LEVEL: int8 (n_texts, n_topics).

    Time grows with the words of the texts, whatever the number of topics.
    """
    places = [(words.number[word], k) for k, topic in enumerate(topics) for word in topic.words if word in words.number]
    rows, columns = np.array(places, np.int64).reshape(-1, 2).T
    shape = (len(words.vocabulary), len(topics))
    belongs = csc_array((np.ones(rows.size, np.float32), (rows, columns)), shape=shape)
    counts = csr_array(words.presence @ belongs)
    return np.minimum(counts.toarray(), MOST_LEVEL).astype(np.int8)
