"""The door: what is public, who watches, what stays private, what is said where an extra or a browser is missing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import pretilt
from pretilt import errors
from pretilt.api import describe as label_run
from pretilt.api import rollouts as rollouts_run
from pretilt.api import train as train_model
from pretilt.errors import UserError, require_extra
from pretilt.events import Events, Watched, watching
from pretilt.models.sources import dictionary_folder

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "pretilt"


def run_python(code: str, **environment: str) -> str:
    env = {k: v for k, v in os.environ.items() if "TELEMETRY" not in k} | environment
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout


def test_the_package_lists_what_it_offers_and_is_typed() -> None:
    assert set(dir(pretilt)) >= {"audit", "fit", "open_run", "trace", "AuditSettings", "Events", "UserError"}
    assert all(getattr(pretilt, name) is not None for name in dir(pretilt))
    assert (SRC / "py.typed").is_file()


@pytest.mark.parametrize("before", ["", "import huggingface_hub\n"])
def test_no_telemetry_from_python_whatever_was_imported_before(before: str) -> None:
    ask = f"{before}import pretilt\nfrom huggingface_hub import constants\nprint(constants.HF_HUB_DISABLE_TELEMETRY)"
    assert run_python(ask).strip() == "True"
    assert run_python(ask, HF_HUB_DISABLE_TELEMETRY="0").strip() == "False"


def test_progress_is_shown_where_somebody_looks_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert type(watching(None)) is Events
    given = Events()
    assert watching(given) is given
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    events = watching(None)
    assert isinstance(events, Watched)
    monkeypatch.setattr("pretilt.events.LINE_EVERY", 0.0)
    events.say("reading [bold]rows[/bold]")
    for done in (0, 50, 100):
        events.progress("tokens", done, 100, "pairs")
    told = capsys.readouterr()
    assert told.out == ""
    assert "reading [bold]rows[/bold]" in told.err
    assert "tokens: 50 of 100 pairs" in told.err
    assert "tokens: 100 pairs in" in told.err


def test_an_error_says_what_the_options_are_in_python() -> None:
    error = UserError("--layer goes with --base-url", fix="Give --column a=b, or run `pretilt x --replace`")
    assert str(error) == "--layer goes with --base-url. Give --column a=b, or run `pretilt x --replace`"
    assert error.__notes__ == [
        "In Python: --layer is layer=, --base-url is base_url=, --column is columns={our_name: source_name}"
    ]
    assert not hasattr(UserError("no such file", fix="Run: pip install --no-deps x"), "__notes__")


def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == errors.DISTRIBUTION
    assert metadata.version(errors.DISTRIBUTION)
    for extra, modules in errors.EXTRAS.items():
        requirements = " ".join(project["optional-dependencies"][extra])
        assert all(module.replace("_", "-") in requirements for module in modules), extra


def calls(name: str) -> list[str]:
    """First arguments of every call of `name` in the source."""
    nodes = [node for path in SRC.rglob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    return [
        node.args[0].value
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        and isinstance(node.args[0], ast.Constant)
    ]  # fmt: skip


def test_every_extra_is_asked_for_by_its_name() -> None:
    assert set(calls("require_extra")) == errors.EXTRAS.keys()


FEATURES: dict[str, tuple[str, str, Any]] = {
    "train": ("train", "peft", lambda run: train_model(run)),
    "label": ("labels", "openai", lambda run: label_run(run, model="m", base_url="http://localhost:9/v1")),
    "rollouts": (
        "labels",
        "openai",
        lambda run: rollouts_run(run, base_url="http://localhost:9/v1", endpoint_model="m"),
    ),
    "audit": ("sae", "sae_lens", lambda run: pretilt.audit([], model="m", dictionary="release/id", out=run / "new")),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_a_missing_extra_is_one_line_before_any_work(
    feature: str, monkeypatch: pytest.MonkeyPatch, shared_run: pretilt.AuditResult
) -> None:
    extra, module, call = FEATURES[feature]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as caught:
        call(shared_run.path)
    text = str(caught.value)
    assert f"pip install 'pretilt[{extra}]'" in text
    assert module.replace("_", "-") in text
    assert "\n" not in text
    assert not (shared_run.path / "new").exists()


def test_what_is_installed_is_not_asked_for(tmp_path: Path) -> None:
    require_extra("train", "training")
    assert dictionary_folder(tmp_path) == tmp_path


@pytest.mark.parametrize(("ci", "workers", "status"), [("true", 0, 1), ("true", 2, 1), ("", 0, 0)])
def test_in_ci_a_skipped_test_fails_and_is_named(tmp_path: Path, ci: str, workers: int, status: int) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_x.py").write_text(
        "import pytest\n"
        "def test_page(): pytest.skip('no Chromium')\n"
        "def test_root(): pytest.skip('root may read everything')\n"
    )
    (tmp_path / "test_y.py").write_text("import pytest\npytest.importorskip('llama_cpp_of_nobody')\n")
    options = ["-rs", "-p", "no:cacheprovider", "-p", "xdist.plugin", "-n", str(workers)]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    environment = {**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the others take seconds to load
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == status
    assert "no Chromium" in done.stdout
    assert ("1 tests were skipped that must run" in done.stdout) is bool(ci)
