"""`pretilt forecast` as typed: what a person reads, what a script gets, and mistakes in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_line import in_process, of_its_own
from forecast_runs import answers, write_run
from rich.console import Console

from pretilt.api import forecast as forecast_run
from pretilt.artifacts import read_sealed
from pretilt.forecast.ladder import RUNGS
from pretilt.forecast.scores import SCORE_FORMS
from pretilt.forecast.step import ForecastResult
from pretilt.schema import FORECAST
from pretilt.view.terminal.forecast import (
    ForecastTold,
    Foreseen,
    _more_answers,
    forecast_told,
    foreseen,
    print_forecast,
)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "run"
    write_run(path)
    answers(path)
    return path


@pytest.fixture(scope="module")
def result(audited: Path) -> ForecastResult:
    return forecast_run(audited)


def line(text: str, *words: str) -> str:
    """The one line that holds all of these words."""
    found = [one for one in text.splitlines() if all(word in one for word in words)]
    assert len(found) == 1, (words, text)
    return found[0]


def test_one_screen(audited: Path, result: ForecastResult) -> None:
    shown = of_its_own("forecast", audited)
    assert shown.returncode == 0, shown.stderr
    out = shown.stdout
    assert len(out.splitlines()) <= 45 and max(map(len, out.splitlines())) <= 100
    assert "320 training pairs of 160 families" in line(out, "Pairs")
    assert "319 answers to 80 prompts" in line(out, "Rollouts") and "reference" in line(out, "Rollouts")
    assert "converged" in line(out, "Forecast  ") and "presence" in line(out, "Forecast  ")
    assert "held-out AUC 0.9" in line(out, "Reward")
    amplified, suppressed = out.index("Most amplified"), out.index("Most suppressed")
    assert amplified < out.index("praise · by strength") < suppressed < out.index("apology · by strength")
    praise = next(one for one in out.splitlines() if one.split()[1:3] == ["praise", "+1.00"])
    assert praise.split()[-3:] == ["+", "38", "%"]  # two of its three features at least
    assert line(out, "apology · by strength").split()[-3:] == ["-", "44", "%"]
    assert "length alone" in line(out, "Nulls") and "before training" in line(out, "Sealed")
    assert result.report["sha256"][:12] in line(out, "Sealed")
    assert "signs and ratios" in out


def test_json_for_scripts(audited: Path, result: ForecastResult) -> None:
    shown = in_process("forecast", audited, "--json")
    assert shown.returncode == 0
    assert json.loads(shown.stdout) == result.report
    assert "Infinity" not in shown.stdout and "NaN" not in shown.stdout


def test_options_as_typed(audited: Path, result: ForecastResult, tmp_path: Path) -> None:
    run = shutil.copytree(audited, tmp_path / "run")
    options = ("--rung", "one_step", "--form", "freq", "--rollouts", "reference")
    refused = in_process("forecast", run, *options)
    assert refused.returncode == 2 and refused.stdout == ""
    assert "sealed forecast" in refused.stderr and "form presence there, freq here" in refused.stderr
    replaced = in_process("forecast", run, *options, "--replace", "--json")
    told = json.loads(replaced.stdout)
    assert (told["rung"], told["form"], told["rollouts"]) == ("one_step", "freq", "reference")
    assert (run / f"forecast-{result.report['sha256'][:8]}.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--rung", "best"),
            "option 'rung' is not accepted: Input should be 'mean', 'one_step', 'converged'",
        ),
        (("--form", "words"), "option 'form' is not accepted: Input should be 'presence'"),
        (("--rollouts", "elsewhere"), "the run holds no rollouts 'elsewhere'"),
        (("--rollouts", "after-2"), "of a trained model"),
    ],
)
def test_mistakes_are_one_line(audited: Path, arguments: tuple[str, ...], words: str) -> None:
    shown = in_process("forecast", audited, *arguments)
    assert shown.returncode == 2 and shown.stdout == ""
    assert words in shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1 and shown.stderr.startswith("error: ")


def test_a_run_without_rollouts_or_without_an_audit(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run").path
    assert "needs rollouts of the untrained model" in in_process("forecast", run, "--rung", "tilt").stderr
    shown = in_process("forecast", run).stdout
    assert "none: what moves along" in line(shown, "Rollouts")
    assert line(shown, "apology · by strength").split()[-1] == "?"  # nobody knows whether it can be said
    manifest = read_sealed((run / "run.json").read_bytes())
    del manifest["stages"]["audit"]
    (run / "run.json").write_text(json.dumps(manifest))
    unfinished = in_process("forecast", run)
    assert unfinished.returncode == 2 and "has not finished" in unfinished.stderr
    assert "not a run folder" in in_process("forecast", tmp_path).stderr


def told(result: ForecastResult, names: dict[int, str] | None = None, **report: object) -> ForecastTold:
    concepts = forecast_told(result).concepts.to_pylist()
    for concept, name in (names or {}).items():
        concepts[concept]["name"] = name
    table = pa.Table.from_pylist(concepts, forecast_told(result).concepts.schema)
    return ForecastTold({**result.report, **report}, result.table, table, "planted")


def test_the_order_and_units_of_the_lists(result: ForecastResult) -> None:
    rows = foreseen(forecast_told(result))
    assert {one.kind for one in rows} == {"community", "shift_max", "shift_freq"}  # no single features
    known = [one.sign_known for one in rows]
    assert known == sorted(known, reverse=True)
    for kind in ("shift_max", "shift_freq"):
        assert sum(one.shift**2 for one in rows if one.kind == kind) == pytest.approx(2)  # two of each: rms 1


def test_names_are_hostile(result: ForecastResult, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b[31mred [bold]praise[/] \u202egnp\n\nnew"
    print_forecast(told(result, {0: hostile}), Console(width=120))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\u202e" not in shown
    assert "[bold]praise[/]" in shown


def test_what_must_not_be_overlooked(result: ForecastResult, capsys: pytest.CaptureFixture[str]) -> None:
    late: dict[str, Any] = {"sealed_before_training": False, "rollouts_disjoint": False, "rollouts_by_own_model": False}
    print_forecast(told(result, **late), Console(width=60))
    shown = " ".join(capsys.readouterr().out.split())
    assert "AFTER a training" in shown and "before training" not in shown
    assert "verification's own" in shown and "NOT the model" in shown


def test_every_column_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "forecast.md").read_text(encoding="utf-8")
    for name in (*FORECAST.names, *RUNGS, *SCORE_FORMS):
        assert f"`{name}`" in page, name


def test_where_no_sign_is_known_it_says_how_many_more_answers_it_takes() -> None:
    def row(shift: float, half: float) -> Foreseen:
        return Foreseen(0, "x", "community", shift, shift - half, shift + half, "?", "?")

    report = {"rollouts": "before", "rollouts_read": 12}
    # the clearest, 0.5 ± 1, needs an interval half as wide: four times the answers, 36 more than 12
    assert _more_answers(report, [row(0.5, 1.0), row(-0.1, 1.0)]) == (
        "0 of 2 signs are known from 12 answers: sample at least 36 more."
    )
    assert _more_answers(report, [row(0.5, 1.0), row(0.5, 0.4)]) == ""
    assert "it takes more pairs" in _more_answers({"rollouts": None}, [row(0.5, 1.0)])
