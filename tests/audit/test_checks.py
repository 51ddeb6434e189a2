"""The doctor's rules at their limits, the reference it compares with, and the table it prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from pretilt.audit import checks
from pretilt.audit.checks import Check, any_red
from pretilt.concepts.pattern_step import english_share
from pretilt.errors import UserError
from pretilt.lens.baseline import random_dictionary
from pretilt.lens.dictionary import Dictionary
from pretilt.lens.reference import (
    RATES_FILE,
    FiringRates,
    count_firings,
    load_firing_rates,
    nominal_l0,
    random_explained_variance,
    save_firing_rates,
)
from pretilt.view.terminal.doctor import checks_text

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(1, "green"), (0.6, "green"), (0.5999, "amber"), (0.4, "amber"), (0.3999, "red"), (-3, "red")],
)
def test_explained_variance(value: float, verdict: str) -> None:
    check = checks.explained_variance(value)
    assert (check.verdict, check.figure, bool(check.what_to_do)) == (verdict, value, verdict != "green")


def test_a_figure_that_is_no_number_is_red_and_json() -> None:
    found = [checks.explained_variance(NAN), checks.random_gap(NAN, 0.1), checks.outliers(NAN), checks.index_space(NAN)]
    assert {check.verdict for check in found} == {"red"}
    json.dumps([check.to_dict() for check in found], allow_nan=False)


@pytest.mark.parametrize(
    ("l0", "verdict"),
    [
        (32, "green"),
        (64, "green"),
        (16, "green"),
        (64.1, "amber"),
        (128, "amber"),
        (8, "amber"),
        (129, "red"),
        (7, "red"),
    ],
)
def test_active_features(l0: float, verdict: str) -> None:
    assert checks.sparsity(l0, 32).verdict == verdict


def test_a_few_words_do_not_judge_a_lens() -> None:
    """Twelve pairs of one token each: explained variance -5.2, the index space .07, and nothing wrong with the lens."""
    few = [checks.judged_by(check, 24) for check in (checks.explained_variance(-5.2), checks.index_space(0.07))]
    assert [(check.verdict, check.figure) for check in few] == [("not run", None)] * 2
    assert "24 response tokens are too few" in few[0].meaning and "200" in few[0].what_to_do
    enough = checks.judged_by(checks.explained_variance(-5.2), 200)
    assert enough.verdict == "red" and "a word or two" in enough.what_to_do


def test_active_features_of_nothing() -> None:
    assert checks.sparsity(0, 32).verdict == "red"
    assert checks.sparsity(30, None).verdict == "not run"


@pytest.mark.parametrize(("own", "verdict"), [(0.2, "green"), (0.199, "amber"), (0.05, "amber"), (0.049, "red")])
def test_gap_to_random_directions(own: float, verdict: str) -> None:
    assert checks.random_gap(own, 0.0).verdict == verdict
    assert checks.random_gap(own + 0.5, 0.5 + 1e-9).figure == pytest.approx(own, abs=1e-4)
    assert "explain 0.30" in checks.random_gap(own, 0.3).meaning


@pytest.mark.parametrize(
    ("found", "verdict", "figure"),
    [
        ((True, 0.0), "green", "equal"),
        ((True, 1e-6), "amber", "differ by 1.0e-06"),
        ((True, 2e-3), "red", "differ by 2.0e-03"),
        ((True, NAN), "red", "differ by nan"),
        ((False, 0.0), "red", "other hashes"),
        ((True, 0.0, False), "red", "not those of the run"),
    ],
)
def test_two_loads(found: tuple[bool, float], verdict: str, figure: str) -> None:
    check = checks.loading(*found)
    assert (check.verdict, check.figure) == (verdict, figure)


@pytest.mark.parametrize(
    ("correlation", "verdict"),
    [(0.51, "green"), (0.5, "amber"), (0.2, "amber"), (0.199, "red"), (-0.9, "red"), (None, "not run")],
)
def test_index_space(correlation: float | None, verdict: str) -> None:
    check = checks.index_space(correlation, 65_536)
    assert check.verdict == verdict
    assert ("do not mean what the dictionary says" in check.meaning) == (verdict == "red")


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ((True, 5, 0), "green"),
        ((None, 5, 0), "amber"),
        ((False, 5, 0), "red"),
        ((True, 5, 1), "red"),
        ((True, 0, 0), "red"),
    ],
)
def test_template(found: tuple[bool | None, int, int], verdict: str) -> None:
    assert checks.template(*found).verdict == verdict


@pytest.mark.parametrize(
    ("found", "verdict", "figure"),
    [
        ((0, 0, 100, None), "green", "0.0%"),
        ((5, 0, 100, 40), "green", "5.0%, 40 response tokens left"),
        ((4, 2, 98, 12), "amber", "6.0%, 12 response tokens left"),  # what was lost counts, above and below the line
        ((50, 0, 100, 3), "amber", "50.0%, 3 response tokens left"),
        ((0, 51, 49, None), "red", "51.0%"),
    ],
)
def test_truncation(found: tuple[int, int, int, float | None], verdict: str, figure: str) -> None:
    check = checks.truncation(*found)
    assert (check.verdict, check.figure) == (verdict, figure)


def test_tokens() -> None:
    assert [checks.special_tokens(n).verdict for n in (0, 1)] == ["green", "red"]
    assert [checks.outliers(s).verdict for s in (0, 0.001, 0.0011, 0.02, 0.021)] == [
        "green", "green", "amber", "amber", "red",
    ]  # fmt: skip
    assert [checks.unbound(s, 0.01).verdict for s in (0.5, 0.51, 1.0, None)] == ["green", "amber", "amber", "not run"]
    assert "under 100 tokens" in checks.unbound(1.0, 0.01).meaning


def test_length_is_amber_at_worst() -> None:
    assert checks.length(20, 100, None).verdict == checks.length(-20, 100, None).verdict == "green"
    assert checks.length(-20.1, 100, None).verdict == "amber"
    assert checks.length(500, 100, np.ones(4)).verdict == "amber"
    quarter = checks.length(0, 100, np.array([0.31, -0.1, 0.3, 0.2, NAN]))  # 1 of the 4 that are numbers
    assert quarter.verdict == "green"
    assert str(quarter.figure).endswith("median |r| 0.25, 25% of concepts |r| > 0.3")
    assert checks.length(0, 100, np.array([-0.31, 0.31, 0.3, 0.2])).verdict == "amber"
    assert checks.length(0, 100, np.array([NAN, NAN])).verdict == "green"


@pytest.mark.parametrize(
    ("n_effective", "verdict"), [(700, "green"), (699, "amber"), (300, "amber"), (299, "red"), (None, "not run")]
)
def test_families(n_effective: float | None, verdict: str) -> None:
    assert checks.families(n_effective, 1000).verdict == verdict
    assert checks.families(n_effective, None).verdict == "not run"


def test_too_few_independent_pairs_say_how_many_more_it_takes() -> None:
    # 100 pairs in one family and 20 alone: Σ size² = 10,020, worth 120² / 10,020 = 1.44
    red = checks.families(120**2 / 10_020, 120)
    assert red.verdict == "red" and "120 pairs are worth no more than 1" in red.meaning
    # (120 + n) / (10,020 + n) >= 0.3 from n = (3,006 − 120) / 0.7 = 4,122.86 on
    assert "add 4,123 pairs" in red.what_to_do
    assert checks.families((120 + 4123) ** 2 / (10_020 + 4123), 120 + 4123).verdict == "amber"
    assert checks.families((120 + 4122) ** 2 / (10_020 + 4122), 120 + 4122).verdict == "red"
    few = checks.families(5.0, 5)  # all of them independent, and still nothing can be sure
    assert few.verdict == "amber" and "Add 5 pairs" in few.what_to_do


def test_controls_that_need_training_are_never_green() -> None:
    found = checks.not_yet_run()
    assert [check.verdict for check in found] == ["not run"] * 4
    assert any_red(found) == []


def planted(n: int, seed: int) -> tuple[Dictionary, torch.Tensor]:
    """24 axes of 12 dimensions, of which about three are active on a vector, far from the origin."""
    g = torch.Generator().manual_seed(seed)
    active = (torch.rand(n, 24, generator=g) < 0.12) * (1 + torch.rand(n, 24, generator=g))
    axes = torch.cat([torch.eye(12), -torch.eye(12)])
    d = Dictionary(
        "jumprelu",
        W_enc=axes.T.contiguous(),
        b_enc=torch.zeros(24),
        W_dec=axes,
        b_dec=torch.full((12,), 5.0),
        threshold=torch.full((24,), 0.5),
    )
    return d, active @ axes + 5


def test_random_directions_at_their_best_are_the_least_squares_optimum() -> None:
    like, x = planted(300, 0)
    found = random_explained_variance(like, x, seed=4)
    random = random_dictionary(like, x, seed=4)
    acts, directions = random.encode(x).double().numpy(), random.W_dec.double().numpy()
    design = (acts[:, None, :] * directions.T[None]).reshape(-1, 24)  # (n * d_model, n_features)
    centred = (x.double().numpy() - x.double().numpy().mean(axis=0)).ravel()
    rest = centred - design @ np.linalg.lstsq(design, centred, rcond=None)[0]
    assert found == pytest.approx(1 - (rest @ rest) / (centred @ centred), abs=2e-3)
    assert 0 < found < 0.9


def test_a_dictionary_that_never_fires_explains_nothing() -> None:
    like, x = planted(100, 1)
    silent = replace_threshold(like, 99.0)
    assert random_explained_variance(silent, x) == pytest.approx(0, abs=1e-6)


def replace_threshold(d: Dictionary, value: float) -> Dictionary:
    return Dictionary(
        "jumprelu", W_enc=d.W_enc, b_enc=d.b_enc, W_dec=d.W_dec, b_dec=d.b_dec, threshold=torch.full((24,), value)
    )


def test_firing_rates_are_counted_kept_and_read_back(tmp_path: Path) -> None:
    like, x = planted(400, 2)
    rates = count_firings(like, x.split(150))
    assert np.array_equal(rates.fire_count, (like.encode(x) > 0).sum(dim=0).numpy())
    assert rates.l0 == pytest.approx(rates.fire_freq.sum())
    save_firing_rates(rates, tmp_path)
    first = (tmp_path / RATES_FILE).read_bytes()
    save_firing_rates(rates, tmp_path)
    assert (tmp_path / RATES_FILE).read_bytes() == first
    again = load_firing_rates(tmp_path)
    assert again is not None and np.array_equal(again.fire_count, rates.fire_count)
    assert (again.n_tokens, again.dictionary_hash) == (400, like.hash)
    assert load_firing_rates("release/name") is None


@pytest.mark.parametrize("count", [[-1, 2], [3, 11], [[1, 2]], [0.5, 0.5]])
def test_impossible_rates_are_refused(tmp_path: Path, count: list[float]) -> None:
    array = np.array(count)
    about = json.dumps({"n_tokens": 10, "dictionary_hash": "x"})
    save_file({"fire_count": array}, tmp_path / RATES_FILE, metadata={"about": about})
    with pytest.raises(UserError, match="reference firing rates"):
        load_firing_rates(tmp_path)


def test_damaged_rates_are_refused(tmp_path: Path) -> None:
    (tmp_path / RATES_FILE).write_bytes(b"\x80\x04pickle?")
    with pytest.raises(UserError, match="reference firing rates"):
        load_firing_rates(tmp_path)
    for about in (None, {"about": "[]"}, {"about": '{"n_tokens": 0, "dictionary_hash": ""}'}):  # no facts, or absurd
        save_file({"fire_count": np.array([0])}, tmp_path / RATES_FILE, metadata=about)
        with pytest.raises(UserError, match="reference firing rates"):
            load_firing_rates(tmp_path)


def test_nominal_l0_is_said_by_the_maths_the_card_or_the_rates(tmp_path: Path) -> None:
    like, _ = planted(1, 0)
    assert nominal_l0(tmp_path, like) is None
    save_firing_rates(FiringRates(np.full(24, 25), 100, ""), tmp_path)
    assert nominal_l0(tmp_path, like) == 6  # 24 features on a quarter of the tokens each
    (tmp_path / "fit.json").write_text(json.dumps({"settings": {"k": 5}}))
    assert nominal_l0(tmp_path, like) == 5
    (tmp_path / "card.json").write_text(json.dumps({"k": 4}))
    assert nominal_l0(tmp_path, like) == 4
    (tmp_path / "card.json").write_text("[1")
    assert nominal_l0(tmp_path, like) == 5
    topk = Dictionary("topk", W_enc=like.W_enc, b_enc=like.b_enc, W_dec=like.W_dec, b_dec=like.b_dec, k=3)
    assert nominal_l0(tmp_path, topk) == 3


def some_checks() -> list[Check]:
    return [checks.explained_variance(0.2), checks.sparsity(70, 32), checks.special_tokens(0), *checks.not_yet_run()]


@pytest.mark.parametrize("width", [20, 60, 80, 100, 400])
def test_the_table_fits_and_says_the_verdict_in_words(width: int) -> None:
    text = checks_text(some_checks(), width)
    lines = text.splitlines()
    assert lines[0] == "1 red, 1 amber, 1 green, 4 not run"
    assert max(map(len, lines)) <= max(60, min(120, width))
    assert all(line == line.rstrip() for line in lines)
    assert text.isascii()
    rows = [line.split("  ")[0] for line in lines]
    assert [rows.count(word) for word in ("RED", "AMBER", "GREEN", "NOT RUN")] == [1, 1, 1, 4]


def test_what_to_do_stands_under_the_table_for_what_is_not_green() -> None:
    flat = " ".join(checks_text(some_checks(), 100).split())
    assert "RED explained variance: how much" in flat and "pretilt fit" in flat
    assert "special tokens in content: " not in flat
    assert flat.count("Needs rollouts; the controls a training") == 1  # once for the four
    assert checks_text([]).startswith("nothing was checked")


def test_hostile_text_is_shown_as_text() -> None:
    hostile = replace(
        checks.explained_variance(0.1), figure="[red]x[/] \x1b[31m\u202e", what_to_do="[link=file:///]a[/link]\n\x07"
    )
    text = checks_text([hostile], 120)
    assert "[red]x[/]" in text and "[link=file:///]a[/link]" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


@pytest.mark.parametrize(("share", "verdict"), [(None, "not run"), (0.95, "green"), (0.5, "amber"), (0.0, "amber")])
def test_language(share: float | None, verdict: str) -> None:
    assert checks.language(share, 60, 84).verdict == verdict
    assert share is None or checks.language(share, 0, 3).verdict == "green"  # no pattern knows words


def test_two_common_words_make_a_text_english() -> None:
    english = "You can mend the old fence and paint it with this brush."
    german = "Der alte Zaun ist in der Nacht umgefallen, und niemand hat ihn gehört."
    assert english_share([english, english, german, "Too short."]) == pytest.approx(2 / 3)
    assert english_share(["Too short.", ""]) is None
    assert english_share(["THE AND " * 5]) == 1.0
