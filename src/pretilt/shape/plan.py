"""plan.yaml: what a person decided about concepts, hypotheses, groups, sources and pairs.

    pairs: 3f0c…                     # hash of the run's pairs, by `pretilt mark`: a plan of other pairs is refused
    items:
      - suppress: pattern:bold       # suppress | amplify | keep | protect, of what
        method: offset               # how; auto chooses by forecast
        to: base                     # how far: base, half, 25%, double, none, "+5 points"; or a strength
        by: detector:bold-probe    # optional: whose score drives the method, instead of the concept's own
        gate: group:12               # optional: only there; not:group:12 everywhere else
        note: customers dislike it

`suppress` and `amplify` change the data or the loss. `protect` lets no side effect on the concept pass unseen: it is
reported first, and a designed offset holds it. `keep` records that a concept was looked at and accepted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pretilt.errors import UserError, did_you_mean
from pretilt.literals import parse_yaml

Decision = Literal["suppress", "amplify", "keep", "protect"]
Method = Literal[
    "auto", "drop", "weight", "swap", "rewrite", "mask", "inoculate", "offset", "group-offset", "designed-offset",
    "steer-reference", "steer-policy",
]  # fmt: skip
DECISIONS: tuple[Decision, ...] = get_args(Decision)
METHODS: tuple[Method, ...] = get_args(Method)
CHANGING: tuple[Decision, ...] = ("suppress", "amplify")
# Where the concept's predicted shift should end, as a share of its shift without the plan.
TARGETS = {"base": 0.0, "half": 0.5, "double": 2.0}
NONE_LEFT = "none"  # no answer that holds the concept
NOT = "not:"  # before a gate: everywhere but there
POINTS = " points"  # how a goal in percentage points of answers ends: "+5 points"
_OF_POINTS = ("percentage points", "percentage point", "points", "point", "pp")
# Methods that a score other than the target's can drive, and those that read an instruction.
DRIVEN: tuple[Method, ...] = ("drop", "weight", "swap", "mask", "offset", "steer-reference", "steer-policy")
INSTRUCTED: tuple[Method, ...] = ("inoculate", "offset")
LONGEST_INSTRUCTION = 2000  # characters
_KEYS = (*DECISIONS, "method", "by", "instruction", "strength", "to", "gate", "note")
_TEXTS = ("by", "instruction", "gate", "note", "method", "to")
MOST_ITEMS = 1000
DIGITS, LEAST_DIGITS = 16, 8  # of the pairs' hash that a plan is written with, and that one must have


@dataclass(frozen=True)
class Item:
    """One decision. Of `suppress` and `amplify` either `strength`, `share` or `goal` is given; of the others none."""

    decision: Decision
    target: str  # "pattern:bold", "group:12:7", "source:forum" …; see `targets.py`
    method: Method = "auto"
    strength: float | None = None  # in the method's unit, >= 0; 0 does nothing
    share: float | None = None  # of the concept's own shift that should be left: 0 is the untrained model's rate
    gate: str | None = None
    note: str = ""
    line: int | None = None  # in the file, from 1
    by: str | None = None  # "detector:flattery", "logit:flattery" …: the concept whose score drives the method
    instruction: str | None = None  # a sentence that asks for the concept
    goal: str | None = None  # "none", or "+5 points": a share of answers, until a plain training makes it a `share`

    @property
    def changes(self) -> bool:
        """True if the item asks for actions."""
        return self.decision in CHANGING

    def as_yaml(self) -> dict[str, Any]:
        """The item as the file holds it."""
        values: dict[str, Any] = {self.decision: self.target}
        if self.changes:
            values["method"] = self.method
            values |= {key: text for key, text in (("by", self.by), ("instruction", self.instruction)) if text}
            word = next((word for word, share in TARGETS.items() if share == self.share), None)
            if self.goal is not None:
                values["to"] = self.goal
            else:
                values |= {"strength": self.strength} if self.share is None else {"to": word or f"{self.share:.0%}"}
        values |= {"gate": self.gate} if self.gate else {}
        return values | ({"note": self.note} if self.note else {})


@dataclass(frozen=True)
class Plan:
    """The decisions of a person, in the order of the file. `pairs`: hash of the pairs it was written for, or None."""

    items: tuple[Item, ...]
    pairs: str | None = None
    path: Path | None = None

    def as_yaml(self) -> dict[str, Any]:
        """JSON-able: the whole plan."""
        head = {} if self.pairs is None else {"pairs": self.pairs}
        return {**head, "items": [item.as_yaml() for item in self.items]}

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the actions: the plan without its notes."""
        return {"items": [{k: v for k, v in item.as_yaml().items() if k != "note"} for item in self.items]}


def load_plan(path: str | Path) -> Plan:
    """Read a plan. Raises UserError with the line, what is allowed there, and the nearest name."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        fix = "Write one, or begin with `pretilt mark RUN suppress pattern:NAME`"
        raise UserError("there is no such plan", file=path, fix=fix) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError("the plan cannot be read", file=path, why=why) from error
    return plan_of(parse_yaml(text, path), path, lines_of_items(text))


def plan_of(value: Any, path: Path | None = None, lines: Sequence[int] = ()) -> Plan:
    """The plan that a mapping holds; `lines`: where its items begin. Raises UserError as `load_plan` does."""
    if not isinstance(value, Mapping):
        raise UserError("a plan is a mapping with a list of items", file=path, fix=_example())
    if unknown := [key for key in value if key not in ("items", "pairs")]:
        fix = did_you_mean(str(unknown[0]), ("items", "pairs"), "A plan has the keys items and pairs")
        raise UserError(f"a plan has no key '{unknown[0]}'", file=path, fix=fix)
    entries = value.get("items")
    if not isinstance(entries, list) or not entries:
        raise UserError("the plan holds no items", file=path, fix=_example())
    if len(entries) > MOST_ITEMS:
        raise UserError(f"the plan holds {len(entries):,} items", file=path, why=f"{MOST_ITEMS:,} are the most")
    pairs = value.get("pairs")
    if pairs is not None and not isinstance(pairs, str):
        raise UserError("'pairs' of a plan is a hash, a text", file=path, fix="Leave it out, or put it in quotes")
    numbered = [lines[i] if i < len(lines) else None for i in range(len(entries))]
    items = tuple(_item(entry, path, line) for entry, line in zip(entries, numbered, strict=True))
    return Plan(items, pairs, path)


def check_same_pairs(plan: Plan, pairs: str) -> None:
    """Raise UserError for a plan that was written for other pairs than those with this hash of pairs.parquet."""
    if plan.pairs is None or (len(plan.pairs) >= LEAST_DIGITS and pairs.startswith(plan.pairs)):
        return
    raise UserError(
        "the plan was written for other pairs", file=plan.path,
        why=f"its pairs are '{plan.pairs[:12]}', those of the run are '{pairs[:12]}'",
        fix="Give the run of the plan or another plan, or take `pairs:` out of it if the names mean the same here",
    )  # fmt: skip


def _gate(text: str) -> str:
    """One way to write a gate, whatever spaces stand in it."""
    text = text.strip()
    return NOT + text.removeprefix(NOT).strip() if text.startswith(NOT) else text


def _item(entry: Any, path: Path | None, line: int | None) -> Item:
    def wrong(what: str, why: str = "", fix: str = "") -> UserError:
        return UserError(what, file=path, line=line, why=why, fix=fix)

    if not isinstance(entry, Mapping):
        raise wrong("an item of a plan is a mapping", fix=_example())
    if unknown := [key for key in entry if key not in _KEYS]:
        fix = did_you_mean(str(unknown[0]), _KEYS, f"An item has {', '.join(_KEYS)}")
        raise wrong(f"an item has no key '{unknown[0]}'", fix=fix)
    decisions = [decision for decision in DECISIONS if decision in entry]
    if len(decisions) != 1:
        count = "none" if not decisions else " and ".join(decisions)
        raise wrong(f"an item has one of {', '.join(DECISIONS)}", why=f"this one has {count}", fix=_example())
    decision = decisions[0]
    for key in (decision, *_TEXTS):
        if key in entry and not isinstance(entry[key], str) and not (key == "to" and _is_number(entry[key])):
            raise wrong(f"'{key}' is a text", why=f"it is {entry[key]!r}"[:80], fix="Put it in quotes")

    method = entry.get("method", "auto")
    if method not in METHODS:
        fix = did_you_mean(method, METHODS, f"Methods are {', '.join(METHODS)}")
        raise wrong(f"there is no method '{method}'", fix=fix)
    amounts = [key for key in ("strength", "to") if key in entry]
    changing_keys = [key for key in _KEYS if key in entry and key not in (*DECISIONS, "note")]
    if decision not in CHANGING and changing_keys:
        raise wrong(f"'{decision}' takes no {changing_keys[0]}", why="it changes nothing in the data")
    _check_driver(entry, method, decision, wrong)
    if len(amounts) > 1:
        raise wrong("an item has either a strength or 'to'", why="it has both", fix="Leave one of them out")
    if method == "auto" and "strength" in entry:
        raise wrong("a strength belongs to a method", why="every method has a unit of its own", fix="Name the method")

    strength = _strength(entry["strength"], wrong) if "strength" in entry else None
    share, goal = None, None
    if decision in CHANGING and strength is None:
        to = entry.get("to", "base" if decision == "suppress" else "double")
        goal = _goal(to)
        share = None if goal is not None else _share(to, wrong)
    by, instruction = entry.get("by"), entry.get("instruction")
    return Item(
        decision,
        entry[decision].strip(),
        method,
        strength,
        share,
        _gate(entry["gate"]) if "gate" in entry else None,
        entry.get("note", ""),
        line,
        by=None if by is None else by.strip(),
        instruction=None if instruction is None else instruction.strip(),
        goal=goal,
    )


def _check_driver(entry: Mapping[str, Any], method: str, decision: str, wrong: Any) -> None:
    """Raise the error of an item whose method takes no such score or instruction, or lacks its instruction."""
    if "by" in entry and "instruction" in entry:
        raise wrong("an item has either 'by' or an instruction", why="it has both", fix="Leave one of them out")
    for key, methods in (("by", DRIVEN), ("instruction", INSTRUCTED)):
        if key in entry and method not in methods:
            what = "the method is left open" if method == "auto" else f"'{method}' does not read it"
            raise wrong(f"'{key}' needs a method that takes it", why=what, fix=f"Name one of {', '.join(methods)}")
    if method == "inoculate" and "instruction" not in entry:
        raise wrong("'inoculate' needs an instruction", fix="Add `instruction: a sentence that asks for the concept`")
    if method == "inoculate" and decision != "suppress":
        raise wrong(
            "'inoculate' cannot amplify", why="it explains a concept of the chosen responses by an instruction",
            fix="Choose offset, weight or steer-policy",
        )  # fmt: skip
    if "instruction" in entry:
        length = len(entry["instruction"].strip())
        if not 0 < length <= LONGEST_INSTRUCTION:
            why = f"it has {length:,} characters, and from 1 to {LONGEST_INSTRUCTION:,} fit"
            raise wrong("an instruction is a short text", why=why)


def _strength(value: Any, wrong: Any) -> float:
    if not _is_number(value) or not math.isfinite(value) or value < 0:
        raise wrong(
            "a strength is a number from 0", why=f"it is {value!r}"[:80], fix="`suppress` and `amplify` give the sign"
        )
    return float(value)


def _goal(value: Any) -> str | None:
    """A goal in shares of answers, as it is written everywhere: "none", "+5 points". None for a share of the shift."""
    text = str(value).strip()
    if text == NONE_LEFT:
        return text
    ending = next((ending for ending in _OF_POINTS if text.endswith(ending)), None)
    if ending is None:
        return None
    try:
        points = float(text.removesuffix(ending).replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return None
    return f"{points:+g}{POINTS}" if math.isfinite(points) else None


def _share(value: Any, wrong: Any) -> float:
    """The share of the concept's own shift that should be left."""
    share = TARGETS.get(value)
    text = str(value).strip()
    if share is None and text.endswith("%"):
        try:
            share = float(text[:-1]) / 100
        except ValueError:
            share = None
    if share is None or not math.isfinite(share) or abs(share) > 100:
        fix = f"Give {', '.join(TARGETS)}, {NONE_LEFT}, a share of the shift without the plan as 25%, or '+5 points'"
        raise wrong(f"'to: {text[:40]}' is not understood", fix=fix)
    if share == 1:
        raise wrong(f"'to: {text[:40]}' changes nothing", why="the shift is left as it is", fix="Leave the item out")
    return share


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def lines_of_items(text: str) -> list[int]:
    """The line, from 1, on which each entry of the list `items` begins; [] where the text has no such list."""
    import yaml

    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:  # `parse_yaml` says what is wrong
        return []
    if not isinstance(root, yaml.MappingNode):
        return []
    lists = [node for key, node in root.value if key.value == "items" and isinstance(node, yaml.SequenceNode)]
    return [node.start_mark.line + 1 for node in lists[0].value] if lists else []


def _example() -> str:
    return "Write items as `- suppress: pattern:bold` (docs/shaping.md)"


def dump_plan(plan: Plan) -> str:
    """The plan as YAML text."""
    import yaml

    return str(yaml.safe_dump(plan.as_yaml(), sort_keys=False, allow_unicode=True, width=100))
