"""The audit's statistics once more, dense and slow, one cell at a time, straight from the formulas of arXiv 2606.12360.

Shares no code and no method with tiltmeter: plain loops over pairs, features and concepts, two-pass moments, rational
numbers for the threshold, boolean masks for groups. The oracle of the audit floor's tests.
"""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np


def activity(chosen, n_chosen, rejected, n_rejected, concepts):
    """s[i][m]; counts as dense [N, F] integers, concepts as a list of lists of feature ids."""
    s = np.zeros((len(n_chosen), len(concepts)))
    for i in range(len(n_chosen)):
        for m, features in enumerate(concepts):
            s[i, m] = sum(chosen[i, g] / n_chosen[i] + rejected[i, g] / n_rejected[i] for g in features)
    return s


def disparity(chosen, n_chosen, rejected, n_rejected, concepts, form, threshold=Fraction(1, 100)):
    """u[i][m] in the form asked for."""
    u = np.zeros((len(n_chosen), len(concepts)))
    for i in range(len(n_chosen)):
        for m, features in enumerate(concepts):
            terms = []
            for g in features:
                sides = []
                for count, n in ((int(chosen[i, g]), int(n_chosen[i])), (int(rejected[i, g]), int(n_rejected[i]))):
                    if form == "freq":
                        sides.append(count / n)
                    else:
                        sides.append(int(Fraction(count, n) > threshold and (form == "paper" or count >= 2)))
                terms.append(sides[0] - sides[1])
            u[i, m] = math.fsum(terms) / len(features)
    return u


def variance(values):
    """Bessel-corrected; NaN below two values."""
    return statistics.variance([float(x) for x in values]) if len(values) > 1 else math.nan


def divide(a, b):
    return a / b if b > 0 else math.nan


def mean(values):
    return math.fsum(values) / len(values) if len(values) else math.nan


def group_contrast(u, group_id, row_index, group, m):
    """Every statistic of one (group, concept), as a dict."""
    inside = [u[i, m] for i in range(len(u)) if group_id[i] == group]
    outside = [u[i, m] for i in range(len(u)) if group_id[i] not in (0, group)]
    n_in, n_out = len(inside), len(outside)
    delta = mean(inside) - mean(outside)
    s_in, s_out = variance(inside), variance(outside)
    pooled = ((n_in - 1) * s_in + (n_out - 1) * s_out) / (n_in + n_out - 2) if n_in + n_out > 2 else math.nan
    result = {
        "n_in": n_in,
        "n_out": n_out,
        "mean_in": mean(inside),
        "mean_out": mean(outside),
        "delta": delta,
        "z": divide(delta, math.sqrt(s_in / n_in + s_out / n_out)) if n_in and n_out else math.nan,
        "cohens_d": divide(delta, math.sqrt(pooled)),
    }
    for name, parity in (("delta_a", 0), ("delta_b", 1)):
        rows = [i for i in range(len(u)) if row_index[i] % 2 == parity]
        result[name] = mean([u[i, m] for i in rows if group_id[i] == group]) - mean(
            [u[i, m] for i in rows if group_id[i] not in (0, group)]
        )
    a, b = result["delta_a"], result["delta_b"]
    result["sign_consistent"] = abs(a) > 1e-6 and abs(b) > 1e-6 and (a > 0) == (b > 0)
    result["delta_min"] = math.nan if math.isnan(a) or math.isnan(b) else min(abs(a), abs(b))
    return result


def robust_variance_of_mean(values, components):
    """C / (C - 1) * sum over components of (sum of residuals)^2 / N^2."""
    centre, ids = mean(values), sorted(set(components))
    if len(ids) < 2:
        return math.nan
    residuals = [sum(x - centre for x, c in zip(values, components, strict=True) if c == k) for k in ids]
    return len(ids) / (len(ids) - 1) * math.fsum(e * e for e in residuals) / len(values) ** 2


def global_effect(u, component_id, half, m):
    """Mean, component-robust standard error, z, d and half means of one concept, as a dict."""
    values = [float(x) for x in u[:, m]]
    se = math.sqrt(robust_variance_of_mean(values, list(component_id)))
    return {
        "delta": mean(values),
        "z": divide(mean(values), se),
        "se": se,
        "cohens_d": divide(mean(values), math.sqrt(variance(values))),
        "delta_a": mean([x for x, h in zip(values, half, strict=True) if h == 0]),
        "delta_b": mean([x for x, h in zip(values, half, strict=True) if h == 1]),
    }


def pearson(x, y):
    dx, dy = [a - mean(x) for a in x], [b - mean(y) for b in y]
    scale = math.sqrt(math.fsum(a * a for a in dx) * math.fsum(b * b for b in dy))
    return divide(math.fsum(a * b for a, b in zip(dx, dy, strict=True)), scale)


def contributions(u, group_id, where, m):
    """Each pair's share of delta; where = -1: global."""
    shares = []
    for i in range(len(u)):
        if where == -1:
            shares.append(u[i, m] / len(u))
        elif group_id[i] == where:
            shares.append(u[i, m] / sum(1 for g in group_id if g == where))
        elif group_id[i] == 0:
            shares.append(0.0)
        else:
            shares.append(-u[i, m] / sum(1 for g in group_id if g not in (0, where)))
    return shares
