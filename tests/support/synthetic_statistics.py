"""The statistics of the made-up run: stand-ins with the right columns, that hang together and find the plants."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pretilt.stats.sure import is_sure


def _cells(u: np.ndarray, inside: np.ndarray) -> dict[str, np.ndarray]:
    """The statistics of every concept inside against outside, or against zero where nothing is outside."""
    n_in, n_out = int(inside.sum()), int((~inside).sum())
    family = np.arange(len(u)) // 2 % 2 == 0  # both pairs of a family are in one half
    halves = [family, ~family]

    def contrast(rows: np.ndarray) -> np.ndarray:
        outside = u[rows & ~inside].mean(0) if n_out else 0.0
        return np.asarray(u[rows & inside].mean(0) - outside)

    every = np.ones(len(u), bool)
    delta, (a, b) = contrast(every), map(contrast, halves)
    sd = u.std(0) + 1e-12
    se = np.sqrt(u[inside].var(0) / n_in + (u[~inside].var(0) / n_out if n_out else 0) + (0.2 * sd) ** 2 / n_in)
    return {
        "mean_in": u[inside].mean(0),
        "mean_out": u[~inside].mean(0) if n_out else np.full(u.shape[1], np.nan),
        "delta": delta,
        "z": delta / (se + 1e-12),
        "cohens_d": delta / sd,
        "delta_a": a,
        "delta_b": b,
        "sign_consistent": (np.sign(a) == np.sign(b)) & (np.abs(a) > 1e-6) & (np.abs(b) > 1e-6),
        "delta_min": np.minimum(np.abs(a), np.abs(b)),
        "se_moderated": se,
        "ci_lo": delta - 1.96 * se,
        "ci_hi": delta + 1.96 * se,
        **_posterior(delta, se, tau=sd),
        "q_value": np.minimum(1.0, 50 * np.exp(-((delta / (se + 1e-12)) ** 2) / 2)),
        "p_flip": np.full(u.shape[1], np.nan) if n_out else np.exp(-((delta / (se + 1e-12)) ** 2) / 2).clip(0.0005, 1),
        "delta_heldout": np.where(np.abs(delta) > 2 * se, 0.95 * delta, np.nan),
        "delta_residual": 0.9 * delta,
        "rank_stability": np.clip(np.abs(delta / (se + 1e-12)) / 8, 0, 1),
    }


def _posterior(delta: np.ndarray, se: np.ndarray, tau: np.ndarray) -> dict[str, np.ndarray]:
    """Of theta ~ 0.95 at zero + 0.05 N(0, tau^2); the interval is the second part's, with 0 if the first counts."""
    variance = se**2 + tau**2
    odds = 0.05 / 0.95 * se / np.sqrt(variance) * np.exp((delta**2 / 2) * (1 / se**2 - 1 / variance))
    weight = np.where(np.isinf(odds), 1.0, odds / (1 + odds))
    shrink = tau**2 / variance
    mean, sd = shrink * delta, np.sqrt(shrink) * se
    other_sign = np.array([0.5 * math.erfc(abs(m) / s / math.sqrt(2)) for m, s in zip(mean, sd, strict=True)])
    lo, hi = mean - 1.96 * sd, mean + 1.96 * sd
    spike = weight < 0.975
    return {
        "posterior_delta": weight * mean,
        "posterior_lo": np.where(spike, np.minimum(lo, 0), lo),
        "posterior_hi": np.where(spike, np.maximum(hi, 0), hi),
        "lfsr": 1 - weight + weight * other_sign,
    }


def view_rows(view: str, u: np.ndarray, sets: list[tuple[int, np.ndarray]], *, first: int = 0) -> list[dict[str, Any]]:
    """The rows of one view; `first` is the concept_id of column 0."""
    rows: list[dict[str, Any]] = []
    for where, inside in sets:
        cells = _cells(u, inside)
        for c in range(u.shape[1]):
            one = {name: values[c].item() for name, values in cells.items()}
            one = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in one.items()}
            rows.append(
                {
                    "hypothesis_id": f"{view}:{first + c}" if where < 0 else f"{view}:{where}:{first + c}",
                    "view": view,
                    "where": where,
                    "concept_id": first + c,
                    "n_in": int(inside.sum()),
                    "n_out": int((~inside).sum()),
                    "family_n": len(np.unique(np.flatnonzero(inside) // 2)),
                    "n_eff": 0.9 * inside.sum(),
                    **one,
                    "shown": bool(one["sign_consistent"] and abs(one["z"]) > 1.5),
                    "direction": "amplify" if one["delta"] > 0 else "suppress",
                    "rank": 0,
                }
            )
    for direction in ("amplify", "suppress"):
        shown = [r for r in rows if r["shown"] and r["direction"] == direction]
        ordered = sorted(shown, key=lambda r: (not is_sure(r), -abs(r["posterior_delta"] * r["cohens_d"] / r["delta"])))
        for rank, row in enumerate(ordered, 1):
            row["rank"] = rank
    return rows
