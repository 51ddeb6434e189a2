"""Families: each relation planted alone, what must not relate, brute force, hostile text, and the demo's trap."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pretilt
from pretilt.pairs.families import Families, find_families
from pretilt.pairs.pair import Message, Pair
from pretilt.pairs.read import read_source
from pretilt.pairs.split import split_pairs
from pretilt.pairs.templates import masked_tokens

LETTERS = "abcdefghijklmnoprstuvw"


def words(n: int, rng: random.Random) -> str:
    """`n` made-up words that nobody else uses."""
    return " ".join("".join(rng.choices(LETTERS, k=7)) for _ in range(n))


def talk(*texts: str) -> tuple[Message, ...]:
    return tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts))


class World:
    """Makes pairs that have nothing in common, except what a test gives them."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)

    def pair(
        self,
        *prompt: str,
        chosen: str | None = None,
        rejected: str | None = None,
        meta: dict[str, Any] | None = None,
        source: str | None = None,
    ) -> Pair:
        answers = [Message("assistant", text or words(30, self.rng)) for text in (chosen, rejected)]
        prompts = talk(*(prompt or [words(12, self.rng)]))
        return Pair(0, prompts, *((a,) for a in answers), meta=json.dumps(meta) if meta else None, source=source)

    def pairs(self, n: int) -> list[Pair]:
        return [self.pair() for _ in range(n)]


def families(pairs: Sequence[Pair]) -> Families:
    return find_families(pairs, split_pairs(pairs).component_id)


def sizes(pairs: Sequence[Pair]) -> list[int]:
    """The sizes of the families of two pairs or more, largest first."""
    return sorted((n for n in np.bincount(families(pairs).family_id).tolist() if n > 1), reverse=True)


def related(one: Pair, two: Pair) -> bool:
    return sizes([one, two, *World(99).pairs(8)]) == [2]


def test_independent_pairs_are_families_of_their_own() -> None:
    made = families(World().pairs(60))
    assert made.family_id.tolist() == list(range(60))
    assert made.family_id.dtype == np.int32
    assert made.notes == ()


def test_equal_and_similar_responses_on_either_side() -> None:
    w = World()
    text = words(40, w.rng)
    near = text.replace(text.split()[3], "changed")  # 3 of 38 3-grams differ: Jaccard 35 / 41 = 0.85
    far = " ".join("changed" if i % 4 == 0 else word for i, word in enumerate(text.split()))  # every 3-gram but a few
    for other in (text, near, text.upper() + " ."):
        assert related(w.pair(chosen=text), w.pair(chosen=other))
        assert related(w.pair(rejected=text), w.pair(rejected=other))
        assert related(w.pair(chosen=text), w.pair(rejected=other))
    assert not related(w.pair(chosen=text), w.pair(chosen=far))
    twelve = words(12, w.rng)
    assert related(w.pair(chosen=twelve), w.pair(rejected=twelve))
    eleven = twelve.rsplit(" ", 1)[0]
    assert not related(w.pair(chosen=eleven), w.pair(rejected=eleven))


def test_stock_refusals_relate_nobody() -> None:
    w = World()
    short = "I'm sorry, I can't help with that."
    long = "I'm sorry, but I can't assist with that request. If you have any other questions, please feel free to ask!"
    pairs = w.pairs(200) + [w.pair(rejected=short) for _ in range(40)] + [w.pair(chosen=long) for _ in range(21)]
    made = families(pairs)
    assert np.bincount(made.family_id).max() == 1
    (note,) = made.notes
    assert "1 responses stand in more than 20 families each (one of them in 21 pairs)" in note
    assert sizes(pairs[:-1]) == [20]  # twenty pairs: a text somebody reused, not yet a stock phrase


def test_a_response_of_one_big_family_is_no_stock_phrase() -> None:
    w = World()
    text = words(30, w.rng)
    pairs = [w.pair("the same question for everybody here", chosen=text) for _ in range(30)]
    made = families([*pairs, w.pair(chosen=text), *w.pairs(50)])
    assert np.bincount(made.family_id)[0] == 31
    assert made.report()["by_relation"]["response"]["only_by_it"] == 1


@pytest.mark.parametrize(
    ("template", "one", "two"),
    [
        ("What is …?", "17 * 23", "4 * 1,999"),
        ("Sort these: …", "3, 1, 2", "9 8 7 6 5.5"),
        ("What does the word … mean when it's used like that?", '"apple"', "“a b”"),
        ("Please read … and tell me what you think about it", "https://a.org/x?y=1", "www.b.net"),
        ("Write a reply to … and say I am on holiday", "anna@mail.org", "b.c@d.co.uk"),
        ("What is wrong with this code, and how do I fix it? …", "```a = 1\nb```", "\n```int x;```"),
        ("Write a short letter to … about the rent that is due", "{name}", "[your landlord]"),
        ("Can you tell me who … was and what she did?", "Ada Lovelace", "Cher"),
    ],
)
def test_fillings_of_one_template(template: str, one: str, two: str) -> None:
    w = World()
    assert related(w.pair(template.replace("…", one)), w.pair(template.replace("…", two)))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ('What does "apple" mean?', 'What does "pear" mean?'),
        ("Who was Ada Lovelace?", "Who was Cher?"),
        ("Summarise https://a.org/x", "Summarise https://b.org/y"),
        ("What is 3 apples?", "What was 3 apples?"),
        ("12 + 30", "7 + 9"),
        ("Tell me a joke", "Tell me a story"),
        ('"' + "word " * 40 + '"', '"' + "other " * 40 + '"'),
        ("HOW DO I FIX THE BRAKES OF MY OLD CAR", "WHERE CAN SHE BUY SUCH A BIG RED BOAT"),
    ],
)
def test_short_and_generic_prompts_are_no_template(one: str, two: str) -> None:
    w = World()
    assert not related(w.pair(one), w.pair(two))


def test_masks_stand_once_for_a_run() -> None:
    assert masked_tokens("I met Marie Curie. She had 1, 2, 3 'old books' at home") == (
        ["i", "met", "\ue002", "she", "had", "\ue000", "\ue001", "at", "home"]
    )
    assert masked_tokens("") == []


def test_frames_need_sixteen_words_at_an_end_or_twenty_four_at_both() -> None:
    w = World()
    frame = words(24, w.rng).split()
    fill = [words(60, w.rng) for _ in range(2)]

    def framed(first: int, last: int) -> bool:
        made = [" ".join([*frame[:first], text, *frame[24 - last :]]) for text in fill]
        return related(w.pair(made[0]), w.pair(made[1]))

    assert framed(16, 0)
    assert framed(0, 16)
    assert framed(12, 12)
    assert framed(13, 14)
    assert not framed(15, 0)
    assert not framed(0, 15)
    assert not framed(11, 12)
    first_turns = [w.pair(" ".join(frame), words(9, w.rng), text, words(9, w.rng), words(9, w.rng)) for text in fill]
    assert related(*first_turns)  # the same first question; the conversations go different ways


def test_generic_openings_and_closings_relate_nobody() -> None:
    w = World()
    openings = ("Can you help me with", "I want you to act as a", "Could you please give me some advice on how to", "")
    closings = ("Thank you so much in advance for all of your help!", "Any help would be greatly appreciated.", "")
    texts = [f"{o} {words(9, w.rng)}. {c}" for o in openings for c in closings for _ in range(25)]
    assert sizes([w.pair(text) for text in texts]) == []


def test_what_most_prompts_begin_with_is_a_preamble() -> None:
    """40 words before every question relate nobody; before a third of the questions they are a template."""
    w = World()
    preamble, tail = words(40, w.rng), words(17, w.rng)
    made = families([w.pair(f"{preamble} {words(60, w.rng)} {tail}") for _ in range(90)])
    assert made.report()["n_families"] == 90
    assert "begin with the same 40 words" in made.notes[0]
    assert "end with the same 17 words" in made.notes[1]
    part = families([w.pair(f"{preamble} {words(60, w.rng)}") for _ in range(30)] + w.pairs(60))
    assert part.report()["largest"] == 30
    assert part.report()["by_relation"]["template"]["only_by_it"] == 29
    (note,) = part.notes
    assert "one family of 30 of 90 pairs" in note


def with_ids(column: str, values: Sequence[Any], sources: Sequence[str] | None = None) -> list[Pair]:
    w = World(3)
    return [
        w.pair(meta={column: value, "x": i}, source=sources[i] if sources else None) for i, value in enumerate(values)
    ]


def test_ids_of_source_items() -> None:
    n = 100
    halves = [i // 2 for i in range(n)]
    for column in ("prompt_id", "promptId", "Question-ID", "conversation_hash", "uuid", "source_id"):
        assert sizes(with_ids(column, halves)) == [2] * 50, column
    assert sizes(with_ids("prompt_id", [f"x{h}" for h in halves])) == [2] * 50
    assert sizes(with_ids("prompt_id", [float(h) for h in halves])) == [2] * 50
    assert sizes(with_ids("prompt_id", range(n))) == []
    assert sizes(with_ids("prompt_id", halves, ["one", "two"] * 50)) == []  # numbered by each source for itself
    for column in ("user_id", "annotator_id", "category_id", "rating", "paid", "idea", "valid", "text"):
        assert sizes(with_ids(column, halves)) == [], column
    for value in (True, 0.5, "", "  ", ["a"], {"a": 1}):
        assert sizes(with_ids("prompt_id", [value, value, *range(98)])) == [], value


def test_labels_markers_and_restarting_numbers_are_no_ids() -> None:
    label = families(with_ids("group_id", [i % 9 for i in range(100)]))  # 9 values, less than the root of 100
    assert label.report()["largest"] == 1
    assert '"group_id" has 9 values on 100 pairs' in label.notes[0]
    many = families(with_ids("group_id", [i % 39 for i in range(800)]))  # 39 values on 20.5 pairs each
    assert many.report()["largest"] == 1
    assert sizes(with_ids("group_id", [i % 40 for i in range(800)])) == [20] * 40
    markers = with_ids("prompt_id", ["none"] * 51 + [str(i // 2) for i in range(100)])
    assert sizes(markers) == [2] * 50
    restarted = families(with_ids("id", [i % 50 for i in range(100)]))
    assert restarted.report()["largest"] == 1
    assert '"id" stand on unrelated rows' in restarted.notes[0]


def test_a_plain_id_is_believed_where_texts_agree_with_it() -> None:
    """Ids 0 … 29 on two rows each. Of 16 the prompts are equal, so the other 14 are believed; of 14, they are not."""
    for n_equal, expected in ((16, 30), (15, 30), (14, 14)):
        w = World(5)
        pairs = []
        for i in range(30):
            texts = [words(12, w.rng)] * 2 if i < n_equal else [words(12, w.rng) for _ in range(2)]
            pairs += [w.pair(text, meta={"id": i}) for text in texts]
        assert len(sizes(pairs)) == expected
        assert len(sizes(pairs[::2] + pairs[1::2])) == expected


def test_conversations_at_different_depth() -> None:
    w = World()
    user, reply = words(6, w.rng), words(20, w.rng)
    deep = w.pair(user, reply, words(9, w.rng), words(9, w.rng), words(9, w.rng))
    assert related(deep, w.pair(user, reply, words(12, w.rng)))
    for side in ("chosen", "rejected"):
        assert related(w.pair(user, **{side: reply}), deep)
    assert not related(deep, w.pair(user, words(20, w.rng), words(12, w.rng)))  # another reply: another conversation
    assert not related(deep, w.pair(words(6, w.rng), reply, words(12, w.rng)))
    greeting = ("Hi, can I ask you something?", "Of course, go ahead.")
    assert not related(w.pair(*greeting, words(12, w.rng)), w.pair(*greeting, words(12, w.rng)))
    polite = ("Hello there, how are you?", "I am doing very well, thank you for asking! How can I help you today?")
    assert sizes([w.pair(*polite, words(12, w.rng)) for _ in range(21)]) == []


def test_families_are_the_components_of_all_links() -> None:
    """Random prompt components and item ids, against a search that follows every link."""
    rng = random.Random(4)
    n = 120
    component = np.array([rng.randrange(80) for _ in range(n)])
    item = [rng.randrange(90) for _ in range(n)]
    pairs = with_ids("item_id", item)
    expected, unseen = {}, list(range(n))
    for number in range(n):
        if not unseen:
            break
        family, reached = set(), {unseen[0]}
        while reached:
            i = reached.pop()
            family.add(i)
            reached |= {j for j in unseen if j not in family and (component[j] == component[i] or item[j] == item[i])}
        unseen = [j for j in unseen if j not in family]
        expected |= dict.fromkeys(family, number)
    made = find_families(pairs, component)
    assert made.family_id.tolist() == [expected[i] for i in range(n)]
    report = made.report()
    counts = np.bincount([expected[i] for i in range(n)])
    assert report["kish_n_eff"] == pytest.approx(n * n / sum(int(c) ** 2 for c in counts))
    assert report["by_relation"]["prompt"]["links"] == n - len(set(component.tolist()))
    assert report["by_relation"]["prompt"]["only_by_it"] == len(set(item)) - len(counts)


def test_the_report_by_hand() -> None:
    """Ten pairs: three with one prompt, the third of them with the response of a fourth; two equal items; four others.

    Families of 4, 2, 1, 1, 1, 1: n_eff = 100 / (16 + 4 + 4).
    """
    w = World()
    same, text = words(12, w.rng), words(20, w.rng)
    pairs = [w.pair(same), w.pair(same), w.pair(same, chosen=text), w.pair(rejected=text)]
    pairs += [
        w.pair(meta={"item_id": 7}),
        w.pair(meta={"item_id": 7}),
        *[w.pair(meta={"item_id": i}) for i in range(4)],
    ]
    report = families(pairs).report()
    assert families(pairs).family_id.tolist() == [0, 0, 0, 0, 1, 1, 2, 3, 4, 5]
    assert report["n_pairs"] == 10
    assert report["n_families"] == 6
    assert report["share_in_families"] == 0.6
    assert report["largest"] == 4
    assert report["kish_n_eff"] == pytest.approx(100 / 24)
    numbers = {
        name: [r[k] for k in ("links", "pairs", "largest", "only_by_it")] for name, r in report["by_relation"].items()
    }
    assert numbers["prompt"] == [2, 3, 3, 2]
    assert numbers["response"] == [1, 2, 2, 1]
    assert numbers["source"] == [1, 2, 2, 1]
    assert numbers["template"] == numbers["conversation"] == [0, 0, 1, 0]
    assert "near-duplicate prompts: this alone makes one family of 3 of 10 pairs" in report["notes"][0]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_order_of_rows_changes_nothing_but_the_numbers() -> None:
    w = World(8)
    text, frame = words(30, w.rng), words(16, w.rng)
    pairs = [w.pair(chosen=t) for t in (text, text.upper(), text.title(), text + " and so on")]
    pairs += [w.pair(f"{frame} {words(30, w.rng)}") for _ in range(4)]
    pairs += [w.pair(f"What is {i} + {i}?") for i in range(5)]
    pairs += with_ids("prompt_id", [i // 3 for i in range(30)]) + w.pairs(20)
    plain = families(pairs).family_id
    assert np.bincount(plain).max() >= 3
    for seed in range(3):
        order = random.Random(seed).sample(range(len(pairs)), len(pairs))
        shuffled = families([pairs[i] for i in order])
        assert len(set(zip(plain[order].tolist(), shuffled.family_id.tolist(), strict=True))) == plain.max() + 1
        assert np.unique(shuffled.family_id).tolist() == list(range(plain.max() + 1))
        first = np.unique(shuffled.family_id, return_index=True)[1]
        assert np.all(np.diff(first) > 0)


def test_hostile_text_is_read_in_linear_time() -> None:
    n = 60_000
    texts = [
        "",
        "\0",
        "\0" * 50,
        "\u202e" + "مرحبا كيف حالك اليوم " * 5,
        "\ue000\ue001\ue002",
        "🙂" * 99,
        "\ud800",
        "ﷺ" * 20,
    ]
    long = [mark * n for mark in ["A ", "1.", "a@", "a@b.", "'a", "```", *"a1.@-\"“„«'‘`<[{"]]
    w = World()
    meta = {"id": 10**30, "prompt_id": "\0", "x" * 5000: 1, "": 2, "hash": "h" * n}
    pairs = [w.pair(text, chosen=text, rejected="no", meta=meta) for text in texts + long]
    pairs += [Pair(0, (), (), ()), Pair(0, (Message("system", "s"),), (Message("tool", "t"),), (Message("x", ""),))]
    start = time.process_time()  # of this process alone: other tests run beside it
    made = find_families(pairs, np.arange(len(pairs)))
    assert time.process_time() - start < 10
    assert made.family_id.size == len(pairs)
    json.dumps(made.report(), allow_nan=False)
    assert find_families([], np.array([], dtype=np.int32)).report()["kish_n_eff"] == 0
    with pytest.raises(ValueError, match="component_id"):
        find_families(pairs, np.arange(3))


def test_the_demos_trap_is_found_and_little_else_is_merged() -> None:
    folder = Path(pretilt.__file__).parent / "demo" / "data"
    truth = json.loads((folder / "demo-a-truth.json").read_text(encoding="utf-8"))["rows"]["family"]
    pairs = read_source(folder / "demo-a.jsonl.gz").normalised.pairs
    found = families(pairs).family_id
    together = {(a, b) for a, b in combinations(range(len(pairs)), 2) if found[a] == found[b]}
    trap = {
        (a, b) for a, b in combinations(range(len(pairs)), 2) if truth[a] == truth[b] and truth[a].startswith("trap")
    }
    assert len(trap) == 4 * 55 + 45  # families of 11, 11, 11, 11 and 10
    assert trap <= together
    assert sum(truth[a] != truth[b] for a, b in together) <= 0.02 * len(together)
