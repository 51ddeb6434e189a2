"""Patterns of a user: a file that is right, and every mistake in one as a located line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pattern_examples import BY_NAME, IN_FILE, ROOT, written

from pretilt.concepts.pattern_files import load_patterns
from pretilt.errors import UserError


def test_the_file_in_the_documentation_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "patterns.md").read_text(encoding="utf-8")
    lines = [line[4:] for line in page.split("```\n")[-1].splitlines() if line.startswith("    ")]
    end = next(i for i, line in enumerate(lines) if line.startswith("rewritten"))
    block = "\n".join(lines[lines.index("[[pattern]]") : end + 1])
    pattern = load_patterns(written(tmp_path, block))[-1]
    assert (pattern.name, pattern.rewritten[0][1]) == ("pirate", "It is late.")


def test_own_patterns_come_last_or_in_the_place_of_a_bundled_one(tmp_path: Path) -> None:
    text = IN_FILE + IN_FILE.replace('"pirate"', '"bold"', 1) + "replaces = true\n"
    loaded = load_patterns(written(tmp_path, text))
    assert [p.name for p in loaded] == [*BY_NAME, "pirate"]
    assert loaded[0].expression == "ahoy"


REWRITER = "rewriter = [{ expression = '%s', replacement = '%s' }]\nrewritten = [{ before = 'ahoy a', after = 'a' }]\n"
MISTAKES = {
    "broken TOML": ("name = 'a\nb'", "valid TOML", "line 1"),
    "no table": ("", "no patterns", "[[pattern]]"),
    "one bracket": (IN_FILE.replace("[[pattern]]", "[pattern]"), "no patterns", "two brackets"),
    "unknown entry": ("[[patterns]]\n", "unknown entry 'patterns'", "[[pattern]]"),
    "unknown field": (IN_FILE + "expresion = 'a'\n", "'pirate', field 'expresion'", "Did you mean expression"),
    "missing field": (IN_FILE.replace('title = "pirate talk"\n', ""), "field 'title'", "missing"),
    "missing examples": (IN_FILE.replace('misses = ["boy"]\n', ""), "field 'misses'", "missing"),
    "no examples": (IN_FILE.replace('["boy"]', "[]"), "field 'misses'", "at least one"),
    "no name": (IN_FILE.replace('name = "pirate"\n', ""), "pattern 'number 1', field 'name'", "missing"),
    "a name with capitals": (IN_FILE.replace('"pirate"', '"Pirate x"'), "field 'name'", "small letters"),
    "a name twice": (IN_FILE + IN_FILE, "'pirate', field 'name'", "two patterns of the file"),
    "a bundled name": (IN_FILE.replace('"pirate"', '"bold"'), "'bold', field 'name'", "replaces = true"),
    "replaces nothing": (IN_FILE + "replaces = true\n", "field 'replaces'", "no pattern of the package"),
    "a number as title": (IN_FILE.replace('title = "pirate talk"', "title = 3"), "field 'title'", "not a text"),
    "two lines": (IN_FILE.replace('title = "pirate', 'title = "a\\n'), "field 'title'", "one line"),
    "counts": (IN_FILE.replace("occurrences", "twice"), "field 'counts'", "occurrences, presence"),
    "reads": (IN_FILE + "reads = 'code'\n", "field 'reads'", "text, outside-code-blocks, prose"),
    "language": (IN_FILE + "language = 'English'\n", "field 'language'", "'en'"),
    "ignore_case": (IN_FILE + "ignore_case = 'yes'\n", "field 'ignore_case'", "true nor false"),
    "function": (IN_FILE.replace("expression = 'ahoy'", "function = 'exec'"), "field 'function'", "repeats_prompt"),
    "both": (IN_FILE + "function = 'empty'\n", "field 'expression'", "one of the two"),
    "neither": (IN_FILE.replace("expression = 'ahoy'\n", ""), "field 'expression'", "one of the two"),
    "does not match": (IN_FILE.replace("'ahoy'", "'arr'"), "field 'matches'", "does not match its example \"ahoy\""),
    "matches a miss": (IN_FILE.replace("'ahoy'", "'oy'"), "field 'misses'", "matches its example \"boy\""),
    "syntax": (IN_FILE.replace("'ahoy'", "'(ahoy'"), "field 'expression'", "no expression of RE2: missing )"),
    "look-ahead": (IN_FILE.replace("'ahoy'", "'ahoy(?= a)'"), "field 'expression'", "look-around"),
    "look-behind": (IN_FILE.replace("'ahoy'", "'(?<!b)ahoy'"), "field 'expression'", "look-around"),
    "back-reference": (IN_FILE.replace("'ahoy'", r"'(a)\1'"), "field 'expression'", "back-references"),
    "repetition": (IN_FILE.replace("'ahoy'", "'a{2000}'"), "field 'expression'", "at most 1000 times"),
    "repetitions": (IN_FILE.replace("'ahoy'", "'((a{99}){99}){99}'"), "field 'expression'", "at most 1000 times"),
    "too large": (IN_FILE.replace("'ahoy'", r"'\pL{900}'"), "field 'expression'", "at most 1000 times"),
    "too long": (IN_FILE.replace("'ahoy'", f"'{'a' * 10_001}'"), "field 'expression'", "10,001 characters"),
    "closes our group": (IN_FILE.replace("'ahoy'", "'ahoy)(?:a'"), "field 'expression'", "no expression"),
    "empty": (IN_FILE.replace("'ahoy'", "'(ahoy)?'"), "field 'expression'", "where no character stands"),
    "empty at a word": (IN_FILE.replace("'ahoy'", r"'\b(?:ahoy)?'"), "field 'expression'", "no character stands"),
    "empty at a line": (IN_FILE.replace("'ahoy'", "'(?m)ahoy|^$'"), "field 'expression'", "no character stands"),
    "empty at the end": (IN_FILE.replace("'ahoy'", r"'ahoy|\z'"), "field 'expression'", "no character stands"),
    "step": (IN_FILE + "rewriter = ['a']\n", "field 'rewriter'", "replacement"),
    "rewriter alone": (IN_FILE + REWRITER.splitlines()[0] % ("a", ""), "field 'rewritten'", "go together"),
    "group": (IN_FILE + REWRITER % ("ahoy", r"\1"), "field 'rewriter'", "requests 1 matches"),
    "rewritten": (IN_FILE + REWRITER % ("ahoy", ""), "field 'rewritten'", 'becomes " a", not "a"'),
    "not removed": (
        IN_FILE + REWRITER.replace("'a'", "'ahoy'") % ("ahoy a", "ahoy"), "field 'rewriter'", "still matches"
    ),
    "example": (IN_FILE.replace('["boy"]', "[{ text = 'b', answer = 'c' }]"), "field 'misses'", "prompt = "),
}  # fmt: skip


@pytest.mark.parametrize("text, where, why", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_located_line(tmp_path: Path, text: str, where: str, why: str) -> None:
    with pytest.raises(UserError) as caught:
        load_patterns(written(tmp_path, text))
    assert "my.toml" in str(caught.value)
    assert where in str(caught.value)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "large.toml").write_bytes(b"#" * 1_100_000)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000, encoding="utf-8")
    for name, why in (("no.toml", "No such file"), ("latin.toml", "utf-8"), ("large.toml", "1 MB"), (".", "directory")):
        with pytest.raises(UserError, match=why):
            load_patterns(tmp_path / name)
    with pytest.raises(UserError, match="valid TOML"):
        load_patterns(tmp_path / "deep.toml")
