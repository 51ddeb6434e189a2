"""The constitution: what every artifact's columns are called, hold and mean. Imports nothing but NumPy and Arrow.

Sign, everywhere: + = expressed more in chosen = training will amplify it; - = expressed more in rejected = suppress.
Ids of groups and of concepts are two types: a group is a set of pairs, a concept is a set of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

import numpy as np
import pyarrow as pa

from pretilt.schema_outcomes import ACTIONS as ACTIONS
from pretilt.schema_outcomes import COMPARISON as COMPARISON
from pretilt.schema_outcomes import DOSE as DOSE
from pretilt.schema_outcomes import FORECAST as FORECAST
from pretilt.schema_outcomes import FORECAST_HALVES as FORECAST_HALVES
from pretilt.schema_outcomes import FORECAST_SHUFFLED as FORECAST_SHUFFLED
from pretilt.schema_outcomes import OUTCOME as OUTCOME
from pretilt.schema_outcomes import VERIFICATION as VERIFICATION
from pretilt.schema_outcomes import WHAT_IF as WHAT_IF

PairId = NewType("PairId", str)  # 20 hex digits of the content's SHA-256; "-2", "-3", … for exact duplicates
ConceptId = NewType("ConceptId", int)  # row number of concepts.parquet
GroupId = NewType("GroupId", int)  # 0 = silent group; 1 … K = clusters; -1 = not a group (global effects)
FeatureId = NewType("FeatureId", int)  # one latent of the dictionary, 0 … n_features - 1

SPANS = ("prompt", "chosen", "rejected")
SILENT_GROUP = GroupId(0)
EVERYWHERE = GroupId(-1)

# Views: families of tests. Concepts of features over all pairs and in groups; response shifts by what the prompt is
# about; patterns of the text, and detectors, over all pairs and in groups.
VIEWS = ("global", "group", "prompt_max", "prompt_freq", "pattern", "pattern_group", "detector", "detector_group")
OVER_ALL_PAIRS, IN_GROUPS = ("global", "pattern", "detector"), ("group", "pattern_group", "detector_group")
PATTERN, DETECTOR = "pattern", "detector"  # the kinds of such concepts

_message = pa.struct([("role", pa.string()), ("content", pa.string()), ("extra", pa.string())])

PAIRS = pa.schema(
    [
        ("pair_id", pa.string()),
        ("row_index", pa.int64()),  # row of the source, from 0
        ("prompt", pa.list_(_message)),  # `extra`: JSON of tool_calls, name, …, or null
        ("chosen", pa.list_(_message)),
        ("rejected", pa.list_(_message)),
        ("is_chat", pa.bool_()),  # False: plain strings, which the trainer reads without a chat template
        ("tools", pa.string()),  # JSON, or null
        ("template_kwargs", pa.string()),  # JSON, or null
        ("source", pa.string()),  # the source's own name of where the row comes from, or null
        ("chosen_model", pa.string()),
        ("rejected_model", pa.string()),
        ("chosen_score", pa.float64()),
        ("rejected_score", pa.float64()),
        ("meta", pa.string()),  # JSON object of every other source column
        ("component_id", pa.int32()),  # connected component of near-duplicate prompts
        ("family_id", pa.int32()),  # the unit of independence: near-duplicates, template, source item, conversation
        ("split", pa.string()),  # "train" | "heldout"
        ("n_prompt_tokens", pa.int32()),  # content tokens; template and special tokens are not content
        ("n_chosen_tokens", pa.int32()),
        ("n_rejected_tokens", pa.int32()),
        ("truncated", pa.bool_()),  # a response was cut at max_length, as the trainer would
    ]
)

DROPPED = pa.schema([("row_index", pa.int64()), ("reason", pa.string()), ("detail", pa.string())])

TOKENS = pa.schema(
    [("pair_id", pa.string())]
    + [(f"{span}_ids", pa.list_(pa.int32())) for span in SPANS]  # exactly what the trainer trains on
    + [(f"{span}_content", pa.list_(pa.bool_())) for span in SPANS]  # False: template or special token
)

SPAN_FEATURES = pa.schema(  # one file per shard and span; one row per pair, in the order of pairs.parquet
    [
        ("pair_id", pa.string()),
        ("n_tokens", pa.int32()),  # content tokens of the span
        ("feature_id", pa.list_(pa.int32())),  # ascending
        ("fire_count", pa.list_(pa.int32())),  # content tokens with activation > 0, >= 1
        ("act_max", pa.list_(pa.float32())),  # > 0
    ]
)

PEAKS = pa.schema(  # the strongest tokens of every feature over all spans, strongest first
    [
        ("feature_id", pa.int32()),
        ("pair_id", pa.string()),
        ("span", pa.string()),
        ("position", pa.int32()),  # index into that span's ids in tokens.parquet
        ("act", pa.float32()),
    ]
)

TOKEN_COUNTS = pa.schema(  # how often each feature fired on each vocabulary entry, response spans only
    [("feature_id", pa.int32()), ("token_id", pa.int32()), ("fire_count", pa.int64())]
)

CONCEPTS = pa.schema(
    [
        ("concept_id", pa.int32()),
        # "community" | "feature" | "shift_max" | "shift_freq" (response-shift concepts) | "pattern" (of the text) |
        # "detector" (a direction or probe)
        ("kind", pa.string()),
        ("pattern", pa.string()),  # its name in patterns.parquet; null for other kinds
        ("detector", pa.string()),  # its name: detector-<name>.json is its card; null for other kinds
        ("feature_ids", pa.list_(pa.int32())),
        ("size", pa.int32()),
        ("name", pa.string()),  # readable, made without any language model; no statistic reads it
        ("name_kind", pa.string()),  # concepts.judged_names.KINDS, or "detector"
        ("name_score", pa.float64()),  # how well it detects the concept in families that did not choose it, AUROC
        ("contexts", pa.list_(pa.string())),  # up to three places of different families, «the peak» marked
        ("phrases", pa.list_(pa.string())),  # tokens and phrases that tell where it fires, best first
        ("n_pairs_active", pa.int64()),  # pairs in which it fires in either response
        ("prevalence", pa.float64()),  # share of response spans in which it fires
        ("share_chosen", pa.float64()),  # share of the chosen responses in which it fires, or the pattern stands
        ("share_rejected", pa.float64()),
        ("per_100_words", pa.float64()),  # of a pattern: occurrences per 100 words, chosen less rejected
        ("length_correlation", pa.float64()),  # Pearson of u with the difference in content tokens
        ("mean_u_paper", pa.float64()),  # global mean of the signed disparity, three forms (docs/statistics.md)
        ("mean_u_count2", pa.float64()),
        ("mean_u_freq", pa.float64()),
    ]
)

_rewrite = pa.struct([("expression", pa.string()), ("replacement", pa.string())])
_example = pa.struct([("text", pa.string()), ("prompt", pa.string())])

PATTERNS = pa.schema(  # the patterns that were counted, as they were then (docs/patterns.md)
    [
        ("pattern", pa.string()),  # its name
        ("title", pa.string()),
        ("phrase", pa.string()),  # continues "training would make the model use more"
        ("counts", pa.string()),  # "occurrences" | "presence"
        ("language", pa.string()),
        ("reads", pa.string()),  # "text" | "outside-code-blocks" | "prose"
        ("expression", pa.string()),  # RE2; "" where a function counts
        ("function", pa.string()),
        ("matches", pa.list_(_example)),
        ("misses", pa.list_(_example)),
        ("rewriter", pa.list_(_rewrite)),  # takes the trait out; empty where there is none
    ]
)

PATTERN_COUNTS = pa.schema(  # one row per pair, in the order of pairs.parquet
    [
        ("pair_id", pa.string()),
        ("chosen_words", pa.int32()),
        ("rejected_words", pa.int32()),
        ("chosen", pa.list_(pa.int32())),  # occurrences of every pattern, in the order of patterns.parquet
        ("rejected", pa.list_(pa.int32())),
    ]
)

_teaches = pa.struct(
    [
        ("pattern", pa.string()),
        ("name", pa.string()),
        ("delta", pa.float64()),  # share of chosen less share of rejected answers that hold it
        ("error", pa.float64()),  # standard error of delta, families are the unit
        ("share_chosen", pa.float64()),
        ("share_rejected", pa.float64()),
    ]
)

SOURCES = pa.schema(  # the training pairs of one source, or by one model, alone
    [
        ("column", pa.string()),  # "source" | "chosen_model" | "rejected_model"
        ("value", pa.string()),
        ("n_pairs", pa.int64()),
        ("n_families", pa.int64()),
        ("length_difference", pa.float64()),  # mean, chosen less rejected, in tokens; in words without a lens
        ("length_error", pa.float64()),  # standard error, families are the unit; null where there is one
        ("share_chosen_longer", pa.float64()),
        ("patterns", pa.list_(_teaches)),  # those that are surely favoured or disfavoured in these pairs, largest first
    ]
)

GROUPS = pa.schema(
    [
        ("group_id", pa.int32()),
        ("size", pa.int64()),  # training pairs
        ("name", pa.string()),
        ("phrases", pa.list_(pa.string())),
        ("concept_ids", pa.list_(pa.int32())),  # the concepts it is about, strongest first
    ]
)


PROMPT_CONCEPTS = pa.schema(  # sets of prompt features: what a prompt is about
    [
        ("prompt_concept_id", pa.int32()),
        ("statistic", pa.string()),  # "max" | "freq": the view it belongs to
        ("feature_ids", pa.list_(pa.int32())),
        ("size", pa.int32()),
        ("name", pa.string()),
        ("phrases", pa.list_(pa.string())),
        ("n_selected", pa.int64()),  # training pairs whose prompts score highest on it
        ("cutoff", pa.float64()),  # smallest score among them; a held-out pair belongs at or above it
    ]
)

PROMPT_MEMBERS = pa.schema([("prompt_concept_id", pa.int32()), ("pair_id", pa.string()), ("score", pa.float64())])

HYPOTHESES = pa.schema(  # one row per (view, where, concept)
    [
        ("hypothesis_id", pa.string()),  # "global:7", "group:12:7", "prompt_max:3:981"
        ("view", pa.string()),  # one of VIEWS
        ("where", pa.int32()),  # group_id or prompt_concept_id; -1 over all pairs
        ("concept_id", pa.int32()),
        ("n_in", pa.int64()),
        ("n_out", pa.int64()),
        ("mean_in", pa.float64()),
        ("mean_out", pa.float64()),
        ("delta", pa.float64()),  # mean_in - mean_out; for global rows the mean itself
        ("z", pa.float64()),  # Welch; for global rows mean / family-robust se
        ("cohens_d", pa.float64()),
        ("delta_a", pa.float64()),  # split-half by family; by row parity with --paper
        ("delta_b", pa.float64()),
        ("sign_consistent", pa.bool_()),
        ("delta_min", pa.float64()),  # min(|delta_a|, |delta_b|), >= 0
        ("family_n", pa.int64()),  # families with a pair inside
        ("n_eff", pa.float64()),  # pairs inside / design effect of their families
        ("se_moderated", pa.float64()),  # of delta; families are the unit, small sets borrow from the pool
        ("ci_lo", pa.float64()),  # 95 % confidence, from se_moderated
        ("ci_hi", pa.float64()),
        ("posterior_delta", pa.float64()),  # posterior mean under a mixture fitted to the whole view
        ("posterior_lo", pa.float64()),  # 95 % posterior interval, of shown rows
        ("posterior_hi", pa.float64()),
        ("lfsr", pa.float64()),  # local false sign rate: posterior probability that the sign is wrong, in [0, 1]
        ("q_value", pa.float64()),  # Benjamini-Hochberg over every test of the view, times the number of views
        ("p_flip", pa.float64()),  # exact family-level sign-flip p of global rows
        ("rank_stability", pa.float64()),  # share of family bootstrap draws in the top 50 of its list; of the best rows
        ("delta_heldout", pa.float64()),  # estimated on families that did not select it; null where none did
        ("delta_residual", pa.float64()),  # after length difference and source are accounted for
        ("shown", pa.bool_()),  # passes the display rules; all rows count as tested
        ("direction", pa.string()),  # "amplify" (delta > 0) | "suppress"
        ("rank", pa.int32()),  # 1 = first among the shown of its view and direction; 0 = not shown
    ]
)

EVIDENCE = pa.schema(  # the responsible pairs of the hypotheses that are shown, ranked
    [
        ("hypothesis_id", pa.string()),
        ("rank", pa.int32()),  # 1 = largest contribution in the hypothesis' own direction
        ("pair_id", pa.string()),
        ("u", pa.float64()),  # the pair's signed disparity for the concept
        ("contribution", pa.float64()),  # its signed share of delta; all pairs' contributions sum to delta
        ("prompt_text", pa.string()),
        ("chosen_pieces", pa.list_(pa.string())),  # content tokens as text; their concatenation is the response
        ("chosen_acts", pa.list_(pa.float32())),  # summed activation of the concept's features on each of them
        ("rejected_pieces", pa.list_(pa.string())),
        ("rejected_acts", pa.list_(pa.float32())),
    ]
)

CONCENTRATION = pa.schema(  # how few pairs or families carry the effects of the hypotheses that have evidence
    [("hypothesis_id", pa.string())]
    + [(f"{unit}_{percent}", pa.float64()) for unit in ("pairs", "families") for percent in (1, 5, 10)]
)  # share of delta carried by the first 1, 5, 10 % of the units; above 1 where the rest pulls the other way

ALIKE = pa.schema(  # concepts of features with evidence whose u are so alike that one of them is shown for all
    [
        ("concept_id", pa.int32()),
        ("other_id", pa.int32()),  # above concept_id
        ("correlation", pa.float64()),  # Pearson of their u over the training pairs, >= 0.9
    ]
)


@dataclass(frozen=True)
class Concepts:
    """Concepts as the statistics need them.

    `membership` is a (n_features, n_concepts) 0/1 CSC matrix; `size` its column sums; `is_community` says which columns
    are communities (the others are single features outside every community).
    """

    membership: object  # scipy.sparse.csc_array
    is_community: np.ndarray  # (n_concepts,) bool

    @property
    def size(self) -> np.ndarray:
        return np.asarray(self.membership.sum(axis=0)).ravel()  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return int(self.is_community.size)


FEATURES = "features"


SHARD_PARTS = (*SPANS, "peaks", "tokens")


# --- the files of a run folder, by the step that writes them ----------------------------------------------------------

MANIFEST = "run.json"  # written last
PAIRS_FILE, DROPPED_FILE, TOKENS_FILE = "pairs.parquet", "dropped.parquet", "tokens.parquet"
PREFLIGHT_FILE = "preflight.json"
PATTERNS_FILE, PATTERN_COUNTS_FILE = "patterns.parquet", "pattern_counts.parquet"
SOURCES_FILE = "sources.parquet"
DETECTORS_FOLDER, DETECTOR_REPORT = "detectors", "detector.json"  # of one: detector-<name>.json
CONCEPTS_FILE, MEMBERSHIP_FILE, COMMUNITIES_FILE = "concepts.parquet", "membership.parquet", "communities.json"
SHIFTS_FILE, SHIFTS_REPORT, SHIFT_SIGMA_FILE = "shifts.parquet", "shifts.json", "shift_sigma.parquet"
GROUPS_FILE, GROUP_MEMBERS_FILE, CENTROIDS_FILE = "groups.parquet", "group_members.parquet", "centroids.parquet"
PROMPT_CONCEPTS_FILE, PROMPT_MEMBERS_FILE = "prompt_concepts.parquet", "prompt_members.parquet"
HYPOTHESES_FILE, EVIDENCE_FILE, STATISTICS_FILE = "hypotheses.parquet", "evidence.parquet", "statistics.json"
DOCTOR_FILE, CONCENTRATION_FILE = "doctor.json", "concentration.parquet"  # shown where the run has them
ALIKE_FILE = "alike.parquet"
SUMMARY_FILE, LABELS_FILE = "summary.json", "labels.parquet"
FORECAST_FILE, FORECAST_REPORT = "forecast.parquet", "forecast.json"
FORECAST_HALVES_FILE, FORECAST_SHUFFLED_FILE = "forecast_halves.parquet", "forecast_shuffled.parquet"
ACTIONS_FILE, WHAT_IF_FILE, SHAPE_REPORT, PLAN_FILE = "actions.parquet", "what_if.parquet", "shape.json", "plan.yaml"
METHODS_REPORT = "methods.json"  # of a compiled plan: other methods and strengths for the same wishes
OUTCOME_FILE, OUTCOME_REPORT = "outcome.parquet", "outcome.json"
DOSE_REPORT = "dose.json"  # dose-<detector>.json
SHAPE_FOLDER = "shape"  # of a run: a folder for every plan
TRAINED_FOLDER, TRAIN_REPORT = "trained", "train.json"  # in the run, unless another folder is named
MARGINS_FILE = "margins.parquet"
# Of a role or with a name: rollouts-<role>.json, verification-<name>.json.
ROLLOUTS_REPORT, VERIFICATION_REPORT = "rollouts.json", "verification.json"


# the lists of a summary as they are printed one after another; the numbers of their rows run through all of them
LISTS = (
    *("amplified_patterns", "suppressed_patterns"),
    *("amplified", "suppressed", "amplified_in_groups", "suppressed_in_groups"),
    *("amplified_by_prompt", "suppressed_by_prompt"),
)


LISTED = 250  # hypotheses of a view and direction whose evidence is stored at most, as far as they are sure
