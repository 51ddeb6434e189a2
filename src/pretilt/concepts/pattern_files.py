"""Patterns from TOML: those that come with the package, and the user's own, whose every mistake is one located error.

A file is a list of tables `[[pattern]]`; docs/patterns.md says what each field means.
"""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pretilt.concepts.pattern_functions import FUNCTIONS
from pretilt.concepts.pattern_speed import LIMIT_S, PROBE_CHARS, seconds_on_hardest
from pretilt.concepts.patterns import COUNTS, READS, Example, Pattern, Rewrite, count, without
from pretilt.errors import UserError, did_you_mean
from pretilt.text import one_line, shown_json

BUNDLED = "patterns.toml"
TEXTS = ("name", "title", "phrase", "counts", "language", "reads", "function")
REQUIRED = ("name", "title", "phrase", "counts", "matches", "misses")
OPTIONAL = ("expression", "function", "ignore_case", "language", "reads", "rewriter", "rewritten", "replaces")
MAX_FILE_BYTES = 1 << 20
MAX_EXPRESSION_CHARS = 10_000
MAX_TITLE_CHARS = 80
MAX_QUOTED_CHARS = 60
_ABOUT_CODE = "; code is not read, see 'reads'"
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LANGUAGE = re.compile(r"any|[a-z]{2,3}")
_NOT_IN_RE2 = (
    "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?(", "++", "*+", "?+", r"sequence: \1", r"sequence: \2", r"sequence: \3",
    r"sequence: \K", r"sequence: \G",
)  # fmt: skip
_WHY_NOT = (
    "look-around, back-references, atomic groups and possessive repetitions are not there, because expressions run on "
    "RE2, whose time cannot explode on a hostile text"
)


def load_patterns(path: Path | None = None) -> tuple[Pattern, ...]:
    """The bundled patterns, then those of the user's file in its order; one that replaces a bundled one in its place.

    Raises UserError that names the file, the pattern, the field and what is allowed. The expressions of the user are
    tried on their own examples and on texts that are hard for them, which takes a second each.
    """
    bundled = bundled_patterns()
    if path is None:
        return bundled

    patterns = {pattern.name: pattern for pattern in bundled}
    for entry in _entries(_read(path), path):
        pattern = _pattern(entry, path)
        replaces = entry.get("replaces", False)
        if pattern.name in patterns and not replaces:
            raise _error(
                pattern.name,
                "name",
                path,
                why="a pattern that comes with the package has this name",
                fix="Write replaces = true to put yours in its place, or choose another name",
            )
        if replaces and pattern.name not in patterns:
            fix = did_you_mean(pattern.name, patterns, "The names are in docs/patterns.md")
            raise _error(pattern.name, "replaces", path, why="no pattern of the package has this name", fix=fix)
        _try(pattern, path)
        patterns[pattern.name] = pattern
    return tuple(patterns.values())


@lru_cache(maxsize=1)
def bundled_patterns() -> tuple[Pattern, ...]:
    """The patterns that come with the package. Their examples are tried by its tests, not here."""
    file = resources.files("pretilt.concepts") / BUNDLED
    path = Path(BUNDLED)
    return tuple(_pattern(entry, path) for entry in _entries(file.read_text(encoding="utf-8"), path))


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
        if len(content) > MAX_FILE_BYTES:
            raise UserError("the file of patterns is larger than 1 MB", file=path, fix="Split it or leave some out")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError("the patterns cannot be read", file=path, why=why) from error


def _entries(text: str, path: Path) -> list[dict[str, Any]]:
    """The tables `[[pattern]]`, their names present and different."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        why = one_line(str(error)) if isinstance(error, tomllib.TOMLDecodeError) else "it is nested too deeply"
        fix = "Write expressions between single quotes, '\\bword\\b', where a backslash is a backslash"
        raise UserError("the patterns are not valid TOML", file=path, why=why, fix=fix) from error

    for key in document:
        if key != "pattern":
            fix = "Each pattern is a table that begins with the line [[pattern]]"
            raise UserError(f"unknown entry '{one_line(key)}' in the patterns", file=path, fix=fix)
    entries = document.get("pattern")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        fix = "Each pattern is a table that begins with the line [[pattern]], in two brackets"
        raise UserError("there are no patterns in the file", file=path, fix=fix)

    names: set[str] = set()
    for position, entry in enumerate(entries, 1):
        name = entry.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            why = "it is missing" if name is None else "it is made of small letters, digits and single hyphens"
            raise _error(f"number {position}", "name", path, why=why, fix="Write for example name = 'bold-text'")
        if name in names:
            raise _error(name, "name", path, why="two patterns of the file have this name")
        names.add(name)
    return entries


def _pattern(entry: dict[str, Any], path: Path) -> Pattern:
    """The pattern of a table whose name has been checked. Raises UserError for what is not the form of a pattern."""
    name = entry["name"]
    for field in entry:
        if field not in REQUIRED + OPTIONAL:
            fix = did_you_mean(field, REQUIRED + OPTIONAL, f"Fields: {', '.join(REQUIRED + OPTIONAL)}")
            raise _error(name, one_line(field), path, why="there is no such field", fix=fix)
    for field in REQUIRED:
        if field not in entry:
            raise _error(name, field, path, why="it is missing", fix=f"Required: {', '.join(REQUIRED)}")
    for field in TEXTS:
        value = entry.get(field, "a")
        if not isinstance(value, str) or not value.strip():
            raise _error(name, field, path, why="it is not a text")
    for field in ("title", "phrase"):
        if one_line(entry[field]) != entry[field] or len(entry[field]) > MAX_TITLE_CHARS:
            raise _error(name, field, path, why=f"it is not one line of at most {MAX_TITLE_CHARS} characters")
    for field in ("ignore_case", "replaces"):
        if not isinstance(entry.get(field, False), bool):
            raise _error(name, field, path, why="it is neither true nor false")

    reads = entry.get("reads", "text")
    for field, value, allowed in (("counts", entry["counts"], COUNTS), ("reads", reads, READS)):
        if value not in allowed:
            raise _error(name, field, path, why=f"'{one_line(value)}' is not one of: {', '.join(allowed)}")
    language = entry.get("language", "any")
    if not _LANGUAGE.fullmatch(language):
        raise _error(name, "language", path, why="it is neither 'any' nor a code such as 'en'")

    function = entry.get("function", "")
    if ("expression" in entry) == bool(function):
        raise _error(name, "expression", path, why="a pattern has an expression or a function, one of the two")
    if function and function not in FUNCTIONS:
        raise _error(name, "function", path, why=f"'{one_line(function)}' is not one of: {', '.join(FUNCTIONS)}")
    if function and (reads != "text" or "ignore_case" in entry):
        raise _error(name, "function", path, why="a function goes with neither 'reads' nor 'ignore_case'")

    rewriter = tuple(_rewrite(step, name, path) for step in _list(entry, "rewriter", name, path))
    rewritten = tuple(_before_after(pair, name, path) for pair in _list(entry, "rewritten", name, path))
    if bool(rewriter) != bool(rewritten):
        fix = "Give the rewriter at least one example: rewritten = [{ before = '…', after = '…' }]"
        raise _error(name, "rewritten", path, why="a rewriter and its examples go together", fix=fix)

    return Pattern(
        name=name,
        title=entry["title"],
        phrase=entry["phrase"],
        counts=entry["counts"],
        language=language,
        reads=reads,
        matches=_examples(entry, "matches", name, path),
        misses=_examples(entry, "misses", name, path),
        expression="" if function else _expression(entry, name, path),
        function=function,
        rewriter=rewriter,
        rewritten=rewritten,
    )


def _expression(entry: dict[str, Any], name: str, path: Path) -> str:
    """The expression with its flags; the alternatives of a list side by side."""
    value = entry["expression"]
    alternatives = [value] if isinstance(value, str) else value
    if (
        not isinstance(alternatives, list)
        or not alternatives
        or not all(isinstance(a, str) and a for a in alternatives)
    ):
        raise _error(name, "expression", path, why="it is neither a text nor a list of texts, its alternatives")
    expression = alternatives[0] if len(alternatives) == 1 else "|".join(f"(?:{a})" for a in alternatives)
    return f"(?i)(?:{expression})" if entry.get("ignore_case") else expression


def _list(entry: dict[str, Any], field: str, name: str, path: Path) -> list[Any]:
    value = entry.get(field, [])
    if not isinstance(value, list) or (field in entry and not value):
        raise _error(name, field, path, why="it is not a list with at least one entry")
    return value


def _examples(entry: dict[str, Any], field: str, name: str, path: Path) -> tuple[Example, ...]:
    examples = []
    for value in _list(entry, field, name, path):
        fields = {"text": value} if isinstance(value, str) else value
        if not isinstance(fields, dict) or not set(fields) <= {"text", "prompt"} or "text" not in fields:
            raise _error(name, field, path, why="an example is a text, or { prompt = '…', text = '…' }")
        if not all(isinstance(text, str) for text in fields.values()):
            raise _error(name, field, path, why="an example holds something that is not a text")
        examples.append(Example(**fields))
    return tuple(examples)


def _rewrite(step: Any, name: str, path: Path) -> Rewrite:
    fields = {"expression", "replacement"}
    if not isinstance(step, dict) or set(step) != fields or not all(isinstance(v, str) for v in step.values()):
        raise _error(name, "rewriter", path, why="a step is { expression = '…', replacement = '…' }")
    return Rewrite(step["expression"], step["replacement"])


def _before_after(pair: Any, name: str, path: Path) -> tuple[str, str]:
    if (
        not isinstance(pair, dict)
        or set(pair) != {"before", "after"}
        or not all(isinstance(v, str) for v in pair.values())
    ):
        raise _error(name, "rewritten", path, why="an example of the rewriter is { before = '…', after = '…' }")
    return pair["before"], pair["after"]


def _try(pattern: Pattern, path: Path) -> None:
    """Raise UserError unless the expressions run, are fast, and do what the examples say."""
    examples = [example.text for example in pattern.matches + pattern.misses]
    if pattern.expression:
        _try_expression(pattern.expression, examples, pattern.name, "expression", path)
    for step in pattern.rewriter:
        _try_expression(step.expression, examples, pattern.name, "rewriter", path)
        _try_replacement(step, pattern.name, path)

    for field, expected in (("matches", True), ("misses", False)):
        for example in getattr(pattern, field):
            if bool(count([pattern], [example.text], [example.prompt])[0, 0]) != expected:
                does = "matches" if not expected else "does not match"
                why = f"the pattern {does} its example {_quoted(example.text)}"
                fix = "Mend the expression or the example" + ("" if pattern.reads == "text" else _ABOUT_CODE)
                raise _error(pattern.name, field, path, why=why, fix=fix)

    for before, after in pattern.rewritten:
        rewritten = without(pattern, before)
        if rewritten != after:
            why = f"{_quoted(before)} becomes {_quoted(rewritten)}, not {_quoted(after)}"
            raise _error(pattern.name, "rewritten", path, why=why, fix="Mend the rewriter or the example")
        if count([pattern], [rewritten]).any():
            why = f"the pattern still matches what the rewriter makes: {_quoted(rewritten)}"
            raise _error(pattern.name, "rewriter", path, why=why)


def _try_expression(expression: str, examples: list[str], name: str, field: str, path: Path) -> None:
    if len(expression) > MAX_EXPRESSION_CHARS:
        why = f"it has {len(expression):,} characters, more than {MAX_EXPRESSION_CHARS:,}"
        raise _error(name, field, path, why=why, fix="Make it two patterns")
    try:
        pc.replace_substring_regex(pa.array([""], pa.large_string()), pattern=f"(?:{expression})", replacement="")
        pc.replace_substring_regex(pa.array([""], pa.large_string()), pattern=expression, replacement="")
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        why = one_line(str(error)).removeprefix("Invalid regular expression: ")
        if any(sign in why or sign in expression for sign in _NOT_IN_RE2):
            fix = f"Write it without: {_WHY_NOT}"
        elif "repetition size" in why or "too large" in why:
            fix = "Repeat at most 1000 times, repetitions of repetitions multiplied, or use * or +"
        else:
            fix = "The syntax is RE2's: https://github.com/google/re2/wiki/Syntax"
        raise _error(name, field, path, why=f"it is no expression of RE2: {why[:200]}", fix=fix) from error

    if _matches_empty(expression):
        fix = "Let it need at least one character: + in place of *, no alternative that is empty"
        raise _error(name, field, path, why="it matches where no character stands", fix=fix)
    if seconds_on_hardest(expression, examples) > LIMIT_S:
        per_mb = f"more than {LIMIT_S * (1 << 20) / PROBE_CHARS:.2g} s for each MB of a text that is hard for it"
        fix = "Avoid long counted repetitions ({50,500}) and alternatives that look far ahead (.*x|y, x(.*y)?)"
        raise _error(name, field, path, why=f"it is too slow, {per_mb}", fix=fix)


def _matches_empty(expression: str) -> bool:
    """Does it match without a character anywhere: between two of: nothing, a line's end, a letter, a mark?

    RE2's conditions (^ $ \\A \\z \\b \\B) look at no more than the characters on both sides.
    """
    for left in ("", "\\n", "a", "\\."):
        for right in ("", "\\n", "a", "\\."):
            text = (left + right).replace("\\n", "\n").replace("\\.", ".")
            around = rf"\A{left}(?:{expression}){right}\z"
            if pc.match_substring_regex(pa.array([text], pa.large_string()), around)[0].as_py():
                return True
    return False


def _try_replacement(step: Rewrite, name: str, path: Path) -> None:
    try:
        pc.replace_substring_regex(pa.array(["a"], pa.large_string()), step.expression, step.replacement)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        why = one_line(str(error))
        raise _error(name, "rewriter", path, why=why, fix=r"\1 is the first group, \\ a backslash") from error


def _quoted(text: str) -> str:
    """The text in quotation marks, on one line, cut where it is long."""
    return shown_json(text if len(text) <= MAX_QUOTED_CHARS else text[:MAX_QUOTED_CHARS] + "…")


def _error(name: str, field: str, path: Path, *, why: str, fix: str = "") -> UserError:
    return UserError(f"pattern '{name}', field '{field}'", file=path, why=why, fix=fix)
