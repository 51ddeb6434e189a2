"""The one error a user sees: what is wrong, where, why, and what to do next. Never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input or the environment that the user can mend.

    `str(error)` is one line: `what (where): why; next step`. `where` names the file, row and column where known.
    Rows are counted from 0, like `row_index`; for line-based files the line, counted from 1, is named too.
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


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """The question that offers up to three of the `known` spellings that are near the word; else `otherwise`."""
    near = difflib.get_close_matches(word, list(known), n=3)
    return f"Did you mean {' or '.join(near)}?" if near else otherwise
