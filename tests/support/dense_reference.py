"""The audit's statistics once more, dense and slow, one cell at a time, straight from the formulas of arXiv 2606.12360.

Shares no code and no method with pretilt: plain loops over pairs, features and concepts, two-pass moments, rational
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


def inside_and_outside(group_id, group):
    """Rows of a group, and of the other groups; silent pairs are in neither."""
    rows = range(len(group_id))
    return [i for i in rows if group_id[i] == group], [i for i in rows if group_id[i] not in (0, group)]


def set_contrast(u, inside, outside, half, m):
    """The paper's statistics of one (set, concept), as a dict; `inside`, `outside` rows, `half` 0 or 1 per row."""
    x, y = [u[i, m] for i in inside], [u[i, m] for i in outside]
    n_in, n_out = len(x), len(y)
    delta = mean(x) - mean(y)
    s_in, s_out = variance(x), variance(y)
    pooled = ((n_in - 1) * s_in + (n_out - 1) * s_out) / (n_in + n_out - 2) if n_in + n_out > 2 else math.nan
    result = {
        "n_in": n_in,
        "n_out": n_out,
        "mean_in": mean(x),
        "mean_out": mean(y),
        "delta": delta,
        "z": divide(delta, math.sqrt(s_in / n_in + s_out / n_out)) if n_in and n_out else math.nan,
        "cohens_d": divide(delta, math.sqrt(pooled)),
    }
    for name, wanted in (("delta_a", 0), ("delta_b", 1)):
        parts = [[u[i, m] for i in rows if half[i] == wanted] for rows in (inside, outside)]
        result[name] = mean(parts[0]) - mean(parts[1])
    a, b = result["delta_a"], result["delta_b"]
    result["sign_consistent"] = abs(a) > 1e-6 and abs(b) > 1e-6 and (a > 0) == (b > 0)
    result["delta_min"] = math.nan if math.isnan(a) or math.isnan(b) else min(abs(a), abs(b))
    return result


def robust_variance_of_mean(values, families):
    """F / (F - 1) * sum over families of (sum of residuals)^2 / N^2."""
    centre, ids = mean(values), sorted(set(families))
    if len(ids) < 2:
        return math.nan
    residuals = [sum(x - centre for x, c in zip(values, families, strict=True) if c == k) for k in ids]
    return len(ids) / (len(ids) - 1) * math.fsum(e * e for e in residuals) / len(values) ** 2


def global_effect(u, family, half, m):
    """Mean, family-robust standard error, z, d and half means of one concept, as a dict."""
    values = [float(x) for x in u[:, m]]
    se = math.sqrt(robust_variance_of_mean(values, list(family)))
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


def contributions(u, inside, outside, m):
    """Each pair's share of delta; `outside` None: of the mean."""
    shares = [0.0] * len(u)
    for i in inside:
        shares[i] = u[i, m] / len(inside)
    for i in outside or ():
        shares[i] = -u[i, m] / len(outside)
    return shares


# The moderated statistics, one view at a time because they borrow across its cells.


def family_sums(values, rows, family):
    """Sum of the values and number of rows of every family that has one of the rows."""
    found = {}
    for i in rows:
        total, n = found.get(family[i], (0.0, 0))
        found[family[i]] = (total + values[i], n + 1)
    return list(found.values())


def trigamma(x):
    """Sum of 1 / (x + k)^2: the first 2000 terms, and the tail by Euler-Maclaurin."""
    tail = x + 2000
    return math.fsum(1 / (x + k) ** 2 for k in range(2000)) + 1 / tail + 1 / (2 * tail**2) + 1 / (6 * tail**3)


def digamma(x):
    shifted = x
    total = 0.0
    while shifted < 50:
        total -= 1 / shifted
        shifted += 1
    return total + math.log(shifted) - 1 / (2 * shifted) - 1 / (12 * shifted**2) + 1 / (120 * shifted**4)


def prior_freedom(cells):
    """d0 from [(V / E, degrees of freedom)] by bisection of trigamma; at least 2, at most a million."""
    usable = [(ratio, f) for ratio, f in cells if f >= 4 and ratio > 0]
    if len(usable) < 3:
        return 2.0
    logs = [math.log(ratio) - digamma(f / 2) + math.log(f / 2) for ratio, f in usable]
    excess = variance(logs) - mean([trigamma(f / 2) for _, f in usable])
    if excess <= trigamma(5e5):
        return 1e6
    low, high = 1.0, 5e5  # d0 / 2
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > excess else (low, middle)
    return 2 * low


def degrees_of_freedom(squared_sums):
    """2 (mean)^2 / variance of a sum of these squares, from their own scatter; at most two for each of them."""
    n, average = len(squared_sums), mean(squared_sums)
    if not n or average == 0:
        return 0.0
    scatter = mean([(q - average) ** 2 for q in squared_sums])
    return 2 * n * average**2 / max(scatter, average**2)


def moderated(u, sets, pool, family, *, against_zero=False):
    """Every moderated statistic of every (set, concept): a dict of [K][M] lists, and icc, sd [M], d0."""
    n_concepts = u.shape[1]
    u = np.asarray(u, float)
    column = [[float(x) for x in u[:, m]] for m in range(n_concepts)]
    centre = [0.0 if against_zero else mean([column[m][i] for i in pool]) for m in range(n_concepts)]
    e = [[x - centre[m] for x in column[m]] for m in range(n_concepts)]
    sd2 = [mean([e[m][i] ** 2 for i in pool]) for m in range(n_concepts)]
    same = [(i, j) for i in pool for j in pool if i != j and family[i] == family[j]]
    raw = [divide(mean([e[m][i] * e[m][j] for i, j in same]), sd2[m]) for m in range(n_concepts)]
    known = [min(max(r, 0.0), 1.0) for r in raw if not math.isnan(r)]
    average = mean(known) if known else 0.0
    drawn = [average if math.isnan(r) else (len(same) * r + 20 * average) / (len(same) + 20) for r in raw]
    icc = [max(r, 0.0) for r in drawn]
    wide = [math.fsum(s * s for s, _ in family_sums(e[m], pool, family)) for m in range(n_concepts)]
    view = {"e": e, "column": column, "family": family, "sd2": sd2, "icc": icc, "wide": wide, "n_pool": len(pool)}
    own = [[cell_parts(view, rows, m) for m in range(n_concepts)] for rows in sets]
    d0 = prior_freedom([(divide(v, e2), f) for row in own for v, e2, f in row])
    names = ("delta", "se", "se_interval", "z", "p", "n_eff")
    found = {name: [[math.nan] * n_concepts for _ in sets] for name in names}
    for k, rows in enumerate(sets):
        size = len(rows)
        squares = math.fsum(n * n for _, n in family_sums(e[0], rows, family)) if n_concepts else 0.0
        for m in range(n_concepts):
            delta, se = delta_and_se(view, rows, pool, m, d0, against_zero)
            found["se_interval"][k][m] = delta_and_se(view, rows, pool, m, d0, against_zero, own_mean=True)[1]
            z = divide(delta, se) if not math.isnan(se) else math.nan
            found["delta"][k][m], found["se"][k][m], found["z"][k][m] = delta, se, z
            found["p"][k][m] = math.erfc(abs(z) / math.sqrt(2))
            found["n_eff"][k][m] = size / (1 + min(icc[m], 1.0) * (squares / size - 1))
    sd = [math.sqrt(x) if x > 0 else math.nan for x in sd2]
    return {**found, "icc": icc, "sd": sd, "d0": d0, "view": view}


def cell_parts(view, rows, m):
    """V, E and the degrees of freedom of V."""
    pieces = family_sums(view["e"][m], rows, view["family"])
    squared = [s * s for s, _ in pieces]
    neighbours = sum(n * (n - 1) for _, n in pieces)
    expected = view["sd2"][m] * (len(rows) + view["icc"][m] * neighbours)
    return math.fsum(squared), expected, degrees_of_freedom(squared)


def delta_and_se(view, rows, pool, m, d0, against_zero, *, own_mean=False):
    """Of the rows against the rest of the pool; the pool may be half of the whole one that `view` was made of.

    `own_mean`: V about the set's own mean, F / (F - 1) of it, if there are two families or more.
    """
    x, n = view["column"][m], len(rows)
    v, expected, f = cell_parts(view, rows, m)
    if own_mean:
        average = mean([view["e"][m][i] for i in rows])
        pieces = family_sums([e - average for e in view["e"][m]], rows, view["family"])
        if len(pieces) > 1:
            v = math.fsum(s * s for s, _ in pieces) * len(pieces) / (len(pieces) - 1)
    if against_zero:
        delta, variance_of_delta = mean([x[i] for i in rows]), v / n**2 if n else math.nan
    else:
        inside = set(rows)
        rest = [x[i] for i in pool if i not in inside]
        if not rows or not rest:
            return math.nan, math.nan
        delta = mean([x[i] for i in rows]) - mean(rest)
        blend = (d0 * expected + f * v) / (d0 + f)
        variance_of_delta = max(v, blend) / n**2 + view["wide"][m] / (view["n_pool"] * len(rest))
    return delta, math.sqrt(variance_of_delta) if variance_of_delta > 0 else math.nan


def cross_fit(u, sets, pool, family, half, n_selected, *, against_zero=False):
    """[K][M] effects estimated on the half of the families (half per row) that did not select them."""
    whole = moderated(u, sets, pool, family, against_zero=against_zero)
    view, n_concepts = whole["view"], u.shape[1]
    cells = [(k, m) for k in range(len(sets)) for m in range(n_concepts)]
    estimate, chosen = [], []
    for h in (0, 1):
        part = [i for i in pool if half[i] == h]
        found = {}
        for k, m in cells:
            rows = [i for i in sets[k] if half[i] == h]
            found[k, m] = delta_and_se(view, rows, part, m, whole["d0"], against_zero)
        size = {c: abs(d / se) for c, (d, se) in found.items() if not math.isnan(se) and d != 0}
        chosen.append(set(sorted(size, key=lambda c: (-size[c], c))[:n_selected]))
        estimate.append({c: d for c, (d, _) in found.items()})
    result = [[math.nan] * n_concepts for _ in sets]
    for k, m in cells:
        kept = [estimate[1 - h][k, m] for h in (0, 1) if (k, m) in chosen[h]]
        result[k][m] = mean(kept)
    return result


def residual_contrast(u, inside, outside, x, m):
    """Contrast of what least squares on the covariates leaves; `outside` None: the intercept at covariates 0."""
    rows = sorted([*inside, *(outside or ())])
    design = np.column_stack([np.ones(len(rows)), x[rows]])
    fitted = np.linalg.lstsq(design, np.asarray(u, float)[rows, m], rcond=None)[0]
    if outside is None:
        return float(fitted[0])
    left = {i: float(u[i, m] - design[r] @ fitted) for r, i in enumerate(rows)}
    return mean([left[i] for i in inside]) - mean([left[i] for i in outside])
