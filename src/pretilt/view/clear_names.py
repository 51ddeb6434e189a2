"""Which concepts a reader can tell by their names, and which names tell the same: what every list is led by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pretilt.concepts.readable import PERHAPS, UNNAMED
from pretilt.schema import DETECTOR, PATTERN

T = TypeVar("T")
SHIFTS = ("shift_max", "shift_freq")
_NUMBER = re.compile(r" #\d+'*\Z")


def is_vague(concept: Mapping[str, Any]) -> bool:
    """Nothing that a reader could look for tells where the concept fires, or not well: it stands behind a fold.

    By the name that the audit gave, whatever people called it since. Patterns and detectors are what they are called.
    """
    name = str(concept.get("name") or "")
    return concept.get("kind") not in (PATTERN, DETECTOR) and name.startswith((UNNAMED, f"{PERHAPS} "))


def without_number(concept: Mapping[str, Any]) -> str:
    """The name without the number that tells it from equal ones, and without its "mostly"."""
    return _NUMBER.sub("", str(concept.get("name") or "")).removeprefix("mostly ")


def by_name(rows: Iterable[T], concept_of: Callable[[T], Mapping[str, Any]]) -> tuple[list[tuple[T, int]], int]:
    """(rows with clear names, the first of each name with the number of those that say the same; number of the others).

    Rows must move one way: what rises and what falls under one name are two findings. So are how often and how strongly
    something fires. `concept_of`: "kind" and "name".
    """
    of_name: dict[tuple[str, str], list[T]] = {}
    n_vague = 0
    for row in rows:
        concept = concept_of(row)
        if is_vague(concept):
            n_vague += 1
        else:
            measure = concept["kind"] if concept["kind"] in SHIFTS else ""
            of_name.setdefault((measure, without_number(concept)), []).append(row)
    return [(same[0], len(same) - 1) for same in of_name.values()], n_vague
