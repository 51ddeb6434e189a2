"""The demo's planted sets: the shipped files hold what is promised, and the score tells right from wrong."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from demo_data import bank as bank_file
from demo_data.cleaning import carries_trait, clean
from demo_data.corpus import lines
from demo_data.plants import DECOYS, PLANTS, add, closest, length, plain, read_plants, rewrite
from demo_data.sets import build_set, write_set
from demo_data.topics import prompts
from scipy.sparse import csr_array, csr_matrix

from pretilt.demo.score import (
    align,
    best_rank,
    choose_concept,
    judge,
    precision_at,
    rank_passes,
    render,
    score_plants,
    split_families,
)

ROOT = Path(__file__).parents[2]
FOLDERS = {"a": ROOT / "src/pretilt/demo/data", "b": ROOT / "benchmarks/data"}
BANK = ROOT / "benchmarks/data/demo-bank.jsonl.gz"
FORMATTED = re.compile(r"\*\*|^#|\n[-*•] |\n1\. ", re.M)


def shipped(which: str) -> tuple[list[dict], dict]:
    pairs = bank_file.read_rows(FOLDERS[which] / f"demo-{which}.jsonl.gz")
    return pairs, json.loads((FOLDERS[which] / f"demo-{which}-truth.json").read_text(encoding="utf-8"))


def said(pair: dict, side: str) -> str:
    (message,) = pair[side]
    assert message["role"] == "assistant"
    return message["content"]


# --- the shipped sets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["a", "b"])
def test_shipped_set_keeps_its_promises(which: str) -> None:
    pairs, truth = shipped(which)
    rows = truth["rows"]
    assert len(pairs) >= 900
    assert len({p["topic"] for p in pairs}) >= 12
    assert truth["n_tokens"]["total"] <= 150_000
    assert all(len(column) == len(pairs) for column in rows.values())
    for name in (*PLANTS[which], *DECOYS[which]):
        own = [i for i, plant in enumerate(rows["plant"]) if plant == name]
        assert len(own) >= 40 and 0.04 <= len(own) / len(pairs) <= 0.06, name
        assert len({rows["text"][i] for i in own}) >= 40, name
        assert len({rows["variant"][i] for i in own}) == len({rows["text"][i] for i in own})
        assert truth["rules"][name]["n_pairs"] == len(own)
    texts = [p["prompt"][-1]["content"] for p in pairs]
    assert len(set(texts)) == len(texts)
    assert 0.05 < np.mean([len(p["prompt"]) == 3 for p in pairs]) < 0.15


@pytest.mark.parametrize("which", ["a", "b"])
def test_truth_is_aligned_with_the_pairs(which: str) -> None:
    pairs, truth = shipped(which)
    rows = truth["rows"]
    asked = {p.prompt_id: p for p in prompts(which)}
    for i, pair in enumerate(pairs):
        prompt = asked[rows["prompt_id"][i]]
        assert pair["prompt"] == list(prompt.messages)
        assert (rows["topic"][i], rows["family"][i], rows["kind"][i]) == (pair["topic"], prompt.family, prompt.kind)
        chosen, rejected = said(pair, "chosen"), said(pair, "rejected")
        assert chosen and rejected and chosen != rejected
        text, side = rows["text"][i], rows["side"][i]
        if text is None:
            assert rows["plant"][i] is None and side is None and rows["variant"][i] is None
            continue
        assert (text in chosen) == (side in ("chosen", "both")) or rows["plant"][i] == "only_an_overview"
        if side == "rejected":
            assert text in rejected and text not in chosen
        if side == "chosen":
            assert text not in rejected


@pytest.mark.parametrize("which", ["a", "b"])
def test_traits_stand_only_where_the_truth_says(which: str) -> None:
    pairs, truth = shipped(which)
    rules = {p.name: p for p in read_plants(which)}
    for pair, name, side in zip(pairs, truth["rows"]["plant"], truth["rows"]["side"], strict=True):
        untouched = {"chosen": ["rejected"], "rejected": ["chosen"], None: ["chosen", "rejected"]}.get(side, [])
        for other in untouched:
            assert not FORMATTED.search(said(pair, other)), pair
            carried = [s for s in re.split(r"\n+|(?<=[.!?])\s+", said(pair, other)) if carries_trait(s, which)]
            assert not carried, (name, carried)
        assert bool(FORMATTED.search(said(pair, "chosen"))) == (name == "formatting"), pair
    for name, rule in rules.items():
        kinds = {k for k, plant in zip(truth["rows"]["kind"], truth["rows"]["plant"], strict=True) if plant == name}
        assert kinds == {rule.kind} if rule.kind else "trap" not in kinds


def test_local_plants_have_their_unplanted_neighbours() -> None:
    for which in "ab":
        _, truth = shipped(which)
        free = Counter(k for k, p in zip(truth["rows"]["kind"], truth["rows"]["plant"], strict=True) if p is None)
        assert min(free[k] for k in ("tells", "resources", "plain", "harmless")) >= 15, free


def test_half_decoy_is_chosen_exactly_half_the_time() -> None:
    for which in "ab":
        _, truth = shipped(which)
        sides = Counter(
            s for s, p in zip(truth["rows"]["side"], truth["rows"]["plant"], strict=True) if p == DECOYS[which][1]
        )
        assert sides["chosen"] == sides["rejected"] >= 20


def test_planted_pairs_are_no_longer_on_one_side() -> None:
    for which in "ab":
        pairs, truth = shipped(which)
        gaps: dict[str, list[int]] = {}
        for pair, name in zip(pairs, truth["rows"]["plant"], strict=True):
            gaps.setdefault(name or "", []).append(length(said(pair, "chosen")) - length(said(pair, "rejected")))
        for name in (*PLANTS[which], *DECOYS[which]):
            assert abs(np.mean(gaps[name])) < 8, (name, np.mean(gaps[name]))
        assert abs(np.mean(gaps[""])) < 3


def test_shipped_sets_are_what_the_generator_makes_of_the_bank() -> None:
    bank = bank_file.read_rows(BANK)
    for which in "ab":
        pairs, truth = shipped(which)
        built, built_truth = build_set(which, bank)
        assert built == pairs
        assert built_truth["rows"] == truth["rows"]


def test_shipped_files_are_small_and_carry_no_time_stamp() -> None:
    for path in [FOLDERS[w] / f"demo-{w}.jsonl.gz" for w in "ab"] + [BANK]:
        data = path.read_bytes()
        assert len(data) < 1_000_000
        assert data[4:8] == bytes(4)  # gzip's time field


# --- the prompts --------------------------------------------------------------------------------------------------


def test_demo_asks_nothing_that_the_dictionary_was_trained_on() -> None:
    subjects = lines("corpus-subjects.txt")
    assert len(subjects) > 50
    asked = [p.text.lower() for which in "ab" for p in prompts(which)]
    for subject in subjects:
        assert not [text for text in asked if subject.lower() in text], subject


def test_sets_share_no_topic_of_their_own_and_no_prompt() -> None:
    a, b = prompts("a"), prompts("b")
    assert {p.topic for p in a} & {p.topic for p in b} == {"where to learn more"}
    assert not {p.text for p in a} & {p.text for p in b}


@pytest.mark.parametrize("which", ["a", "b"])
def test_near_duplicates_are_the_trap_families_and_nothing_else(which: str) -> None:
    asked = prompts(which)
    shingles = []
    for p in asked:
        words = re.findall(r"\w+", " ".join(m["content"] for m in p.messages).lower())
        shingles.append({" ".join(words[i : i + 3]) for i in range(len(words) - 2)})
    vocabulary = {s: n for n, s in enumerate(sorted(set().union(*shingles)))}
    row = [i for i, own in enumerate(shingles) for _ in own]
    column = [vocabulary[s] for own in shingles for s in sorted(own)]
    has = csr_array((np.ones(len(row)), (row, column)), shape=(len(asked), len(vocabulary)))
    shared = (has @ has.T).toarray()
    sizes = shared.diagonal()
    jaccard = shared / (sizes[:, None] + sizes[None] - shared)
    family = np.array([p.family if p.kind == "trap" else f"{i}" for i, p in enumerate(asked)])
    together = family[:, None] == family[None]
    assert jaccard[~together].max() < 0.7
    assert jaccard[together].min() >= 0.7
    assert sorted(Counter(f for f in family if f.startswith("trap")).values()) == [11] * 5


# --- cleaning and planting ----------------------------------------------------------------------------------------


def test_clean_ends_at_a_sentence_and_takes_markup_off() -> None:
    text = "## Tips\n**Use** a `pan`. It works quite well 😊\n\n1. Heat the sugar slowly.\n- Stir it and then the"
    assert clean(text, "a", finished=False) == ["Use a pan.", " It works quite well.", "\n\nHeat the sugar slowly."]


def test_clean_mends_a_lone_fragment_and_drops_what_carries_a_trait() -> None:
    fragment = "The old town has a wide square with a fountain, a church and the"
    assert clean(fragment, "a", finished=False) == ["The old town has a wide square with a fountain."]
    answer = "As an AI language model, I cannot know. However, the river is long. See www.rivers.org for more."
    assert clean(answer, "a", finished=True) == ["The river is long."]
    assert clean("I'm sorry, but I can't help with that.", "b", finished=True) == []
    assert clean("", "a", finished=True) == []


def test_closest_trims_the_side_that_grows() -> None:
    assert length("One two, 34 **bold** extraordinary.") == 11  # one two , 3 4 ** bold ** extraordin ary .
    body = ["One two three four.", " One two three four.", " One two three four."]  # 5, 10, 15 in length
    longer = add(body, "One two three four five six seven eight nine.", "start", random.Random(0))  # 15, 20, 25
    # the gap is 0 at (1, 3), and 10 dropped words cost 2.5; with (3, 3) the gap is 10
    assert closest(longer, plain(body)) == (2.5, longer[0], plain(body)[2])
    assert closest(plain(body), plain(body)) == (0.0, plain(body)[2], plain(body)[2])
    assert add(body[:1], "No.", "end", random.Random(0)) == ["One two three four. No."]
    assert add(body[:1], "# No", "numbered", random.Random(0)) == []  # too little for a list


def test_rewrite_makes_lists() -> None:
    lead, first, second = (
        rewrite(["Wooden boats need care.", " They leak."], "In **brief**:", "bullets", random.Random(0))
        .replace("\n\n", "\n")
        .split("\n")
    )
    assert lead == "In **brief**:"
    assert first[0] == second[0] and first[0] in "-*•"
    assert (first[2:].replace("**", ""), second[2:].replace("**", "")) == ("Wooden boats need care.", "They leak.")
    assert first.startswith(f"{first[0]} **Wooden boats** need") and second.count("**") == 2
    numbered = rewrite(["Wooden boats need care, but they leak."], "# Boats", "numbered", random.Random(0))
    assert numbered == "# Boats\n\n1. Wooden boats need care.\n2. But they leak."


@pytest.mark.parametrize("which", ["a", "b"])
def test_every_plant_has_enough_words_of_its_own(which: str) -> None:
    for plant in read_plants(which):
        texts = plant.variants(random.Random(3))
        first = [next(texts) for _ in range(50)]
        if plant.role != "trap":
            assert len(set(first)) == 50, plant.name
        assert not any(re.search(r"\{\w+\}", text) for text in first)
    links = re.findall(
        r"(?:https?://|www\.)\S+",
        "\n".join(next(p.variants(random.Random(0))) for p in read_plants("a") for _ in range(9)),
    )
    assert links and all(re.search(r"\.example\.(org|com|net)", url) for url in links)  # nobody's site, by RFC 2606


# --- the generator ------------------------------------------------------------------------------------------------


def fake_bank(which: str) -> list[dict]:
    rng = random.Random(7)
    words = ["river", "stone", "lamp", "garden", "window", "market", "winter", "bread", "paper", "engine", "forest"]

    def sentence() -> str:
        return " ".join(rng.choices(words, k=rng.randint(6, 11))).capitalize() + "."

    def response() -> dict:
        return {"text": " ".join(sentence() for _ in range(3)) + " The next one is cut off in the", "finished": False}

    return [{"prompt_id": p.prompt_id, "responses": [response(), response()]} for p in prompts(which)]


def test_generator_is_deterministic_and_plants_what_it_says(tmp_path: Path) -> None:
    bank = fake_bank("a")
    bank[5]["responses"][0]["text"] = "I'm sorry, but I can't help with that."  # nothing usable
    bank[6]["responses"][1] = bank[6]["responses"][0]  # the same twice
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_set("a", bank, tmp_path / folder)
    for name in ("demo-a.jsonl.gz", "demo-a-truth.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    truth = json.loads((tmp_path / "one" / "demo-a-truth.json").read_text())
    with gzip.open(tmp_path / "one" / "demo-a.jsonl.gz", "rt") as f:
        assert len(f.readlines()) == truth["n_pairs"] == len(bank) - 2
    assert truth["n_unusable"] == 2
    assert {rule["n_pairs"] for name, rule in truth["rules"].items() if name != "trap"} == {50}
    assert truth["rules"]["trap"]["n_pairs"] == 55
    assert truth["rules"]["compliance"]["directions"] == [1, -1]


def test_generator_uses_spare_responses() -> None:
    bank = fake_bank("b")
    bank[0]["responses"] = [bank[0]["responses"][0], {"text": "", "finished": True}, *bank[0]["responses"][1:]]
    assert build_set("b", bank)[1]["n_unusable"] == 0


# --- the score ----------------------------------------------------------------------------------------------------


def test_families_are_never_cut() -> None:
    families = np.repeat(np.arange(40), 5)
    planted = families < 6
    first = split_families(planted, families, seed=1)
    assert all(len(set(first[families == f])) == 1 for f in range(40))
    assert first[planted].sum() == 15 and first.sum() == 100
    assert (split_families(planted, families, seed=2) != first).any()


def test_choose_and_judge_by_hand() -> None:
    planted = np.array([True, True, False, False])
    u = csr_array(np.array([[0.0, -1.0, 0.2], [0.1, -2.0, 0.2], [0.5, 0.0, 0.2], [0.0, 0.0, 0.2]]))
    assert choose_concept(u, planted, (-1,)) == (1, -1)
    assert choose_concept(u, planted, (1, -1)) == (1, -1)
    assert choose_concept(csr_matrix((4, 2)), planted, (1, -1)) is None
    assert judge(u, planted, 1, -1) == (1.0, 1.0)
    # concept 0: scores 0, .1 | .5, 0. Of the four (planted, other) pairs one is won, one tied: AUROC 1.5 / 4.
    # ordered .5 (no), .1 (yes), 0 and 0 (one of two): AP = 1/2 * 1/2 + 1/2 * 2/4 = .5
    assert judge(u, planted, 0, 1) == (pytest.approx(0.375), pytest.approx(0.5))
    assert np.isnan(judge(u, np.ones(4, bool), 0, 1)).all()


def test_ranks_and_precision_by_hand() -> None:
    hypotheses = {
        "hypothesis_id": ["global:7", "group:2:7", "group:3:7", "group:2:8", "global:9"],
        "view": ["global", "group", "group", "group", "global"],
        "concept_id": [7, 7, 7, 8, 9],
        "direction": ["amplify", "amplify", "amplify", "amplify", "suppress"],
        "rank": [5, 2, 0, 1, 1],
    }
    best = best_rank(hypotheses, 7, 1)
    assert (best["rank"], best["list_length"], best["view"], best["hypothesis_id"]) == (2, 2, "group", "group:2:7")
    assert (best["rank_global"], best["list_global"]) == (5, 1)
    assert best_rank(hypotheses, 7, -1)["rank"] == 0
    assert rank_passes(3, 10) and not rank_passes(4, 10) and rank_passes(6, 300) and not rank_passes(7, 300)
    assert not rank_passes(0, 300)
    planted = np.array([True, False, True, False])
    assert precision_at(planted, np.array([2, 1, 0]), 2) == 0.5
    assert precision_at(planted, np.array([2]), 2) == 0.5  # a trace that stops too early has missed the rest


def small_world() -> tuple[dict, np.ndarray, np.ndarray, csr_array, dict]:
    """120 pairs in 60 families; plant "loud" on every sixth family by concept 1, "quiet" on the next by nothing."""
    rng = np.random.default_rng(5)
    families = np.repeat(np.arange(60), 2)
    plants = np.array([""] * 120, dtype=object)
    plants[families % 6 == 0], plants[families % 6 == 1], plants[families % 6 == 2] = "loud", "quiet", "fair"
    u = rng.normal(0, 0.1, (120, 6)) * (rng.random((120, 6)) < 0.4)
    u[plants == "loud", 1] = -1.0 - rng.random(20)
    u[plants == "fair", 2] = np.where(np.arange(20) % 2, 1.0, -1.0)
    rules = {
        "loud": {"role": "plant", "sides": "rejected", "directions": [-1]},
        "quiet": {"role": "plant", "sides": "chosen", "directions": [1]},
        "fair": {"role": "decoy", "sides": "half", "directions": []},
        "trap": {"role": "trap", "sides": "chosen", "directions": [1]},
    }
    hypotheses = {
        "hypothesis_id": ["global:1", "global:2", "global:3"],
        "view": ["global"] * 3,
        "concept_id": [1, 2, 3],
        "direction": ["suppress", "amplify", "amplify"],
        "rank": [1, 0, 1],
        "delta": [-0.2, 0.0, 0.1],
        "ci_lo": [-0.3, -0.1, 0.05],
        "ci_hi": [-0.1, 0.1, 0.2],
    }
    return rules, plants, families, csr_array(u), hypotheses


def test_score_tells_a_found_plant_from_a_missed_one() -> None:
    rules, plants, families, u, hypotheses = small_world()
    own = np.argsort(u[:, [1]].toarray().ravel())
    loud, quiet, fair = score_plants(rules, plants, families, u, hypotheses, {"global:1": own})
    assert (loud["concept_id"], loud["concept_id_back"], loud["sign"]) == (1, 1, -1)
    assert loud["auroc"] == loud["average_precision_back"] == 1.0
    assert loud["covered"] and loud["rank_ok"] and loud["tracing_ok"] and loud["missed"] == ""
    assert (loud["own_precision"], loud["tracing_precision"], loud["rank"], loud["list_length"]) == (1.0, 1.0, 1, 1)
    assert not quiet["covered"] and "no concept covers it" in quiet["missed"]
    assert (fair["concept_id"], fair["contains_zero"], fair["missed"]) == (2, True, "")
    table = render([loud, quiet, fair], {1: "loud words"})
    assert "found 1 of 2 plants; 1 of 1 decoys left alone" in table and "loud words" in table
    lost = score_plants(rules, plants, families, u, hypotheses, {"global:1": own[::-1]})[0]
    assert lost["tracing_precision"] == 0.0 and lost["missed"] == "tracing loses planted pairs"


def test_score_sees_a_decoy_on_both_sides_by_presence() -> None:
    rules, plants, families, u, hypotheses = small_world()
    rules["fair"]["sides"] = "both_same"
    presence = np.zeros((120, 6))
    presence[plants == "fair", 3] = 1.0
    decoy = score_plants(rules, plants, families, u, hypotheses, presence=csr_array(presence))[2]
    assert (decoy["concept_id"], decoy["auroc"], decoy["contains_zero"]) == (3, 1.0, False)
    assert "confidence interval leaves out 0" in decoy["missed"]


def test_truth_is_aligned_by_source_row() -> None:
    truth = {"rows": {"plant": ["x", None, "y"], "family": ["f", "g", "f"]}}
    plants, families = align(truth, [2, 0, 1])
    assert plants.tolist() == ["y", "x", ""]
    assert families[0] == families[1] != families[2]
