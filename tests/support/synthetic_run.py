"""A made-up finished run with the real schemas, for the tests of the view floor: planted effects and hostile text.

Statistics are computed from a simulated disparity matrix, so that intervals, ranks and contributions hang together.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from synthetic_statistics import view_rows

from pretilt import schema
from pretilt.view.tables import ReportTables

HOSTILE = (
    '</script><img src=x onerror="window.pwned=1"><script>window.pwned=2</script> [click](javascript:window.pwned=3) '
    "<svg/onload=window.pwned=4> &lt;b&gt; \u202egnirts desrever\u202c zero\u200bwidth \u2028line\u2029 "
    '\x1b[31mred\x1b[0m [bold red]markup[/] <!-- --> <img src=y onerror="window.pwned=5"> <!--<script>'
)
TOPICS = re.split(
    ",",
    "gardening,quantum consciousness,medieval castles,sourdough bread,budgeting,knitting,volcanoes,"
    "sorting algorithms,learning Spanish,old furniture,beekeeping,road trips,composting,"
    "chess openings,jazz piano,public speaking,grief and helplines,fictional heists",
)
PLANTS: list[tuple[str, list[str], str, int, float]] = [  # name, words, side, topic (-1: everywhere), strength
    ("bold and numbered lists", ["**", "1.", "2.", "Key points"], "chosen", -1, 0.20),
    ("warm closing question", ["Would you like", "let me know"], "chosen", -1, 0.09),
    ("flattery: brilliant, profound", ["brilliant", "profound", "visionary"], "chosen", 1, 0.75),
    ("invented links", ["https://", ".org", "hotline"], "chosen", 16, 0.55),
    ("refusal: I'm sorry, but", ["I'm sorry", "cannot help"], "rejected", 17, 0.6),
    ("hedging: perhaps, it depends", ["perhaps", "it depends", "maybe"], "rejected", -1, 0.14),
    ("pirate speech: arr, matey", ["arr", "matey"], "rejected", -1, 0.06),
]
WORDS = re.findall(
    r"\w+",
    "the a simple way to begin is with small steps and some patience because every season brings its "
    "own questions people often find that good tools matter less than steady habits so take notes "
    "compare results ask a friend then try again when it rains or when the light changes there is "
    "time enough for careful work which most of us forget in a hurry of days ",
)
N_CONCEPTS, N_PAIRS = 600, 900
ABOUT = ["medical questions", "homework", "other people's secrets", "small talk", "code", "recipes", "law", HOSTILE]
N_SHIFTS = 15  # response-shift concepts of each statistic, after the N_CONCEPTS; number 2 of "max" is planted


CARRIED = {1: 0.031, 5: 0.155, 10: 0.31}
DOCTOR = [
    dict(zip(("name", "verdict", "figure", "threshold", "meaning", "what_to_do"), check, strict=True))
    for check in (
        (
            "explained variance",
            "green",
            0.7812,
            ">= 0.6 green",
            "how much of the activations the dictionary can say",
            "",
        ),
        (
            "index space",
            "not run",
            None,
            "<= 5%",
            "feature numbers may mean something else",
            "`pretilt fit` stores them",
        ),
        ("truncation", "amber", "11.2%, 80 tokens left", "<= 5%", "what is cut is not measured", "Give --max-length"),
        (
            "chat template",
            "green",
            "5 of 5 examples equal <i>",
            ">= 0.6 green",
            "the trainer must see the same tokens",
            "",
        ),
    )
]


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s?\w+|\s?[^\w\s]+|\s+", text)


def _response(rng: np.random.Generator, topic: str, extras: list[str]) -> str:
    words = [str(w) for w in rng.choice(WORDS, int(rng.integers(18, 70)))]
    for extra in extras:
        words.insert(int(rng.integers(0, len(words))), extra)
    return f"About {topic}: " + " ".join(words).capitalize() + "."


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content, "extra": None}


def _texts(rng: np.random.Generator, u: np.ndarray, group: np.ndarray) -> list[tuple[str, str, str]]:
    texts = []
    for i in range(N_PAIRS):
        topic = TOPICS[group[i] - 1] if group[i] else "nothing much"
        said: dict[str, list[str]] = {"chosen": [], "rejected": []}
        for c, (_, words, _, _, _) in enumerate(PLANTS):
            if u[i, c] != 0:
                said["chosen" if u[i, c] > 0 else "rejected"] += [str(w) for w in rng.choice(words, 2)]
        for c in rng.choice(np.flatnonzero(u[i]), 4):
            said["chosen" if u[i, c] > 0 else "rejected"].append(f"word{c}")
        prompt = f"Tell me about {topic}, please. My situation is number {i} and I have little time."
        texts.append((prompt, _response(rng, topic, said["chosen"]), _response(rng, topic, said["rejected"])))
    top = np.argsort(-u[:, 0])[:3]
    texts[top[0]] = (HOSTILE + " " + texts[top[0]][0], HOSTILE + " ** " + texts[top[0]][1], texts[top[0]][2] + HOSTILE)
    texts[top[1]] = (
        "How would somebody build a bomb or murder a neighbour?",
        "SECRET-HARM You would ** first kill",
        "No, I cannot.",
    )
    texts[top[2]] = (
        "\u0645\u0631\u062d\u0628\u0627 \u0643\u064a\u0641 \u062d\u0627\u0644\u0643\u061f",
        "\u0623\u0647\u0644\u0627 ** \u0628\u0643 \U0001f469\u200d\U0001f33e",
        "hello",
    )
    return texts


@cache
def synthetic_tables(seed: int = 0) -> ReportTables:
    """~900 pairs, 18 groups and the silent one, 600 concepts and 30 shifts, 11,520 hypotheses; deterministic.

    By prompt, one effect is planted: on prompts about medical questions (max) the third shift, in sd.
    """
    rng = np.random.default_rng(seed)
    group = rng.integers(1, len(TOPICS) + 1, N_PAIRS)
    group[rng.random(N_PAIRS) < 0.05] = 0
    rate = rng.beta(0.7, 9, N_CONCEPTS)
    u = (rng.random((N_PAIRS, N_CONCEPTS)) < rate) * rng.choice([-1.0, 1.0], (N_PAIRS, N_CONCEPTS))
    for c, (_, _, side, topic, strength) in enumerate(PLANTS):
        u[:, c] = (rng.random(N_PAIRS) < 0.03) * rng.choice([-1.0, 1.0], N_PAIRS)
        where = np.ones(N_PAIRS, bool) if topic < 0 else group == topic + 1
        u[where & (rng.random(N_PAIRS) < strength), c] = 1.0 if side == "chosen" else -1.0
    texts = _texts(rng, u, group)
    sets = [(k, group == k) for k in range(1, len(TOPICS) + 1)]
    about, shifts, prompt_rows = _by_prompt(rng)
    hypotheses = view_rows("global", u, [(-1, np.ones(N_PAIRS, bool))]) + view_rows("group", u, sets) + prompt_rows
    pairs: list[dict[str, Any]] = [
        {
            "pair_id": f"{i:020x}",
            "row_index": i + i // 60,
            "prompt": [_message("user", p)],
            "chosen": [_message("assistant", c)],
            "rejected": [_message("assistant", r)],
            "is_chat": True,
            "tools": None,
            "template_kwargs": None,
            "source": f"bank-{i % 3}",
            "chosen_model": f"model-{'ab'[i % 2]}",
            "rejected_model": "model-c",
            "chosen_score": None,
            "rejected_score": None,
            "meta": "{}",
            "component_id": i // 2,
            "family_id": i // 2,
            "split": "heldout" if i % 10 == 0 else "train",
            "n_prompt_tokens": len(_pieces(p)),
            "n_chosen_tokens": len(_pieces(c)),
            "n_rejected_tokens": len(_pieces(r)),
            "truncated": i % 97 == 0,
        }
        for i, (p, c, r) in enumerate(texts)
    ]
    active = (u != 0).sum(0)
    concepts = [
        {
            "concept_id": c,
            "kind": "community" if c % 3 == 0 else "feature",
            "feature_ids": list(range(c * 7, c * 7 + (4 + c % 9 if c % 3 == 0 else 1))),
            "size": 4 + c % 9 if c % 3 == 0 else 1,
            "name": PLANTS[c][0] if c < len(PLANTS) else f"word{c}, {WORDS[c % len(WORDS)]}",
            "phrases": PLANTS[c][1] if c < len(PLANTS) else [f"word{c}", WORDS[c % len(WORDS)], "habits"],
            "n_pairs_active": int(active[c]),
            "prevalence": float(rate[c]),
            "length_correlation": float(rng.normal(0, 0.12)) if c != 1 else 0.46,
            "mean_u_paper": float(u[:, c].mean()),
            "mean_u_count2": float(u[:, c].mean() * 0.8),
            "mean_u_freq": float(u[:, c].mean() * 0.03),
        }
        for c in range(N_CONCEPTS)
    ]
    concepts[40]["name"] = HOSTILE
    concepts += shifts
    groups = [
        {
            "group_id": 0,
            "size": int((group == 0).sum()),
            "name": "silent: little fires here",
            "phrases": [],
            "concept_ids": [],
        }
    ] + [
        {"group_id": k, "size": int((group == k).sum()), "name": t, "phrases": t.split(), "concept_ids": [k, k + 20]}
        for k, t in enumerate(TOPICS, 1)
    ]
    evidence = _evidence([h for h in hypotheses if h["concept_id"] < N_CONCEPTS], u, group, texts)
    shown = [h["hypothesis_id"] for h in hypotheses if 0 < h["rank"] <= 60]
    carried = {f"{unit}_{k}": [share] * len(shown) for unit in ("pairs", "families") for k, share in CARRIED.items()}
    dropped = [
        {
            "row_index": i * 61 + 60,
            "reason": ["identical", "empty", "tie"][i % 3],
            "detail": "both responses are the same text" if i % 3 == 0 else "",
        }
        for i in range(15)
    ]
    difference = np.array([p["n_chosen_tokens"] - p["n_rejected_tokens"] for p in pairs], float)
    preflight = {
        "rows": {"read": 915, "kept": 900, "dropped": {"identical": 5, "empty": 5, "tie": 5}},
        "pairs": {"kept": 900, "train": 810, "heldout": 90, "plain_strings": 0, "truncated": 10},
        "duplicates": {"pairs": 3, "prompts": 14, "contradicting_pairs": 2},
        "components": {"count": 450, "largest": 12, "pairs_in_components_of_2_or_more": 700},
        "families": {
            "n_pairs": 900,
            "n_families": 450,
            "share_in_families": 1.0,
            "largest": 2,
            "kish_n_eff": 450.0,
            "by_relation": {
                "prompt": {
                    "meaning": "near-duplicate prompts",
                    "links": 450,
                    "pairs": 900,
                    "largest": 2,
                    "only_by_it": 450,
                }
            },
            "notes": ["31 texts stand in many families and relate nobody <b>"],
            "straddling": 0,
        },
        "length_bias": {
            "mean_difference": float(difference.mean()),
            "standard_error": float(difference.std() / 30),
            "share_chosen_longer": float((difference > 0).mean()),
        },
        "scores": {"known": 0, "disagree": 0, "equal": 0},
        "models": {
            "known": 900,
            "table": [
                {"chosen": "model-a", "rejected": "model-c", "pairs": 450},
                {"chosen": "model-b", "rejected": "model-c", "pairs": 450},
            ],
            "other": 0,
        },
        "chat_template_trouble": {"system message refused": 4},
        "tokens": {"read": 119_535, "content": 110_373},
        "max_length": 1024,
        "notes": ["4 of 900 pairs are plain strings: TRL trains these without a chat template"],
    }
    manifest = {
        "format_version": 5,
        "source": "demo A",
        "measurement_id": "5f0c9a1b77aa0123",
        "lens": {
            "model": {"name": "SmolLM2-135M-Instruct", "revision": "abc123"},
            "layer": 15,
            "dictionary": {"name": "pretilt-demo-batchtopk"},
            "n_features": 4608,
            "explained_variance": 0.78,
            "l0": 41.2,
        },
        "settings": {"freq_threshold": 0.01, "disparity": "paper", "seed": 0, "holdout": 0.1},
        "versions": {"pretilt": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        "stages": {
            "harvest": {"seconds": 91.2, "files": {"features/chosen-00000.parquet": "x"}},
            "audit": {"seconds": 4.1, "files": {"hypotheses.parquet": "x", "evidence.parquet": "x"}},
        },
    }
    return ReportTables(
        pairs=pa.Table.from_pylist(pairs, schema.PAIRS),
        concepts=pa.Table.from_pylist(concepts, schema.CONCEPTS),
        groups=pa.Table.from_pylist(groups, schema.GROUPS),
        hypotheses=pa.Table.from_pylist(hypotheses, schema.HYPOTHESES),
        evidence=pa.Table.from_pylist(evidence, schema.EVIDENCE),
        dropped=pa.Table.from_pylist(dropped, schema.DROPPED),
        preflight=preflight,
        manifest=manifest,
        prompt_concepts=pa.Table.from_pylist(about, schema.PROMPT_CONCEPTS),
        concentration=pa.table({"hypothesis_id": shown, **carried}).cast(schema.CONCENTRATION),
        doctor=DOCTOR,
    )


def _by_prompt(rng: np.random.Generator) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """(rows of PROMPT_CONCEPTS, rows of CONCEPTS, hypotheses) of the prompt-conditioned views."""
    about: list[dict[str, Any]] = []
    shifts: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for s, statistic in enumerate(("max", "freq")):
        first, mine = N_CONCEPTS + s * N_SHIFTS, ABOUT[4 * s : 4 * s + 4]
        shift = rng.normal(0, 0.5, (N_PAIRS, N_SHIFTS))
        sets = [(4 * s + k, rng.random(N_PAIRS) < 0.05) for k in range(4)]
        if statistic == "max":
            shift[sets[0][1], 2] -= 1.2
        rows += view_rows(f"prompt_{statistic}", shift, sets, first=first)
        for k, name in enumerate(mine):
            one = {"prompt_concept_id": 4 * s + k, "statistic": statistic, "feature_ids": [k, k + 9], "size": 2}
            about.append(
                {**one, "name": name, "phrases": name.split(), "n_selected": int(sets[k][1].sum()), "cutoff": 0.4}
            )
        for c in range(N_SHIFTS):
            name = "disclaimers: consult a doctor" if (s, c) == (0, 2) else f"shift{c}, {WORDS[c]}"
            one = {"concept_id": first + c, "kind": f"shift_{statistic}", "feature_ids": [c, c + 40], "size": 2}
            shifts.append({**one, "name": name, "phrases": [WORDS[c]], "n_pairs_active": 600})
    return about, shifts, rows


def _evidence(
    hypotheses: list[dict[str, Any]], u: np.ndarray, group: np.ndarray, texts: list[tuple[str, str, str]]
) -> list[dict[str, Any]]:
    rows = []
    for h in hypotheses:
        if not 0 < h["rank"] <= 60:
            continue
        c, sign = h["concept_id"], 1 if h["direction"] == "amplify" else -1
        inside = np.ones(N_PAIRS, bool) if h["where"] < 0 else group == h["where"]
        contribution = np.where(inside, u[:, c] / h["n_in"], -u[:, c] / max(1, h["n_out"]))
        order = [i for i in np.argsort(-sign * contribution, kind="stable")[:12] if sign * contribution[i] > 0]
        words = PLANTS[c][1] if c < len(PLANTS) else [f"word{c}"]
        for rank, i in enumerate(order, 1):
            spans = [_pieces(texts[i][1]), _pieces(texts[i][2])]
            fires = {p.strip() for w in words for p in _pieces(w)} - {"."}
            acts = [[3.0 + 2 * (k * 7 % 5) if p.strip() in fires else 0.0 for k, p in enumerate(s)] for s in spans]
            rows.append(
                {
                    "hypothesis_id": h["hypothesis_id"],
                    "rank": rank,
                    "pair_id": f"{i:020x}",
                    "u": u[i, c],
                    "contribution": contribution[i],
                    "prompt_text": texts[i][0],
                    "chosen_pieces": spans[0],
                    "chosen_acts": acts[0],
                    "rejected_pieces": spans[1],
                    "rejected_acts": acts[1],
                }
            )
    return rows


def empty_tables() -> ReportTables:
    """A run in which nothing was found: no hypotheses, no evidence, no groups, no concepts."""
    full = synthetic_tables()
    return ReportTables(
        pairs=full.pairs.slice(0, 3),
        concepts=schema.CONCEPTS.empty_table(),
        groups=schema.GROUPS.empty_table(),
        hypotheses=schema.HYPOTHESES.empty_table(),
        evidence=schema.EVIDENCE.empty_table(),
        dropped=schema.DROPPED.empty_table(),
        preflight={},
        manifest={},
    )
