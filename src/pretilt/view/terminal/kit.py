"""A console with our margins: 60 to 120 columns, plain text where nobody watches, ASCII where there is no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pretilt.text import visible

NARROW, WIDE = 60, 120
_ASCII = str.maketrans(
    {
        "…": "~",
        "▲": "+",
        "▼": "-",
        "·": ",",
        "–": "-",
        "•": "*",
        "‹": "<",
        "›": ">",
        "“": '"',
        "”": '"',
        "±": "+-",
        "«": "<<",
        "»": ">>",
    }
)


class Page:
    """Prints to a console with a margin of two; `width` is that of the text with it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.width = max(NARROW, min(WIDE, console.width))
        self.unicode = (console.encoding or "utf-8").lower().replace("-", "").startswith("utf")
        self.overflow: Literal["ellipsis", "crop"] = "ellipsis" if self.unicode else "crop"

    def text(self, content: str, style: str = "") -> Text:
        content = visible(content)
        if not self.unicode:
            content = content.translate(_ASCII).encode(self.console.encoding, "replace").decode(self.console.encoding)
        return Text(content, style=style)

    def print(self, renderable: Text | Table | str = "") -> None:
        shown = Padding(self.text(renderable) if isinstance(renderable, str) else renderable, (0, 0, 0, 2))
        if self.console.is_terminal:
            self.console.print(shown, width=self.width)
            return
        with self.console.capture() as lines:  # plain text keeps no padding at the ends of its lines
            self.console.print(shown, width=self.width)
        for line in lines.get().splitlines():
            self.console.print(Text(line.rstrip()), soft_wrap=True)

    def heading(self, title: str, note: str = "") -> None:
        self.print()
        self.print(Text.assemble(self.text(title, "bold"), self.text(f"  {note}" if note else "", "dim")))

    def facts(self, rows: Sequence[tuple[str, str]]) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, width=max((len(label) for label, _ in rows), default=0))
        table.add_column(overflow="fold")
        for label, value in rows:
            table.add_row(self.text(label, "dim"), self.text(value))
        self.print(table)


def percent(share: float) -> str:
    """`8 %`; a share that is not 0 is not rounded to 0."""
    return "under 1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")
