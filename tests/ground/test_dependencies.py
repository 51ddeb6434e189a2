"""Every import of src against pyproject.toml: nothing that a feature needs is there by another package's grace."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "pretilt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {"yaml": "pyyaml", "sklearn": "scikit-learn"}  # modules named otherwise than their distribution
EXTRA_FILES = {  # where an extra's packages may be imported; one of these files says that the extra is missing
    "sae": {"lens/saelens.py"},
    "labels": {"labels/client.py", "models/endpoint.py"},
    "train": {f"train/{path.name}" for path in (SRC / "train").glob("*.py")},
}
NOT_IMPORTED = {  # needed by transformers, which declares them nowhere: only the smoke run can see that
    "accelerate": "loads a GGUF",
    "gguf": "reads a GGUF",
    "sentencepiece": "reads a tokenizer.model, the only tokenizer file of older models",
    "protobuf": "the same",
}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", r, maxsplit=1)[0].lower().replace("_", "-") for r in requirements}


CORE = names(PROJECT["dependencies"])
EXTRAS = {extra: names(listed) for extra, listed in PROJECT["optional-dependencies"].items()}


def imported(path: Path) -> set[str]:
    """Distributions that a file imports, anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add((node.module or "").split(".")[0])
    foreign = modules - set(sys.stdlib_module_names) - {"pretilt"}
    return {DISTRIBUTIONS.get(m, m).lower().replace("_", "-") for m in foreign}


FILES = {path.relative_to(SRC).as_posix(): imported(path) for path in sorted(SRC.rglob("*.py"))}


def test_every_import_is_declared() -> None:
    def declared(name: str) -> set[str]:
        return CORE.union(*(EXTRAS[extra] for extra, files in EXTRA_FILES.items() if name in files))

    assert {name: used - declared(name) for name, used in FILES.items() if used - declared(name)} == {}


def test_every_declared_package_is_imported() -> None:
    used = set().union(*FILES.values())
    assert CORE - used == NOT_IMPORTED.keys() - used
    for extra in EXTRA_FILES:
        assert EXTRAS[extra] <= used, extra


def test_the_constraints_name_every_declared_package() -> None:
    pinned = names((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    assert CORE.union(*EXTRAS.values()) <= pinned
