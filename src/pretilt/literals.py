"""Texts that hold values: JSON, the Python and NumPy text that `to_csv` writes for lists, YAML. Nothing is evaluated.

The first two refuse what could be read in two ways (a key that stands twice in one object) or is nested without end.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from pretilt.errors import UserError

MAX_DEPTH = 100  # levels of lists and objects; schemas of tools have ten or twenty
TOO_DEEP = f"lists and objects are nested in more than {MAX_DEPTH} levels"
_TOKEN = re.compile(
    r"""
    (?P<blank>\s++)
    | (?P<text>'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")
    | (?P<number>[-+]?(?:\d++\.?\d*+|\.\d++)(?:[eE][-+]?\d++)?+(?![\w.]))
    | (?P<word>(?:True|False|None|nan|NaN)(?!\w))
    | (?P<call>(?:np\.|numpy\.)?(?:array|float16|float32|float64|u?int(?:8|16|32|64)|str_|bool_?)\()
    | (?P<dtype>,\s*+dtype=[\w'<>|]++(?=\s*+\)))
    | (?P<mark>[\[\]{},:)])
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {"]": "[", "}": "{", ")": "("}


def from_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for what is no JSON, too deep, or has one key twice in an object."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if not isinstance(value, str) and nested_deeper(value):
        raise ValueError(TOO_DEEP)
    return value


def from_text(text: str) -> Any:
    """The value of a JSON text or, failing that, of the text that Python or NumPy prints for lists and dicts.

    Raises ValueError, with JSON's reason where the text is neither.
    """
    try:
        return from_json(text)
    except ValueError as error:
        literal = _as_literal(text)
        if literal is None:
            raise
        try:
            tree = ast.parse(literal, mode="eval")
            for node in ast.walk(tree):
                if isinstance(node, ast.Dict):
                    _object([(str(k.value), None) for k in node.keys if isinstance(k, ast.Constant)])
            return ast.literal_eval(tree)
        except (SyntaxError, TypeError, MemoryError, RecursionError):
            raise error from None


def nested_deeper(value: Any, depth: int = MAX_DEPTH) -> bool:
    """True if lists and objects are nested in more than `depth` levels; a value that contains itself is."""
    level = {0: value} if isinstance(value, (dict, list, tuple)) else {}
    for _ in range(depth):
        if not level:
            return False
        inside = (v for outer in level.values() for v in (outer.values() if isinstance(outer, dict) else outer))
        level = {id(v): v for v in inside if isinstance(v, (dict, list, tuple))}
    return bool(level)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in value if names.count(name) > 1)
        raise ValueError(f"the key '{twice}' stands twice in one object")
    return value


def _as_literal(text: str) -> str | None:
    """The text as a Python literal: NumPy's lists get their commas, its arrays and scalars lose their wrapping.

    None for everything else: calls of any other kind, and texts side by side in a list that has commas too, which
    Python would join to one.
    """
    parts: list[str] = []
    opened: list[str] = []
    separators: list[set[str]] = []
    at, previous = 0, ""  # previous: "value", "," or ":" since the bracket was opened
    for match in _TOKEN.finditer(text):
        if match.start() != at:
            return None
        at, kind, token = match.end(), str(match.lastgroup), match[0]
        if kind in ("blank", "dtype"):
            continue
        closing = kind == "mark" and token in _CLOSES
        starts = kind in ("text", "number", "word", "call") or token in ("[", "{")
        if starts and previous == "value":
            if not opened or opened[-1] != "[":
                return None
            separators[-1].add(" ")
            parts.append(",")
        if kind == "call" or token in ("[", "{"):
            if len(opened) == MAX_DEPTH:
                return None
            opened.append("(" if kind == "call" else token)
            separators.append(set())
            previous = ""
        elif closing:
            if not opened or opened.pop() != _CLOSES[token] or len(separators.pop()) > 1:
                return None
            previous = "value"
        elif token in (",", ":"):
            if not opened:
                return None
            if token == ",":
                separators[-1].add(",")
            previous = token
        else:
            previous = "value"
        if kind != "call" and token != ")":
            parts.append("None" if token in ("nan", "NaN") else token)
    return "".join(parts) if at == len(text) and not opened else None


def parse_yaml(text: str, where: object) -> Any:
    """The value of a YAML text that comes from `where`. Raises UserError if it is not valid or too deep."""
    import yaml  # a start without a configuration file does without it

    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError(TOO_DEEP)
        return yaml.safe_load(text)
    # The parser lets its own helpers' errors through: dates that do not exist, integers without digits.
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise UserError("this is not valid YAML", file=where, why=str(error)) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The names and values of a YAML file; {} for an empty one. Raises UserError for everything else."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError("the configuration cannot be read", file=path, why=why) from error
    read = parse_yaml(text, path)
    if not isinstance(read, dict | None):
        raise UserError("the configuration is not a mapping of names to values", file=path)
    for name in read or {}:
        if not isinstance(name, str):
            why = f"'{name}' is read as {type(name).__name__}, not as a text"
            raise UserError("the name of an option is no name", file=path, why=why, fix="Known options: --help")
    return read or {}
