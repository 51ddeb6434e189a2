"""What one pair teaches: the concepts on which it is unusual, and the hypotheses that it carries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.artifacts import finite
from pretilt.audit.evidence import make_tracer, scores_of
from pretilt.events import Events
from pretilt.lens.blocks import train_rows
from pretilt.lens.tokens import PairTokens
from pretilt.run import Run
from pretilt.schema import (
    CONCEPTS_FILE,
    GROUP_MEMBERS_FILE,
    HYPOTHESES_FILE,
    IN_GROUPS,
    OVER_ALL_PAIRS,
    PAIRS_FILE,
    PROMPT_CONCEPTS_FILE,
    PROMPT_MEMBERS_FILE,
    VIEWS,
)
from pretilt.settings import AuditSettings
from pretilt.stats.sure import COLUMNS as SURE_COLUMNS
from pretilt.stats.sure import is_sure
from pretilt.trace.parts import concepts_of, name_of, place_of, quotes_of, tokens_of
from pretilt.trace.types import Lesson, PairTrace, Unusual

USUAL_PAIRS = 4096  # training pairs, evenly spaced, against which a pair's scores are held
RARE = 0.05  # share of them that may be as strong on a concept for it to be unusual
STRONGEST = 4  # tokens named of a pair for each hypothesis


def trace_pair(run: Run, settings: AuditSettings, pair_id: str, n: int, tokens: bool, events: Events) -> PairTrace:
    """Everything about one pair of the run; a held-out one has no lessons, since nothing was tested on it."""
    quote = quotes_of(run, settings, [pair_id])[pair_id]
    is_pair = pc.equal(run.table(PAIRS_FILE, ["pair_id"])["pair_id"], pair_id).to_numpy()
    n_concepts = run.table(CONCEPTS_FILE, ["concept_id"]).num_rows
    scores = scores_of(run, settings, range(n_concepts), is_pair)
    u = np.array([scores[concept][0][0] for concept in range(n_concepts)])
    members = run.table(GROUP_MEMBERS_FILE)
    group_id = members.filter(pc.equal(members["pair_id"], pair_id))["group_id"][0].as_py()
    topics = _topics(run, pair_id)
    everywhere: list[Lesson] = []
    in_places: list[Lesson] = []
    if quote.split == "train":
        places = {view: [group_id] for view in IN_GROUPS}
        for topic in topics:
            places.setdefault(f"prompt_{topic['statistic']}", []).append(topic["prompt_concept_id"])
        carried = _carried(run, u, places)
        lists = [
            _first([row for row in carried if (row["view"] in OVER_ALL_PAIRS) == overall], n)
            for overall in (True, False)
        ]
        everywhere, in_places = _lessons(run, settings, pair_id, u, lists, tokens, events)
    group = place_of(run, "group", group_id)
    return PairTrace(quote, group_id, group, topics, _unusual(run, settings, is_pair, u, n), everywhere, in_places)


def _topics(run: Run, pair_id: str) -> list[dict[str, Any]]:
    """The prompt concepts that the pair's prompt is about, best score first."""
    members = run.table(PROMPT_MEMBERS_FILE)
    of_the_pair = members.filter(pc.equal(members["pair_id"], pair_id)).select(["prompt_concept_id", "score"])
    named = of_the_pair.join(
        run.table(PROMPT_CONCEPTS_FILE, ["prompt_concept_id", "statistic", "name"]), "prompt_concept_id"
    )
    rows = named.sort_by([("score", "descending"), ("prompt_concept_id", "ascending")])
    return [{**row, "name": name_of(row, "prompt concept", row["prompt_concept_id"])} for row in rows.to_pylist()]


def _unusual(run: Run, settings: AuditSettings, is_pair: np.ndarray, u: np.ndarray, n: int) -> list[Unusual]:
    """Concepts on which few training pairs are as strong, the rarest first; ties by |u| over its root mean square."""
    other_rows = np.flatnonzero(train_rows(run) & ~is_pair)
    active = np.flatnonzero(u).tolist()
    if not other_rows.size or not active:
        return []
    sampled = np.zeros(is_pair.size, bool)
    sampled[other_rows[np.linspace(0, other_rows.size - 1, min(other_rows.size, USUAL_PAIRS)).astype(int)]] = True
    rare = []
    for concept, (usual, _) in scores_of(run, settings, active, sampled).items():
        tail = float((np.abs(usual) >= abs(u[concept])).mean())
        if tail <= RARE:
            rare.append((tail, -abs(u[concept]) / max(float(np.sqrt((usual**2).mean())), 1e-300), concept))
    best = sorted(rare)[:n]
    named = concepts_of(run, [concept for _, _, concept in best])
    return [
        Unusual(concept, name_of(named[concept], "concept", concept), named[concept]["kind"], float(u[concept]), tail)
        for tail, _, concept in best
    ]


def _carried(run: Run, u: np.ndarray, places: dict[str, list[int]]) -> list[dict[str, Any]]:
    """Shown hypotheses over all pairs and in the places, to which the pair contributes in their own direction."""
    names = [
        "hypothesis_id",
        "view",
        "where",
        "concept_id",
        "n_in",
        "delta",
        "shown",
        "direction",
        "rank",
        *SURE_COLUMNS,
    ]
    table = run.table(HYPOTHESES_FILE, names)
    table = table.filter(table["shown"])
    where, applies = table["where"].to_numpy(), np.zeros(table.num_rows, bool)
    for view in VIEWS:
        of_view = pc.equal(table["view"], view).to_numpy()
        applies |= of_view if view in OVER_ALL_PAIRS else of_view & np.isin(where, places.get(view, []))
    table = table.filter(pa.array(applies))
    # A pair inside weighs 1 / n_in (`Places.weights`); over all pairs n_in is their number.
    contribution = u[table["concept_id"].to_numpy()] / table["n_in"].to_numpy()
    table = table.append_column("contribution", pa.array(contribution))
    rows: list[dict[str, Any]] = table.filter(pa.array(contribution * table["delta"].to_numpy() > 0)).to_pylist()
    return rows


def _first(rows: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """The sure ones by share of delta, then the others by rank: a share of what may be chance says nothing."""

    def key(row: dict[str, Any]) -> tuple[bool, float, int, str]:
        share = row["contribution"] / row["delta"] if is_sure(row) else 0.0
        return not is_sure(row), -share, row["rank"], row["hypothesis_id"]

    return sorted(rows, key=key)[:n]


def _lessons(
    run: Run, settings: AuditSettings, pair_id: str, u: np.ndarray, lists: list[list[dict[str, Any]]],
    tokens: bool, events: Events,
) -> list[list[Lesson]]:  # fmt: skip
    concept_ids = sorted({row["concept_id"] for rows in lists for row in rows})
    if not concept_ids:
        return [[] for _ in lists]
    tracer, named = make_tracer(run, settings, concept_ids), concepts_of(run, concept_ids)
    u_of_key = {(pair_id, concept): float(u[concept]) for concept in concept_ids}
    read = tokens_of(run, settings, u_of_key, events) if tokens else {}

    def lesson(row: dict[str, Any]) -> Lesson:
        concept, delta = row["concept_id"], row["delta"]
        shares = tracer.contributions(row["view"], row["where"], concept) * np.sign(delta)
        share = shares[tracer.pair_ids.index(pair_id)]
        return Lesson(
            hypothesis_id=row["hypothesis_id"],
            concept=name_of(named[concept], "concept", concept),
            kind=named[concept]["kind"],
            place=place_of(run, row["view"], row["where"]),
            direction=row["direction"],
            delta=delta,
            rank=row["rank"],
            lfsr=finite(row["lfsr"]),
            is_sure=is_sure(row),
            contribution=row["contribution"],
            share=row["contribution"] / delta,
            pair_rank=1 + int((shares > share).sum()),
            fires_on=_strongest(read.get((pair_id, concept)), row["contribution"] > 0),
        )

    return [[lesson(row) for row in rows] for rows in lists]


def _strongest(read: PairTokens | None, in_chosen: bool) -> list[str]:
    """The tokens on which it fires most, of the response that shows it more."""
    if read is None:
        return []
    pieces, acts = (read.chosen_pieces, read.chosen_acts) if in_chosen else (read.rejected_pieces, read.rejected_acts)
    order = np.argsort(-np.asarray(acts, float), kind="stable")
    texts = [pieces[i].strip() for i in order if acts[i] > 0]
    return list(dict.fromkeys(text for text in texts if text))[:STRONGEST]
