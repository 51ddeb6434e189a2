"""What a person asks to be traced: an effect or a pair, by its id, its number in a list or its name.

What the run does not hold is refused with what is nearest to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pretilt.errors import N_NEAR, UserError, near_misses
from pretilt.labels.described import named_table
from pretilt.run import Run
from pretilt.schema import (
    CONCEPTS_FILE,
    DETECTOR,
    EVERYWHERE,
    GROUPS_FILE,
    HYPOTHESES_FILE,
    IN_GROUPS,
    LISTS,
    OVER_ALL_PAIRS,
    PAIRS_FILE,
    PATTERN,
    PROMPT_CONCEPTS_FILE,
    SILENT_GROUP,
    SUMMARY_FILE,
)

FORMS = (
    "Give a number of the audit's list (3), a hypothesis (global:7, group:12:7, prompt_max:3:981), a concept "
    "(concept:7, pattern:bold, detector:flattery, or its name) or a pair (pair:<pair_id>, row:<row of the source>)"
)
LONGEST_NAME = 80  # characters of a text for which names and ids like it are sought
LONGEST_PAIR = 24  # characters of a pair_id
N_COMPARED = 20_000  # ids that a wrong one is compared with, those of the first ranks
SHORTEST_STEM = 4  # first characters that a pair_id must share with a wrong one to be offered

_NUMBER, _ROW = re.compile(r"#?([0-9]{1,4})"), re.compile(r"row[: ]([0-9]{1,15})")
_HYPOTHESIS = re.compile(
    r"(global|pattern|detector):(?:\*:)?([0-9]{1,9})|"
    r"(group|prompt_max|prompt_freq|pattern_group|detector_group):([0-9]{1,9}):([0-9]{1,9})"
)
_BY_NAME = re.compile(r"(pattern|detector):([a-z0-9-]{1,80})")
_CONCEPT = re.compile(r"concept:([0-9]{1,9})")
_PAIR = re.compile(r"pair:(.*)|([0-9a-f]{20}(?:-[0-9]+)?)", re.DOTALL)


@dataclass(frozen=True)
class Cell:
    """An effect. A response-shift concept has none over all pairs that was tested: its id is then `concept:7`."""

    view: str
    where: int
    concept_id: int
    id: str


def resolve(run: Run, what: str) -> Cell | str:
    """The effect, or the pair_id. Raises UserError for an id that the run does not hold, naming near ones."""
    what = what.strip()
    if match := _NUMBER.fullmatch(what):
        what = _listed(run, int(match[1]))
    if match := _HYPOTHESIS.fullmatch(what):
        if match[1]:
            return _cell(run, match[1], int(EVERYWHERE), int(match[2]), f"{match[1]}:{match[2]}")
        return _cell(run, match[3], int(match[4]), int(match[5]), what)
    if match := _BY_NAME.fullmatch(what):
        return _by_name(run, match[1], match[2])
    if match := _CONCEPT.fullmatch(what):
        return _concept(run, int(match[1]), what)
    if match := _PAIR.fullmatch(what):
        return _pair(run, match[1] if match[1] is not None else match[2])
    if match := _ROW.fullmatch(what):
        return _row(run, int(match[1]))
    return _named(run, what)


def _cell(run: Run, view: str, where: int, concept_id: int, what: str) -> Cell:
    kinds = _kinds(run)
    trouble = _place_trouble(run, view, where)
    if concept_id >= len(kinds):
        trouble = _no_concept(concept_id, kinds)
    elif not trouble:
        kind = kinds[concept_id]
        if kind not in _kinds_of(view):
            trouble = (
                f"concept {concept_id} is of kind {kind}, and view {view} is about {' and '.join(_kinds_of(view))}"
            )
    if trouble:
        # the mean of a concept over all pairs can be traced, though it is not tested
        near = [f"concept:{concept_id}"] if view in OVER_ALL_PAIRS and concept_id < len(kinds) else []
        raise _unknown(run, f"there is no effect '{what}'", trouble, near, like=what)
    return Cell(view, where, concept_id, what)


def _concept(run: Run, concept_id: int, what: str) -> Cell:
    kinds = _kinds(run)
    if concept_id >= len(kinds):
        raise _unknown(run, f"there is no concept '{what}'", _no_concept(concept_id, kinds))
    if kinds[concept_id] in (PATTERN, DETECTOR):  # the name of the view over all pairs
        return Cell(kinds[concept_id], int(EVERYWHERE), concept_id, f"{kinds[concept_id]}:{concept_id}")
    tested = not kinds[concept_id].startswith("shift_")
    return Cell("global", int(EVERYWHERE), concept_id, f"global:{concept_id}" if tested else what)


def _kinds_of(view: str) -> tuple[str, ...]:
    """The kinds of concepts that are tested in a view."""
    if view.startswith((PATTERN, DETECTOR)):
        return (view.removesuffix("_group"),)
    return (view.replace("prompt_", "shift_"),) if view.startswith("prompt_") else ("community", "feature")


def _by_name(run: Run, kind: str, name: str) -> Cell:
    """The effect of a pattern or a detector over all pairs, by its name."""
    table = run.table(CONCEPTS_FILE, ["concept_id", kind])
    names = dict(zip(table[kind].to_pylist(), table["concept_id"].to_pylist(), strict=True))
    if name not in names:
        near = [f"{kind}:{known}" for known in near_misses(name, [known for known in names if known])]
        where = "docs/patterns.md lists those of the package" if kind == PATTERN else "`pretilt detector` makes one"
        raise _unknown(run, f"there is no {kind} '{name}'", where, near)
    return _concept(run, names[name], f"{kind}:{name}")


def _kinds(run: Run) -> list[str]:
    kinds: list[str] = run.table(CONCEPTS_FILE, ["kind"])["kind"].to_pylist()
    return kinds


def _no_concept(concept_id: int, kinds: Sequence[str]) -> str:
    return f"there is no concept {concept_id}" + (f", they are 0 to {len(kinds) - 1}" if kinds else ", there is none")


def _place_trouble(run: Run, view: str, where: int) -> str:
    """Why the set of pairs has no effects, empty if it may have some."""
    if view in OVER_ALL_PAIRS:
        return ""
    if view in IN_GROUPS:
        if where == SILENT_GROUP:
            return "group 0 holds the silent pairs, which are not tested"
        place_ids = run.table(GROUPS_FILE, ["group_id"])["group_id"]
        name = "group"
    else:
        table = run.table(PROMPT_CONCEPTS_FILE, ["prompt_concept_id", "statistic"])
        place_ids = table.filter(pc.equal(table["statistic"], view.removeprefix("prompt_")))["prompt_concept_id"]
        name = f"prompt concept of view {view}"
    if pc.index(place_ids, pa.scalar(where, pa.int32())).as_py() >= 0:
        return ""
    bounds = pc.min_max(place_ids).as_py()
    return f"{where} is no {name}" + (f", they are {bounds['min']} to {bounds['max']}" if len(place_ids) else "")


def is_name(what: str) -> bool:
    """True for a text that is none of the ids: `resolve` then reads it as the name of a concept."""
    forms = (_NUMBER, _HYPOTHESIS, _BY_NAME, _CONCEPT, _PAIR, _ROW)
    return not any(form.fullmatch(what.strip()) for form in forms)


def _named(run: Run, what: str) -> Cell:
    """The one concept of that name, or whose name alone holds the text.

    A name may be typed as it is printed: as a person gave it, cut short with "…", and with a phrase after " · "; the
    audit's own name is taken too. Raises UserError with the concepts whose names hold the text, or nearly are it.
    """
    labels = [name or "" for name in named_table(run, "concepts", ["concept_id", "name"])["name"].to_pylist()]
    audited = [name or "" for name in run.table(CONCEPTS_FILE, ["name"])["name"].to_pylist()]
    printed, own_names = [name.lower() for name in labels], [name.lower() for name in audited]
    text = what.split(" · ")[0].rstrip("…").strip().lower()
    matches: list[int] = []
    for names, typed in ((printed, what.strip().lower()), (printed, text), (own_names, text)):
        matches = matches or [i for i, name in enumerate(names) if name and name == typed]
    both = list(zip(printed, own_names, strict=True))
    matches = matches or [i for i, names in enumerate(both) if text and any(text in name for name in names)]
    if len(matches) == 1:
        return _concept(run, matches[0], f"concept:{matches[0]}")

    what_is_wrong = f"'{what[:60]}' is no id and no name of {'one concept alone' if matches else 'a concept'}"
    if not matches and 2 < len(text) <= LONGEST_NAME:
        matches = [printed.index(name) for name in near_misses(text, printed)]
    near = [f"concept:{i} ({labels[i]})" for i in matches[:N_NEAR]]
    raise _unknown(run, what_is_wrong, near=near, like=what)


def _listed(run: Run, number: int) -> str:
    """The hypothesis at that place of the lists that the audit prints, counted through all of them from 1."""
    summary = run.json(SUMMARY_FILE) if (run.path / SUMMARY_FILE).is_file() else {}
    ids: list[str] = [effect["hypothesis_id"] for name in LISTS for effect in summary.get(name, [])]
    if not 1 <= number <= len(ids):
        why = f"its lists have the numbers 1 to {len(ids)}" if ids else "its lists are empty"
        raise UserError(f"the audit printed no number {number}", file=run.path, why=why, fix=FORMS)
    return ids[number - 1]


def _row(run: Run, row: int) -> str:
    table = run.table(PAIRS_FILE, ["row_index", "pair_id"])
    ids: list[str] = table.filter(pc.equal(table["row_index"], row))["pair_id"].to_pylist()
    if len(ids) != 1:
        what = f"row {row} gave {len(ids)} pairs" if ids else f"no pair comes from row {row}"
        why = "" if ids else "it was dropped or never read"
        raise _unknown(run, what, why, [f"pair:{p}" for p in ids[:N_NEAR]])
    return ids[0]


def _pair(run: Run, pair_id: str) -> str:
    pair_ids = run.table(PAIRS_FILE, ["pair_id"])["pair_id"]
    if pc.index(pair_ids, pair_id).as_py() >= 0:
        return pair_id
    alike: list[str] = []
    stem = pair_id[:LONGEST_PAIR]
    while len(stem) >= SHORTEST_STEM and not alike:
        alike = pair_ids.filter(pc.starts_with(pair_ids, stem)).slice(0, N_NEAR).to_pylist()
        stem = stem[:-1]
    near = [f"pair:{p}" for p in alike]
    raise _unknown(run, f"there is no pair '{pair_id[:60]}'", "it was dropped or never read", near)


def _unknown(run: Run, what: str, why: str = "", near: Sequence[str] = (), *, like: str = "") -> UserError:
    """The error, with the ids `near`, or else those of effects and concepts that are spelled `like` this one."""
    if like and not near and len(like) <= LONGEST_NAME:
        effects = run.table(HYPOTHESES_FILE, ["hypothesis_id", "rank"])
        is_ranked = pc.greater(effects["rank"], 0)  # 0: tested, but in no list
        ranked = effects.filter(is_ranked).sort_by("rank")
        effects = pa.concat_tables([ranked, effects.filter(pc.invert(is_ranked))]).slice(0, N_COMPARED)
        concepts = [f"concept:{i}" for i in range(min(len(_kinds(run)), N_COMPARED))]
        everywhere = re.sub(r"^[a-z_]+:\*:", "global:", like)
        near = near_misses(everywhere, effects["hypothesis_id"].to_pylist() + concepts)
    return UserError(what, why=why, fix=f"Did you mean {' or '.join(near)}?" if near else FORMS)
