"""What errors advise must exist: every option that a message names is one of the command line's."""

import re
from pathlib import Path

import pytest
import typer

import pretilt
from pretilt.cli.app import app
from pretilt.errors import UserError
from pretilt.run import Run

SOURCE = Path(pretilt.__file__).parent
# of pip, of the scripts that build the demo, and of embedding-atlas
FOREIGN = {"--no-deps", "--part", "--bank", "--tokenizer", "--text"}


def test_every_option_named_in_the_source_is_an_option():
    commands = typer.main.get_command(app).commands.values()
    options = {o for c in commands for p in c.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "--version"}
    named = {
        (option, path.name)
        for path in SOURCE.rglob("*.py")
        for option in re.findall(r"(?<![\w-])--[a-z][a-z_-]+", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 30
    assert {(o, f) for o, f in named if o not in options | FOREIGN} == set()


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "a\ud800b", "/proc/nothing/here", "/dev/null/x"])
def test_run_folders_that_no_file_system_has(name):
    with pytest.raises(UserError) as caught:
        run = Run(name)
        run.record("source", "pairs")
    assert "Give --out" in str(caught.value) or "shorter" in str(caught.value)
