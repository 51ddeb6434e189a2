"""How a shard is written: a classic script that hands JSON to one function of the page.

A page that was opened from disk may not fetch files and may not load modules; it may load classic scripts. So every
shard is one, for the server as for the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from pretilt.artifacts import jsonable
from pretilt.view.tables import rounded

FUNCTION = "pretiltShard"  # of the page: takes the shard's name and its value


def script(name: str, value: Any) -> bytes:
    """The shard as UTF-8. Nothing in the value can end a script element or begin a comment."""
    return f"{FUNCTION}({embed(name)},{embed(jsonable(value))});\n".encode()


def embed(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029\u007f":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def columns(table: pa.Table, digits: int = 5) -> dict[str, list[Any]]:
    """Column name to values; floats to `digits` significant digits, what is not finite as None."""
    values: dict[str, list[Any]] = {}
    for name in table.column_names:
        column = table[name]
        if pt.is_floating(column.type):
            values[name] = [short(value, digits) for value in column.to_pylist()]
        else:
            values[name] = column.to_pylist()
    return values


def short(value: float | None, digits: int = 5) -> float | int | None:
    """The number to `digits` significant digits, whole numbers as integers; None where it is not finite."""
    if value is None or not np.isfinite(value):
        return None
    number = rounded(float(value), digits)
    return int(number) if number == int(number) and abs(number) < 2**53 else number


def coded(values: Sequence[str | None]) -> dict[str, Any]:
    """A column of few different texts: {"names": [...], "codes": [...]}, code -1 for None; the most frequent first."""
    counts: dict[str, int] = {}
    for value in values:
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    names = sorted(counts, key=lambda name: (-counts[name], name))
    code = {name: i for i, name in enumerate(names)}
    return {"names": names, "codes": [-1 if value is None else code[value] for value in values]}


def steps(numbers: Iterable[int]) -> list[int]:
    """Ascending numbers as differences, the first from 0: shorter to write down."""
    array = np.fromiter(numbers, np.int64)
    return np.diff(array, prepend=0).tolist()


def utf16(text: str) -> int:
    """Length of the text as JavaScript counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def utf16_offsets(text: str, places: Iterable[int]) -> list[int]:
    """Places in the text, counted in characters, as JavaScript counts them."""
    places = list(places)
    if text.isascii():
        return places
    widths = np.fromiter((1 + (ord(character) > 0xFFFF) for character in text), np.int64, len(text))
    ends = np.concatenate([[0], np.cumsum(widths)])
    return [int(ends[min(max(place, 0), len(text))]) for place in places]


def by_id(table: pa.Table, key: str) -> dict[int, Mapping[str, Any]]:
    """Id to row."""
    return {row[key]: row for row in table.to_pylist()}
