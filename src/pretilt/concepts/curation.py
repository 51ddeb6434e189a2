"""What people did to the names of a run: renamed, pinned, merged, called good or bad. Kept in the run folder.

No statistic reads it, and no stage: an audit of the same pairs gives the same bytes with and without it. What a person
reads gets its names through `labels.described`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pretilt.artifacts import content_hash, write_json
from pretilt.errors import UserError
from pretilt.run import Run
from pretilt.schema import CONCEPTS_FILE
from pretilt.text import one_line

CURATION_FILE = "curation.json"
LONGEST_NAME = 120
VALUES = ("good", "bad")
MEND = "Mend it, or move it away: names are then those of the audit"
KEYS = ("names", "pinned", "merged", "values")
MEANT = "meant"  # concept to what it was when somebody did something to it; older files do not have it


def curation(run: Run) -> dict[str, Any]:
    """{"names": {concept: name}, "pinned": [concepts], "merged": {concept: the one it stands under}, "values":
    {concept: "good" | "bad"}}, all empty where nobody did anything. Raises UserError for a damaged file, and for one of
    concepts that have become others since, by an audit with other settings.
    """
    path = run.path / CURATION_FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"names": {}, "pinned": [], "merged": {}, "values": {}}
    except (OSError, ValueError) as error:
        raise UserError("the names given by hand cannot be read", file=path, fix=MEND) from error
    meant = value.pop(MEANT, {}) if isinstance(value, dict) else {}
    entries = checked(value, run, fix=MEND)
    for concept, identity in _identities(run, _mentioned(entries)).items():
        if isinstance(meant, dict) and meant.get(concept, identity) != identity:
            raise UserError(
                "the names given by hand are of other concepts than the run holds",
                file=path,
                why=f"concept {concept} was another one when it was named: the run was audited again since",
                fix="Put the audit's settings back, or move the file away: names are then those of the audit",
            )
    return entries


def _mentioned(entries: Mapping[str, Any]) -> list[int]:
    """Concepts that somebody did something to."""
    numbers = {*entries["pinned"], *entries["merged"].values()}
    numbers |= {int(concept) for key in ("names", "merged", "values") for concept in entries[key]}
    return sorted(numbers)


def _identities(run: Run, concepts: list[int]) -> dict[str, str]:
    """What each of them is, apart from its number and its name: a short hash."""
    if not concepts:
        return {}
    table = run.table(CONCEPTS_FILE, ["kind", "pattern", "detector", "feature_ids"])
    rows = table.take(pa.array(concepts, pa.int64())).to_pylist()
    return {str(concept): content_hash(row)[:16] for concept, row in zip(concepts, rows, strict=True)}


def given_names(run: Run) -> dict[int, str]:
    """Concept to the name that a person gave it; {} where nobody did.

    A merged concept without a name of its own has that of the concept it stands under, with the audit's in brackets.
    Raises UserError for a damaged file.
    """
    entries = curation(run)
    names = {int(concept): name for concept, name in entries["names"].items()}
    if not entries["merged"]:
        return names
    audited = run.table(CONCEPTS_FILE, ["name"])["name"].to_pylist()
    for concept, leader in entries["merged"].items():
        own = audited[int(concept)] or f"concept {concept}"
        names.setdefault(int(concept), f"{names.get(leader) or audited[leader] or f'concept {leader}'} ({own})")
    return names


def write_curation(run: Run, value: Any) -> dict[str, Any]:
    """Check and write what `curation` reads. Raises UserError, and writes nothing then, for anything else."""
    entries = checked(value, run)
    write_json(run.path / CURATION_FILE, {**entries, MEANT: _identities(run, _mentioned(entries))})
    return entries


def checked(value: Any, run: Run, *, fix: str = "") -> dict[str, Any]:
    """The value with names on one line. Raises UserError where it is not what `curation` says."""
    n = run.table(CONCEPTS_FILE, ["concept_id"]).num_rows

    def wrong(why: str) -> UserError:
        return UserError("names given by hand are not understood", file=run.path / CURATION_FILE, why=why, fix=fix)

    if not isinstance(value, Mapping) or set(value) - {*KEYS}:
        raise wrong(f"they are a mapping with the keys {', '.join(KEYS)}")

    def concept(number: Any) -> int:
        if not str(number).isdigit() or int(number) >= n:
            raise wrong(f"there is no concept {str(number)[:20]}: they are 0 to {n - 1}")
        return int(number)

    parts = {key: value.get(key, [] if key == "pinned" else {}) for key in KEYS}
    mappings = [parts[key] for key in KEYS if key != "pinned"]
    if not isinstance(parts["pinned"], list) or not all(isinstance(part, Mapping) for part in mappings):
        raise wrong("'pinned' is a list, the others are mappings")
    names = {str(concept(k)): one_line(str(text))[:LONGEST_NAME] for k, text in parts["names"].items() if text}
    merged = {str(concept(k)): concept(leader) for k, leader in parts["merged"].items()}
    if any(int(k) == leader or str(leader) in merged for k, leader in merged.items()):
        raise wrong("a concept stands under another one, which stands under none")
    values = {str(concept(k)): word for k, word in parts["values"].items()}
    if any(word not in VALUES for word in values.values()):
        raise wrong(f"values are {' and '.join(VALUES)}")
    return {"names": names, "pinned": sorted({concept(k) for k in parts["pinned"]}), "merged": merged, "values": values}
