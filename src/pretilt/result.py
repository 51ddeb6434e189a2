"""What the functions of the front door return: typed, short to print, a small table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretilt.errors import UserError
from pretilt.text import visible

if TYPE_CHECKING:
    import pyarrow as pa

PREVIEW_ROWS = 10


class Result:
    """Base of the results. A subclass says in one line what came out, and gives its rows where it has some."""

    @property
    def headline(self) -> str:
        """What came out, in one line of plain text. It may quote the dataset."""
        raise NotImplementedError

    @property
    def table(self) -> pa.Table:
        """The rows as an Arrow table; the result's class says which schema. Raises UserError where there are none."""
        name = type(self).__name__
        raise UserError(f"a {name} has no rows", fix="Print it: it is one sentence, and its fields are in dir()")

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`; raises UserError where there are none."""
        return self.table.to_pandas()

    def preview(self) -> Sequence[Mapping[str, Any]]:
        """The first rows as a person reads them, at most `PREVIEW_ROWS`; none for a result that is one sentence."""
        return ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {visible(self.headline)}>"

    def _repr_html_(self) -> str:
        rows = self.preview()
        title = f"<p><b>{_shown(self.headline)}</b></p>"
        if not rows:
            return title
        head = "".join(f"<th>{_shown(name)}</th>" for name in rows[0])
        body = "".join("<tr>" + "".join(f"<td>{_shown(v)}</td>" for v in row.values()) + "</tr>" for row in rows)
        return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(value: Any) -> str:
    """Dataset text is hostile: what is invisible is named, and nothing is markup."""
    return html.escape(visible(f"{value:+.3f}" if isinstance(value, float) else str(value)))
