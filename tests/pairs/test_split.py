"""Near-duplicate components against exact Jaccard, and the promises of the held-out split."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pretilt.errors import UserError
from pretilt.pairs.pair import Message, Pair
from pretilt.pairs.split import near_duplicate_components, split_pairs

LONG = "please explain to me in a few short words how the tides of the sea follow the moon around the turning earth"


def ask(text: str, system: str | None = None) -> Pair:
    before = (Message("system", system),) if system else ()
    answers = (Message("assistant", "yes"),), (Message("assistant", "no"),)
    return Pair(0, (*before, Message("user", text)), *answers)


def unrelated(n: int, seed: int = 0, words: int = 12) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(f"w{rng.randrange(100_000)}" for _ in range(words)) for _ in range(n)]


def together(*texts: str) -> bool:
    return len(set(split_pairs([ask(t) for t in texts]).component_id.tolist())) == 1


def test_what_is_a_near_duplicate() -> None:
    assert together(LONG, LONG.replace("short", "simple"))  # 3 of 21 3-grams differ: Jaccard 18 / 24 = 0.75
    assert not together(LONG, LONG.replace("short", "simple").replace("moon", "sun"))  # 15 / 27 = 0.56
    assert together(LONG, LONG.upper() + " ?!")
    assert together("Hi there", "  hi   THERE! ")
    assert not together("What is 2 + 2?", "What is 2 * 2?")  # too short for shingles: equality, signs included
    assert not together("Tell me a joke", "Tell me a story")
    chinese = "请用几句简短的话解释一下海洋的潮汐是怎样跟随月亮运动的好吗谢谢你的帮助我很感激你"
    assert together(chinese, chinese.replace("简", "很"))
    assert not together("🙂", "🙁")


def test_a_shared_system_message_joins_nothing() -> None:
    pairs = [ask(text, system=LONG * 5) for text in unrelated(30)]
    assert split_pairs(pairs).component_id.tolist() == list(range(30))


def test_components_are_those_of_exact_jaccard() -> None:
    """Families of near-copies among unrelated prompts, against all exact Jaccard similarities of word 3-grams."""
    rng = random.Random(1)
    texts = unrelated(150, words=60)
    for base in texts[:40]:
        for _ in range(rng.randint(1, 4)):
            words = base.split()
            words[rng.randrange(60)] = "changed"  # at most 3 of 58 3-grams: Jaccard >= 0.89
            texts.append(" ".join(words))
        words = base.split()
        for at in range(5, 60, 5):
            words[at] = "changed"  # 33 of 58 3-grams: Jaccard below 0.3
        texts.append(" ".join(words))
    grams = [{tuple(w[i : i + 3]) for i in range(len(w) - 2)} for w in (t.split() for t in texts)]
    expected = np.arange(len(texts))
    for i, a in enumerate(grams):
        for j, b in enumerate(grams[:i]):
            if len(a & b) / len(a | b) >= 0.7:
                expected[expected == expected[i]] = expected[j]
    got = near_duplicate_components(texts)
    assert np.array_equal(got[:, None] == got[None, :], expected[:, None] == expected[None, :])


def test_a_chain_is_one_component() -> None:
    """Neighbours are near-duplicates, the ends are not: a component is what links connect."""
    words = [f"w{i}" for i in range(60)]
    chain = []
    for step in range(20):
        words[step * 3] = "changed"
        chain.append(" ".join(words))
    assert together(*chain)
    assert not together(chain[0], chain[-1])


def test_components_are_never_split_and_ten_percent_are_held_out() -> None:
    pairs = [ask(t + tail) for t in unrelated(400, words=40) for tail in ("", " now")]
    made = split_pairs(pairs, holdout=0.1, seed=3)
    assert made.component_id.max() == 399
    assert len(set(made.component_id[made.heldout].tolist())) == 40
    assert not set(made.component_id[made.heldout].tolist()) & set(made.component_id[~made.heldout].tolist())
    assert made.component_id[:4].tolist() == [0, 0, 1, 1]  # by first appearance


def test_the_choice_depends_on_seed_and_text_not_on_order() -> None:
    texts = unrelated(300)
    order = list(range(300))
    random.Random(5).shuffle(order)
    plain = split_pairs([ask(t) for t in texts], seed=1).heldout
    shuffled = split_pairs([ask(texts[i]) for i in order], seed=1).heldout
    assert np.array_equal(plain[order], shuffled)
    assert not np.array_equal(plain, split_pairs([ask(t) for t in texts], seed=2).heldout)


def test_at_least_150_prompts_where_there_are_1500() -> None:
    assert split_pairs([ask(t) for t in unrelated(1500)], holdout=0.02).heldout.sum() == 150
    assert split_pairs([ask(t) for t in unrelated(1499)], holdout=0.02).heldout.sum() == 30
    assert split_pairs([ask(t) for t in unrelated(1500)], holdout=0).heldout.sum() == 0


def test_few_pairs_and_giant_components() -> None:
    few = split_pairs([ask(t) for t in unrelated(19)])
    assert not few.heldout.any()
    assert "19 pairs are too few, 20 are needed" in few.notes[0]
    giant = split_pairs([ask(f"{LONG} {i}") for i in range(50)])
    assert giant.component_id.max() == 0
    assert not giant.heldout.any()
    assert "50 of 50 pairs" in giant.notes[0]
    for seed in range(10):  # half of the pairs are one component: it is never held out, whatever the lot
        mixed = split_pairs([ask(f"{LONG} {i}") for i in range(50)] + [ask(t) for t in unrelated(50)], seed=seed)
        assert not mixed.heldout[:50].any()
        assert 1 <= mixed.heldout[50:].sum() <= 10
    same = split_pairs([ask("the very same question again") for _ in range(30)])
    assert same.component_id.max() == 0


def test_holdout_out_of_range() -> None:
    with pytest.raises(UserError, match=r"holdout is 0\.7"):
        split_pairs([ask("a")], holdout=0.7)
