"""The user's error: what is wrong, where, why, and what to do next, in one line without a traceback."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Iterable

DISTRIBUTION = "pretilt"  # what pip installs
EXTRAS = {"sae": ("sae_lens",), "labels": ("openai",), "train": ("trl", "peft")}  # modules that an extra brings
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
_IN_PYTHON = {"column": "columns={our_name: source_name}", "columns": "columns={our_name: source_name}"}


class UserError(Exception):
    """A mistake in the input or the environment that the user can mend.

    `str(error)` is one line: `what (where): why; next step`. `where` names the file, row and column where known.
    Rows are counted from 0, like `row_index`; for line-based files the line, counted from 1, is named too.
    Texts name options as the command line has them; a note, shown under a traceback, says what they are in Python.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        fix: str = "",
        file: object = None,
        row: int | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        self.what, self.why, self.fix = what, why, fix
        self.file, self.row, self.line, self.column = file, row, line, column

        places = [
            str(file) if file is not None else "",
            f"line {line}" if line is not None else "",
            f"row {row}" if row is not None else "",
            f"column '{column}'" if column is not None else "",
        ]
        where = ", ".join(p for p in places if p)

        text = what + (f" ({where})" if where else "") + (f": {why}" if why else "") + (f". {fix}" if fix else "")
        super().__init__(" ".join(text.split()))

        options = dict.fromkeys(_OPTION.findall(re.sub(r"`[^`]*`|pip install.*", "", str(self))))
        if options:
            translations = (f"--{name} is {_IN_PYTHON.get(name, name.replace('-', '_') + '=')}" for name in options)
            self.add_note(f"In Python: {', '.join(translations)}")


def require_extra(extra: str, feature: str) -> None:
    """Raise UserError if a package of the optional `extra` is missing; `feature` is what cannot be done without it.

    To be called before any other work. Nothing is imported.
    """
    missing = [m for m in EXTRAS[extra] if sys.modules.get(m, m) is None or importlib.util.find_spec(m) is None]
    if missing:
        raise UserError(
            f"{feature} needs the extra '{extra}'",
            why=f"not installed: {', '.join(m.replace('_', '-') for m in missing)}",
            fix=f"Run: pip install '{DISTRIBUTION}[{extra}]' (in a checkout: pip install '.[{extra}]')",
        )


N_NEAR = 3  # spellings offered in place of a wrong one


def near_misses(word: str, choices: Iterable[str]) -> list[str]:
    """The N_NEAR of the `choices` that are nearest to the word, the nearest first; [] where none is near."""
    return difflib.get_close_matches(word, list(choices), n=N_NEAR)


def did_you_mean(word: str, choices: Iterable[str], otherwise: str = "") -> str:
    """The question that offers the `choices` that are near the word; `otherwise` where none is."""
    near = near_misses(word, choices)
    return f"Did you mean {' or '.join(near)}?" if near else otherwise
