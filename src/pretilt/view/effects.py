"""One hypothesis in a form to be read out: names for its ids, and a sentence no bolder than its numbers."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pretilt.artifacts import finite
from pretilt.schema import DETECTOR, IN_GROUPS, LISTED, OVER_ALL_PAIRS, PATTERN
from pretilt.stats.sure import is_sure, sure_rows
from pretilt.text import counted, mask_slurs
from pretilt.view.certainty import POINTS, side_inside, signed, verdict
from pretilt.view.clear_names import is_vague, without_number
from pretilt.view.tables import ReportTables, n_train

__all__ = [
    "Effect",
    "Labels",
    "effect_id",
    "folded_effects",
    "in_words",
    "interval",
    "merged",
    "n_shown",
    "prints_as_zero",
    "shortlist",
    "shown_rows",
    "signed",
    "spread",
    "unit_of",
]

NAME_COLUMNS = ("concept_id", "kind", "name", "name_score")
FOLLOWS_LENGTH = 0.3  # |correlation| with the length difference from which a person is warned
MOST_UNSURE = 3  # rows told of a list in which nothing is sure
PLACES = {
    "patterns": ["pattern", "detector"],
    "everywhere": ["global"],
    "groups": ["pattern_group", "detector_group", "group"],
    "prompts": ["prompt_max", "prompt_freq"],
}


@dataclass(frozen=True)
class Effect:
    """One hypothesis in a form to be read out; + = amplify.

    `effect` with `lo`, `hi` is the posterior mean with its 95 % interval, or where there is none `delta` with its
    confidence interval. `unit`: "" where u is the disparity, in [-1, 1]; "sd" where it is the shift of the features in
    their standard deviations.
    """

    hypothesis_id: str
    view: str
    direction: str
    rank: int
    concept_id: int
    concept: str
    name_kind: str | None  # what the name is made of, as in concepts.parquet
    name_score: float | None  # how well it detects the concept in families that did not choose it
    contexts: list[str]  # up to three places where it fires, marked «so»
    alike: list[str]  # hypothesis_id of those of the same list for which this one stands
    phrases: list[str]
    n_features: int
    where: int
    place: str  # name of the group or prompt concept; "" for global rows
    statistic: str  # "max" | "freq" of the prompt views, else ""
    unit: str
    effect: float
    lo: float | None
    hi: float | None
    delta: float
    ci_lo: float | None
    ci_hi: float | None
    mean_in: float | None
    mean_out: float | None
    side_inside: int | None  # which side shows it more inside of the place: 1 chosen, -1 rejected, 0 neither
    n_in: int
    n_out: int
    family_n: int | None
    n_eff: float | None
    lfsr: float | None
    q_value: float | None
    is_sure: bool  # by the rule of `stats/sure.py`
    level: str  # "sure" | "probably" | "unsure" | "unknown"
    how_sure: str  # a sentence
    cautions: list[str]
    pattern: str | None  # name of the pattern, None for a concept of features
    share_chosen: float | None  # over all training pairs: the responses in which it fires, or the pattern stands
    share_rejected: float | None
    per_100_words: float | None  # of a pattern, occurrences, chosen less rejected
    share_of_pairs: float | None  # of the training pairs, those in which the concept fires in either response
    follows_length: bool
    sentence: str


def interval(lo: float | None, hi: float | None) -> str:
    return "" if lo is None or hi is None else f"[{signed(lo)}, {signed(hi)}]"


def effect_id(concept_id: int, kind: str | None) -> str:
    """What `trace` takes for a concept over all pairs: a response-shift concept is not tested there."""
    if kind in (PATTERN, DETECTOR):
        return f"{kind}:{concept_id}"
    return f"concept:{concept_id}" if unit_of(kind) else f"global:{concept_id}"


def unit_of(kind: str | None) -> str:
    """The unit of a concept's u, by its kind."""
    return "sd" if (kind or "").startswith("shift_") else ""


def written_unit(kind: str | None) -> str:
    """The unit in which a sentence on the terminal gives an effect: shares of answers in percentage points."""
    return POINTS if kind in (PATTERN, DETECTOR) else unit_of(kind)


class Labels:
    """Names of concepts, groups and prompt concepts by id, with slurs masked."""

    def __init__(self, tables: ReportTables) -> None:
        self.concepts: dict[int, dict[str, Any]] = {c["concept_id"]: c for c in tables.concepts.to_pylist()}
        self.groups: dict[int, dict[str, Any]] = {g["group_id"]: g for g in tables.groups.to_pylist()}
        self.prompts: dict[int, dict[str, Any]] = {
            p["prompt_concept_id"]: p for p in tables.prompt_concepts.to_pylist()
        }
        self.n_train = n_train(tables.pairs)
        self._given_names = tables.given_names

    def concept(self, concept_id: int) -> str:
        name = self._given_names.get(concept_id) or self.concepts.get(concept_id, {}).get("name")
        return mask_slurs(name or f"concept {concept_id}")

    def place(self, view: str, where: int) -> str:
        if view in OVER_ALL_PAIRS or where < 0:
            return ""
        names_of, noun = (self.groups, "group") if view in IN_GROUPS else (self.prompts, "prompt concept")
        return mask_slurs(names_of.get(where, {}).get("name") or f"{noun} {where}")

    def unit(self, concept_id: int) -> str:
        return unit_of(self.concepts.get(concept_id, {}).get("kind"))

    def effect(self, row: Mapping[str, Any]) -> Effect:
        """The row of HYPOTHESES with names and sentences."""
        concept, unit = self.concepts.get(row["concept_id"], {}), self.unit(row["concept_id"])
        active = concept.get("n_pairs_active")
        correlation = finite(concept.get("length_correlation"))
        judged = verdict(row, written_unit(concept.get("kind")))
        posterior = finite(row["posterior_delta"])
        shown = ("posterior_delta", "posterior_lo", "posterior_hi") if posterior is not None else ("", "ci_lo", "ci_hi")
        return Effect(
            hypothesis_id=row["hypothesis_id"],
            view=row["view"],
            direction=row["direction"],
            rank=row["rank"],
            concept_id=row["concept_id"],
            concept=self.concept(row["concept_id"]),
            name_kind=concept.get("name_kind"),
            name_score=finite(concept.get("name_score")),
            contexts=[mask_slurs(context) for context in concept.get("contexts") or []],
            alike=list(row.get("alike") or []),
            phrases=[mask_slurs(p) for p in concept.get("phrases") or []],
            n_features=concept.get("size") or 0,
            where=row["where"],
            place=self.place(row["view"], row["where"]),
            statistic=row["view"].removeprefix("prompt_") if row["view"].startswith("prompt_") else "",
            unit=unit,
            effect=row["delta"] if posterior is None else posterior,
            lo=finite(row[shown[1]]),
            hi=finite(row[shown[2]]),
            delta=row["delta"],
            ci_lo=finite(row["ci_lo"]),
            ci_hi=finite(row["ci_hi"]),
            mean_in=finite(row["mean_in"]),
            mean_out=finite(row["mean_out"]),
            side_inside=None if row["view"] in OVER_ALL_PAIRS else side_inside(row),
            n_in=row["n_in"],
            n_out=row["n_out"],
            family_n=row["family_n"],
            n_eff=finite(row["n_eff"]),
            lfsr=finite(row["lfsr"]),
            q_value=finite(row["q_value"]),
            is_sure=is_sure(row),
            level=judged.level,
            how_sure=judged.sentence,
            cautions=list(judged.cautions),
            pattern=concept.get("pattern"),
            share_chosen=finite(concept.get("share_chosen")),
            share_rejected=finite(concept.get("share_rejected")),
            per_100_words=finite(concept.get("per_100_words")),
            share_of_pairs=min(1.0, active / self.n_train) if active is not None and self.n_train else None,
            follows_length=correlation is not None and abs(correlation) >= FOLLOWS_LENGTH,
            sentence=in_words(row),
        )


def in_words(row: Mapping[str, Any]) -> str:
    """What a hypothesis says, in words that do not claim more than the numbers do."""
    if row["delta"] is None:
        return "There are too few pairs to compare."
    amplify = row["delta"] > 0
    verb, side = ("amplify", "chosen") if amplify else ("suppress", "rejected")
    sure = is_sure(row)
    if row["view"] in OVER_ALL_PAIRS:
        follows = f"Training would {verb} it." if sure else "This may be chance."
        return f"Over all {counted(row['n_in'], 'pair')} the {side} responses show it more. {follows}"
    inside, outside = finite(row["mean_in"]), finite(row["mean_out"])
    place = (
        f"in these {row['n_in']:,} pairs"
        if row["view"] in IN_GROUPS
        else f"on the {row['n_in']:,} prompts most about this"
    )
    follows = f"Training would {verb} it there." if sure else "This may be chance."
    if inside is None or outside is None:
        return f"The {side} responses show it more {place} than elsewhere. {follows}"
    sign, side_of_place = (1 if amplify else -1), side_inside(row)
    if side_of_place == sign:
        return f"The {side} responses show it more {place} than in the {row['n_out']:,} others. {follows}"
    other = "rejected" if amplify else "chosen"
    if side_of_place == -sign:
        words = f"The {other} responses show it more {place} too, but less than in the {row['n_out']:,} others."
    else:
        words = f"Neither side {'clearly ' if inside else ''}shows it more {place}"
        lies_outside = outside * sign < 0 and abs(outside) >= abs(row["delta"]) / 2
        difference = f"in the {row['n_out']:,} others the {other} responses do"
        if not lies_outside:
            difference = f"against the {row['n_out']:,} others the {side} responses do"
        words += f"; {difference}."
    return words + ("" if sure else " The difference may be chance.")


def shown_rows(tables: ReportTables, views: Sequence[str], direction: str, limit: int) -> list[dict[str, Any]]:
    """The first `limit` shown hypotheses of these views and this direction, by rank.

    Several views are merged, each in its own order, by what they are ordered by.
    """
    h = tables.hypotheses
    keep = pc.and_(h["shown"], pc.equal(h["direction"], direction))
    lists = [
        h.filter(pc.and_(keep, pc.equal(h["view"], view))).sort_by("rank").slice(0, limit).to_pylist() for view in views
    ]
    merged = lists[0] if len(lists) == 1 else heapq.merge(*lists, key=_paper_key if tables.paper_order else _key)
    return list(islice(merged, limit))


def _paper_key(row: Mapping[str, Any]) -> float:
    return -float(row["delta_min"] or 0)


def _key(row: Mapping[str, Any]) -> tuple[bool, float]:
    """What is sure first, then by the size of the posterior mean in standard deviations of the concept."""
    size = 0.0
    posterior, d = finite(row["posterior_delta"]), finite(row["cohens_d"])
    if posterior is not None and d is not None and row["delta"]:
        size = abs(posterior * d / row["delta"])  # Cohen's d is delta in standard deviations
    return not is_sure(row), -size


def spread(rows: Sequence[dict[str, Any]], limit: int, per_place: int = 2) -> list[dict[str, Any]]:
    """The first `limit` of the rows with at most `per_place` of the same group or prompt concept, in their order."""
    taken: Counter[tuple[str, int]] = Counter()
    spread_rows = []
    for row in rows:
        place = (row["view"], row["where"])
        if row["view"] in OVER_ALL_PAIRS or taken[place] < per_place:
            taken[place] += 1
            spread_rows.append(row)
    return spread_rows[:limit]


def n_shown(tables: ReportTables, place: str, direction: str) -> int:
    """How many hypotheses of one of PLACES passed the display rules in this direction."""
    h = tables.hypotheses
    of_place = pc.is_in(h["view"], pa.array(PLACES[place]))
    return int(pc.sum(pc.and_(pc.and_(h["shown"], of_place), pc.equal(h["direction"], direction))).as_py() or 0)


def prints_as_zero(row: Mapping[str, Any]) -> bool:
    """The effect as it is shown, shrunken where it is known, is "0": it has no direction that could be told."""
    shrunken = finite(row["posterior_delta"])
    return signed(row["delta"] if shrunken is None else shrunken) == "0"


def merged(
    rows: Sequence[dict[str, Any]], concepts: Mapping[int, Mapping[str, Any]], alike: pa.Table | None
) -> list[dict[str, Any]]:
    """The rows without those that another one of the same group or prompts stands for, whose ids it has in "alike".

    Concepts are alike by `alike` (schema ALIKE), or where their names tell a reader the same ("with links #3", "with
    links #7"). Of rows whose concepts are alike that one stands for the others which is sure, is not vague,
    whose name scores best, whose effect is largest; in that order. It has the place of the first of them.
    """
    alike_ids: dict[int, set[int]] = {}
    for pair in alike.to_pylist() if alike is not None else []:
        alike_ids.setdefault(pair["concept_id"], set()).add(pair["other_id"])
        alike_ids.setdefault(pair["other_id"], set()).add(pair["concept_id"])

    def worth(i: int) -> tuple[bool, bool, float, float]:
        concept = concepts.get(rows[i]["concept_id"], {})
        score = round(finite(concept.get("name_score")) or 0.0, 2)
        return not is_sure(rows[i]), is_vague(concept), -score, -abs(rows[i]["delta"])

    names = {i: without_number(concept) for i, concept in concepts.items() if not is_vague(concept)}
    standing: dict[tuple[str, int, int | str], int] = {}  # (view, where, concept or name) → the row that stands for it
    group_of_row: dict[int, list[int]] = {}
    for i in sorted(range(len(rows)), key=worth):
        view, where, concept_id = rows[i]["view"], rows[i]["where"], rows[i]["concept_id"]
        keys: list[int | str] = [*alike_ids.get(concept_id, ()), names.get(concept_id) or concept_id]
        leaders = [standing[view, where, key] for key in keys if (view, where, key) in standing]
        if leaders:
            group_of_row[min(leaders, key=worth)].append(i)
        else:
            standing[view, where, concept_id] = standing[view, where, names.get(concept_id) or concept_id] = i
            group_of_row[i] = []
    order = sorted(group_of_row, key=lambda i: min([i, *group_of_row[i]]))
    return [{**rows[i], "alike": [rows[j]["hypothesis_id"] for j in sorted(group_of_row[i])]} for i in order]


def shortlist(tables: ReportTables, place: str, direction: str, limit: int) -> list[dict[str, Any]]:
    """What is told first of one of PLACES: at most `limit` rows, at most two of a group or prompt concept.

    Of concepts that say the same one is told, with the others' hypothesis_id under "alike". Only what is sure, and of
    it only what has a clear name, unless nothing has; where nothing is sure, the first three of the list that are not
    printed as 0. In the paper's order, the list as it stands.
    """
    rows = shown_rows(tables, PLACES[place], direction, min(50 * limit, LISTED))
    if tables.paper_order:
        rows = spread(rows, limit)
        return rows if any(map(is_sure, rows)) else _first_unsure(rows)

    concepts = _names(tables)
    rows = merged(rows, concepts, tables.alike)
    clear = [row for row in rows if not is_vague(concepts.get(row["concept_id"], {}))]
    for part in (clear, rows):
        if sure := [row for row in part if is_sure(row)]:
            return spread(sure, limit)
    return _first_unsure(spread(clear, limit)) or _first_unsure(spread(rows, limit))


def folded_effects(
    tables: ReportTables, place: str, direction: str, listed: Sequence[Mapping[str, Any]]
) -> tuple[int, int]:
    """How many shown effects of one of PLACES are vague and neither `listed` nor stood for; how many of them are sure.

    (0, 0) in the paper's order, which folds nothing.
    """
    if tables.paper_order:
        return 0, 0
    vague = [i for i, concept in _names(tables).items() if is_vague(concept)]
    h = tables.hypotheses
    keep = pc.and_(pc.is_in(h["view"], pa.array(PLACES[place])), pc.equal(h["direction"], direction))
    keep = pc.and_(pc.and_(keep, h["shown"]), pc.is_in(h["concept_id"], pa.array(vague, h["concept_id"].type)))
    told = [i for row in listed for i in (row["hypothesis_id"], *row.get("alike", ()))]
    keep = pc.and_(keep, pc.invert(pc.is_in(h["hypothesis_id"], pa.array(told, pa.string()))))
    folded = h.filter(keep)
    return folded.num_rows, int(sure_rows(folded).sum())


def _names(tables: ReportTables) -> dict[int, dict[str, Any]]:
    columns = tables.concepts.select([name for name in NAME_COLUMNS if name in tables.concepts.column_names])
    return {concept["concept_id"]: concept for concept in columns.to_pylist()}


def _first_unsure(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if not prints_as_zero(row)][:MOST_UNSURE]
