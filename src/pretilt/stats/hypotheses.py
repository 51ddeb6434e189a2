"""The HYPOTHESES table: which (where, concept) are tested, which are shown, and in what order.

Every test counts in the denominator of its view's false discovery rate, shown or not, and every view in all of them: q
is Benjamini-Hochberg within the view, times the number of views. Over all views at once the many true effects of one
would pay for the noise of another. Ranks run apart for each view and direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt import schema
from pretilt.stats.multiplicity import q_values
from pretilt.stats.resampling import bootstrap_deltas, rank_stability
from pretilt.stats.sure import LEAST_FIRING, SURE_Q
from pretilt.stats.view_statistics import ViewStatistics

RankBy = Literal["posterior", "delta_min", "z", "delta", "d"]
MAX_ROWS = 1_000_000
STABILITY_RANKS = 500  # rows of each list whose rank stability is computed; only they can be in a draw's top 50


@dataclass(frozen=True)
class DisplayRules:
    """What is tested, shown and put first. Ours by default; `PAPER_RULES` is arXiv 2606.12360."""

    min_community_size: int = 4  # features; smaller communities are tested but not shown
    single_features: bool = True  # test features outside every community too
    min_active_pairs: int = (
        LEAST_FIRING  # for single features: pairs in which it fires in either response; below, not tested
    )
    min_group_pairs: int = LEAST_FIRING  # smaller groups are tested but not shown
    min_families: int = 10  # sets of fewer families are tested but not shown: they cannot be told from an accident
    rank_by: RankBy = "posterior"


PAPER_RULES = DisplayRules(min_community_size=10, single_features=False, min_families=0, rank_by="delta_min")


def tested_concepts(is_community: np.ndarray, n_pairs_active: np.ndarray, rules: DisplayRules) -> np.ndarray:
    """concept_ids that are tested: every community, and the single features that fire in enough pairs."""
    single = ~is_community & (n_pairs_active >= rules.min_active_pairs) & rules.single_features
    return np.flatnonzero(is_community | single)


@dataclass(frozen=True)
class Hypotheses:
    table: pa.Table  # schema HYPOTHESES; by view (as given), where, concept_id
    n_tested: dict[str, int]  # per view: every (where, concept) tested, in the table or not
    n_shown: dict[str, int]  # per view: how many of them pass the display rules, in the table or not
    n_sure: dict[str, int]  # per view: how many of the shown are sure


def hypotheses(
    views: Sequence[ViewStatistics],
    large_enough: dict[str, np.ndarray],
    rules: DisplayRules = DisplayRules(),
    *,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> Hypotheses:
    """Rank the tests of each view and lay them out as HYPOTHESES; NaN becomes null.

    `large_enough[view]`, bool [M], says which of the concepts may be shown. Shown: halves consistent, concept and
    set large enough. A view with more than `max_rows` tests keeps the best-ranked `max_rows / 2` of the shown in each
    direction and no others; `n_tested` still counts all.
    """
    tables, n_tested, n_shown, n_sure = [], {}, {}, {}

    for stats in views:
        q_value = np.minimum(len(views) * q_values(stats.moderated.p, stats.lfsr.size), 1.0)

        effect, everywhere = stats.contrasts, stats.sets.against_zero
        stats.sure_z = float(np.abs(stats.moderated.z[q_value <= SURE_Q]).min(initial=np.inf))
        large = (effect.n_in >= rules.min_group_pairs) & (stats.sets.family_n >= rules.min_families) | everywhere
        shown = effect.sign_consistent & large_enough[stats.view][None, :] & large[:, None] & (effect.delta != 0)
        rank = _ranks(stats, shown, rules.rank_by)
        keep = np.ones(rank.shape, bool) if rank.size <= max_rows else (rank > 0) & (rank <= max_rows // 2)

        tables.append(_table(stats, q_value, shown, rank, keep, _stability(stats, rank, seed)))
        n_tested[stats.view], n_shown[stats.view] = int(rank.size), int(shown.sum())
        n_sure[stats.view] = int((stats.sure(q_value) & shown).sum())

    table = pa.concat_tables(tables) if tables else schema.HYPOTHESES.empty_table()
    return Hypotheses(table, n_tested, n_shown, n_sure)


def _ranks(stats: ViewStatistics, shown: np.ndarray, rank_by: RankBy) -> np.ndarray:
    """int32 [K, M]: 1 = largest |key| among the shown of its direction, 0 = not shown.

    Ties: larger |delta|, then more pairs, then lower set, then lower concept. An undefined key comes last.
    """
    effect = stats.contrasts
    rank = np.zeros(shown.shape, np.int32)

    for sign in (1.0, -1.0):
        k, m = np.nonzero(shown & (sign * effect.delta > 0))

        delta = effect.delta[k, m]
        if rank_by == "posterior":
            key = stats.key(delta, k, m)
        else:
            values = {"delta_min": effect.delta_min, "z": effect.z, "delta": effect.delta, "d": effect.cohens_d}
            key = np.abs(values[rank_by][k, m])

        keys = (
            stats.concept_ids[m],
            effect.where[k],
            -effect.n_in[k],
            -np.abs(delta),
            -np.where(np.isnan(key), -np.inf, key),
        )
        order = np.lexsort(keys)
        rank[k[order], m[order]] = np.arange(1, order.size + 1, dtype=np.int32)

    return rank


def _stability(stats: ViewStatistics, rank: np.ndarray, seed: int) -> np.ndarray:
    """Rank stability of the first rows of each list, NaN elsewhere, [K, M]; by the default order whatever the rules."""
    stability = np.full(rank.shape, np.nan)
    k, m = np.nonzero((rank > 0) & (rank <= STABILITY_RANKS))
    if k.size:
        deltas = bootstrap_deltas(stats.columns, stats.sets, k, m, seed=seed)
        stability[k, m] = rank_stability(deltas, partial(stats.key, k=k, m=m), np.sign(stats.contrasts.delta[k, m]))
    return stability


def _table(
    stats: ViewStatistics, q: np.ndarray, shown: np.ndarray, rank: np.ndarray, keep: np.ndarray, stability: np.ndarray
) -> pa.Table:
    k, m = np.nonzero(keep)
    effect, moderated = stats.contrasts, stats.moderated
    where, concept_id, delta = effect.where[k], stats.concept_ids[m], effect.delta[k, m]
    places = [] if stats.sets.against_zero else [pa.array(where).cast(pa.string())]  # `*` would need a shell's quotes
    name = pc.binary_join_element_wise(stats.view, *places, pa.array(concept_id).cast(pa.string()), ":")
    lo, hi = np.full(k.size, np.nan), np.full(k.size, np.nan)
    of_shown = np.flatnonzero(shown[k, m])
    lo[of_shown], hi[of_shown] = stats.interval(k[of_shown], m[of_shown])

    def cells(values: np.ndarray) -> pa.Array:
        return pa.array(values if values.ndim == 1 else values[k, m], from_pandas=True)  # from_pandas: NaN is null

    direction = np.where(delta > 0, "amplify", "suppress").astype(object)
    direction[~(np.abs(delta) > 0)] = None
    columns = {
        "hypothesis_id": name,
        "view": pa.array([stats.view]).take(pa.array(np.zeros(k.size, np.int64))),
        "where": pa.array(where),
        "concept_id": pa.array(concept_id),
        "n_in": pa.array(effect.n_in[k]),
        "n_out": pa.array(effect.n_out[k]),
        "mean_in": cells(effect.mean_in),
        "mean_out": cells(effect.mean_out),
        "delta": cells(effect.delta),
        "z": cells(effect.z),
        "cohens_d": cells(effect.cohens_d),
        "delta_a": cells(effect.delta_a),
        "delta_b": cells(effect.delta_b),
        "sign_consistent": pa.array(effect.sign_consistent[k, m]),
        "delta_min": cells(effect.delta_min),
        "family_n": pa.array(stats.sets.family_n[k]),
        "n_eff": cells(moderated.n_eff),
        "se_moderated": cells(moderated.se),
        "ci_lo": cells(moderated.ci_lo),
        "ci_hi": cells(moderated.ci_hi),
        "posterior_delta": cells(stats.posterior),
        "posterior_lo": cells(lo),
        "posterior_hi": cells(hi),
        "lfsr": cells(stats.lfsr),
        "q_value": cells(q),
        "p_flip": cells(stats.p_flip),
        "rank_stability": cells(stability),
        "delta_heldout": cells(stats.delta_heldout),
        "delta_residual": cells(stats.delta_residual),
        "shown": pa.array(shown[k, m]),
        "direction": pa.array(direction, pa.string()),
        "rank": pa.array(rank[k, m]),
    }
    return pa.table({field.name: columns[field.name] for field in schema.HYPOTHESES}).cast(schema.HYPOTHESES)
