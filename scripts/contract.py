"""Write web/src/lib/contract.ts, what the page reads, from the Python types of src/pretilt/view/site/contract.py.

python scripts/contract.py
"""

from __future__ import annotations

import inspect
import json
import sys
import types
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from pretilt.schema import IN_GROUPS, OVER_ALL_PAIRS
from pretilt.view.site import contract
from pretilt.view.site.bundle import SCHEMA_VERSION

FILE = Path(__file__).parents[1] / "web" / "src" / "lib" / "contract.ts"
HEAD = """/** What the shards hold and what the server answers. Null means that a number is not defined.
 * Made by `python scripts/contract.py` from src/pretilt/view/site/contract.py: change that file. */
"""
PLAIN = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null", Any: "unknown"}
ALIASES = ("View", "Level", "Turn", "Fire", "FiredShard", "ScoreShard", "Patterns")
ORDER_OF_VIEWS = ("pattern", "detector", "global")


def typescript() -> str:
    """The text of the file."""
    writer = _Writer()
    for name in ALIASES:
        writer.alias(name, getattr(contract, name))
    for value in (*contract.SHARDS.values(), *contract.CALLS.values()):
        writer.type_of(value)
    over_all = sorted(OVER_ALL_PAIRS, key=ORDER_OF_VIEWS.index)
    constants = [
        f"export const SCHEMA_VERSION = {SCHEMA_VERSION};",
        f"export const LEVELS: Level[] = {_listed(get_args(contract.Level))};",
        f"export const OVER_ALL: View[] = {_listed(over_all)};",
        f"export const IN_GROUPS: View[] = {_listed(IN_GROUPS)};",
        "export type Num = number | null;",
    ]
    return "\n".join([HEAD, *constants, *writer.aliases, "", *writer.interfaces.values()])


def _listed(words: Any) -> str:
    return "[" + ", ".join(f"'{word}'" for word in words) + "]"


class _Writer:
    """TypeScript of types, and the interfaces that they lead to, each once."""

    def __init__(self) -> None:
        self.aliases: list[str] = []
        self.interfaces: dict[type[BaseModel], str] = {}
        self._names: dict[type[BaseModel], str] = {}
        self._named: list[tuple[Any, str]] = [(float | None, "Num")]

    def alias(self, name: str, value: Any) -> None:
        self.aliases.append(f"export type {name} = {self.type_of(value)};")
        self._named.append((value, name))

    def type_of(self, value: Any) -> str:
        for named, name in self._named:
            if value == named:
                return name
        if value in PLAIN:
            return PLAIN[value]
        origin, arguments = get_origin(value), get_args(value)
        if origin is Literal:
            return " | ".join(f"'{word}'" for word in arguments)
        if origin is list:
            item = self.type_of(arguments[0])
            return f"({item})[]" if " | " in item else f"{item}[]"
        if origin is tuple:
            return f"[{', '.join(map(self.type_of, arguments))}]"
        if origin is dict:
            key, item = map(self.type_of, arguments)
            record = f"Record<{key}, {item}>"
            return f"Partial<{record}>" if key not in ("string", "number") else record
        if origin is types.UnionType:
            return " | ".join(map(self.type_of, arguments))
        if isinstance(value, type) and issubclass(value, BaseModel):
            return self._interface(value)
        raise TypeError(f"no TypeScript for {value}")

    def _interface(self, model: type[BaseModel]) -> str:
        name = self._name(model)
        if model not in self.interfaces:
            self.interfaces[model] = ""  # its place: types that it leads to come after it
            lines = []
            for field, facts in model.model_fields.items():
                optional = "" if facts.is_required() else "?"
                lines.append(f"  {field}{optional}: {self.type_of(facts.annotation)};")
            if model.model_config.get("extra") == "allow":
                lines.append("  [column: string]: unknown[];")
            words = inspect.cleandoc(model.__doc__ or "") if "__doc__" in model.__dict__ else ""
            comment = f"/** {' '.join(words.split())} */\n" if words else ""
            self.interfaces[model] = f"{comment}export interface {name} {{\n" + "\n".join(lines) + "\n}\n"
        return name

    def _name(self, model: type[BaseModel]) -> str:
        """Its own name; of two models of one name the second has that of its file before it."""
        if model not in self._names:
            name = model.__name__
            if name in self._names.values():
                name = model.__module__.rpartition(".")[2].capitalize() + name
            self._names[model] = name
        return self._names[model]


if __name__ == "__main__":
    text = typescript()
    if sys.argv[1:] == ["--check"]:
        same = FILE.read_text(encoding="utf-8") == text
        sys.exit(0 if same else f"{FILE.name} is not what its Python types say: run `python scripts/contract.py`")
    FILE.write_text(text, encoding="utf-8")
    print(json.dumps({"written": str(FILE), "lines": text.count("\n")}))
