"""The bank of concepts: which features become which concept, in which order, and the table that holds them."""

import numpy as np
import pyarrow as pa
import pytest

from pretilt.concepts.bank import build_concepts, concepts_from_table, concepts_table, feature_lists
from pretilt.schema import CONCEPTS

# features:            0  1  2  3  4   5   6  7  8  9  10  11
COMMUNITY = np.array([1, 1, 1, 1, 0, -1, 0, 0, 0, 2, 2, -1], dtype=np.int32)
ACTIVE = np.array([9, 9, 9, 9, 30, 24, 30, 0, 5, 25, 80, 25])


def test_communities_first_then_single_features_outside_them():
    concepts = build_concepts(COMMUNITY, ACTIVE)
    # Community 0 (65 active pairs) before community 1 (36). Community 2 is too small: its features stand alone.
    # Feature 5 is active in 24 pairs only; 9 and 11 tie.
    assert feature_lists(concepts) == [[4, 6, 7, 8], [0, 1, 2, 3], [10], [9], [11]]
    assert concepts.is_community.tolist() == [True, True, False, False, False]
    assert concepts.size.tolist() == [4, 4, 1, 1, 1] and len(concepts) == 5
    assert concepts.membership.shape == (12, 5) and concepts.membership.format == "csc"


def test_the_papers_bank_is_communities_only():
    assert feature_lists(build_concepts(COMMUNITY, ACTIVE, paper=True)) == [[4, 6, 7, 8], [0, 1, 2, 3]]


def test_thresholds_are_inclusive_and_settable():
    assert feature_lists(build_concepts(COMMUNITY, ACTIVE, min_community=2, min_pairs=24)) == [
        [9, 10],
        [4, 6, 7, 8],
        [0, 1, 2, 3],
        [11],
        [5],
    ]
    assert feature_lists(build_concepts(COMMUNITY, ACTIVE, min_community=5, min_pairs=31)) == [[10]]


def test_no_concept_at_all():
    concepts = build_concepts(np.full(3, -1), np.zeros(3, dtype=int))
    assert len(concepts) == 0 and concepts.membership.shape == (3, 0) and feature_lists(concepts) == []


def test_labels_need_not_be_consecutive_and_shapes_must_agree():
    assert feature_lists(build_concepts(np.array([70, -5, 70, 9, 9]), np.ones(5), min_community=2)) == [[0, 2], [3, 4]]
    with pytest.raises(ValueError, match="not of the same features"):
        build_concepts(np.zeros(3, dtype=int), np.zeros(4, dtype=int))


def table(concepts, **changed):
    n = len(concepts)
    named = pa.table(
        {
            "name": [f"c{i}" for i in range(n)],
            "name_kind": ["tokens"] * n,
            "name_score": pa.array([0.75] * n, pa.float64()),
            "contexts": pa.array([["an «a»"]] * n, pa.list_(pa.string())),
            "phrases": pa.array([["a", "b"]] * n, pa.list_(pa.string())),
        }
    )
    columns = {
        "named": named,
        "n_pairs_active": np.arange(n),
        "share_chosen": np.linspace(0, 1, n),
        "share_rejected": np.zeros(n),
        "length_correlation": np.full(n, np.nan),
        "mean_u_paper": np.zeros(n),
        "mean_u_count2": np.zeros(n),
        "mean_u_freq": np.full(n, -0.5),
    }
    return concepts_table(concepts, **{**columns, **changed})


def test_the_table_holds_the_schema_and_gives_the_concepts_back():
    concepts = build_concepts(COMMUNITY, ACTIVE)
    written = table(concepts)
    assert written.schema == CONCEPTS
    assert written["kind"].to_pylist() == ["community"] * 2 + ["feature"] * 3
    assert written["feature_ids"].to_pylist()[0] == [4, 6, 7, 8] and written["size"].to_pylist() == [4, 4, 1, 1, 1]
    assert written["concept_id"].to_pylist() == [0, 1, 2, 3, 4] and written["mean_u_freq"].to_pylist() == [-0.5] * 5
    again = concepts_from_table(written, 12)
    assert (again.membership != concepts.membership).nnz == 0 and again.membership.shape == (12, 5)
    assert again.is_community.tolist() == concepts.is_community.tolist()


def test_an_empty_bank_has_a_table_too():
    concepts = build_concepts(np.full(3, -1), np.zeros(3, dtype=int))
    written = table(concepts)
    assert written.schema == CONCEPTS and len(written) == 0 and len(concepts_from_table(written, 3)) == 0


def test_a_column_of_the_wrong_length_is_named():
    with pytest.raises(ValueError, match="'share_rejected' has 2 entries for 5 concepts"):
        table(build_concepts(COMMUNITY, ACTIVE), share_rejected=np.zeros(2))
