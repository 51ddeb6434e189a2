"""Patterns: every bundled example, a recount by another engine, spans, rewriters and code, files and mistakes."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
from importlib import resources, util
from itertools import pairwise
from pathlib import Path
from time import process_time
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from pattern_examples import BY_NAME, IN_FILE, PATTERNS, ROOT, named, written

from pretilt.concepts import patterns as engine
from pretilt.concepts.pattern_files import load_patterns
from pretilt.concepts.pattern_speed import LIMIT_S, seconds_on_hardest
from pretilt.concepts.patterns import Pattern, count, matched_texts, n_words, spans, without, without_all
from pretilt.errors import UserError


@pytest.fixture(scope="module")
def demo() -> tuple[list[str], list[str]]:
    """Prompts and responses of the bundled pairs: every sixth."""
    file = resources.files("pretilt.demo") / "data" / "demo-a.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()][::6]
    prompts = [row["prompt"][-1]["content"] for row in rows for _ in range(2)]
    return prompts, [row[side][-1]["content"] for row in rows for side in ("chosen", "rejected")]


# ---- the bundled patterns ----


def test_there_are_enough_of_them_and_each_has_examples() -> None:
    assert len(PATTERNS) >= 45
    assert len(BY_NAME) == len(PATTERNS)
    assert [p.name for p in PATTERNS if len(p.matches) < 3 or len(p.misses) < 3] == []
    assert sum(bool(p.rewriter) for p in PATTERNS) >= 15


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_examples_match_and_near_misses_do_not(pattern: Pattern) -> None:
    examples = pattern.matches + pattern.misses
    counts = count([pattern], [e.text for e in examples], [e.prompt for e in examples])[:, 0]
    assert [e.text for e, n in zip(examples, counts, strict=True) if n] == [e.text for e in pattern.matches]


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p.rewriter], ids=lambda p: p.name)
def test_rewriters_do_what_their_examples_say(pattern: Pattern) -> None:
    for before, after in pattern.rewritten:
        assert count([pattern], [before])[0, 0] > 0
        assert without(pattern, before) == after
        assert count([pattern], [after])[0, 0] == 0
        assert without(pattern, after) == after
    for example in pattern.misses:  # also where a step alone would change it
        assert without(pattern, example.text) == example.text


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p.rewriter], ids=lambda p: p.name)
def test_rewriters_leave_nothing_to_rewrite(pattern: Pattern, demo: tuple[list[str], list[str]]) -> None:
    texts = [*demo[1], *(e.text for e in pattern.matches)]
    rewritten = without_all(pattern, texts)
    assert without_all(pattern, rewritten).equals(rewritten)
    is_left = count([pattern], rewritten)[:, 0] > 0
    for i in np.flatnonzero(is_left):  # only a text of which nothing would be left is left as it was
        assert rewritten[int(i)].as_py() == texts[i]
    assert is_left.sum() <= len(texts) / 50


def test_code_is_not_counted_and_not_rewritten() -> None:
    code = "```python\n# **bold** - and I'm *sorry*! https://a.b\n- x\n1. y\nf(**k) — 😊\n```"
    text = f"Run `**this**` now\n{code}\nand **that**"
    assert count(named("bold bulleted-list numbered-list heading emoji em-dash link"), [text]).tolist() == [
        [1, 0, 0, 0, 0, 0, 0]
    ]
    for pattern in PATTERNS:
        if pattern.rewriter and pattern.reads == "prose":
            assert code in without(pattern, text), pattern.name
    assert without(BY_NAME["bold"], text) == text.replace("**that**", "that")
    assert (
        without(BY_NAME["exclamation-mark"], "Run `a!` and `b!`!\n```\nc!\n```") == "Run `a!` and `b!`.\n```\nc!\n```"
    )
    assert count(named("inline-code"), ["See ```x``` and `y` or `z`."]).tolist() == [[2]]


def test_no_text_is_taken_for_the_number_of_a_piece_of_code() -> None:
    number = "\ufffc\U000f0000\U00100000"
    text = f"`a` {number} **b** `{number}` `c`"
    assert without(BY_NAME["bold"], text) == text.replace("**b**", "b")


def test_an_open_block_of_code_goes_to_the_end() -> None:
    assert count(named("bold code-block"), ["**a**\n```\n**b** **c**"]).tolist() == [[1, 1]]


def test_a_first_letter_stays_a_capital_and_a_text_is_never_emptied() -> None:
    assert without(BY_NAME["opening-agreement"], "Sure, the cat sat.") == "The cat sat."
    assert without(BY_NAME["opening-agreement"], "sure, the cat sat.") == "the cat sat."
    assert without(BY_NAME["opening-agreement"], "Sure, école.") == "École."
    assert without(BY_NAME["opening-agreement"], "Certainly!") == "Certainly!"
    assert without_all(BY_NAME["bold"], [None, "**a**", ""]).to_pylist() == [None, "a", ""]
    with pytest.raises(ValueError, match="no rewriter"):
        without(BY_NAME["latex"], "a")


# ---- counts ----


def as_python(expression: str) -> str:
    """The same expression for Python's engine, of which it asks only the common subset."""
    expression = re.sub(r"\\x\{([0-9A-F]+)\}", lambda m: re.escape(chr(int(m[1], 16))), expression)
    expression = expression.replace(r"\z", r"\Z").replace(r"[^\p{Latin}\P{L}]", "[Ͱ-῿぀-퟿]")
    expression = re.sub(r"(\[[^\]]*?)\\p(?:L|\{Lu\})", lambda m: f"{m[1]}A-Za-zÀ-ɏ", expression)
    expression = expression.replace(r"\pL", "[A-Za-zÀ-ɏ]").replace(r"\p{Lu}", "[A-ZÀ-Þ]")
    return re.sub(r"\(\?:\(\?([ims]+)\)", r"(?\1:", expression)


def test_counts_are_those_of_another_engine(demo: tuple[list[str], list[str]]) -> None:
    extra = [
        "**a** *b* `c` #d\n- e\n1. f! 😊😊 — [g](http://h.i) (j k)",
        "Sure! I'm sorry, but I can't help. $x_1 = 2$",
    ]
    texts = [*demo[1], *extra, *(e.text for p in PATTERNS for e in p.matches + p.misses)]
    outside = [re.sub(r"(?s:```.*?(?:```|\Z))|(?sm:^~~~.*?(?:^~~~|\Z))", "\ufffc", t) for t in texts]
    readings = {
        "text": texts,
        "outside-code-blocks": outside,
        "prose": [re.sub(r"``[^`\n]+``|`[^`\n]+`", "\ufffc", t) for t in outside],
    }
    with_expression = [p for p in PATTERNS if p.expression]
    counts = count(with_expression, texts)
    for column, pattern in enumerate(with_expression):
        expected = [
            len(matches) if pattern.counts == "occurrences" else bool(matches)
            for matches in map(re.compile(as_python(pattern.expression), re.A).findall, readings[pattern.reads])
        ]
        assert counts[:, column].tolist() == expected, pattern.name


def test_spans_agree_with_counts(demo: tuple[list[str], list[str]]) -> None:
    prompts = [*demo[0][:150], *(e.prompt for p in PATTERNS for e in p.matches)]
    texts = [*demo[1][:150], *(e.text for p in PATTERNS for e in p.matches)]
    counts = count(PATTERNS, texts, prompts)
    for row, column in zip(*counts.nonzero(), strict=True):
        pattern = PATTERNS[column]
        places = spans(pattern, texts[row], prompts[row])
        assert (min(len(places), 1) if pattern.counts == "presence" else len(places)) == counts[row, column]
        assert all(0 <= start <= end <= len(texts[row]) for start, end in places)
        assert all(left[1] <= right[0] for left, right in pairwise(places))
    assert spans(BY_NAME["bold"], "no", "") == []


def test_matches_of_many_texts_are_those_of_each(demo: tuple[list[str], list[str]]) -> None:
    prompts, texts = (part[:150] for part in demo)
    texts = [
        *texts,
        "",
        "**x** ```\n**y**\n``` **é**  `**z**`",
        '"run `ls` now" and\n\n- `a` **b `c` d**',
        "**a\ufffcb** `q`",
    ]
    prompts = [*prompts, *[""] * 4]
    for pattern in PATTERNS:
        expected = [
            [text[slice(*span)] for span in spans(pattern, text, prompt)]
            for text, prompt in zip(texts, prompts, strict=True)
        ]
        assert matched_texts(pattern, texts, prompts) == expected, pattern.name


def test_spans_are_in_characters_of_the_whole_text() -> None:
    text = "Ünï 😊 `**x**` is **bold**\n```\n**y**\n```\nand **é**."
    assert [text[slice(*span)] for span in spans(BY_NAME["bold"], text)] == ["**bold**", "**é**"]
    assert [text[slice(*span)] for span in spans(BY_NAME["code-block"], text)] == ["```\n**y**\n```"]
    quoted = 'He said "run `ls` now".'
    assert [quoted[slice(*span)] for span in spans(BY_NAME["quotation"], quoted)] == ['"run `ls` now"']


@pytest.mark.parametrize("mark", ["\x00", "\ue000", "\uffff", "ÿ", "\\0.", "\U0010ffff", "�"])
def test_no_text_is_taken_for_the_mark_between_matches(mark: str) -> None:
    text = f"{mark}**a**{mark}{mark} **b{mark}**"
    assert count(named("bold"), [text]).tolist() == [[2]]
    assert [text[slice(*span)] for span in spans(BY_NAME["bold"], text)] == ["**a**", f"**b{mark}**"]


def test_anchors_hold_behind_a_match() -> None:
    """pyarrow's own count takes the text behind a match for a new text: it counts 3."""
    pattern = Pattern("a", "a", "a", "occurrences", "any", "text", (), (), expression="^a")
    assert count([pattern], ["aaa"]).tolist() == [[1]]


def test_null_and_empty_texts() -> None:
    counts = count(PATTERNS, [None, ""], ["What is the capital of France?"] * 2)
    assert counts[0].tolist() == [0] * len(PATTERNS)
    assert [p.name for p, n in zip(PATTERNS, counts[1], strict=True) if n] == ["empty"]
    assert count(PATTERNS, []).shape == (0, len(PATTERNS))
    assert count([], ["a"]).shape == (1, 0)


def test_any_kind_of_array_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"**{i}** " * (i % 7) for i in range(100)]
    expected = [[i % 7] for i in range(100)]
    monkeypatch.setattr(engine, "CHUNK_ROWS", 8)
    monkeypatch.setattr(engine, "CHUNK_BYTES", 60)
    for of_a_kind in (texts, pa.array(texts), pa.chunked_array([texts[:30], texts[30:]]), pa.array(texts)[0:]):
        for n_threads in (1, 3):
            counts = count(named("bold"), of_a_kind, n_threads=n_threads)
            assert counts.dtype == np.int32
            assert counts.tolist() == expected


def test_half_a_surrogate_pair_is_one_character() -> None:
    text = "\ud800 **a** \udfff"
    assert count(named("bold"), [text, None]).tolist() == [[1], [0]]
    assert spans(BY_NAME["bold"], text) == [(2, 7)]


def test_words_are_runs_of_characters_without_white_space() -> None:
    assert n_words(["one two", "", None, " a\n\tb  c-d ", "你好 世界"]).tolist() == [2, 0, 0, 3, 2]


def test_as_many_prompts_as_texts() -> None:
    with pytest.raises(ValueError, match="1 prompts for 2 texts"):
        count(PATTERNS, ["a", "b"], ["a"])


def test_repeats_of_the_prompt() -> None:
    pattern = BY_NAME["repeats-prompt"]
    prompt = "Please name one two three four five six seven eight nine!"
    text = "İ: ONE, two three four five six seven eight nine. Bye. name one two three four five six seven"
    assert [text[slice(*span)] for span in spans(pattern, text, prompt)] == [
        "ONE, two three four five six seven eight nine",
        "name one two three four five six seven",
    ]
    assert count([pattern], [text, text], [prompt, None]).tolist() == [[1], [0]]
    assert count([pattern], [text]).tolist() == [[0]]


def test_repeats_of_a_sentence() -> None:
    text = "We all sat on the mat. No.\nwe all sat on the mat!\n\nWe all sat on the mat"
    assert [text[slice(*span)] for span in spans(BY_NAME["repeats-itself"], text)] == [
        "we all sat on the mat",
        "We all sat on the mat",
    ]


# ---- hostile expressions and texts ----

SLOW = [
    r"(?i:\b(?:the|and)\s*\z)|[^\n]{60,}\pL,\s*\z|(?:\A|\n)[A-Z][^\n]{60,} [a-z]+\s*\z",  # on real prose only
    r"[ab]*a[ab]{900}c", r"a[ab]{900}c|d", r"(?:.*b|a)", r"a(?:.*z)?", r"(?s)<.*>|<",
    r"\w{1,900}\d|\w", r"\(.*\)|\(", r"(?:x+y)?x", r"(?:[a-z]+ )*\.|[a-z]",
]  # fmt: skip


@pytest.mark.parametrize("expression", SLOW)
def test_a_slow_expression_is_refused_in_time(tmp_path: Path, expression: str) -> None:
    start = process_time()
    with pytest.raises(UserError, match=r"it is too slow, more than 0\.25 s for each MB"):
        load_patterns(written(tmp_path, IN_FILE.replace("'ahoy'", f"'ahoy|{expression}'")))
    assert process_time() - start < 10


FAST = [r"\w+", r"[^.]+\.", r"(?i)\b(?:" + "|".join(f"word{i}" for i in range(500)) + r")\b", r".{0,100}x", r"\s+"]


@pytest.mark.parametrize("expression", FAST, ids=lambda e: e[:20])
def test_an_honest_expression_is_not_refused(expression: str) -> None:
    assert seconds_on_hardest(expression, ["a word7 b.", "10 x"]) < LIMIT_S


def hostile_texts() -> list[str]:
    n = 1 << 17
    units = ["*", "**a", "_", "`", "```", "#", "- ", "1. ", "|", "|-", "-", "(", "[a](", "\n", " ", "a", "I ", "!", "?"]
    units += ["I'm sorry, ", "Sure, ", "not just ", "http://", "<b", "$x_", "\\(", "😊", "—", "é", "a\n\n", "A. ", '"']
    return [(unit * n)[:n] for unit in units]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_bundled_patterns_end_in_time_on_hostile_texts(pattern: Pattern) -> None:
    """128 KB of each: at most 1/8 s, a second per MB; the functions are Python and take longer."""
    for text in hostile_texts():
        start = process_time()
        count([pattern], [text], [text], n_threads=1)
        assert process_time() - start < (0.125 if pattern.expression else 2), text[:20]


def test_a_mb_of_marks_is_counted_in_time() -> None:
    """Marks of every kind in random order, which no automaton has met before: 1 MB, all patterns."""
    text = "".join(random.Random(3).choices("*`_#|-[](){}<>!?.:;,\n aIs$\\1", k=1 << 20))
    start = process_time()
    count(PATTERNS, [text], [text[:1000]], n_threads=1)
    assert process_time() - start < 15


def test_hostile_text_is_rewritten_in_time() -> None:
    start = process_time()
    for unit in ("**a", "*a* ", "| a ", "# a\n", "- - ", "!?", "Sure, "):
        text = (unit * (1 << 18))[: 1 << 18]
        for pattern in named("bold italics heading table bulleted-list exclamation-mark opening-agreement"):
            without(pattern, text)
    assert process_time() - start < 15


# ---- around it ----


def test_no_model_is_loaded() -> None:
    code = (
        "import sys, pretilt.concepts.pattern_files as f; f.load_patterns(); "
        "print([m for m in ('torch', 'transformers', 'scipy', 'sklearn', 'pandas', 'datasets') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def script() -> ModuleType:
    spec = util.spec_from_file_location("patterns_page", ROOT / "scripts" / "patterns.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_source_says() -> None:
    page = (ROOT / "docs" / "patterns.md").read_text(encoding="utf-8")
    assert page == script().page(), "run: python scripts/patterns.py"
