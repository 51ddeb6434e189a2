"""What a verification amounts to: whether the forecast was sealed, one sentence, and claims that could have failed.

The rules are fixed and stand in docs/verification.md. No sentence is given without the seal and without the ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pretilt.stats.agreement import ENOUGH_CEILING

NOTHING = "nothing can be said"
CHANCE = 0.05  # p above which a forecast is no better than chance
CAME_TRUE, FAILED = 0.5, 0.25  # of R² / rel_y, ours
COVERED = 0.85  # of intervals that claim 95 %, ours
MOST = 0.8  # of the concepts whose shift can be seen
FIRST = 10  # the concepts that a forecast says move most, in either direction

SEALED, AFTERWARDS, CHANGED, NOT_KNOWN = "sealed", "forecast written after training", "changed since", "not known"
_SEAL_WORDS = {
    SEALED: "The forecast was sealed before training.",
    AFTERWARDS: "The forecast was written after training.",
    CHANGED: "The forecast has changed since training began.",
    NOT_KNOWN: "Whether the forecast was sealed before training is not known.",
}


@dataclass(frozen=True)
class Seal:
    """Whether the forecast that is judged existed when training began."""

    state: str  # SEALED, AFTERWARDS, CHANGED or NOT_KNOWN
    why: str

    @property
    def words(self) -> str:
        return _SEAL_WORDS[self.state]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "words": self.words}


def seal(
    file_sha256: str, report: Mapping[str, Any], trained: Mapping[str, Any] | None, *, same_model: bool | None
) -> Seal:
    """`file_sha256` of forecast.parquet as it is now, `about` its forecast.json, `trained` the train.json or None.

    `same_model`: the rollouts after training were drawn by the model that train.json describes; None: nobody can tell.
    """
    sealed_sha256 = str(report.get("sha256"))
    if sealed_sha256 != file_sha256:
        return Seal(CHANGED, "forecast.parquet is not the file that forecast.json was written for")
    if trained is None:
        return Seal(NOT_KNOWN, "no train.json: the model was trained elsewhere")
    if not same_model:
        who = "nobody can tell which model answered" if same_model is None else "another model answered"
        return Seal(NOT_KNOWN, f"train.json is there, but {who}")
    if "forecast" not in trained:
        return Seal(NOT_KNOWN, "train.json says nothing of a forecast")
    then = trained["forecast"]
    if then is None:
        return Seal(AFTERWARDS, "when training began the run had no forecast")
    if then.get("sha256") != sealed_sha256:
        return Seal(
            CHANGED, f"training began under the forecast {str(then.get('sha256'))[:12]}, this is {sealed_sha256[:12]}"
        )
    return Seal(SEALED, f"{sealed_sha256[:12]}, written {then.get('written')}")


def short(value: float | None) -> str:
    """A figure of at most 1 as people quote it: `.83`, `−.02`, `1.00`; `?` where there is none."""
    if value is None or not np.isfinite(value):
        return "?"
    text = f"{abs(value):.2f}"
    return ("−" if value < 0 and float(text) else "") + (text[1:] if text.startswith("0") else text)


def verdict(judged_set: Mapping[str, Any], n_prompts: int, per_prompt: float) -> dict[str, Any]:
    """Name and sentence for the headline set; `told` is what `verify_sets.judge_set` says of it.

    "came true", "came partly true", "failed" or "nothing can be said".
    """
    answers = f"{per_prompt:.0f}" if abs(per_prompt - round(per_prompt)) < 0.05 else f"{per_prompt:.1f}"
    over = f"{judged_set['label']}, {judged_set['concepts']:,} concepts, {n_prompts:,} prompts × {answers}"
    judgement = judged_set["judgement"]
    if judgement is None:
        return _verdict(NOTHING, f"Nothing can be said: there are too few concepts ({over})")
    # Concepts exchanged, and labels: a forecast has to pass both where both are known.
    overall, p = judgement["overall"], max(judgement["permutation_p"], (judged_set.get("labels") or {"p": 0.0})["p"])
    r2, rel_y = overall["r2"], overall["rel_y"]
    if not rel_y >= ENOUGH_CEILING:
        why = f"the model hardly moved, or too few answers were drawn to see it (rel_y {short(rel_y)}; {over})"
        agrees = f"; what little was seen agrees with the forecast (R² {short(r2)}, p {_p(p)})"
        return _verdict(NOTHING, f"Nothing can be said: {why}{agrees if p <= CHANCE and r2 > 0 else ''}")
    figures = f"R² {short(r2)} of a possible {short(rel_y)} ({over})"
    if not r2 >= -1:
        return _verdict("failed", f"The forecast failed: it says the same of every concept ({over})")
    if p > CHANCE or r2 <= 0:
        return _verdict("failed", f"The forecast failed: {figures}, no better than chance (p {_p(p)})")
    share = r2 / rel_y
    if share < FAILED:
        return _verdict("failed", f"The forecast failed: {figures}; better than chance (p {_p(p)}), and no more")
    but = _no_better_than(judged_set)
    if share >= CAME_TRUE and not but:
        return _verdict("came true", f"The forecast came true: {figures}")
    return _verdict("came partly true", f"The forecast came partly true: {figures}{but}")


def _verdict(name: str, sentence: str) -> dict[str, Any]:
    return {"name": name, "sentence": sentence}


def _p(p: float) -> str:
    return f"{p:.4f}" if p < 0.001 else f"{p:.3f}".rstrip("0")


def _no_better_than(judged_set: Mapping[str, Any]) -> str:
    """What speaks against concept-specific skill, as the end of a sentence; empty if nothing does."""
    judgement = judged_set["judgement"]
    r2 = judgement["overall"]["r2"]
    baselines = {row["name"]: row["r2"] for row in judged_set["table"] if row["kind"] == "baseline"}
    as_good = [name for name, other in baselines.items() if other is not None and other >= r2]
    if as_good:
        named = {"shuffled": "shuffled labels"}
        return f", but {' and '.join(f'{named.get(n, n)} alone has {short(baselines[n])}' for n in as_good)}"
    beyond = judgement["beyond_nulls"]
    if beyond and beyond["rel_y"] >= ENOUGH_CEILING and not beyond["r2"] / beyond["rel_y"] >= FAILED:
        return (
            f", but once length and prevalence are accounted for it is {short(beyond['r2'])} of a possible "
            f"{short(beyond['rel_y'])}"
        )
    return ""


def statements(
    judged_set: Mapping[str, Any],
    cells: Mapping[str, Any],
    predicted: np.ndarray,
    sd: np.ndarray,
    observed: np.ndarray,
    se: np.ndarray,
) -> list[dict[str, Any]]:
    """Claims that every forecast makes and that could have turned out false; `held` None: it could not be tested.

    None can be tested where the ceiling is too low for a verdict: a claim that holds there could not have failed.
    `told` and the four [M] arrays are of the headline set; the cells are those of `verify_sets.judge_view`.
    """
    judged = judged_set["judgement"]
    if judged is None:
        return []
    overall, p = judged["overall"], judged["permutation_p"]
    can_fail = overall["rel_y"] >= ENOUGH_CEILING
    r2 = overall["r2"]
    claims: list[dict[str, Any]] = []

    def claim(text: str, test: str, figures: str, held: bool | None) -> None:
        tested = can_fail and held is not None
        claims.append({"claim": text, "test": test, "figures": figures, "held": bool(held) if tested else None})

    claim("which concepts move, and which way, is no chance", f"permutation p ≤ {CHANCE}", f"p {_p(p)}", p <= CHANCE)
    for name, label in (("length", "a change in length"), ("prevalence", "how often concepts are said anyway")):
        null = judged["nulls"].get(name)
        if null is not None:
            better = r2 > null["r2"] if np.isfinite(null["r2"]) else True
            claim(
                f"it says more than {label}",
                "higher R² than that alone",
                f"{short(r2)}, that alone {short(null['r2'])}",
                better,
            )
    gap, labels = judged_set.get("against_shuffled"), judged_set.get("labels")
    if labels is not None:
        claim(
            "it comes from the labels",
            f"p ≤ {CHANCE} among forecasts from shuffled labels",
            f"p {_p(labels['p'])}; 95 % of {labels['draws']} have R² {short(labels['r2_95'])} at most",
            labels["p"] <= CHANCE,
        )
    elif gap is not None:
        claim(
            "it comes from the labels",
            "R² above that of shuffled labels, 95 % interval above 0",
            f"by {short(gap['median'])} ({short(gap['lo'])} to {short(gap['hi'])})",
            gap["lo"] > 0,
        )
    resolved = np.abs(observed) > 2 * se
    order = np.argsort(-predicted, kind="stable")
    for label, first, sign in (("rise", order[:FIRST], 1.0), ("fall", order[::-1][:FIRST], -1.0)):
        first = first[sign * predicted[first] > 0]
        visible = first[resolved[first]]
        right = int((sign * observed[visible] > 0).sum())
        claim(
            f"the {first.size} concepts said to {label} most do {label}",
            f"at least {MOST:.0%} of those whose shift can be seen",
            f"{right} of {visible.size}",
            right >= MOST * visible.size if visible.size else None,
        )
    is_known = (np.abs(predicted) > 1.96 * sd) & (sd > 0) & resolved
    right = int((np.sign(predicted[is_known]) == np.sign(observed[is_known])).sum())
    claim(
        "where its interval leaves no doubt about the sign, the sign is right",
        f"at least {MOST:.0%} of those whose shift can be seen",
        f"{right} of {int(is_known.sum())}",
        right >= MOST * is_known.sum() if is_known.any() else None,
    )
    covered = judged_set["coverage"]["noise_alone"]
    claim(
        "noise explains what it misses: 95 % intervals of noise alone hold what is seen",
        f"at least {COVERED:.0%}, on the prompts that they were not fitted on",
        "no interval: the scale is not surely above 0" if covered is None else f"{covered:.0%}",
        None if covered is None else covered >= COVERED,
    )
    names = {"group": "groups of pairs", "prompt_max": "prompts, max", "prompt_freq": "prompts, freq",
             "pattern_group": "groups of pairs, patterns", "detector_group": "groups of pairs, detectors"}  # fmt: skip
    for view, view_report in cells.items():
        within = (view_report.get("in_out") or {}).get("within")
        if within is not None:
            tested = within["rel_y"] >= ENOUGH_CEILING
            claim(
                f"it knows in which context ({names[view]})",
                f"within concepts, R² at least {FAILED} of its ceiling",
                f"{short(within['r2'])} of {short(within['rel_y'])}",
                within["r2"] / within["rel_y"] >= FAILED if tested else None,
            )
    return claims
