"""What an item of a plan points at: a concept, an effect in a place, or a set of pairs; and its gate.

concept:7   pattern:bold   global:7                    a concept over all pairs
group:12:7  prompt_max:3:981  pattern_group:12:40      a concept on some pairs
group:12  prompt:3  source:forum  chosen_model:x  rejected_model:x  pair:ID  pairs:FILE        a set of pairs
prompt_has:bold                                        as a gate: pairs whose prompt holds the pattern
not:group:12                                           as a gate: all pairs but those
logit:flattery                                         as `by`: the largest score of a detector, standardised
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.concepts.pattern_step import question, stored_patterns
from pretilt.concepts.patterns import count
from pretilt.errors import UserError, did_you_mean
from pretilt.lens.blocks import train_rows
from pretilt.run import Run
from pretilt.schema import (
    CONCEPTS_FILE,
    GROUP_MEMBERS_FILE,
    IN_GROUPS,
    OVER_ALL_PAIRS,
    PAIRS_FILE,
    PROMPT_CONCEPTS_FILE,
    PROMPT_MEMBERS_FILE,
)
from pretilt.shape.plan import NOT, Plan
from pretilt.text import one_line
from pretilt.trace.ids import Cell, is_name, resolve

_SET = re.compile(r"(group|prompt|source|chosen_model|rejected_model|pair|pairs|prompt_has):(.+)", re.DOTALL)
_COLUMNS = ("source", "chosen_model", "rejected_model")
FORMS = (
    "A target is a concept (concept:7, pattern:bold, detector:NAME), an effect (group:12:7) or a set of pairs "
    "(group:12, prompt:3, source:NAME, chosen_model:NAME, rejected_model:NAME, pair:ID, pairs:FILE)"
)


@dataclass(frozen=True)
class Target:
    """`rows` bool [n]: the training pairs that it is about; `concept_id` is None for a set of pairs."""

    text: str
    name: str  # as a person reads it; it may quote the dataset
    rows: np.ndarray
    concept_id: int | None = None
    pattern: str | None = None
    detector: str | None = None
    is_logit: bool = False  # its score is the detector's own, standardised, and not whether it passes a threshold


class TrainingSets:
    """The training pairs of a run, and the sets of them that a plan can name. `everywhere`: the held-out pairs too."""

    def __init__(self, run: Run, *, everywhere: bool = False) -> None:
        self.run = run
        self.train = train_rows(run)
        if everywhere:
            self.train = np.ones_like(self.train)
        names = ["pair_id", "family_id", *_COLUMNS]
        self.pairs = run.table(PAIRS_FILE, names).filter(pa.array(self.train))
        self.pair_ids: list[str] = self.pairs["pair_id"].to_pylist()

    def __len__(self) -> int:
        return len(self.pair_ids)

    def target(self, text: str, *, line: int | None = None, file: Path | None = None) -> Target:
        """What a text points at. Raises UserError, with the line of the plan, for what the run does not hold."""
        try:
            if (match := _SET.fullmatch(text)) and (match[1] != "group" or ":" not in match[2]):
                return Target(text, self._set_name(match[1], match[2]), self.rows(text))
            cell = resolve(self.run, text)
        except UserError as error:
            fix = FORMS if "number of the audit" in error.fix else error.fix
            raise UserError(error.what, why=error.why, fix=fix, file=file or error.file, line=line) from error
        if not isinstance(cell, Cell):
            return Target(text, f"pair {cell}", np.array([pair_id == cell for pair_id in self.pair_ids]))
        row = self._concepts[cell.concept_id]
        place = self._place_of(cell)
        rows = np.ones(len(self), bool) if place is None else self.rows(place)
        where = "" if place is None else f" on {self._set_name(*place.split(':', 1))}"
        name = str(row["name"] or f"concept {cell.concept_id}") + where
        return Target(text, one_line(name), rows, cell.concept_id, row["pattern"], row["detector"])

    def settled(self, text: str, *, line: int | None = None, file: Path | None = None) -> str:
        """The text with the id of a concept in the place of its name: a plan must mean the same whatever people call
        things later. Raises UserError as `target` does."""
        if _SET.fullmatch(text) or text.startswith("logit:") or not is_name(text):
            return text
        target = self.target(text, line=line, file=file)
        if target.pattern or target.detector:
            return f"pattern:{target.pattern}" if target.pattern else f"detector:{target.detector}"
        return f"concept:{target.concept_id}"

    def driver(self, text: str, *, line: int | None = None, file: Path | None = None) -> Target:
        """The concept whose score drives a method. Raises UserError for what has no score on every pair."""
        if text.startswith("logit:"):
            detector = self.target(text.replace("logit", "detector", 1), line=line, file=file)
            return replace(detector, text=text, is_logit=True)
        target = self.target(text, line=line, file=file)
        if target.concept_id is None or not target.rows.all():
            raise UserError(
                f"'{text[:60]}' has no score on every pair", file=file, line=line,
                fix="`by` names a concept: concept:7, pattern:bold, detector:NAME or logit:NAME",
            )  # fmt: skip
        return target

    def gate(self, text: str | None, *, line: int | None = None, file: Path | None = None) -> np.ndarray:
        """bool [n]: the pairs inside of a gate; of None all. Raises UserError for one that names no set of pairs."""
        if text is None:
            return np.ones(len(self), bool)
        place = text.removeprefix(NOT)
        if not _SET.fullmatch(place):
            fix = "A gate is group:12, prompt:3, source:NAME, pairs:FILE or prompt_has:PATTERN, or not: before one"
            raise UserError(f"'{text[:60]}' names no set of pairs", file=file, line=line, fix=fix)
        try:
            rows = self.rows(place)
        except UserError as error:
            raise UserError(error.what, why=error.why, fix=error.fix, file=file, line=line) from error
        return ~rows if text.startswith(NOT) else rows

    def rows(self, text: str) -> np.ndarray:
        """bool [n]: the training pairs of a set, "group:12". Raises UserError for one that the run does not hold."""
        kind, name = text.split(":", 1)
        name = name.strip()
        if kind in _COLUMNS:
            return self._of_column(kind, name)
        if kind in ("pair", "pairs"):
            return self._of_ids([name] if kind == "pair" else _read_ids(Path(name)), text)
        if kind == "prompt_has":
            return self._of_prompt_pattern(name)
        if not name.isdigit():
            raise UserError(f"'{text[:60]}' names no {kind}", why="a number stands there", fix=FORMS)
        return self._of_group(int(name)) if kind == "group" else self._of_prompt_concept(int(name))

    def _of_group(self, group: int) -> np.ndarray:
        members = self.run.table(GROUP_MEMBERS_FILE).filter(pa.array(self.train))["group_id"].to_numpy()
        if not (members == group).any():
            raise UserError(f"there is no group {group}", why=f"they are {members.min()} to {members.max()}")
        return np.asarray(members == group)

    def _of_prompt_concept(self, number: int) -> np.ndarray:
        concepts = self.run.table(PROMPT_CONCEPTS_FILE, ["prompt_concept_id"])["prompt_concept_id"].to_pylist()
        if number not in concepts:
            why = f"they are {min(concepts)} to {max(concepts)}" if concepts else "the run has none"
            raise UserError(f"there is no prompt concept {number}", why=why)
        members = self.run.table(PROMPT_MEMBERS_FILE, ["prompt_concept_id", "pair_id"])
        inside = set(members.filter(pc.equal(members["prompt_concept_id"], number))["pair_id"].to_pylist())
        return np.array([pair_id in inside for pair_id in self.pair_ids], bool)

    def _of_column(self, column: str, name: str) -> np.ndarray:
        values = self.pairs[column].to_pylist()
        rows = np.array([value == name for value in values], bool)
        if not rows.any():
            held_values = sorted({value for value in values if value is not None})
            listed = f"The run has {', '.join(held_values[:5])}" if held_values else f"The pairs name no {column}"
            raise UserError(f"no training pair has {column} '{name[:60]}'", fix=did_you_mean(name, held_values, listed))
        return rows

    def _of_ids(self, ids: list[str], text: str) -> np.ndarray:
        row_of = self._row_of
        if unknown := [pair_id for pair_id in ids if pair_id not in row_of]:
            why = f"{len(unknown):,} of {len(ids):,} ids, the first is '{unknown[0][:40]}'"
            fix = "Held-out pairs are never trained on; ids stand in pairs.parquet"
            raise UserError(f"'{text[:60]}' names pairs that are no training pairs of the run", why=why, fix=fix)
        rows = np.zeros(len(self), bool)
        rows[[row_of[pair_id] for pair_id in ids]] = True
        return rows

    def _of_prompt_pattern(self, name: str) -> np.ndarray:
        patterns = stored_patterns(self.run)
        if name not in patterns:
            fix = did_you_mean(name, patterns, "docs/patterns.md lists them")
            raise UserError(f"there is no pattern '{name[:60]}'", fix=fix)
        prompts = self.run.table(PAIRS_FILE, ["prompt"]).filter(pa.array(self.train))["prompt"].to_pylist()
        texts = [question(messages) for messages in prompts]
        return np.asarray(count([patterns[name]], texts, texts)[:, 0] > 0)

    def _place_of(self, cell: Cell) -> str | None:
        if cell.view in OVER_ALL_PAIRS:
            return None
        return f"group:{cell.where}" if cell.view in IN_GROUPS else f"prompt:{cell.where}"

    def _set_name(self, kind: str, name: str) -> str:
        return one_line(f"{kind.replace('_', ' ')} {name}")

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {pair_id: row for row, pair_id in enumerate(self.pair_ids)}

    @cached_property
    def _concepts(self) -> dict[int, dict[str, str]]:
        table = self.run.table(CONCEPTS_FILE, ["concept_id", "name", "pattern", "detector"])
        return {row["concept_id"]: row for row in table.to_pylist()}


def is_list_of_pairs(gate: str | None) -> bool:
    """The gate lists training pairs one by one, which says nothing of other prompts, inside or outside."""
    return gate is not None and gate.removeprefix(NOT).startswith(("pair:", "pairs:"))


def prompts_inside(run: Run, target: str, gate: str | None, pair_ids: Sequence[str]) -> np.ndarray:
    """bool [J]: which prompts, named by a pair each, of training or held-out, lie in the place and the gate of an item.

    Raises UserError as `TrainingSets.target` does.
    """
    sets = TrainingSets(run, everywhere=True)
    rows = sets.target(target).rows & sets.gate(gate)
    ids = {pair_id for pair_id, is_inside in zip(sets.pair_ids, rows, strict=True) if is_inside}
    return np.array([pair_id in ids for pair_id in pair_ids], bool)


def settled(sets: TrainingSets, plan: Plan) -> Plan:
    """The plan with ids in the place of names. Raises UserError, with the line, for a name that the run lacks."""
    items = []
    for item in plan.items:
        target = sets.settled(item.target, line=item.line, file=plan.path)
        driver = None if item.by is None else sets.settled(item.by, line=item.line, file=plan.path)
        items.append(replace(item, target=target, by=driver))
    return replace(plan, items=tuple(items))


def _read_ids(path: Path) -> list[str]:
    """Pair ids, one on a line; of JSON lines the field `pair_id`. Raises UserError for a file that holds none."""
    import json

    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError("the list of pairs cannot be read", file=path, why=why) from error
    ids = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        if line.startswith("{"):
            try:
                line = str(json.loads(line)["pair_id"])
            except (ValueError, KeyError, TypeError) as error:
                raise UserError("a line holds no pair_id", file=path, line=number) from error
        ids.append(line)
    if not ids:
        raise UserError("the list of pairs is empty", file=path)
    return ids
