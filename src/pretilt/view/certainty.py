"""How sure an effect is, in words that are computed from its numbers and go no further than they do.

What may be called sure is decided in `stats/sure.py`. What is sure by that rule may still have something against it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pretilt.artifacts import finite
from pretilt.stats.clustered import RESOLVED
from pretilt.stats.sure import SURE_LFSR, SURE_PAIRS, SURE_Q, is_sure

SHRUNK = 0.5  # an estimate below this share of the observed effect speaks against it
FLIPPED = 0.05  # sign flips that give as much in so many of the draws speak against it
POINTS = "points"  # of percentage: the unit of a share of answers or pairs
COPIES = 0.5  # pairs inside are worth less than this share of their number: they are copies of each other

CAUTIONS = {  # what the short cautions of a verdict say where there is no room for their numbers
    "few pairs": "it rests on few independent pairs",
    "near-duplicates": "most of its pairs are near-duplicates",
    "less held out": "it is weaker in pairs that did not select it",
    "length or source": "most of it may be length or source",
    "among many tests": "among so many tests it may be chance",
    "sign flips": "labels at random give as much",
}

Level = Literal["sure", "probably", "unsure", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """`cautions` are the reasons against it, short, as they stand beside it in a list."""

    level: Level
    sentence: str
    cautions: tuple[str, ...]


def sure_text(lfsr: float | None) -> str:
    """1 - lfsr, the probability that the sign is right: "99.3 %", "> 99.9 %"; "?" where nothing is known."""
    if lfsr is None:
        return "?"
    if lfsr < 0.001:
        return "> 99.9 %"
    right = 100 * (1 - lfsr)
    return f"{math.floor(10 * right) / 10:.1f} %" if lfsr < SURE_LFSR else f"{max(0, math.floor(right))} %"


def chance(probability: float) -> str:
    """A probability in per cent, never rounded to 0 or to 100."""
    if probability < 0.001:
        return "under 0.1 %"
    return "over 99.9 %" if probability > 0.999 else f"{100 * probability:.{1 if probability < 0.1 else 0}f} %"


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign in ASCII, `+0.120`, a digit more below 0.01; unsigned if it rounds to 0; `?` if None."""
    if value is None:
        return "?"
    digits += digits > 2 and abs(value) < 0.01
    return f"{value:+.{digits}f}" if round(value, digits) else "0"


def verdict(row: Mapping[str, Any], unit: str = "") -> Verdict:
    """The row of HYPOTHESES judged; `unit` stands behind effects, "sd", POINTS or nothing.

    sure: sure by the rule, and nothing below speaks against it. probably: sure by the rule, but sign flips of families
    give as much, families that did not select it or an adjustment for length and source leave less than half, or the
    pairs are mostly copies. unsure: not sure by the rule; the sentence says which part of it fails.
    """
    lfsr = finite(row["lfsr"])
    if lfsr is None:
        return Verdict("unknown", "Not known: there is too little to judge it by.", ())
    against = _against(row, unit)
    right = f"the probability that the sign is wrong is {chance(lfsr)}"
    if not is_sure(row):
        q = finite(row["q_value"])
        if lfsr < SURE_LFSR:
            but = [against[name] for name in ("few pairs", "among many tests") if name in against]
            return Verdict("unsure", f"Unsure: {'; '.join(but)}. By itself {right}.", tuple(against))
        wrong = f"a wrong sign, or no effect at all, has a probability of {chance(lfsr)}"
        wrong += f"; by q alone ({q:.1g}) it would pass." if q is not None and q <= SURE_Q else "."
        text = f"Unsure: {wrong}"
        if "near-duplicates" in against:
            text = f"Could be an accident of near-duplicates: {against['near-duplicates']}, and {wrong}"
        elif "length or source" in against:
            text = f"Could be length or source: {against['length or source']}, and {wrong}"
        return Verdict("unsure", text, tuple(against))
    if not against:
        return Verdict("sure", f"Sure: {'; '.join([right, *_support(row, unit)])}.", ())
    return Verdict("probably", f"Probably: {right}. But {'; '.join(against.values())}.", tuple(against))


def side_inside(row: Mapping[str, Any]) -> int | None:
    """Inside of a place, of a row of HYPOTHESES: 1 if chosen responses show it more there, -1 if rejected ones, 0 if
    neither does, None where the mean inside is not known.

    Such an effect is a difference to what is elsewhere, which may lie elsewhere alone. Of a sure one the mean inside
    has to stand out by itself: by twice the error of the difference, which is no smaller than its own.
    """
    inside, error = finite(row["mean_in"]), finite(row["se_moderated"])
    least = 0.0 if not is_sure(row) else math.inf if error is None else RESOLVED * error
    if inside is None:
        return None
    return 0 if abs(inside) <= least else int(math.copysign(1, inside))


def _against(row: Mapping[str, Any], unit: str) -> dict[str, str]:
    """What speaks against an effect that looks sure: short → clause."""
    doubts = {}
    n_in, n_eff, families = row["n_in"], finite(row["n_eff"]), row["family_n"]
    if n_eff is None or families is None:
        doubts["few pairs"] = "how many independent pairs it rests on is not known"
    elif (worth := min(n_eff, families)) < SURE_PAIRS:
        noun = "pair" if round(worth) == 1 else "pairs"
        doubts["few pairs"] = f"it rests on {worth:,.0f} independent {noun}, and {SURE_PAIRS:.0f} are needed to be sure"
    if n_eff is not None and families and min(n_eff, families) < COPIES * n_in:
        doubts["near-duplicates"] = (
            f"its {n_in:,} pairs are {families:,} {'family' if families == 1 else 'families'}, "
            f"worth {n_eff:,.0f} independent pairs"
        )
    if _less_than_half(row, "delta_heldout"):
        amount, is_contrary = _amount(row["delta_heldout"], unit), _is_contrary(row, "delta_heldout", unit)
        how = f"point the other way ({amount})" if is_contrary else f"give only {amount}"
        doubts["less held out"] = f"families that did not select it {how}"
    if _less_than_half(row, "delta_residual"):
        amount, is_contrary = _amount(row["delta_residual"], unit), _is_contrary(row, "delta_residual", unit)
        how = f"it has the other sign ({amount})" if is_contrary else f"only {amount} is left"
        doubts["length or source"] = f"{how} after length and source"
    q, p_flip = finite(row["q_value"]), finite(row["p_flip"])
    if q is None or q > SURE_Q:
        doubts["among many tests"] = f"among all that was tested it does not stand out (q {_q(q)})"
    if p_flip is not None and p_flip >= FLIPPED:
        doubts["sign flips"] = (
            f"labels swapped at random, family by family, give as much in {chance(p_flip)} of the draws"
        )
    return doubts


def _support(row: Mapping[str, Any], unit: str) -> list[str]:
    reasons = []
    if finite(row["delta_heldout"]) is not None:
        reasons.append(f"families that did not select it give {_amount(row['delta_heldout'], unit)}")
    if finite(row["delta_residual"]) is not None:
        reasons.append(f"{_amount(row['delta_residual'], unit)} is left after length and source")
    return reasons


def _q(q: float | None) -> str:
    return "is not known" if q is None else f"= {q:.2g}"


def _less_than_half(row: Mapping[str, Any], column: str) -> bool:
    """The estimate is known, and of the other sign or less than half the observed effect."""
    value, delta = finite(row[column]), finite(row["delta"])
    return value is not None and delta is not None and value * math.copysign(1.0, delta) < SHRUNK * abs(delta)


def _is_contrary(row: Mapping[str, Any], column: str, unit: str) -> bool:
    """The estimate is of the other sign, and not so small that it is written as 0."""
    return row[column] * row["delta"] < 0 and not _amount(row[column], unit).startswith("0")


def _amount(value: float, unit: str) -> str:
    return f"{signed(100 * value, 1)} {unit}" if unit == POINTS else f"{signed(value)} {unit}".rstrip()
