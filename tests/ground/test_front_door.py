"""The functions of `import pretilt`: one shape of signature, any run as first argument, results a person can read."""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process

import pretilt
from pretilt import api
from pretilt.errors import UserError
from pretilt.result import Result
from pretilt.settings import AuditSettings, DescribeSettings, FitSettings, ForecastSettings, RolloutSettings, Settings
from pretilt.settings import VerifySettings as Verify

ORDER = ["demo", "fit", "audit", "doctor", "trace", "describe", "rollouts", "forecast", "train", "verify"]
OF_COMMANDS: list[tuple[str, type[Settings]]] = [
    ("audit", AuditSettings), ("fit", FitSettings), ("describe", DescribeSettings), ("rollouts", RolloutSettings),
    ("forecast", ForecastSettings), ("verify", Verify),
]  # fmt: skip


def test_help_of_the_package_names_every_step() -> None:
    text = pydoc.render_doc(pretilt, renderer=pydoc.plaintext)
    assert all(f"{name}(" in text for name in ORDER[1:])


def test_every_function_begins_with_a_source_or_a_run_and_can_be_watched() -> None:
    for name in ORDER[1:]:
        parameters = inspect.signature(getattr(pretilt, name)).parameters
        assert next(iter(parameters)) == ("source" if name in ("audit", "fit") else "run"), name
        assert parameters["events"].kind is inspect.Parameter.KEYWORD_ONLY, name


@pytest.mark.parametrize(("name", "settings"), OF_COMMANDS)
def test_every_option_is_in_the_signature_and_on_the_command_line_with_its_choices(
    name: str, settings: type[Settings]
) -> None:
    parameters = inspect.signature(getattr(api, name)).parameters
    shown = in_process(name, "--help").stdout
    for field in settings.model_fields:
        assert parameters[field].default == settings.model_fields[field].default, field
        assert {"columns": "--column "}.get(field, f"--{field.replace('_', '-')}") in shown, field
        if words := settings.choices(field):
            assert f"<{'|'.join(words)}>" in shown, field


def test_commands_stand_in_the_order_of_the_work_and_options_under_headings() -> None:
    shown = in_process("--help").stdout
    rows = [line.split()[0] for line in shown.splitlines() if line.startswith("  ") and line.split()[0] in ORDER]
    assert rows == ORDER
    headings = [
        line for line in in_process("audit", "--help").stdout.splitlines() if re.fullmatch("[A-Z][a-z ]+:", line)
    ]
    assert headings[-5:] == ["Arguments:", "Model and dictionary:", "Data:", "Concepts and tests:", "Output:"]


def test_what_was_not_typed_leaves_the_default_and_a_wrong_word_is_one_line() -> None:
    assert AuditSettings.load(None, disparity=None).disparity == "paper"
    wrong = in_process("audit", "pairs.jsonl", "--disparity", "count3")
    assert wrong.returncode == 2 and "count2" in wrong.stderr and "Traceback" not in wrong.stderr
    with pytest.raises(UserError, match=r"option 'disparity' is not accepted.*'paper', 'count2' or 'freq'"):
        AuditSettings.load(disparity="count3")
    with pytest.raises(UserError, match=r"do not go together: 2 rollouts per prompt at temperature 0"):
        RolloutSettings.load(temperature=0, per_prompt=2)


def test_a_result_is_a_run_for_every_other_function(shared_run: pretilt.AuditResult) -> None:
    same = [pretilt.open_run(run).path for run in (shared_run, shared_run.run, shared_run.path, str(shared_run.path))]
    assert len(set(same)) == 1
    effect = pretilt.trace(shared_run, "global:0", tokens=False)
    assert pretilt.open_run(shared_run).to_pandas().shape[0] == shared_run.hypotheses.num_rows
    assert effect.to_pandas().columns.tolist() == ["pair_id", "u", "contribution", "inside"]
    assert repr(effect).startswith("<EffectTrace: global:0: ") and "\n" not in repr(effect)


def test_a_result_prints_as_a_line_and_shows_a_table_in_a_notebook(shared_run: pretilt.AuditResult) -> None:
    assert repr(shared_run).startswith("<AuditResult: ") and "hypotheses tested" in repr(shared_run)
    effects = shared_run.preview()
    assert 0 < len(effects) <= 10
    assert shared_run._repr_html_().count("<tr>") == 1 + len(effects)
    checks = pretilt.doctor(shared_run)
    assert checks.verdict in ("green", "amber")
    assert checks.to_pandas()["name"].tolist() == [check.name for check in checks.checks]


def test_text_of_the_data_is_no_markup_in_a_notebook() -> None:
    class Hostile(Result):
        headline = "<script>alert(1)</script>\u202e"

        def preview(self) -> Sequence[Mapping[str, Any]]:
            return [{"<b>": "<img src=x onerror=alert(1)>", "effect": 0.25}]

    page = Hostile()._repr_html_()
    assert "<script" not in page and "<img" not in page and "<b>&lt;" in page and "‹U+202E›" in page
    assert "+0.250" in page
    assert repr(Hostile()) == "<Hostile: <script>alert(1)</script>‹U+202E›>"


def test_a_result_that_is_one_sentence_has_no_rows_and_says_so() -> None:
    class Sentence(Result):
        headline = "done"

    assert Sentence()._repr_html_() == "<p><b>done</b></p>"
    with pytest.raises(UserError, match=r"a Sentence has no rows.*Print it"):
        Sentence().to_pandas()


def test_columns_of_the_configuration_file_stand_where_none_is_typed(tmp_path: Path) -> None:
    source, config = tmp_path / "pairs.jsonl", tmp_path / "run.yaml"
    source.write_text('{"question": "q", "good": "a", "bad": "b"}\n' * 3)
    config.write_text("columns: {prompt: question, chosen: good, rejected: bad}\n")
    dry = in_process("audit", source, "--config", config, "--dry-run", "--out", tmp_path / "run")
    assert dry.returncode == 0 and "rows read" in dry.stdout, dry.stderr
    typed = in_process("audit", source, "--config", config, "--column", "chosen=bad", "--dry-run", "--out", tmp_path)
    assert typed.returncode == 2
