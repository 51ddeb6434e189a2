"""`trace`: from an effect to the pairs and tokens it rests on, and from a pair to what it teaches."""

from __future__ import annotations

import dataclasses
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pretilt.audit.evidence import make_tracer
from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.lens.blocks import train_rows
from pretilt.lens.tokens import PairTokens
from pretilt.run import Run
from pretilt.schema import HYPOTHESES_FILE, PAIRS_FILE
from pretilt.settings import AuditSettings, settings_of
from pretilt.stats.concentration import concentration
from pretilt.stats.evidence import Direction, Tracer
from pretilt.text import mask_slurs
from pretilt.trace.export import check_target, export_pairs
from pretilt.trace.ids import Cell, resolve
from pretilt.trace.pair import trace_pair
from pretilt.trace.parts import concepts_of, name_of, place_of, quotes_of, tokens_of
from pretilt.trace.types import Contribution, EffectTrace, Trace, fired

TOLERANCE = 1e-6  # between the sum of the contributions and the delta that was tested


def trace(
    run: Run,
    what: str,
    *,
    n: int = 10,
    tokens: bool = True,
    export: str | Path | None = None,
    top: int | None = None,
    force: bool = False,
    events: Events | None = None,
) -> Trace:
    """Who is responsible for an effect, or what a pair teaches.

    `what`: a row of the lists that the audit prints ("3"), a hypothesis id ("global:7", "group:12:7"), a concept
    ("concept:7" or its name, its effect over all training pairs) or a pair ("pair:<pair_id>", the pair_id alone, or
    "row:<row_index>"). `n` pairs, concepts and hypotheses are listed of each kind. With `tokens`
    the tokens that fired are read through the lens, unless the run's evidence holds them.
    `export` (.jsonl, .csv, .parquet) gets every training pair in order of contribution, or the first `top`.
    Raises UserError for an id that the run does not hold, and for a file that exists unless `force`.

        trace("runs/pairs", "global:7").responsible[0].pair.pair_id
    """
    events = watching(events)
    target = resolve(run, what)
    settings = settings_of(run)
    if isinstance(target, str):
        if export is not None:
            raise UserError("a pair has no list of pairs to export", fix="Name a hypothesis or a concept")
        return trace_pair(run, settings, target, n, tokens, events)
    if export is not None:
        check_target(Path(export), run, force=force)
    tracer = make_tracer(run, settings, [target.concept_id])
    result = _trace_effect(run, settings, tracer, target, n, tokens, events)
    if export is not None:
        numbers = run.table(PAIRS_FILE, ["row_index", "family_id"]).filter(train_rows(run))
        cell = (target.view, target.where, target.concept_id)
        export_pairs(Path(export), tracer, cell, result.direction, numbers, top)
    return result


def _trace_effect(
    run: Run, settings: AuditSettings, tracer: Tracer, cell: Cell, n: int, tokens: bool, events: Events
) -> EffectTrace:
    key = (cell.view, cell.where, cell.concept_id)
    try:
        shares = tracer.contributions(*key)
    except ValueError as error:
        raise UserError(f"'{cell.id}' has no effect to trace", why=str(error)) from error
    total = float(shares.sum())
    table = run.table(HYPOTHESES_FILE)
    same = [pc.equal(table[name], value) for name, value in zip(("view", "where", "concept_id"), key, strict=True)]
    rows = table.filter(reduce(pc.and_, same)).to_pylist()
    delta = float(rows[0]["delta"]) if rows else total
    if abs(total - delta) > TOLERANCE:
        raise UserError(
            f"the features no longer give the effect of '{cell.id}': they say {total:+.6f}, tested was {delta:+.6f}",
            file=run.path,
            fix="Run `pretilt audit` again: it rebuilds what is stale",
        )
    directions: tuple[Direction, Direction] = ("amplify", "suppress")
    direction, opposite = directions if delta > 0 else (directions[1], directions[0])
    lists = [tracer.ranked(*key, way, n, inside_only=False) for way in (direction, opposite)]
    with_it, against = _contributions(run, settings, tracer, cell, lists, delta, tokens, events)
    towards = np.sign(shares) * (1 if delta > 0 else -1)
    family = run.table(PAIRS_FILE, ["family_id"])["family_id"].to_numpy()[train_rows(run)]
    carried = concentration(shares, family)
    concept = concepts_of(run, [cell.concept_id])[cell.concept_id]
    return EffectTrace(
        id=cell.id,
        view=cell.view,
        where=cell.where,
        place=place_of(run, cell.view, cell.where),
        concept_id=cell.concept_id,
        concept=name_of(concept, "concept", cell.concept_id),
        kind=concept["kind"],
        phrases=[mask_slurs(phrase) for phrase in concept["phrases"] or []],
        delta=delta,
        direction=direction,
        row=rows[0] if rows else None,
        n_with=int((towards > 0).sum()),
        n_against=int((towards < 0).sum()),
        n_neither=int((towards == 0).sum()),
        n_families=int(np.unique(family).size),
        total=total,
        pairs_carry=carried.pairs,
        families_carry=carried.families,
        responsible=with_it,
        against=against,
    )


def _contributions(
    run: Run, settings: AuditSettings, tracer: Tracer, cell: Cell, lists: list[np.ndarray], delta: float,
    tokens: bool, events: Events,
) -> list[list[Contribution]]:  # fmt: skip
    """The rows of each list with their texts and tokens."""
    u, inside = tracer.u(cell.concept_id), tracer.places.inside(cell.view, cell.where)
    u_of = {tracer.pair_ids[row]: float(u[row]) for rows in lists for row in rows.tolist()}
    u_of_key = {(pair_id, cell.concept_id): value for pair_id, value in u_of.items()}
    read = tokens_of(run, settings, u_of_key, events) if tokens else {}
    quotes = quotes_of(run, settings, u_of)
    shares = tracer.contributions(cell.view, cell.where, cell.concept_id)

    def contribution(row: int) -> Contribution:
        pair_id, share = tracer.pair_ids[row], float(shares[row])
        of_delta = share / delta if delta else float("nan")
        contribution_of_row = Contribution(
            quotes[pair_id], share, of_delta, float(u[row]), bool(inside[row]), None, None
        )
        tokens_here = read.get((pair_id, cell.concept_id))
        return contribution_of_row if tokens_here is None else _with_tokens(contribution_of_row, tokens_here)

    return [[contribution(row) for row in rows.tolist()] for rows in lists]


def _with_tokens(contribution: Contribution, read: PairTokens) -> Contribution:
    """The characters that fire are counted in what the model read, which truncation may have cut."""
    chosen, rejected = "".join(read.chosen_pieces), "".join(read.rejected_pieces)
    return dataclasses.replace(
        contribution,
        pair=dataclasses.replace(contribution.pair, chosen=chosen, rejected=rejected),
        chosen_fired=fired(read.chosen_pieces, read.chosen_acts),
        rejected_fired=fired(read.rejected_pieces, read.rejected_acts),
    )
