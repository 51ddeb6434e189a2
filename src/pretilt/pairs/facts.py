"""The fields of a row besides its texts: tools, template arguments, source, models, scores; the rest goes to `meta`."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
from collections.abc import Mapping
from typing import Any

from pretilt.literals import from_text
from pretilt.pairs.cells import Cells, as_number
from pretilt.pairs.messages import Place, checked_text, describe, without_padding
from pretilt.pairs.pair import to_json

# Canonical fact → columns it is read from, best first; the typos are real ones of published datasets.
ALIASES = {
    "source": ("source", "dataset_source", "dataset"),
    "chosen_model": ("chosen_model", "chonsen_model", "chosen-model"),
    "rejected_model": ("rejected_model", "rejected-model"),
    "chosen_score": ("chosen_score", "score_chosen", "chosen_rating", "rating_chosen", "chosen_avg_rating"),
    "rejected_score": ("rejected_score", "score_rejected", "rejected_rating", "rating_rejected", "rejected_avg_rating"),
}
_MAX_DEPTH = 20


def read_tools(cells: Cells, inline: Any) -> str | None:
    """The row's tools as JSON text, keys in the source's order; None for none and for an empty list.

    An empty list counts as none because some templates print tool instructions for it. `inline`: tools that stand
    inside another column.
    """
    value = inline if inline is not None else cells.value("tools")
    return _json_column(value, cells.place("tools"), list, "a list of tool schemas", cells)


def read_template_kwargs(cells: Cells) -> str | None:
    """The row's `chat_template_kwargs` as JSON text; None if there are none."""
    name = "chat_template_kwargs"
    return _json_column(cells.value(name), cells.place(name), Mapping, "an object", cells)


def _json_column(value: Any, place: Place, kind: type, expected: str, cells: Cells) -> str | None:
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = from_text(value)
        except ValueError as error:
            raise place.error("invalid JSON in the cell", str(error)) from error

    if value is None:
        return None
    if not isinstance(value, kind):
        raise place.error("wrong type", f"found {describe(value)}, expected {expected}")

    value = without_padding(value, place, cells.remark_counts)
    if not value:
        return None
    try:
        return checked_text(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False), place)
    except (TypeError, ValueError) as error:
        raise place.error("the value cannot be written as JSON", str(error)) from error


def read_fact(cells: Cells, name: str) -> Any:
    """A canonical fact from the first of its columns that holds one: text for source and models, a number for scores.

    A value of another type is None here and stays in `meta`: such columns never stop a run.
    """
    for column in ALIASES[name]:
        if column not in cells.columns.shapes:
            continue

        raw = cells.row.get(cells.columns.source[column])
        if name.endswith("_score"):
            value: Any = as_number(raw)
        elif name == "source" and isinstance(raw, (list, tuple)) and raw and all(isinstance(r, str) for r in raw):
            value = ", ".join(raw)
        else:
            value = raw if isinstance(raw, str) and raw else None

        if value is not None:
            cells.used.add(column)
            return writable(value) if isinstance(value, str) else value
    return None


def read_meta(cells: Cells, more: Mapping[str, Any]) -> str | None:
    """A JSON object of the columns nothing else has read, under the source's own names, and of `more`."""
    read_columns = {cells.columns.source.get(name, name) for name in cells.used}
    other_columns = {str(k): plain(v) for k, v in cells.row.items() if k not in read_columns and v is not None}
    other_columns.update(more)
    return writable(to_json(other_columns)) if other_columns else None


def plain(value: Any, depth: int = 0) -> Any:
    """Any value as a JSON value; what has no JSON type becomes its text. Never fails."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return (
            value
            if abs(value) < 2**63
            else str(value)
            if abs(value) < 10**4000
            else "(an integer of thousands of digits)"
        )
    if isinstance(value, float):
        return value if math.isfinite(value) else None

    if depth >= _MAX_DEPTH:
        return "(nested deeper than is kept)"
    if isinstance(value, Mapping):
        return {str(k): plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v, depth + 1) for v in value]

    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if type(value).__module__ == "numpy":
        return plain(value.tolist(), depth + 1)
    return str(value)


def writable(text: str) -> str:
    """The text, with halves of surrogate pairs (which UTF-8 cannot hold) written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
