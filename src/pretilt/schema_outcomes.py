"""Tables about training: what was foretold, what a plan does, and what came of it. Part of `schema.py`."""

from __future__ import annotations

import pyarrow as pa

FORECAST = pa.schema(  # what training will do, sealed before it: one row per (view, where, concept) of the concept bank
    [
        ("view", pa.string()),  # "global" | "group" | "prompt_max" | "prompt_freq"
        ("where", pa.int32()),  # group_id or prompt_concept_id; -1 for global
        ("concept_id", pa.int32()),
        ("n_in", pa.int64()),  # training pairs inside
        ("mean", pa.float64()),  # the ladder (docs/forecast.md); null where the inputs do not allow a rung
        ("one_step", pa.float64()),
        ("converged", pa.float64()),
        ("tilt", pa.float64()),  # global only
        ("shift", pa.float64()),  # the declared rung: the forecast. Signs and ratios mean something, sizes do not
        ("shift_lo", pa.float64()),  # 95 %, over families of pairs and prompts of rollouts
        ("shift_hi", pa.float64()),
        ("contrast", pa.float64()),  # shift inside - shift outside; null for global
        ("rewarded", pa.float64()),  # w: the concept's own reward, the others and the length held fixed; global only
        ("rewarded_lo", pa.float64()),
        ("rewarded_hi", pa.float64()),
        (
            "level",
            pa.float64(),
        ),  # score from which an answer expresses it: between the responses of the pairs that differ
        ("prevalence", pa.float64()),  # share of the untrained model's rollouts above it; null without any
        ("prevalence_upper", pa.float64()),  # 95 % upper bound
        ("needs_sft", pa.bool_()),  # surely expressed in fewer than 1 % of the responses
        ("unclear", pa.bool_()),  # never seen, in too few rollouts to say that it is rare
        ("variance", pa.float64()),  # within-prompt variance of one rollout's score, untrained model
        ("length_only", pa.float64()),  # change of the score per unit of log length, within prompts
        ("prevalence_only", pa.float64()),  # mean score of the untrained model
        ("shuffled", pa.float64()),  # the first of FORECAST_SHUFFLED; global only
    ]
)

FORECAST_HALVES = pa.schema(  # the declared rung from either half of the families and prompts; global only
    [("split", pa.int16()), ("half", pa.int8()), ("concept_id", pa.int32()), ("value", pa.float64())]
)

FORECAST_SHUFFLED = pa.schema(  # the declared rung on labels shuffled by family, again and again; global only
    [("draw", pa.int16()), ("concept_id", pa.int32()), ("value", pa.float64())]
)

ACTIONS = pa.schema(  # a compiled plan: what is done to which training pair (docs/shaping.md)
    [
        ("pair_id", pa.string()),
        ("item", pa.int16()),  # of the plan, from 1
        ("action", pa.string()),  # "drop" | "weight" | "swap" | "rewrite" | "mask" | "offset" | "inoculate" | "steer"
        ("amount", pa.float64()),  # weight: factor on the gradient; offset: added to beta D; steer: length
        ("side", pa.string()),  # "chosen" | "rejected", as pairs.parquet has them; null for the whole pair
        ("start", pa.int32()),  # mask: first token in the ids of the response
        ("stop", pa.int32()),  # mask: the token after the last
        ("text", pa.string()),  # rewrite: the new response; inoculate: the instruction; steer: the detector's name
        ("explained", pa.float64()),  # inoculate and steer: log-odds that the context gives the pair before training
        ("reason", pa.string()),  # in a few words
    ]
)

WHAT_IF = pa.schema(  # what a plan changes, one row per concept of the bank; over all pairs
    [
        ("concept_id", pa.int32()),
        ("family", pa.string()),  # whose reward model it shares: "patterns", "features", "shift_by_max", …
        ("role", pa.string()),  # "target" | "protected" | "kept" | "side effect"
        ("item", pa.int16()),  # of the plan whose target or decision it is, from 1; null for side effects
        ("plain", pa.float64()),  # shift without the plan, the declared rung
        ("shaped", pa.float64()),  # shift under the plan
        ("change", pa.float64()),  # shaped - plain
        ("change_lo", pa.float64()),  # 95 %, families of pairs and prompts drawn again
        ("change_hi", pa.float64()),
        ("sure", pa.bool_()),  # the interval leaves out 0
        ("base_rate", pa.float64()),  # share of the untrained model's answers that express it; null without any
    ]
)

OUTCOME = pa.schema(  # what became of a plan: the model trained under it against the plain one, per concept
    [
        ("concept_id", pa.int32()),
        ("family", pa.string()),  # as in WHAT_IF
        ("role", pa.string()),
        ("predicted", pa.float64()),  # change by the plan, not scaled to `observed`
        ("observed", pa.float64()),  # shaped - plain, mean score of the answers, prompts counting alike
        ("se", pa.float64()),  # of `observed`; near-duplicate prompts are one unit
        ("resolved", pa.bool_()),  # |observed| > 2 se
        ("sign_right", pa.bool_()),  # of resolved rows
        ("before", pa.float64()),  # mean score of the untrained model's answers
        ("plain", pa.float64()),  # of the model trained without the plan
        ("shaped", pa.float64()),
    ]
)

VERIFICATION = pa.schema(  # did the forecast come true: one row per (view, where, concept) of forecast.parquet
    [
        ("view", pa.string()),  # "global" | "group" | "prompt_max" | "prompt_freq"
        ("where", pa.int32()),  # group_id or prompt_concept_id; -1 for global
        ("concept_id", pa.int32()),
        # the declared rung; in a set of prompts inside - outside. Not scaled to `observed`
        ("predicted", pa.float64()),
        ("observed", pa.float64()),  # after - before, prompts counting alike; in a set of prompts inside - outside
        ("se", pa.float64()),  # of `observed`, >= 0; near-duplicate prompts are one unit
        ("n_prompts", pa.int64()),  # evaluation prompts of the set
        ("predictive_lo", pa.float64()),  # where `observed` should fall, 95 %; global only
        ("predictive_hi", pa.float64()),
        ("inside", pa.bool_()),  # it does; global only
        ("resolved", pa.bool_()),  # |observed| > 2 se
        ("sign_right", pa.bool_()),  # of resolved rows: the forecast has the sign of `observed`
    ]
)

DOSE = pa.schema(  # what a model shows while it is steered, one row per concept of the bank and amount
    [
        ("concept_id", pa.int32()),
        ("amount", pa.float64()),  # along the detector's direction, in lengths of the residual stream
        ("role", pa.string()),  # of the rollouts
        ("mean", pa.float64()),  # score of the answers, prompts counting alike
        ("se", pa.float64()),  # near-duplicate prompts are one unit
        ("slope", pa.float64()),  # least squares of the score on the amount, over all amounts
        ("slope_se", pa.float64()),
    ]
)

COMPARISON = pa.schema(  # what the labels of two runs select, one row per concept that both have; over all pairs
    [
        ("concept_id", pa.int32()),  # in the first run
        ("other_id", pa.int32()),  # in the other
        ("kind", pa.string()),  # "community" | "feature" | "pattern"
        ("name", pa.string()),  # in the first run
        ("first", pa.float64()),  # mean u over the training pairs
        ("first_error", pa.float64()),  # standard error, families are the unit
        ("second", pa.float64()),
        ("second_error", pa.float64()),
        ("difference", pa.float64()),  # second - first
        ("error", pa.float64()),  # of the difference; what both runs hold cancels
        ("p_value", pa.float64()),
        ("q_value", pa.float64()),  # Benjamini-Hochberg over all rows
        ("sure", pa.bool_()),  # q_value <= 0.05, and the concept stands in enough families of the runs
        ("first_shift", pa.float64()),  # the forecast of either run, of another size; null without one
        ("first_shift_lo", pa.float64()),
        ("first_shift_hi", pa.float64()),
        ("second_shift", pa.float64()),
        ("second_shift_lo", pa.float64()),
        ("second_shift_hi", pa.float64()),
        ("first_seen", pa.float64()),  # what came of it after training; null without a verification
        ("first_seen_se", pa.float64()),
        ("second_seen", pa.float64()),
        ("second_seen_se", pa.float64()),
    ]
)
