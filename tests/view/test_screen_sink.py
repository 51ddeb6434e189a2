"""Names of models and folders are shown, not obeyed: no escape, markup or emoji in them reaches the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from command_line import in_process
from rich.table import Table

from pretilt.text import shown_json
from pretilt.view.terminal.console import Screen

NAME = "x\x1b[31m\x1b]0;title\x07[bold]\u202e:100:\r\x9b2J"


def harmless(text: str) -> bool:
    return not set(text) & set("\x1b\x07\r\x9b\u202e")


@pytest.mark.parametrize("command", [("doctor",), ("trace", "concept:1"), ("forecast",), ("verify",), ("train",)])
def test_an_error_names_the_folder_without_obeying_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = in_process(command[0], tmp_path / NAME, *command[1:])
    assert result.returncode == 2 and harmless(result.stdout + result.stderr)
    assert "x‹U+001B›[31m" in result.stderr and "[bold]‹U+202E›:100:" in result.stderr


def test_a_model_without_a_folder_is_named_so_too(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    result = in_process(
        "audit", tmp_path / "pairs.jsonl", "--model", tmp_path / NAME, "--dictionary", NAME, "--layer", 1
    )
    assert result.returncode == 2 and harmless(result.stdout + result.stderr) and "‹U+001B›" in result.stderr


def test_everything_that_the_console_prints_is_shown_as_it_is() -> None:
    file = io.StringIO()
    console = Screen(file=file, width=100, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(NAME)
    table = Table("name")
    table.add_row(NAME)
    console.print(table)
    assert harmless(file.getvalue())
    assert file.getvalue().count("x‹U+001B›[31m") == 2 and "[bold]‹U+202E›:100:" in file.getvalue()


def test_json_on_a_terminal_is_escaped_and_means_the_same() -> None:
    value = {"name": NAME + "\x7f\U000e0041\ud800é"}
    shown = shown_json(value)
    assert harmless(shown) and "\x7f" not in shown and "é" in shown
    assert json.loads(shown) == value
    shown.encode()  # no surrogate is left


@pytest.mark.parametrize(
    "arguments",
    [(NAME,), ("audit", f"--{NAME}"), ("audit", "pairs.jsonl", NAME), ("doctor", ".", "--json=" + NAME)],
)  # fmt: skip
def test_a_mistyped_command_is_quoted_without_obeying_it(arguments: tuple[str, ...]) -> None:
    result = in_process(*arguments)
    assert result.returncode == 2 and harmless(result.stdout + result.stderr)
    assert any(named in result.stderr for named in ("‹U+001B›", "\\x1b", "--json"))


def test_an_interrupt_says_what_to_do_and_help_ends_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pretilt.api.audit", interrupted)
    result = in_process("audit", tmp_path / "pairs.jsonl")
    assert result.returncode == 130 and "give the same command again" in result.stderr
    assert in_process("--help").returncode == in_process("--version").returncode == 0
    bare = in_process()
    assert bare.returncode == 2 and len((bare.stdout + bare.stderr).splitlines()) > 10
