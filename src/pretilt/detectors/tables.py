"""The tables of a detector: its examples, its scores of the run's responses, and what moves with them."""

from __future__ import annotations

import pyarrow as pa

DETECTOR_EXAMPLES = pa.schema(  # what a detector was fitted to and judged on: one row per response
    [
        ("pair_id", pa.string()),  # of the run, or of the contrastive pairs that were read or sampled
        ("side", pa.string()),  # "chosen" | "rejected"; of contrastive pairs chosen is the one with the trait
        ("family_id", pa.int32()),
        ("part", pa.string()),  # "train" | "validation" | "heldout"
        ("label", pa.bool_()),  # the response has the trait
        ("n_tokens", pa.int32()),  # content tokens
        ("n_labelled", pa.int32()),  # of them with the trait; null without token labels
        ("score", pa.float32()),  # of the detector: the largest over the tokens
        ("text", pa.string()),
    ]
)

DETECTOR_SCORES = pa.schema(  # one row per pair, in the order of pairs.parquet
    [("pair_id", pa.string())]
    + [
        column
        for side in ("chosen", "rejected")
        for column in (
            (f"{side}_max", pa.float32()),  # over the content tokens; the trait is present from the threshold on
            (f"{side}_mean", pa.float32()),
            (f"{side}_share", pa.float32()),  # share of tokens that reach the threshold of tokens
            (f"{side}_scores", pa.list_(pa.float32())),  # of every content token
        )
    ]
)

DETECTOR_LEAKAGE = pa.schema(  # what else moves with a detector's score: every other concept, strongest first
    [
        ("concept_id", pa.int32()),
        ("kind", pa.string()),
        ("name", pa.string()),
        ("covariance", pa.float64()),  # half the mean over pairs of (u of the concept) x (difference of the scores)
        ("leakage", pa.float64()),  # covariance over that of the detector's target
    ]
)
