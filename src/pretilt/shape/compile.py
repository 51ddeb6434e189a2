"""From a plan to actions: every target found, every strength solved for, the method chosen where it is left open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pretilt.errors import UserError
from pretilt.shape.data import ConceptFamily
from pretilt.shape.goals import check_measured, share_of_goal
from pretilt.shape.methods import METHODS
from pretilt.shape.methods.work import Work
from pretilt.shape.plan import Plan
from pretilt.shape.reading import Reread, reread
from pretilt.shape.what_if import WhatIf
from pretilt.train.actions import Action, Changes

LARGEST = 64.0  # log-odds; an offset of that size leaves nothing of a pair's pull
ROUNDS = 2  # over the items whose strength is sought, since one moves the other's concept too
CLOSE = 0.02  # of the plain shift: a target counts as reached
# They teach something new; need a number that nobody can guess; or take the trait itself out of a text and leave what
# goes with it, which teaches on and which no what-if counts (their `doubt`).
NEVER_AUTO = ("swap", "group-offset", "rewrite", "mask")


@dataclass(frozen=True)
class Solved:
    """One item with its method and strength. `reached`: share of the plain shift that is left; None: not sought."""

    work: Work
    method: str
    strength: float
    actions: list[Action]
    reached: float | None = None
    is_exhausted: bool = False  # the method cannot go further
    compared: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """One method for an item, alone: how far it gets, and what else it moves."""

    method: str
    strength: float
    reached: float | None  # share of the target's plain shift that is left
    is_exhausted: bool
    side_effect: float  # root mean square change of the family's other concepts, per change of the target
    protected_effect: float | None  # the same of the protected concepts; None without any
    pairs: int
    needs: str
    refusal: str = ""  # why the method cannot be used here; then the numbers are NaN


def works(what_if: WhatIf, plan: Plan) -> tuple[list[Work], dict[int, tuple[str, int]]]:
    """The items that change something, and of every concept that the plan names its role and its item.

    A goal in points becomes a share of the shift here. Raises UserError, with the line, for a target or gate that the
    run does not hold, and for a goal that cannot be measured.
    """
    data = what_if.data
    check_measured(data.run, plan)
    roles: dict[int, tuple[str, int]] = {}
    targets = []
    for number, item in enumerate(plan.items, 1):
        target = data.sets.target(item.target, line=item.line, file=plan.path)
        gate = data.sets.gate(item.gate, line=item.line, file=plan.path)
        if target.concept_id is None and not item.changes:
            raise UserError(
                f"'{item.decision}' is said of a concept, and {item.target} is a set of pairs",
                file=plan.path, line=item.line, fix="Name the concept that should be held",
            )  # fmt: skip
        if target.concept_id is not None:
            data.family_of(target.concept_id)
            role = {"protect": "protected", "keep": "kept"}.get(item.decision, "target")
            if roles.get(target.concept_id, (role,))[0] != role:
                before = plan.items[roles[target.concept_id][1] - 1]
                raise UserError(
                    f"{item.target} is to be '{item.decision}' and '{before.decision}'",
                    file=plan.path, line=item.line, fix="Leave one of the two items out",
                )  # fmt: skip
            roles[target.concept_id] = (role, number)
        targets.append((number, item, target, target.rows & gate))
    protected = tuple(sorted(concept for concept, (role, _) in roles.items() if role == "protected"))
    compiled = []
    for number, item, target, inside in targets:
        if not item.changes:
            continue
        if not inside.any():
            raise UserError(
                f"no training pair is inside of {item.target}" + (f" and {item.gate}" if item.gate else ""),
                file=plan.path, line=item.line, fix="Leave the gate out, or name another",
            )  # fmt: skip
        if item.goal is not None:
            item = replace(item, share=share_of_goal(data, item, target, plan.path))
        by = None if item.by is None else data.sets.driver(item.by, line=item.line, file=plan.path)
        compiled.append(Work(data, number, item, target, inside, protected, by, data.beta))
    return compiled, roles


def solve(what_if: WhatIf, plan: Plan, items: Sequence[Work]) -> list[Solved]:
    """Methods and strengths of all items, in order. Raises UserError for a method that the target does not allow."""
    solved: list[Solved] = []
    for work in items:
        compared: tuple[Candidate, ...] = ()
        method: str = work.item.method
        if method == "auto" and work.target.concept_id is None:
            raise UserError(
                f"no method is chosen for {work.item.target}", file=plan.path, line=work.item.line,
                why="a set of pairs has no shift of its own that a method could be judged by",
                fix="Give a method (drop, weight, swap or group-offset) and a strength",
            )  # fmt: skip
        if work.item.strength is None and work.target.concept_id is not None:
            _plain_shift(what_if, work, plan)
        if method == "auto":
            compared = tuple(candidates(what_if, work))
            method = best(compared, work, plan)
        _check(work, method, plan)
        strength = work.item.strength
        solution = _with_strength(work, method, strength or 0.0)
        solved.append(replace(solution, compared=compared))
    sought = [i for i, solution in enumerate(solved) if solution.work.item.strength is None]
    for _ in range(ROUNDS if len(solved) > 1 else 1):
        for i in sought:
            other_actions = [action for j, solution in enumerate(solved) if j != i for action in solution.actions]
            solved[i] = _sought(what_if, solved[i], other_actions, plan)
    return solved


def candidates(what_if: WhatIf, work: Work) -> list[Candidate]:
    """Every method for one item, alone; those that do not apply say why.

    All are asked for the same: the item's target, or what the method that it names reaches with its strength, since a
    strength of one method means nothing to another.
    """
    named: Candidate | None = None
    if work.item.strength is not None and work.item.method != "auto":
        named = _candidate(what_if, _with_strength(work, work.item.method, work.item.strength))
        work = replace(work, item=replace(work.item, strength=None, share=named.reached))
    compared = []
    for method, facts in METHODS.items():
        if named is not None and method == named.method:
            compared.append(named)
            continue
        try:
            _check(work, method, None)
            if method == "mask" and work.driver.pattern is None and work.driver.detector is None:
                raise UserError("not compared", why="every masked response would be read again; name the method")
            if facts.steers:
                raise UserError("not compared", why="every pair would be read again for each strength; name the method")
            compared.append(_candidate(what_if, _sought(what_if, Solved(work, method, 0.0, []), [], None)))
        except UserError as error:
            nan, refusal = float("nan"), f"{error.what}: {error.why}"
            compared.append(Candidate(method, nan, None, False, nan, None, 0, facts.needs, refusal))
    return compared


def best(compared: Sequence[Candidate], work: Work, plan: Plan | None) -> str:
    """Of the methods that get there the one with the least side effect; if none does, the one that gets furthest."""
    usable = [
        candidate
        for candidate in compared
        if not candidate.refusal and candidate.method not in NEVER_AUTO and candidate.pairs
    ]
    if not usable:
        refusals = [f"{candidate.method}: {candidate.refusal or 'no pair is touched'}" for candidate in compared]
        raise UserError(
            f"no method applies to {work.item.target}",
            file=plan.path if plan else None,
            line=work.item.line,
            why="; ".join(refusals)[:300],
        )
    target_share = work.item.share
    if target_share is None or all(candidate.reached is None for candidate in usable):
        return min(usable, key=lambda candidate: candidate.side_effect).method
    distance = {candidate.method: abs((candidate.reached or 0.0) - target_share) for candidate in usable}
    reaching = [candidate for candidate in usable if distance[candidate.method] <= CLOSE]
    if not reaching:
        return min(usable, key=lambda candidate: distance[candidate.method]).method
    return min(reaching, key=lambda candidate: (candidate.protected_effect or 0.0, candidate.side_effect)).method


def standard_changes(family: ConceptFamily, change: np.ndarray) -> np.ndarray:
    """[M] changes in units of each concept's typical u, its root mean square; 0 for one that never differs."""
    scale = np.sqrt(np.mean(family.pairs.u**2, axis=0))
    return np.divide(change, scale, out=np.zeros_like(change), where=scale > 0)


def side_effects(what_if: WhatIf, concept_id: int, change: np.ndarray) -> float:
    """Root mean square change of the family's other concepts, in units of their typical u, per that of the target."""
    family = what_if.of(concept_id).family
    standard = standard_changes(family, change)
    target = family.column(concept_id)
    side_changes = np.delete(standard, target)
    if not side_changes.size or standard[target] == 0:
        return float("nan")
    return float(np.sqrt(np.mean(side_changes**2)) / abs(standard[target]))


def target_shift(what_if: WhatIf, work: Work, changes: Changes, reading: Reread | None) -> tuple[float, float]:
    """(without the changes, under them): the target's shift; of a target on some pairs that of the mean inside."""
    family = what_if.of(work.concept_id)
    column = family.family.column(work.concept_id)
    if work.is_local:
        return family.inside(changes, reading, work.inside, column)
    return float(family.plain[column]), float(family.shaped(changes, reading)[column])


def shares_left(
    what_if: WhatIf, work: Work, changes: Changes, reading: Reread | None
) -> tuple[float | None, float | None]:
    """(inside, everywhere): shares of the target's shift that are left, None where there is none; equal but for a
    target on some pairs.

    How far a model tells the pairs inside from the others is not known before training. `inside` is what is left if it
    does, `everywhere` if what is learned spreads over all prompts; then everything that the labels say of the concept
    adds up. Where the labels of all pairs say the contrary of those inside, nothing spreads that could be left.
    """
    plain, shaped = target_shift(what_if, work, changes, reading)
    inside = _share(shaped, plain)
    if not work.is_local:
        return inside, inside
    family = what_if.of(work.concept_id)
    column = family.family.column(work.concept_id)
    of_all = float(family.plain[column])
    if of_all * plain <= 0:
        return inside, None
    return inside, _share(float(family.shaped(changes, reading)[column]), of_all)


def nearest_left(shares: tuple[float | None, float | None], work: Work) -> float | None:
    """Of both shares the one that is at the goal first: a strength is sought that goes past it under neither."""
    some = [share for share in shares if share is not None]
    target_share = work.item.share if work.item.share is not None else 0.0 if work.suppresses else math.inf
    return None if not some else min(some) if target_share < 1 else max(some)


def _candidate(what_if: WhatIf, solution: Solved) -> Candidate:
    work, n = solution.work, len(solution.work.data)
    changes = Changes.of(solution.actions, n).foretold()
    side, protected, reached = float("nan"), None, None
    if work.target.concept_id is not None:
        family = what_if.of(work.concept_id)
        reading = reread(work.data, changes, [family.family])
        shift = family.shift(changes, reading)
        column = family.family.column(work.concept_id)
        reached = nearest_left(shares_left(what_if, work, changes, reading), work)
        side = side_effects(what_if, work.concept_id, shift.change)
        held = [c for c in work.protected if c in family.family.bank.concept_ids]
        if held and shift.change[column]:
            columns = [family.family.column(c) for c in held]
            protected = float(np.abs(shift.change[columns]).mean() / abs(shift.change[column]))
    return Candidate(
        solution.method, solution.strength, reached, solution.is_exhausted, side, protected, int(changes.touched.sum()),
        METHODS[solution.method].needs,
    )  # fmt: skip


def _check(work: Work, method: str, plan: Plan | None) -> None:
    facts, item, path = METHODS[method], work.item, plan.path if plan else None
    if facts.needs_concept and work.target.concept_id is None:
        fix = "drop, weight, swap and group-offset take sets of pairs"
        raise UserError(f"'{method}' needs a concept, and {item.target} is a set of pairs", file=path, line=item.line,
                        why="a set of pairs has no score", fix=fix)  # fmt: skip
    if work.target.concept_id is None and not work.suppresses and method in ("drop", "swap"):
        raise UserError(f"'{method}' cannot amplify a set of pairs", file=path, line=item.line,
                        why="what teaches against it is not in the set", fix="Give it a weight")  # fmt: skip
    if work.target.concept_id is None and item.strength is None and method != "auto":
        raise UserError(f"{item.target} needs a strength", file=path, line=item.line,
                        why="a set of pairs has no shift of its own that could be brought to a target",
                        fix=f"Give strength: {facts.unit}")  # fmt: skip
    if item.strength is not None and facts.most is not None and item.strength > facts.most:
        raise UserError(f"'{method}' takes a strength of at most {facts.most:g}", file=path, line=item.line,
                        why=f"it is the {facts.unit}")  # fmt: skip
    if (method in ("mask", "inoculate") or facts.steers or item.instruction) and work.data.settings.no_lens:
        raise UserError(f"'{method}' needs tokens, and the run was audited without a lens", file=path, line=item.line,
                        why="no tokens were made", fix="Audit with --model and --dictionary")  # fmt: skip
    if method == "inoculate" and item.instruction is None:
        raise UserError("'inoculate' needs an instruction", file=path, line=item.line,
                        fix="Name the method, and add `instruction:`")  # fmt: skip
    if facts.steers and work.driver.detector is None:
        raise UserError(f"'{method}' needs a direction", file=path, line=item.line,
                        why=f"{work.driver.text} is no detector",
                        fix="Fit one with `pretilt detector RUN --name NAME`, and add `by: detector:NAME`")  # fmt: skip


def _with_strength(work: Work, method: str, strength: float) -> Solved:
    return Solved(work, method, strength, METHODS[method].rows(work, strength) if strength > 0 else [])


def _plain_shift(what_if: WhatIf, work: Work, plan: Plan | None) -> float:
    """The target's shift as the data stands. Raises UserError where that share of it is no way to the decision."""
    plain = target_shift(what_if, work, Changes.none(len(work.data)), None)[0]
    target_share = float(work.item.share or 0.0)
    if (target_share - 1) * plain * (-1 if work.suppresses else 1) <= 0:
        already = "does not move" if plain == 0 else "is suppressed by the data as it stands"
        fix = "Leave the item out, or give a method and a strength"
        if plain > 0:
            already = f"is amplified by the data, and {target_share:.0%} of that is no way to {work.item.decision} it"
            fix = "Below 100% suppresses, above it amplifies"
        elif plain < 0 and not work.suppresses:
            fix = "`amplify` with `to: base` leaves nothing of that, `to: half` a half"
        raise UserError(
            f"{work.item.target} {already}", file=plan.path if plan else None, line=work.item.line,
            why=f"its predicted shift is {plain:+.4f}", fix=fix,
        )  # fmt: skip
    return plain


def _sought(what_if: WhatIf, solution: Solved, other_actions: list[Action], plan: Plan | None) -> Solved:
    """The strength at which the target's shift is the wanted share of its plain shift, to the nearest that there is."""
    work, facts = solution.work, METHODS[solution.method]
    rows = METHODS["drop"].rows if facts.removes else facts.rows  # nothing is read again while a strength is sought
    if work.target.concept_id is None:
        raise UserError(
            f"{work.item.target} needs a strength", file=plan.path if plan else None, line=work.item.line,
            why="a set of pairs has no shift of its own", fix="Give a method and a strength",
        )  # fmt: skip
    _plain_shift(what_if, work, plan)
    target_share = float(work.item.share or 0.0)

    tried: dict[float, float] = {0.0: 1.0}  # strength to the share that it leaves

    def left(strength: float) -> tuple[float, list[Action]]:
        actions = rows(work, strength) if strength > 0 else []
        changes = Changes.of([*_without_readings(other_actions), *actions], len(work.data)).foretold()
        tried[strength] = nearest_left(shares_left(what_if, work, changes, None), work) or 0.0
        return tried[strength], actions

    most = LARGEST if facts.most is None else facts.most
    low, high = 0.0, facts.first
    is_short = (lambda share: share > target_share) if target_share < 1 else (lambda share: share < target_share)
    while (is_exhausted := is_short(left(high)[0])) and high < most:
        low, high = high, min(2 * high, most)
    if not is_exhausted:
        for _ in range(facts.halvings):
            middle = (low + high) / 2
            low, high = (middle, high) if is_short(left(middle)[0]) else (low, middle)
    else:  # beyond some strength a method may do the contrary, as steering that breaks the model
        high = min(tried, key=lambda strength: (abs(tried[strength] - target_share), strength))
    strength = float(f"{high:.4g}")
    reached, actions = left(strength)
    if facts.removes:
        actions = facts.rows(work, strength) if strength > 0 else []
    return replace(solution, strength=strength, actions=actions, reached=reached, is_exhausted=is_exhausted)


def _without_readings(actions: Sequence[Action]) -> list[Action]:
    """Rewritten and masked pairs as dropped ones: what is left of a concept that is gone from them is the same."""
    return [replace(action, action="drop") if action.action in ("rewrite", "mask") else action for action in actions]


def _share(shaped: float, plain: float) -> float | None:
    return None if plain == 0 else float(shaped / plain)
