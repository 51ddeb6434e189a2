"""The doctor's rules: from a measured figure to a verdict. Pure functions; `audit/doctor.py` does the measuring.

Red means that a forecast from this lens would be worthless, amber that it needs a second look, green that the figure is
what a sound lens gives. A check that was not made is "not run", never green. The limits are ours unless a source is
named; what breaks in their absence was seen in attempts to repeat arXiv 2606.12360.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from pretilt.lens.choice import LEAST_TOKENS
from pretilt.stats.sure import SURE_PAIRS
from pretilt.text import counted

Verdict = Literal["green", "amber", "red", "not run"]
FEWEST_INDEPENDENT = 0.3  # of the pairs; with fewer, copies of a few pairs decide everything
FEW_EXAMPLES = 5  # pairs that are tokenised again


@dataclass(frozen=True)
class Check:
    """One examination: what was measured, how it is judged, what it means, what to do about it (empty: nothing)."""

    name: str
    verdict: Verdict
    figure: float | str | None  # None: there is none
    threshold: str
    meaning: str
    what_to_do: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Check:
        return cls(**values)


def any_red(checks: Sequence[Check]) -> list[Check]:
    """The red ones, in order."""
    return [check for check in checks if check.verdict == "red"]


def _rising(value: float, green: float, amber: float) -> Verdict:
    """Green from `green` on, amber from `amber` on, red below; a figure that is no number is red."""
    return "green" if value >= green else "amber" if value >= amber else "red"


def _falling(value: float, green: float, amber: float) -> Verdict:
    """Green up to `green`, amber up to `amber`, red above; a figure that is no number is red."""
    return "green" if value <= green else "amber" if value <= amber else "red"


def judged_by(check: Check, n_tokens: int) -> Check:
    """The check, or "not run" where it was made on too few response tokens (`n_tokens`) to say anything of a lens."""
    if n_tokens >= LEAST_TOKENS or check.verdict == "not run":
        return check
    few = f"{n_tokens:,} response {'token is' if n_tokens == 1 else 'tokens are'} too few to judge a lens by"
    return replace(
        check, verdict="not run", figure=None, meaning=few, what_to_do=f"Give pairs with {LEAST_TOKENS} tokens or more"
    )


def _rounded(value: float, digits: int = 4) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def explained_variance(value: float) -> Check:
    """`value`: explained variance of the residual stream at the responses' content tokens, at most 1; NaN is red."""
    return Check(
        "explained variance",
        _rising(value, 0.6, 0.4),
        _rounded(value),
        ">= 0.6 green, >= 0.4 amber",
        "how much of the model's activations on these responses the dictionary can say",
        ""
        if value >= 0.6
        else "Give a dictionary trained on this model, this layer and chat text (`pretilt fit`); "
        "only responses of a word or two are badly explained by any",
    )


def sparsity(l0: float, nominal: float | None) -> Check:
    """`l0`: features that fire per response token; `nominal`: what the dictionary was made for, None if unknown."""
    name, limits = "active features per token", "within x2 of nominal green, x4 amber"
    meaning = "a dictionary on the wrong layer, model or scale fires far more or far less than in training"
    if nominal is None or not nominal > 0:
        fix = "Put k into the dictionary's card.json, or store its firing rates beside it"
        return Check(name, "not run", _rounded(l0, 2), limits, meaning, fix)
    ratio = max(l0 / nominal, nominal / l0) if l0 > 0 else math.inf
    verdict = _falling(ratio, 2, 4)
    fix = "" if verdict == "green" else "Check layer, model and the scaling of activations the dictionary expects"
    return Check(name, verdict, f"{l0:.1f} of {nominal:.1f}", limits, meaning, fix)


def random_gap(dictionary: float, random: float) -> Check:
    """Explained variance of the dictionary, and of random directions firing as often, rescaled to their best."""
    gap = dictionary - random
    verdict = _rising(gap, 0.2, 0.05)
    return Check(
        "gap to random directions",
        verdict,
        _rounded(gap),
        ">= 0.2 green, >= 0.05 amber",
        f"random directions that fire as often, scaled by least squares, explain {random:.2f}",
        "" if verdict == "green" else "These weights were probably never loaded or trained: get the dictionary again",
    )


def loading(same_hash: bool, largest_difference: float, as_recorded: bool = True) -> Check:
    """Two loads of the dictionary: equal hashes, and the largest relative difference of their activations on the same
    vectors. `as_recorded`: model and dictionary are the ones that the run was read with."""
    verdict: Verdict = "green"
    if not (same_hash and as_recorded and largest_difference <= 1e-3):
        verdict = "red"
    elif largest_difference > 0:
        verdict = "amber"
    figure = "equal" if verdict == "green" else f"differ by {largest_difference:.1e}"
    figure = "other hashes" if not same_hash else "not those of the run" if not as_recorded else figure
    return Check(
        "two loads of the lens",
        verdict,
        figure,
        "equal hashes and activations",
        "feature numbers mean the same in every process only if the weights are the same",
        "" if verdict == "green" else "Load the weights from one unchanged file; run the audit again if it changed",
    )


def dictionary_metadata(cautions: Sequence[str]) -> Check:
    """`cautions`: what the dictionary says of its training that differs from this reading, one sentence each."""
    return Check(
        "the dictionary's own word",
        "amber" if cautions else "green",
        "; ".join(cautions) or "nothing differs",
        "model, place, context and BOS as in its training",
        "a dictionary read otherwise than it was trained may say less, or something else",
        "Compare explained variance and active features above with its publication" if cautions else "",
    )


def index_space(correlation: float | None, n_tokens: int = 0, same_weights: bool = True) -> Check:
    """Spearman correlation over features of their firing rates, responses of the data against the dictionary's
    reference text of `n_tokens`; None: no reference. `same_weights`: the reference names this dictionary's hash."""
    name, limits = "index space", "> 0.5 green, >= 0.2 amber"
    if correlation is None:
        return Check(
            name,
            "not run",
            None,
            limits,
            "without firing rates on known text nobody can tell whether feature numbers are still the dictionary's",
            "`pretilt fit` stores them; for others, count_firings and save_firing_rates of pretilt.lens.reference",
        )
    verdict: Verdict = "green" if correlation > 0.5 else "amber" if correlation >= 0.2 else "red"
    meaning = f"rank correlation of firing rates with those on {n_tokens:,} reference tokens"
    if verdict == "red":
        meaning = "feature numbers do not mean what the dictionary says"
    if not same_weights:
        meaning += " (the reference was made with other weights)"
    fix = "" if verdict == "green" else "Load weights and reference from the same place, or this text is far from it"
    return Check(name, verdict, _rounded(correlation), limits, meaning, fix)


def template(same_reading: bool | None, n_examples: int, n_different: int) -> Check:
    """`same_reading`: chat template and tokenizer on disk hash as when the pairs were read, None if that was not
    recorded; `n_different` of `n_examples` pairs give other ids or content masks when tokenised again."""
    verdict: Verdict = "green" if same_reading else "amber"
    if same_reading is False or n_different > 0 or n_examples == 0:
        verdict = "red"
    figure = f"{n_examples - n_different} of {n_examples} examples equal"
    figure += {True: "", False: ", other template", None: ", hash not recorded"}[same_reading]
    return Check(
        "chat template",
        verdict,
        figure,
        "same template, same tokens",
        "the trainer must see the tokens that were read; a template that prints the date changes every day",
        "" if verdict == "green" else "Restore the tokenizer and its template, or run the audit again",
    )


def truncation(n_truncated: int, n_lost: int, n_pairs: int, tokens_left: float | None) -> Check:
    """`n_truncated` of the `n_pairs` kept were cut, `n_lost` more lost a whole response; `tokens_left`: median content
    tokens of the responses of the cut pairs, None if there are none."""
    share = (n_truncated + n_lost) / max(n_pairs + n_lost, 1)
    verdict = _falling(share, 0.05, 0.5)
    left = "" if tokens_left is None else f", {tokens_left:.0f} response tokens left"
    return Check(
        "truncation",
        verdict,
        f"{share:.1%}{left}",
        "<= 5% of pairs green, <= 50% amber",
        "what lies behind the cut is neither trained on nor measured",
        "" if verdict == "green" else "Give a larger --max-length, the same as the trainer's",
    )


def special_tokens(n_special: int) -> Check:
    """`n_special`: BOS, EOS, padding and other special ids among the content tokens of all spans."""
    return Check(
        "special tokens in content",
        "green" if n_special == 0 else "red",
        n_special,
        "0",
        "BOS and role marks carry huge activations that say nothing about the text",
        "" if n_special == 0 else "Run the audit again with this model's own tokenizer",
    )


def outliers(share: float) -> Check:
    """`share` of the content tokens with norm > 6 times the mean norm (the source leaves these out of training)."""
    verdict = _falling(share, 0.001, 0.02)
    return Check(
        "outlier tokens",
        verdict,
        _rounded(share, 6),
        "<= 0.1% green, <= 2% amber",
        "share of tokens with more than 6 times the mean norm; on these a dictionary fires at random",
        "" if verdict == "green" else "Choose another layer, or look at which tokens they are",
    )


def unbound(share: float | None, freq_threshold: float) -> Check:
    """`share` of response spans so short that one firing passes the frequency threshold; None: none is applied."""
    name = "responses below the threshold's reach"
    meaning = f"in a response of under {1 / freq_threshold:.0f} tokens a single firing counts as expressing a concept"
    if share is None:
        return Check(name, "not run", None, "<= 50% green", "this form of disparity has no threshold")
    verdict: Verdict = "green" if share <= 0.5 else "amber"
    fix = "" if verdict == "green" else "Compare with --disparity count2 or freq before you trust small effects"
    return Check(name, verdict, _rounded(share), "<= 0.5 green, else amber", meaning, fix)


def length(mean_difference: float, mean_length: float, correlations: np.ndarray | None) -> Check:
    """`mean_difference`: content tokens, chosen - rejected; `mean_length` of a response; `correlations`: per concept,
    Pearson of u with the difference (NaN left out), None before concepts are known. Amber at worst: it is the data."""
    verdict: Verdict = "green"
    figure = f"chosen {mean_difference:+.1f} of {mean_length:.0f} tokens"
    if not abs(mean_difference) <= 0.2 * mean_length:
        verdict = "amber"
    if correlations is not None:
        size = np.abs(correlations[np.isfinite(correlations)])
        if size.size:
            follow = float((size > 0.3).mean())
            figure += f"; median |r| {np.median(size):.2f}, {follow:.0%} of concepts |r| > 0.3"
            verdict = "amber" if follow > 0.25 else verdict
    return Check(
        "length",
        verdict,
        figure,
        "difference <= 20% and <= 25% of concepts |r| > 0.3 green, else amber",
        "longer responses show a little more of every concept, so length can pass for a preference",
        "" if verdict == "green" else "Read concepts marked `follows length` with care; compare with the length null",
    )


def language(share: float | None, n_english: int, n_patterns: int) -> Check:
    """`share` of the longer responses that read as English, None without any; `n_english` of the patterns know English
    words alone. Amber at worst: the patterns stay silent, and say nothing that is false."""
    name = "language of the patterns"
    limits = ">= 90% of the longer responses read as English green, else amber"
    meaning = f"{n_english} of {n_patterns} patterns know English words: in another language they count 0"
    if share is None:
        return Check(name, "not run", None, limits, meaning)
    verdict: Verdict = "green" if share >= 0.9 or not n_english else "amber"
    fix = "Add patterns in the language of the pairs with --patterns; believe marks of formatting, not words"
    return Check(name, verdict, f"{share:.0%}", limits, meaning, "" if verdict == "green" else fix)


def families(n_effective: float | None, n_pairs: int | None) -> Check:
    """Kish's effective number of pairs, N² / Σ size², against N; None where families were not sought."""
    name, limits = "independent pairs", f">= 0.7 of pairs and >= {SURE_PAIRS:.0f} green, >= 0.3 amber"
    meaning = "pairs of one family are not independent evidence; intervals and ranks count families"
    if n_effective is None or not n_pairs:
        return Check(name, "not run", None, limits, meaning, "Run the audit again: families are found when pairs are")
    share = n_effective / n_pairs
    verdict = _rising(share, 0.7, FEWEST_INDEPENDENT)
    fix = "" if verdict == "green" else "Remove near-duplicates, or read every effect as coming from so many families"
    if verdict == "red":
        # Σ size² is N² / n_effective; each new pair of a family of its own adds 1 to it and to N.
        squares = n_pairs**2 / n_effective
        more = math.ceil((FEWEST_INDEPENDENT * squares - n_pairs) / (1 - FEWEST_INDEPENDENT))
        worth = f"{n_effective:,.0f} independent of each other"
        meaning = f"{counted(n_pairs, 'pair is', 'pairs are')} worth no more than {worth}"
        fix = f"Drop near-duplicates, or add {more:,} pairs that are related to no other"
    elif n_effective < SURE_PAIRS:
        verdict = "amber"
        fix = f"Add {math.ceil(SURE_PAIRS - n_effective)} pairs that are related to no other: below {SURE_PAIRS:.0f} "
        fix += "nothing can be called sure"
    return Check(name, verdict, f"{share:.2f}, {n_effective:,.0f} of {n_pairs:,}", limits, meaning, fix)


_LATER = "Needs rollouts; the controls a training with --set max_steps=0 or --shuffled-labels: docs/verification.md"


def rollout_index_space(correlation: float | None) -> Check:
    """Spearman over features of their firing rates, responses of the data against the untrained model's rollouts."""
    name, limits = "index space of rollouts", "Spearman of firing rates > 0.5 green, >= 0.2 amber"
    meaning = "before and after are comparable only in one index space"
    if correlation is None:
        return Check(name, "not run", None, limits, meaning, _LATER)
    verdict: Verdict = "green" if correlation > 0.5 else "amber" if correlation >= 0.2 else "red"
    fix = "" if verdict == "green" else "Put back the dictionary of the audit, or see what the model answers at all"
    return Check(name, verdict, _rounded(correlation), limits, meaning, fix)


def zero_step(share: float | None, n_concepts: int = 0) -> Check:
    """`share` of `n_concepts` that moved by more than two standard errors in a model trained for no step."""
    name, limits = "zero-step control", "shifts within noise: |z| > 2 in <= 10% of concepts green, <= 20% amber"
    meaning = "training for no step must change nothing"
    if share is None:
        return Check(name, "not run", None, limits, meaning, _LATER)
    verdict = _falling(share, 0.10, 0.20)
    fix = "" if verdict == "green" else "Compare how the two models were loaded and sampled: something else differs"
    return Check(name, verdict, f"{share:.1%} of {n_concepts:,} concepts", limits, meaning, fix)


def shuffled_training(p: float | None) -> Check:
    """p of the true labels' forecast against a model trained on shuffled ones (docs/verification.md)."""
    name, limits = "shuffled-label training control", "no shift predicted: p > 0.05 green, > 0.01 amber"
    meaning = "labels without meaning must teach nothing"
    if p is None:
        return Check(name, "not run", None, limits, meaning, _LATER)
    verdict: Verdict = "green" if p > 0.05 else "amber" if p > 0.01 else "red"
    fix = (
        ""
        if verdict == "green"
        else "Train another control with --set label_seed=7: one shuffle in 20 agrees by chance. If that one agrees "
        "too, what agrees with the forecast does not come from the labels alone: see the nulls"
    )
    return Check(name, verdict, _rounded(p), limits, meaning, fix)


def moved(rel_y: float | None, share: float = math.nan) -> Check:
    """`rel_y`: reliability of the observed shifts over concepts; `share` of concepts whose shift can be seen."""
    name, limits = "did the model move", "noise ceiling rel_y >= 0.5 green, >= 0.2 amber"
    meaning = "a model that stayed as it was proves no forecast"
    if rel_y is None:
        return Check(name, "not run", None, limits, meaning, _LATER)
    verdict = _rising(rel_y, 0.5, 0.2)
    figure = f"rel_y {rel_y:.2f}, {share:.0%} of concepts seen to move"
    fix = "" if verdict == "green" else "Train for longer, or sample more prompts and more answers to each"
    return Check(name, verdict, figure, limits, meaning, fix)


def not_yet_run() -> list[Check]:
    """The controls that need rollouts or training: named, so that nobody believes they passed."""
    return [rollout_index_space(None), zero_step(None), shuffled_training(None), moved(None)]
