"""Scores of planted traits: coverage, rank and tracing. Pure functions on arrays, for the demo and the benchmark.

Two questions, kept apart. *Coverage*: is there a concept at all that tells the planted pairs from the others? It is
chosen on one half of the families and judged on the other, so that choosing among thousands does not flatter.
*Ranking*: does the audit put that concept on top of a list, and does it trace it to the planted pairs?
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MIN_AUROC = 0.9
MIN_AVERAGE_PRECISION = 0.8
MAX_RANK = 3
MAX_RANK_SHARE = 0.02
MIN_TRACING_RATIO = 0.95
N_SHORTLIST = 100  # concepts that are judged by average precision, after a sieve by correlation


def align(truth: Mapping[str, Any], row_index: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Plant names ("" where nothing is planted) and family numbers of the audited pairs.

    `truth` is a set's truth file, `row_index` the source row of every audited pair, in the order of the matrices below.
    """
    rows = truth["rows"]
    plants = np.array([rows["plant"][i] or "" for i in row_index], dtype=object)
    families = np.unique([rows["family"][i] for i in row_index], return_inverse=True)[1]
    return plants, families


def split_families(planted: np.ndarray, families: np.ndarray, seed: int = 0) -> np.ndarray:
    """True for the pairs of half 1. Families are never cut; those with planted pairs are shared out evenly.

    `planted` (n_pairs,) bool, `families` (n_pairs,) int; returns (n_pairs,) bool.
    """
    rng = np.random.default_rng(seed)
    with_plant = np.unique(families[planted])
    half: list[int] = []
    for group in (with_plant, np.setdiff1d(families, with_plant)):
        half += rng.permutation(group)[: (group.size + 1) // 2].tolist()
    return np.isin(families, half)


def _correlations(u: Any, planted: np.ndarray) -> np.ndarray:
    """Pearson correlation of every column of the sparse matrix `u` with a 0/1 label; 0 for constant columns."""
    n = u.shape[0]
    mean = np.asarray(u.mean(axis=0)).ravel()
    variance = np.asarray(u.multiply(u).mean(axis=0)).ravel() - mean**2
    share = planted.mean()
    covariance = np.asarray(u.T @ planted.astype(float)).ravel() / n - mean * share
    scale = np.sqrt(np.maximum(variance, 0.0) * share * (1 - share))
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 1e-12)


def choose_concept(u: Any, planted: np.ndarray, signs: Sequence[int] = (1,)) -> tuple[int, int] | None:
    """The (concept, sign) whose `sign * u` has the highest average precision for `planted`; None without any signal.

    `u` (n_pairs, n_concepts) CSR, signed disparity; `planted` (n_pairs,) bool, with both values present.
    """
    from sklearn.metrics import average_precision_score

    correlations = _correlations(u, planted)
    columns = u.tocsc()
    best: tuple[float, int, int] | None = None
    for sign in signs:
        order = np.argsort(-sign * correlations, kind="stable")[:N_SHORTLIST]
        for concept in order[sign * correlations[order] > 0].tolist():
            scores = sign * columns[:, [concept]].toarray().ravel()
            precision = float(average_precision_score(planted, scores))
            if best is None or precision > best[0]:
                best = (precision, concept, sign)
    return None if best is None else best[1:]


def judge(u: Any, planted: np.ndarray, concept: int, sign: int) -> tuple[float, float]:
    """AUROC and average precision of `sign * u[:, concept]` for `planted`; NaN where only one value is present."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if planted.all() or not planted.any():
        return math.nan, math.nan
    scores = sign * u[:, [concept]].toarray().ravel()
    return float(roc_auc_score(planted, scores)), float(average_precision_score(planted, scores))


def best_rank(hypotheses: Mapping[str, Any], concept: int, sign: int) -> dict[str, Any]:
    """Where the concept stands highest among the shown hypotheses of its direction.

    `hypotheses` maps the columns of hypotheses.parquet to arrays. Returns `rank` and `list_length` in the list (view)
    where the rank is best relative to its length, its `view` and `hypothesis_id`, and `rank_<view>` for every view; 0
    and None where it is not shown.
    """
    view, rank = np.asarray(hypotheses["view"], dtype=object), np.asarray(hypotheses["rank"])
    direction = "amplify" if sign > 0 else "suppress"
    shown = (rank > 0) & (np.asarray(hypotheses["direction"], dtype=object) == direction)
    of_concept = shown & (np.asarray(hypotheses["concept_id"]) == concept)
    place: dict[str, Any] = {"rank": 0, "list_length": 0, "view": None, "hypothesis_id": None}

    # A rank that passes comes before one that does not; of two that pass, the global one, since a group holds only some
    # of the pairs that carry a trait; else the smaller rank.
    best = (1, 1, math.inf)

    for name in sorted(set(view.tolist())):
        rows = np.flatnonzero(of_concept & (view == name))
        length = int((shown & (view == name)).sum())
        place[f"rank_{name}"] = int(rank[rows].min()) if rows.size else 0
        place[f"list_{name}"] = length
        if not rows.size:
            continue
        row = rows[np.argmin(rank[rows])]
        passes = rank_passes(int(rank[row]), length)
        key = (int(not passes), int(passes and name != "global"), float(rank[row]))
        if key < best:
            best = key
            place |= {
                "rank": int(rank[row]),
                "list_length": length,
                "view": name,
                "hypothesis_id": str(hypotheses["hypothesis_id"][row]),
            }

    return place


def rank_passes(rank: int, list_length: int) -> bool:
    return 0 < rank <= max(MAX_RANK, math.floor(MAX_RANK_SHARE * list_length))


def precision_at(planted: np.ndarray, order: np.ndarray, n: int) -> float:
    """Share of planted pairs among the first `n` of `order` (indices of pairs, best first); missing ones are wrong."""
    return float(planted[np.asarray(order[:n], dtype=int)].sum()) / n if n else math.nan


def score_plants(
    rules: Mapping[str, Mapping[str, Any]],
    plants: np.ndarray,
    families: np.ndarray,
    u: Any,
    hypotheses: Mapping[str, Any],
    tracing: Mapping[str, np.ndarray] | None = None,
    presence: Any = None,
    intensity: Any = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row per plant and decoy of a set.

    rules: `truth["rules"]`; plants, families: from `align`; u: (n_pairs, n_concepts) CSR, signed disparity, column =
    concept_id; hypotheses: columns of hypotheses.parquet; tracing: hypothesis_id → indices of pairs, most responsible
    first (None: tracing is not judged); presence: (n_pairs, n_concepts) CSR, how strongly a concept is there in both
    responses, for decoys on both sides, which u cannot see (None: |u|). intensity: (n_pairs, n_concepts) CSR, the
    signed intensity v that coverage is judged on (None: u). Coverage asks what the concept sees; u is coarser, since
    in short responses it only knows whether a feature fired at all.

    Plants get `concept_id`, `sign`, `auroc`, `average_precision` (chosen on half 1, judged on half 2), the same with
    the halves exchanged (`…_back`), `covered`, the ranks of `best_rank`, `rank_ok`, `tracing_precision`,
    `own_precision` (ordering by the concept's own u, on the same n) and `tracing_ok`. Decoys get `concept_id`, `auroc`
    of the concept that sees them best, `effect`, `ci_lo`, `ci_hi`, `lfsr` of its global row and `contains_zero`.
    `missed` says why a row fails.
    """
    rows = []
    for name, rule in rules.items():
        planted = plants == name
        row: dict[str, Any] = {"plant": name, "role": rule["role"], "n_planted": int(planted.sum())}
        if rule["role"] == "trap" or not planted.any():
            continue
        if rule["role"] == "decoy":
            rows.append(row | _score_decoy(rule, planted, u, hypotheses, presence))
        else:
            scores = u if intensity is None else intensity
            rows.append(row | _score_plant(rule, planted, families, u, scores, hypotheses, tracing, seed))
    return rows


def _score_plant(
    rule: Mapping[str, Any],
    planted: np.ndarray,
    families: np.ndarray,
    u: Any,
    scores: Any,
    hypotheses: Mapping[str, Any],
    tracing: Mapping[str, np.ndarray] | None,
    seed: int,
) -> dict[str, Any]:
    first = split_families(planted, families, seed)
    row: dict[str, Any] = {"concept_id": None, "covered": False, "rank_ok": False, "tracing_ok": None}
    for suffix, learn in (("_back", ~first), ("", first)):  # the last one chosen is the one that is ranked and traced
        choice = choose_concept(scores[learn], planted[learn], rule["directions"])
        if choice is None:
            return row | {"missed": "no concept differs between the two responses of the planted pairs"}
        concept, sign = choice
        auroc, precision = judge(scores[~learn], planted[~learn], concept, sign)
        row |= {f"concept_id{suffix}": concept, f"auroc{suffix}": auroc, f"average_precision{suffix}": precision}

    row["sign"] = sign
    row["covered"] = bool(auroc >= MIN_AUROC and precision >= MIN_AVERAGE_PRECISION)
    row |= best_rank(hypotheses, concept, sign)
    row["rank_ok"] = rank_passes(row["rank"], row["list_length"])

    n = int(planted.sum())
    order_by_u = np.argsort(-sign * u[:, [concept]].toarray().ravel(), kind="stable")
    row["own_precision"] = precision_at(planted, order_by_u, n)
    row["tracing_precision"] = math.nan
    if tracing is not None and row["hypothesis_id"] in tracing:
        row["tracing_precision"] = precision_at(planted, tracing[row["hypothesis_id"]], n)
        row["tracing_ok"] = bool(row["tracing_precision"] >= MIN_TRACING_RATIO * row["own_precision"])

    missed = []
    if not row["covered"]:
        missed.append("no concept covers it")
    if not row["rank"]:
        missed.append("its concept is in no list")
    elif not row["rank_ok"]:
        missed.append("its concept ranks too low")
    if row["tracing_ok"] is False:
        missed.append("tracing loses planted pairs")
    return row | {"missed": "; ".join(missed)}


def _score_decoy(
    rule: Mapping[str, Any], planted: np.ndarray, u: Any, hypotheses: Mapping[str, Any], presence: Any
) -> dict[str, Any]:
    scores = abs(u) if presence is None or rule["sides"] == "half" else presence
    choice = choose_concept(scores, planted)
    if choice is None:
        return {"concept_id": None, "contains_zero": None, "missed": "no concept sees it"}

    concept, _ = choice
    auroc, precision = judge(scores, planted, concept, 1)
    of_concept = np.asarray(hypotheses["concept_id"]) == concept
    rows = np.flatnonzero(of_concept & (np.asarray(hypotheses["view"], dtype=object) == "global"))
    row = {"concept_id": concept, "auroc": auroc, "average_precision": precision}
    if not rows.size:
        return row | {"contains_zero": None, "missed": "its concept has no global effect in the table"}

    effect, low, high = (float(np.asarray(hypotheses[name])[rows[0]]) for name in ("delta", "ci_lo", "ci_hi"))
    inside = low <= 0.0 <= high
    missed = "" if inside else "the confidence interval leaves out 0, though the trait has no effect"
    lfsr = float(np.asarray(hypotheses["lfsr"])[rows[0]]) if "lfsr" in hypotheses else math.nan
    return row | {
        "effect": effect, "ci_lo": low, "ci_hi": high, "contains_zero": inside, "lfsr": lfsr, "missed": missed
    }  # fmt: skip


def render(rows: Sequence[Mapping[str, Any]], names: Mapping[int, str] | None = None) -> str:
    """The rows as a plain-text table for a terminal. `names` gives readable names of concepts."""

    def number(value: Any) -> str:
        return "  – " if value is None or math.isnan(value) else f"{value:4.2f}"

    def concept(row: Mapping[str, Any]) -> str:
        if row.get("concept_id") is None:
            return "–"
        return (names or {}).get(row["concept_id"], f"concept {row['concept_id']}")

    def yes(value: Any) -> str:
        return "–" if value is None else "yes" if value else "no"

    lines = []
    plants = [row for row in rows if row["role"] == "plant"]
    decoys = [row for row in rows if row["role"] == "decoy"]
    if plants:
        lines.append(
            f"{'plant':16} {'pairs':>5} {'AUROC':>5} {'AP':>4} {'covered':7} {'rank':>16} "
            f"{'traced / own u':14}  concept"
        )

    for row in plants:
        rank = f"{row['rank']} of {row['list_length']} {row['view']}" if row.get("rank") else "not shown"
        traced = f"{number(row.get('tracing_precision'))} / {number(row.get('own_precision'))}"
        lines.append(
            f"{row['plant']:16} {row['n_planted']:5} {number(row.get('auroc')):>5} "
            f"{number(row.get('average_precision'))} {yes(row['covered']):7} {rank:>16} {traced:14}  {concept(row)}"
        )
        if row["missed"]:
            lines.append(f"{'':16} missed: {row['missed']}")

    if decoys:
        lines.append(
            f"{'decoy':16} {'pairs':>5} {'AUROC':>5}      {'as observed, 95 % confidence':30} "
            f"{'contains 0':10} {'lfsr':>5}  concept"
        )

    for row in decoys:
        effect = f"{row['effect']:+.4f} [{row['ci_lo']:+.4f}, {row['ci_hi']:+.4f}]" if "effect" in row else "–"
        lines.append(
            f"{row['plant']:16} {row['n_planted']:5} {number(row.get('auroc')):>5}      {effect:30} "
            f"{yes(row['contains_zero']):10} {number(row.get('lfsr')):>5}  {concept(row)}"
        )
        if row["missed"]:
            lines.append(f"{'':16} missed: {row['missed']}")

    n_found = sum(row["covered"] and row["rank_ok"] for row in plants)
    n_alone = sum(bool(row["contains_zero"]) for row in decoys)
    lines.append(f"found {n_found} of {len(plants)} plants; {n_alone} of {len(decoys)} decoys left alone")
    return "\n".join(lines)
