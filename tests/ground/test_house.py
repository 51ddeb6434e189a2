"""The rules of the house, read from the imports: floors, light start, heavy libraries in their own rooms."""

from __future__ import annotations

import ast
import importlib
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pretilt.cli.app import app

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "pretilt"
FLOORS = [  # a file imports from its own floor or from one above in this list, never from one below
    {
        "version",
        "errors",
        "schema",
        "schema_outcomes",
        "reports",
        "artifacts",
        "lock",
        "literals",
        "run",
        "events",
        "text",
        "result",
        "settings",
    },
    {"pairs"},
    {"models"},
    {"lens"},
    {"concepts"},
    {"stats"},
    {"detectors"},
    {"audit"},
    {"labels"},
    {"trace"},
    {"rollouts"},
    {"forecast"},
    {"train"},
    {"shape"},
    {"verify"},
    {"comparison"},
    {"view"},
    {"api", "api_kit", "api_shaping", "api_view"},
    {"demo"},
    {"cli", "__main__"},
]
HEAVY = {"torch", "transformers", "datasets", "sae_lens", "trl", "scipy", "sklearn", "igraph", "leidenalg", "pandas"}
NOT_FOR_HELP = HEAVY | {"numpy", "pyarrow", "rich"}  # what `--help` needs none of
FILES = sorted(SRC.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    parts = ("pretilt", *path.relative_to(SRC).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> set[str]:
    """Every module that the file imports, also `folder` of `from pretilt.lens import folder`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            names |= submodules
            if len(submodules) < len(node.names):
                names.add(node.module or "")
    return names


def floor(name: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if name in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_go_down_only(path: Path) -> None:
    if room(path) == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        assert name != "pretilt", "the front door is for users: import from the floor"
        if parts[0] == "pretilt":
            assert floor(parts[1]) <= floor(room(path)), f"{room(path)} imports {name}"


def test_there_are_no_circles() -> None:
    edges = {name: (imports(path) & MODULES.keys()) - {name} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"circle: {' > '.join((*path, module))}"
        if module not in done:
            for other in edges[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_heavy_libraries_stay_in_their_rooms() -> None:
    for path in FILES:
        used = {name.split(".")[0] for name in imports(path)}
        if path.relative_to(SRC).parts[0] != "train":
            assert "trl" not in used, path
        if path.relative_to(SRC).as_posix() != "lens/saelens.py":
            assert "sae_lens" not in used, path


def test_no_file_is_two() -> None:
    sizes = {str(p.relative_to(SRC)): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert {name: n for name, n in sizes.items() if n > 400} == {}


def test_the_start_is_light() -> None:
    code = f"import sys, pretilt, pretilt.cli.app; print([m for m in {sorted(NOT_FOR_HELP)!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_help_takes_less_than_a_second() -> None:
    """Of the processor: on a busy machine the clock on the wall says what the others do."""
    command = [sys.executable, "-m", "pretilt", "--help"]
    subprocess.run(command, capture_output=True, check=True)  # the first start compiles the byte code
    times = []
    for _ in range(3):
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        shown = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"}
        )
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)
    assert min(times) < 1.0
    assert "audit" in shown.stdout
    assert "demo" in shown.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda p: p.name)
def test_benchmarks_import_what_there_is(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pretilt"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name) or f"{node.module}.{alias.name}" in MODULES, alias.name


def test_the_dictionary_of_the_planted_worlds_is_fitted_by_options_that_there_are() -> None:
    from pretilt.settings import FitSettings

    tree = ast.parse((ROOT / "benchmarks" / "worlds" / "__main__.py").read_text(encoding="utf-8"))
    (options,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DICTIONARY"
    ]
    assert FitSettings.load(**options).features == options["features"]


@pytest.mark.parametrize("path", [*(ROOT / "scripts").glob("*.sh"), ROOT / "Makefile"], ids=lambda p: p.name)
def test_scripts_import_what_there_is(path: Path) -> None:
    for module, name in re.findall(r"from (pretilt[\w.]*) import (\w+)", path.read_text(encoding="utf-8")):
        value = getattr(importlib.import_module(module), name)
        assert not isinstance(value, ModuleType), f"{module}.{name}"


def test_the_smoke_run_names_the_commands_that_there_are() -> None:
    script = (ROOT / "scripts" / "smoke.sh").read_text(encoding="utf-8")
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    assert set(re.findall(r"^(?:refused \w+ )?pretilt ([a-z]+) ", script, re.MULTILINE)) <= commands


PRONOUNS = {
    "found", "told", "one", "said", "seen", "here", "there", "mine", "of", "by", "own", "made", "known", "kept",
    "wanted", "asked", "given", "about", "rest", "others",
}  # fmt: skip


def assigned_names(tree: ast.AST) -> Iterator[str]:
    """Names that values, arguments and functions are given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def test_names_carry_objects() -> None:
    """At most one name in 500 is a pronoun, a participle or a preposition that leaves open what it holds."""
    names = [name for path in FILES for name in assigned_names(ast.parse(path.read_text(encoding="utf-8")))]
    assert sum(name in PRONOUNS for name in names) <= len(names) / 500
