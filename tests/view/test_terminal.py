"""The terminal summary: plain numbers with their uncertainty, at any width, whatever the data holds."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console
from synthetic_run import HOSTILE, empty_tables, synthetic_tables

from pretilt import schema
from pretilt.cli.app import main
from pretilt.text import is_harmful, mask_slurs, snippet, visible
from pretilt.view.effects import Effect, in_words, signed
from pretilt.view.summary import Summary, summarise
from pretilt.view.terminal.audit import HIDDEN, print_preflight, print_summary
from pretilt.view.terminal.preflight import families_in_words


def _printed(summary: Summary, *, width: int = 100, terminal: bool = False, **options: Any) -> str:
    file = io.StringIO()
    print_summary(summary, Console(file=file, width=width, force_terminal=terminal, color_system=None), **options)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_fits_the_width_and_needs_no_colour(width: int) -> None:
    text = _printed(summarise(synthetic_tables()), width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= min(width, 120) and not any(line != line.rstrip() for line in lines)
    assert "\x1b" not in text
    for words in (
        "Most amplified",
        "Most suppressed",
        "In groups",
        "When the prompt",
        "An example",
    ):
        assert words in text


def test_says_the_planted_effects_with_their_uncertainty() -> None:
    lines = _printed(summarise(synthetic_tables())).splitlines()
    bold = next(line for line in lines if "bold and numbered lists" in line)
    # 191 of 900 pairs more on the chosen side: 0.212; the interval is 1.96 x sqrt(0.167 + 0.2^2 0.167) / 30 each way
    assert all(part in bold for part in ("▲", "+0.212", "[+0.182, +0.241]", "> 99.9 %", "< 0.001"))
    refusal = next(i for i, line in enumerate(lines) if "-0.522" in line)
    assert "▼" in lines[refusal] and "57 pairs: fictional heists" in lines[refusal + 1]
    disclaimers = next(i for i, line in enumerate(lines) if "disclaimers" in line)
    assert "-1.197 sd" in lines[disclaimers] and "prompts (max): medical questions" in lines[disclaimers + 1]
    assert any("11,520 hypotheses tested, 10 of those shown are sure" in line for line in lines)
    assert any("78 % of the variance" in line for line in lines)


def test_noise_is_no_finding() -> None:
    tables = synthetic_tables()
    text = _printed(summarise(tables), width=120)
    prompts = text[text.index("When the prompt") : text.index("An example")]
    amplified = prompts[: prompts.index("disclaimers")]
    assert "nothing sure" in amplified and amplified.count("unsure, ") == amplified.count("▲") - 1 == 3
    assert "unsure" not in text[text.index("In groups") : text.index("When the prompt")]  # there something is sure
    rows = [row | {"lfsr": max(0.05, row["lfsr"])} for row in tables.hypotheses.to_pylist()]
    nothing = summarise(replace(tables, hypotheses=pa.Table.from_pylist(rows, schema.HYPOTHESES)))
    assert _printed(nothing).count("nothing sure") == 6
    assert max(len(effects) for effects in _lists(nothing)) == 3 and nothing.trust["n_sure"] == 0
    assert not any(effect.is_sure or "would" in effect.sentence for effects in _lists(nothing) for effect in effects)
    assert "which is unsure" in _printed(nothing)


def test_what_prints_as_0_is_no_row_and_nothing_is_sure() -> None:
    tables = synthetic_tables()
    changed = []
    for row in tables.hypotheses.to_pylist():
        row |= {"lfsr": 1.0, "posterior_delta": 0.00004, "posterior_lo": 0.0, "posterior_hi": 0.0}
        if row["hypothesis_id"] == "global:0":
            row["posterior_delta"] = 0.00006  # printed as +0.0001
        changed.append(row)
    summary = summarise(replace(tables, hypotheses=pa.Table.from_pylist(changed, schema.HYPOTHESES)))
    assert [[e.hypothesis_id for e in effects] for effects in _lists(summary)] == [["global:0"], [], [], [], [], []]
    text = _printed(summary)
    assert text.count("nothing sure") == 6 and "nothing passed" not in text
    assert text.count("▲") + text.count("▼") == 6 + 1 + 1  # six times nothing, the row, and its example
    assert summary.trust["in_lists"]["everywhere"]["amplify"] > 0


def test_pairs_in_no_group_are_counted_and_groups_compared_with_groups() -> None:
    tables = synthetic_tables()
    for size, said in ((0, None), (1, "1 pair that no concept sets apart is in no group"),
                       (26, "26 pairs that no concept sets apart are in no group")):  # fmt: skip
        groups = [row | {"size": size} if row["group_id"] == 0 else row for row in tables.groups.to_pylist()]
        silent = replace(tables, groups=pa.Table.from_pylist(groups, schema.GROUPS))
        text = _printed(summarise(silent))
        assert "one group against the other groups; at most two of a group" in text
        assert ("in no group" in text) == (said is not None) and (said or "") in text


def _lists(summary: Summary) -> list[list[Effect]]:
    everywhere = [summary.amplified, summary.suppressed]
    return everywhere + [
        getattr(summary, f"{d}_{p}") for d in ("amplified", "suppressed") for p in ("in_groups", "by_prompt")
    ]


def test_what_is_unsure_is_dim() -> None:
    file = io.StringIO()
    print_summary(
        summarise(synthetic_tables()), Console(file=file, width=120, force_terminal=True, color_system="standard")
    )
    styles = {line: "\x1b[2m" in line.split("concept")[0][:12] for line in file.getvalue().splitlines()}
    assert all(dim for line, dim in styles.items() if "unsure, " in line)
    assert not any(dim for line, dim in styles.items() if "> 99.9 %" in line)


def test_what_speaks_against_it_is_never_cut_off() -> None:
    tables = synthetic_tables()
    rows = tables.hypotheses.to_pylist()
    bold = next(row for row in rows if row["hypothesis_id"] == "global:0")
    bold.update(n_eff=12.0, delta_heldout=0.01, delta_residual=0.01, p_flip=0.2)
    told = summarise(replace(tables, hypotheses=pa.Table.from_pylist(rows, schema.HYPOTHESES)))
    lines = [line.strip() for line in _printed(told, width=80).splitlines()]
    first = next(i for i, line in enumerate(lines) if "bold and num" in line)
    cautions = ["near-duplicates", "less held out", "length or source", "sign flips"]
    assert lines[first + 1 : first + 6] == ["global:0", *(f"but: {caution}" for caution in cautions)]


def test_the_papers_order_is_left_as_it_is() -> None:
    tables = synthetic_tables()
    rows = tables.hypotheses.to_pylist()
    amplified = [r for r in rows if r["view"] == "global" and r["direction"] == "amplify" and r["shown"]]
    ordered = sorted(amplified[1:], key=lambda r: -r["lfsr"])  # the least sure first, "bold" third
    for rank, row in enumerate([*ordered[:2], amplified[0], *ordered[2:]], 1):
        row["rank"] = rank
    paper = {**tables.manifest, "settings": {**tables.manifest["settings"], "paper": True}}
    turned = replace(tables, hypotheses=pa.Table.from_pylist(rows, schema.HYPOTHESES), manifest=paper)
    effects = summarise(turned).amplified
    assert [e.rank for e in effects] == [1, 2, 3, 4, 5] and [e.is_sure for e in effects].count(True) == 1
    assert "the paper's: size in the weaker half" in _printed(summarise(turned))


def test_families_and_doctor_lines() -> None:
    text = " ".join(_printed(summarise(synthetic_tables()), width=120).split())
    assert "900 pairs are 450 families; 100 % of the pairs share one; the effective sample is at least 450" in text
    assert "Doctor 1 amber (truncation) · 2 green · 1 not run" in text
    red = [{**check, "verdict": "red"} for check in synthetic_tables().doctor[:1]]
    text = _printed(summarise(replace(synthetic_tables(), doctor=red)))
    assert "1 RED (explained variance)" in text and "do not believe" in text
    assert "Doctor" not in _printed(summarise(replace(synthetic_tables(), doctor=())))
    alone = {"n_pairs": 9, "n_families": 9, "share_in_families": 0.0, "kish_n_eff": 9.0}
    assert families_in_words(alone) == "9 pairs, each a family of its own: none is related to another"
    assert families_in_words({}) == ""


def test_dataset_text_is_neither_markup_nor_an_escape_sequence() -> None:
    tables = synthetic_tables()
    concepts = tables.concepts.to_pylist()
    concepts[0]["name"], concepts[0]["phrases"] = "[bold red]x[/] \x1b[31m\u202eevil", [HOSTILE]
    hostile = replace(tables, concepts=pa.Table.from_pylist(concepts, schema.CONCEPTS))
    text = _printed(summarise(hostile, title="[link=file:///etc]t[/link]\x1b]0;owned\x07"), width=120)
    assert "[bold red]x[/] ‹U+001B›[31m‹U+202E›" in text and "[link=file:///etc]t[/link]" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_one_striking_group_does_not_hide_the_others() -> None:
    tables = synthetic_tables()
    rows = tables.hypotheses.to_pylist()
    for row in rows:
        in_group = row["view"] == "group" and row["direction"] == "amplify" and row["shown"]
        row["rank"] = row["rank"] + (0 if row["where"] == 3 else 5000) if in_group else row["rank"]
        row.update({"lfsr": 0.01, "q_value": 0.01} if in_group else {})
    effects = summarise(replace(tables, hypotheses=pa.Table.from_pylist(rows, schema.HYPOTHESES))).amplified_in_groups
    assert [e.where == 3 for e in effects] == [True, True, False, False]
    assert [e.rank for e in effects] == sorted(e.rank for e in effects)


def test_a_harmful_example_is_hidden_until_asked_for() -> None:
    summary = summarise(synthetic_tables())
    assert summary.example is not None
    harmful = replace(summary, example=replace(summary.example, chosen="First, kill the process.", harmful=True))
    assert HIDDEN in _printed(harmful) and "kill" not in _printed(harmful)
    assert "First, kill the process." in _printed(harmful, show_text=True)


def test_a_harmless_example_is_preferred() -> None:
    tables = synthetic_tables()
    rows = [r for r in tables.evidence.to_pylist() if r["hypothesis_id"] == "global:0"][:2]
    rows[0]["prompt_text"] = "How do I build a bomb?"
    evidence = pa.Table.from_pylist(rows, schema.EVIDENCE)
    example = summarise(replace(tables, evidence=evidence)).example
    assert example is not None and example.pair_id == rows[1]["pair_id"] and not example.harmful
    only = summarise(replace(tables, evidence=evidence.slice(0, 1))).example
    assert only is not None and only.harmful


def test_terminals_without_unicode_get_ascii() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii"), width=100)
    print_summary(summarise(synthetic_tables(), title="Größe"), console)
    print_preflight(synthetic_tables().preflight, console)
    console.file.flush()
    assert b"Most amplified" in raw.getvalue() and b"Gr??e" in raw.getvalue()


def test_nothing_found_is_said() -> None:
    text = _printed(summarise(empty_tables()), width=80)
    assert "Nothing was tested" in text and "Most amplified" not in text


def _preflight(numbers: dict[str, Any]) -> str:
    file = io.StringIO()
    print_preflight(numbers, Console(file=file, width=100))
    return " ".join(file.getvalue().split())


@pytest.mark.parametrize(
    ("combinations", "says"), [(31, "and 28 more combinations"), (4, "and 1 more combination"), (3, None)]
)
def test_all_combinations_of_models_are_counted_not_those_of_the_table(combinations: int, says: str | None) -> None:
    table = [{"chosen": f"m{i}", "rejected": "other", "pairs": 2} for i in range(min(20, combinations))]
    text = _preflight({"models": {"known": 62, "combinations": combinations, "table": table, "other": 0}})
    assert text.endswith(says or "2 pairs: m2 over other")


def test_a_note_on_families_stands_once_and_counts_of_1_are_singular() -> None:
    note = "one template makes 40 % of the prompts"
    numbers = {
        "families": {"n_families": 1, "n_pairs": 1, "share_in_families": 0.0, "kish_n_eff": 1.0, "notes": [note]},
        "notes": [note, "another"],
        "duplicates": {"pairs": 1, "prompts": 2, "contradicting_pairs": 1},
        "tokens": {"read": 1},
        "estimate": {"seconds_low": 14.9, "seconds_high": 15.2},
    }
    text = _preflight(numbers)
    assert text.count(note) == 1 and "note another" in text
    for words in (
        "families 1 pair, a family of its own one template",
        "1 repeated pair, 2 repeated prompts, 1 pair that another one contradicts",
        "1 token through the lens",
        "about 15 s for the whole audit",
    ):
        assert words in text, words
    assert "5 s to 20 s for" in _preflight(numbers | {"estimate": {"seconds_low": 5, "seconds_high": 20}})


def test_preflight() -> None:
    file = io.StringIO()
    preflight = {**synthetic_tables().preflight, "estimate": {"seconds_low": 150.0, "seconds_high": 420.0}}
    refused = {"name": "independent pairs", "meaning": "900 pairs are worth 4", "what_to_do": "Add 500 pairs"}
    preflight["refused"] = [refused]
    print_preflight(preflight, Console(file=file, width=100))
    text = " ".join(file.getvalue().split())
    for part in (
        "rows read 915",
        "pairs kept 900, 90 of them held out",
        "5 identical",
        "10 pairs, at 1,024 tokens",
        "3 repeated pairs",
        "900 pairs are 450 families; 100 % of the pairs share one",
        "31 texts stand in many families and relate nobody <b>",
        "450 pairs: model-a over model-c",
        "4 pairs: system message refused",
        "119,535 tokens through the lens",
        "2 min to 7 min for the whole audit on this machine",
        "REFUSED independent pairs: 900 pairs are worth 4. Add 500 pairs",
    ):
        assert part in text
    file = io.StringIO()
    print_preflight({}, Console(file=file, width=80))
    assert "nothing was read" in file.getvalue()


def test_share_of_responses_where_one_firing_passes() -> None:
    tables = synthetic_tables()
    pairs = tables.pairs.slice(0, 3).to_pylist()
    lengths = [(99, 100, "train"), (101, 50, "train"), (1, 1, "heldout")]
    for pair, (chosen, rejected, split) in zip(pairs, lengths, strict=True):
        pair.update(n_chosen_tokens=chosen, n_rejected_tokens=rejected, split=split)
    few = replace(tables, pairs=pa.Table.from_pylist(pairs, schema.PAIRS))
    # over 0.01 · n: one firing passes for n = 99 and 50, not for 100 and 101; held-out pairs are not counted
    assert summarise(few).trust["share_one_firing_passes"] == 0.5
    assert summarise(few).read["heldout"] == 1


def test_counts_of_a_capped_table_come_from_the_statistics_step() -> None:
    tables = synthetic_tables()
    counted = {"n_tested": {"global": 7, "group": 400_000}, "n_shown": {"global": 3, "group": 208_000}}
    trust = summarise(replace(tables, manifest={**tables.manifest, "statistics": counted})).trust
    assert (trust["n_tested"], trust["n_shown"]) == (400_007, 208_003)


def test_summary_is_json_without_nan() -> None:
    value = summarise(synthetic_tables()).to_dict()
    again = json.loads(json.dumps(value, allow_nan=False))
    assert again["amplified"][0]["mean_out"] is None and again["amplified"][0]["concept"] == "bold and numbered lists"
    json.dumps(summarise(empty_tables()).to_dict(), allow_nan=False)


def _row(**given: Any) -> dict[str, Any]:
    row = {"view": "group", "delta": 0.3, "mean_in": 0.4, "mean_out": 0.1, "lfsr": 0.01, "q_value": 0.01}
    row |= {"se_moderated": 0.04}
    return {**row, "n_in": 40, "n_out": 860, "n_eff": 38.0, "family_n": 40, **given}


def test_words_do_not_claim_more_than_the_numbers() -> None:
    assert "Training would amplify it there" in in_words(_row())
    less = in_words(_row(mean_in=-0.1, mean_out=-0.4))  # delta > 0, and still more in rejected: that was not tested
    assert "The rejected responses show it more in these 40 pairs too, but less than in the 860 others" in less
    assert "Training" not in less
    elsewhere = in_words(_row(delta=-0.115, mean_in=0.0, mean_out=0.115))
    assert elsewhere == "Neither side shows it more in these 40 pairs; in the 860 others the chosen responses do."
    small = in_words(_row(delta=-0.2, mean_in=-0.05, mean_out=0.15))  # within twice its error of nothing
    assert small.startswith("Neither side clearly shows it more in these 40 pairs; in the 860 others the chosen")
    assert "Training would suppress it there" in in_words(_row(delta=-0.2, mean_in=-0.09, mean_out=0.11))
    assert "; against the 860 others the chosen responses do. The difference may be chance." in in_words(
        _row(mean_in=0.0, mean_out=-0.1, lfsr=0.5)
    )
    assert "may be chance" not in in_words(_row())
    for unsure in (
        _row(lfsr=0.05),
        _row(q_value=0.3),
        _row(n_eff=4.0),
        _row(lfsr=None),
        _row(view="global", mean_out=None, lfsr=0.5),
    ):
        assert "may be chance" in in_words(unsure) and "would" not in in_words(unsure)
    assert "suppress" in in_words(_row(view="global", delta=-0.2, mean_out=None))
    assert [signed(x) for x in (0.1234, -0.00042, -0.00004, None)] == ["+0.123", "-0.0004", "0", "?"]


def test_screen() -> None:
    assert is_harmful("how to KILL a process", "") and is_harmful("", "Murderer!") and is_harmful("I cut myself")
    assert is_harmful("what the **fuck**") and not is_harmful("hang the picture yourself")
    assert not is_harmful("skilled overkill of the classics", "a grapeshot sextant")
    assert mask_slurs("words, retarded, more") == "words, r•••••••, more" and mask_slurs("retire") == "retire"
    assert visible("a\u202eb\x1b[0m\r\nc\td") == "a‹U+202E›b‹U+001B›[0m\nc\td"


def test_snippet_shows_where_it_fires() -> None:
    text = "word " * 100 + "NEEDLE " + "word " * 100
    cut = snippet(text, 60, around=text.index("NEEDLE"))
    assert "NEEDLE" in cut and len(cut) <= 60 and cut[0] == cut[-1] == "…"
    assert snippet("short\n text", 60) == "short text"


def test_the_view_starts_light() -> None:
    code = (
        "import sys, pretilt.view.terminal.audit, pretilt.view.step; "
        "print([m for m in ('torch', 'transformers', 'scipy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_ids_and_names_are_printed_as_they_are_and_need_no_quotes_in_a_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No emoji for `:100:`, no markup, no colour codes of a name; every row with the id that `trace` takes."""
    from pretilt.view.terminal.console import Console as Watching

    monkeypatch.setenv("COLUMNS", "100")
    hostile = "runs/[bold]x[/] :100: :smile: \x1b]0;owned\x07 group:100:7"
    console = Watching()
    console.lines(hostile)
    console.say(hostile)
    console.out.print("group:100:7")
    console.summary(summarise(synthetic_tables()))
    with pytest.raises(SystemExit):
        main(["trace", hostile, "3"])
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "[bold]x[/] :100: :smile: ‹U+001B›]0;owned‹U+0007› group:100:7" in text and "\x1b" not in text
    listed = [e for effects in _lists(summarise(synthetic_tables())) for e in effects]
    lines = [line.split() for line in out.splitlines()]
    numbers = [int(words[0]) for words in lines if len(words) > 2 and words[0].isdigit() and words[1] in "▲▼"]
    assert numbers == list(range(1, len(listed) + 1))
    assert all(any(words and words[0] == e.hypothesis_id for words in lines) for e in listed)
    assert all(shlex.quote(e.hypothesis_id) == e.hypothesis_id for e in listed)
