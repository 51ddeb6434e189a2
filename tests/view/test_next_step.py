"""What follows on a command can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pyarrow as pa
import pytest
from command_line import in_process

from pretilt.view.next_step import NEXT, judged_by, next_step, towards_verdict
from pretilt.view.terminal.labels import labels_text


def test_the_next_command_survives_a_shell() -> None:
    folder = "runs/it's $HOME *"
    assert shlex.split(next_step("forecast", folder))[1:4] == ["pretilt", "train", folder]
    assert shlex.split(next_step("train", folder, "--trained", "a b"))[3:6] == [folder, "--trained", "a b"]
    order = ["fit"]
    while order[-1] != "verify":
        order.append(NEXT[order[-1]][0][0])
    assert order == ["fit", "audit", "trace", "rollouts", "forecast", "train", "verify"]


@pytest.mark.parametrize(
    ("stages", "is_trained", "command"),
    [
        (["pairs", "audit"], False, "pretilt rollouts RUN"),
        (["pairs", "rollouts-reference"], False, "pretilt forecast RUN"),
        (["pairs", "rollouts-before", "rollouts-after", "shape-less"], True, "pretilt forecast RUN"),
        (["rollouts-before", "forecast"], False, "pretilt train RUN"),
        (["rollouts-before", "forecast"], True, "pretilt verify RUN"),
        (["rollouts-before", "forecast", "rollouts-after", "verification"], True, ""),
    ],
)
def test_the_way_to_a_verdict(stages: list[str], is_trained: bool, command: str) -> None:
    assert towards_verdict(stages, is_trained=is_trained) == command


def test_answers_are_judged_by_the_plan_that_their_model_was_trained_under() -> None:
    stages = ("pairs", "shape-less")
    assert judged_by("after-less", stages) == ("--plan", "less")
    assert judged_by("after-other", stages) == ("--after", "after-other")
    assert judged_by("after", ("pairs",)) == ()


def test_the_help_lists_the_commands_in_the_order_of_the_work() -> None:
    shown = in_process("--help").stdout
    names = re.findall(r"^  ([\w-]+) ", shown[shown.index("Commands:") :], re.MULTILINE)
    order = ["demo", "fit", "audit", "doctor", "view", "trace", "compare", "detector", "describe", "rollouts"]
    order += ["forecast", "mark", "shape", "export", "train", "verify", "dose", "export-site"]
    assert names == order
    assert set(NEXT) - {"page", "empty audit", "trace of text", "shaped train", "shape of text"} == set(order) - {
        "demo"
    }  # demo ends like an audit


def test_the_help_lists_what_an_option_may_be() -> None:
    shown = " ".join(in_process("audit", "--help").stdout.split())
    for choices in ("<paper|count2|freq>", "<drop|last>", "<float32|bfloat16|float16>"):
        assert choices in shown


@pytest.mark.parametrize("command", ["doctor", "trace", "describe", "rollouts", "forecast", "train", "verify"])
def test_a_run_that_is_not_there_is_a_line_that_helps(tmp_path: Path, command: str) -> None:
    more = ["1"] if command == "trace" else []
    (tmp_path / "runs" / "my-pairs").mkdir(parents=True)
    absent = in_process(command, tmp_path / "elsewhere", *more)
    assert absent.returncode == 2 and "does not exist" in absent.stderr
    assert f"`pretilt audit SOURCE --out {tmp_path / 'elsewhere'}` makes it" in absent.stderr
    (tmp_path / "runs" / "my-pairs" / "run.json").write_text("{}")
    near = in_process(command, tmp_path / "runs" / "my-pair", *more)
    assert f"Did you mean {tmp_path / 'runs' / 'my-pairs'}?" in near.stderr


@pytest.mark.parametrize("value", ["beta=[[[", "beta=2001-99-99", "beta=" + "[" * 200, "beta=!!int ''", "beta=*b"])
def test_a_setting_that_is_no_yaml_is_one_line(tmp_path: Path, value: str) -> None:
    refused = in_process("train", tmp_path, "--set", value)
    assert refused.returncode == 2 and "not valid YAML (--set" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "option", ["--features", "--active", "--epochs", "--max-length", "--limit", "--seed", "--layer"]
)
def test_fit_refuses_a_negative_size_before_it_reads_anything(option: str) -> None:
    refused = in_process("fit", "corpus.txt", "--model", "m", "--layer", 1, "--out", "d", option, -5)
    assert refused.returncode == 2 and "greater than or equal" in refused.stderr
    assert option in refused.stderr or f"'{option[2:].replace('-', '_')}'" in refused.stderr


def test_a_thousand_labels_are_a_screen() -> None:
    row = {"kind": "concept", "status": "ok", "labeller": "offline", "label": "x", "error": None}
    rows = [{**row, "id": str(i), "detection_balanced_accuracy": 0.75} for i in range(1000)]
    lines = labels_text(pa.Table.from_pylist(rows), 80, "runs/a").splitlines()
    assert len(lines) == 24 and lines[0].startswith(
        "1,000 labels (1,000 ok by offline), all in labels.parquet of runs/a"
    )
