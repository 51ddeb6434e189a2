"""From a file to the tables: nothing is lost on the way, and equal inputs give equal tables."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_tokenizers import CHATML, LLAMA2, byte_level, sentencepiece_like

from pretilt.errors import UserError
from pretilt.pairs.read import read_pairs, read_source, tokenise_source
from pretilt.schema import DROPPED, PAIRS, TOKENS
from pretilt.view.terminal.preflight import print_preflight


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"role": "assistant" if i % 2 else "user", "content": t} for i, t in enumerate(texts)]


def row(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"chosen": talk(prompt, chosen), "rejected": talk(prompt, rejected), **more}


def write(folder: Path, rows: list[dict[str, Any]], name: str = "pairs.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def mixed_rows() -> list[dict[str, Any]]:
    good = [row(f"question number {i} of many, please?", f"yes {i}", "no " * (i % 7 + 1)) for i in range(40)]
    bad = [
        row("same on both sides", "yes", "yes"),
        row("nothing said", "", "no"),
        {"chosen": talk("one", "yes"), "rejected": talk("two", "no")},
        row("too long " * 60, "yes", "no"),
        row("cut away", "\n" * 3, "no"),
    ]
    rows = [*good[:20], *bad, *good[20:], good[0]]
    return [{**r, "source": "forum", "score_chosen": float(i)} for i, r in enumerate(rows)]


def test_every_row_is_kept_or_dropped_with_a_reason(tmp_path: Path) -> None:
    rows = mixed_rows()
    read = read_pairs(write(tmp_path, rows), byte_level(CHATML), max_length=100)
    kept, dropped = read.pairs["row_index"].to_pylist(), read.dropped["row_index"].to_pylist()
    assert sorted(kept + dropped) == list(range(len(rows)))
    assert (read.pairs.schema, read.tokens.schema, read.dropped.schema) == (PAIRS, TOKENS, DROPPED)
    assert read.tokens["pair_id"].to_pylist() == read.pairs["pair_id"].to_pylist()
    assert dropped == list(range(20, 25))
    assert dict(zip(dropped, read.dropped["reason"].to_pylist(), strict=True))[23] == "truncated away"
    assert all(read.dropped["reason"].to_pylist())
    assert read.preflight["rows"]["read"] == len(rows)
    assert read.preflight["duplicates"]["pairs"] == 1
    assert kept[0] == 0
    assert read.pairs["pair_id"].to_pylist()[-1] == read.pairs["pair_id"].to_pylist()[0] + "-2"
    assert set(read.pairs["split"].to_pylist()) == {"train", "heldout"}
    assert read.pairs["source"].to_pylist()[0] == "forum"


def test_the_columns_count_the_masks(tmp_path: Path) -> None:
    read = read_pairs(write(tmp_path, mixed_rows()), sentencepiece_like(LLAMA2), max_length=200)
    for span in ("prompt", "chosen", "rejected"):
        masks = read.tokens[f"{span}_content"].to_pylist()
        assert [sum(m) for m in masks] == read.pairs[f"n_{span}_tokens"].to_pylist()
        assert [len(m) for m in masks] == [len(i) for i in read.tokens[f"{span}_ids"].to_pylist()]
    assert min(read.pairs["n_chosen_tokens"].to_pylist()) >= 1


def test_the_same_source_gives_the_same_tables(tmp_path: Path) -> None:
    path = write(tmp_path, mixed_rows())
    one, two = (read_pairs(path, byte_level(CHATML), seed=4) for _ in range(2))
    assert one.pairs.equals(two.pairs)
    assert one.tokens.equals(two.tokens)
    assert (one.preflight, one.fingerprint) == (two.preflight, two.fingerprint)
    other = read_pairs(path, byte_level(CHATML), seed=5)
    assert other.pairs["split"] != one.pairs["split"]
    assert other.tokens.equals(one.tokens)


def test_identity_is_known_before_tokenising(tmp_path: Path) -> None:
    path = write(tmp_path, mixed_rows())
    source = read_source(path)
    assert source.identity == read_source(write(tmp_path, mixed_rows(), "elsewhere.jsonl")).identity
    assert source.identity != read_source(path, limit=5).identity
    assert source.identity != read_source(path, turns="last").identity
    json.dumps(source.identity)
    calls: list[tuple[int, int]] = []
    read = tokenise_source(source, byte_level(CHATML), progress=lambda done, total: calls.append((done, total)))
    n = len(source.normalised.pairs)
    assert calls == [(n, n)]
    assert read.fingerprint == source.fingerprint


def test_families_are_a_column_and_in_the_preflight(tmp_path: Path) -> None:
    long = "a poem of twelve words or more that two quite different people were given today"
    rows = [row(f"{word} me something", long if i in (2, 5) else f"yes {i}", "no") for i, word in enumerate("abcdefgh")]
    read = read_pairs(write(tmp_path, rows), byte_level(CHATML))
    assert read.pairs["family_id"].to_pylist() == [0, 1, 2, 3, 4, 2, 5, 6]
    assert read.preflight["families"]["n_families"] == 7
    assert read.preflight["families"]["by_relation"]["response"]["links"] == 1
    assert read.preflight["families"]["straddling"] == 0  # too few pairs to hold any out
    json.dumps(read.preflight, allow_nan=False)


def test_plain_strings_are_noted(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {i}:", "chosen": " yes", "rejected": " no"} for i in range(3)]
    read = read_pairs(write(tmp_path, rows), byte_level(None))
    assert read.pairs["is_chat"].to_pylist() == [False] * 3
    assert any("without a chat template" in note for note in read.preflight["notes"])


def test_the_format_is_named_in_the_preflight(tmp_path: Path) -> None:
    read = read_pairs(write(tmp_path, [row("hi", "yes", "no")]), byte_level(CHATML))
    assert read.preflight["format"] == "TRL implicit conversational"
    shown = io.StringIO()
    print_preflight(read.preflight, Console(file=shown, width=100))
    assert "format" in shown.getvalue() and "TRL implicit conversational" in shown.getvalue()


def test_a_template_that_prints_the_date_is_noted(tmp_path: Path) -> None:
    dated = "{{ strftime_now('%d %b %Y') }}" + CHATML
    read = read_pairs(write(tmp_path, [row("hi", "yes", "no")]), byte_level(dated))
    assert any("today's date" in note for note in read.preflight["notes"])


def test_no_pair_left_names_the_reasons(tmp_path: Path) -> None:
    rows = [row("same", "yes", "yes"), row("same", "no", "no"), row("long " * 50, "yes", "no")]
    with pytest.raises(UserError, match=r"no pair is left of 3 rows .*2 identical, 1 truncated away"):
        read_pairs(write(tmp_path, rows), byte_level(CHATML), max_length=40)


def test_chat_pairs_need_a_template(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no chat template.*row 0"):
        read_pairs(write(tmp_path, [row("hi", "yes", "no")]), byte_level(None))


def test_k_wise_rows_give_several_pairs(tmp_path: Path) -> None:
    answers = [{"answer": f"answer {r}", "model": f"m{r}", "rank": r} for r in (2, 1, 3)]
    rows = [{"prompt": "\n\nHuman: hi\n\nAssistant: ", "answers": answers}]
    read = read_pairs(write(tmp_path, rows), byte_level(CHATML), k_wise="all")
    assert read.pairs["row_index"].to_pylist() == [0, 0, 0]
    assert read.preflight["rows"] == {"read": 1, "kept": 1, "dropped": {}}
    assert read.preflight["duplicates"]["prompts"] == 2
