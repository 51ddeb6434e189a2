"""The HYPOTHESES table: which (where, concept) are tested, which are shown, and in what order.

Every test counts in the denominator `n_tested`, shown or not. Ranks run apart for each view and direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiltmeter import schema
from tiltmeter.schema import EVERYWHERE
from tiltmeter.stats.contrast import Contrasts

RankBy = Literal["delta_min", "z", "delta", "d"]
MAX_ROWS = 1_000_000


@dataclass(frozen=True)
class DisplayRules:
    """What is tested, shown and put first. Ours by default; `PAPER_RULES` is arXiv 2606.12360."""

    min_community_size: int = 4  # features; smaller communities are tested but not shown
    single_features: bool = True  # test features outside every community too
    min_active_pairs: int = 25  # for single features: pairs in which it fires in either response; below, not tested
    min_group_pairs: int = 25  # smaller groups are tested but not shown
    rank_global_by: RankBy = "z"
    rank_group_by: RankBy = "z"


PAPER_RULES = DisplayRules(
    min_community_size=10, single_features=False, rank_global_by="delta_min", rank_group_by="delta_min"
)


def tested_concepts(is_community: np.ndarray, n_pairs_active: np.ndarray, rules: DisplayRules) -> np.ndarray:
    """concept_ids that are tested: every community, and the single features that fire in enough pairs."""
    single = ~is_community & (n_pairs_active >= rules.min_active_pairs) & rules.single_features
    return np.flatnonzero(is_community | single)


@dataclass(frozen=True)
class Hypotheses:
    table: pa.Table  # schema HYPOTHESES; by view (as given), where, concept_id
    n_tested: dict[str, int]  # per view: every (where, concept) tested, in the table or not
    n_shown: dict[str, int]  # per view: how many of them pass the display rules, in the table or not


def contrasts_to_table(
    contrasts: Sequence[Contrasts],
    concept_size: np.ndarray,
    is_community: np.ndarray,
    rules: DisplayRules = DisplayRules(),
    *,
    max_rows: int = MAX_ROWS,
) -> Hypotheses:
    """Rank the contrasts of each view and lay them out as HYPOTHESES; NaN becomes null.

    `concept_size` int and `is_community` bool, [n_concepts] each, are indexed by concept_id. Shown: halves consistent,
    community large enough (single features always), group large enough. A view with more than `max_rows` tests keeps
    the best-ranked `max_rows / 2` of the shown in each direction and no others; `n_tested` still counts all.
    """
    tables, n_tested, n_shown = [], {}, {}
    for one in contrasts:
        everywhere = one.where.size == 1 and int(one.where[0]) == EVERYWHERE
        view = "global" if everywhere else "group"
        fits = ~is_community[one.concept_ids] | (concept_size[one.concept_ids] >= rules.min_community_size)
        large = (one.n_in >= rules.min_group_pairs) | everywhere
        shown = one.sign_consistent & fits[None, :] & large[:, None] & (one.delta != 0)
        rank = _ranks(one, shown, rules.rank_global_by if everywhere else rules.rank_group_by)
        keep = np.ones(rank.shape, bool) if rank.size <= max_rows else (rank > 0) & (rank <= max_rows // 2)
        tables.append(_table(view, one, shown, rank, keep))
        n_tested[view], n_shown[view] = int(rank.size), int(shown.sum())
    return Hypotheses(pa.concat_tables(tables) if tables else schema.HYPOTHESES.empty_table(), n_tested, n_shown)


def _ranks(one: Contrasts, shown: np.ndarray, rank_by: RankBy) -> np.ndarray:
    """int32 [G, M]: 1 = largest |key| among the shown of its direction, 0 = not shown.

    Ties: larger |delta|, then more pairs, then lower group, then lower concept. An undefined key comes last.
    """
    values = {"delta_min": one.delta_min, "z": one.z, "delta": one.delta, "d": one.cohens_d}[rank_by]
    rank = np.zeros(shown.shape, np.int32)
    for sign in (1.0, -1.0):
        group, concept = np.nonzero(shown & (sign * one.delta > 0))
        key = np.abs(values[group, concept])
        keys = (
            one.concept_ids[concept],
            one.where[group],
            -one.n_in[group],
            -np.abs(one.delta[group, concept]),
            -np.where(np.isnan(key), -np.inf, key),
        )
        order = np.lexsort(keys)
        rank[group[order], concept[order]] = np.arange(1, order.size + 1, dtype=np.int32)
    return rank


def _table(view: str, one: Contrasts, shown: np.ndarray, rank: np.ndarray, keep: np.ndarray) -> pa.Table:
    group, concept = np.nonzero(keep)
    where, concept_id, delta = one.where[group], one.concept_ids[concept], one.delta[group, concept]
    place = pa.scalar("*") if view == "global" else pa.array(where).cast(pa.string())
    name = pc.binary_join_element_wise(view, place, pa.array(concept_id).cast(pa.string()), ":")

    def cells(values: np.ndarray) -> pa.Array:
        return pa.array(values[group, concept], from_pandas=True)  # from_pandas: NaN is null

    direction = np.where(delta > 0, "amplify", "suppress").astype(object)
    direction[~(np.abs(delta) > 0)] = None
    columns = {
        "hypothesis_id": name,
        "view": pa.array([view]).take(pa.array(np.zeros(group.size, np.int64))),
        "where": pa.array(where),
        "concept_id": pa.array(concept_id),
        "n_in": pa.array(one.n_in[group]),
        "n_out": pa.array(one.n_out[group]),
        "mean_in": cells(one.mean_in),
        "mean_out": cells(one.mean_out),
        "delta": cells(one.delta),
        "z": cells(one.z),
        "cohens_d": cells(one.cohens_d),
        "delta_a": cells(one.delta_a),
        "delta_b": cells(one.delta_b),
        "sign_consistent": pa.array(one.sign_consistent[group, concept]),
        "delta_min": cells(one.delta_min),
        "ci_lo": cells(one.ci_lo),
        "ci_hi": cells(one.ci_hi),
        "shown": pa.array(shown[group, concept]),
        "direction": pa.array(direction, pa.string()),
        "rank": pa.array(rank[group, concept]),
    }
    return pa.table({field.name: columns[field.name] for field in schema.HYPOTHESES}).cast(schema.HYPOTHESES)
