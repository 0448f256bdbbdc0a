"""A table as a value, which prints itself in a terminal, a notebook and plain text."""

import html
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal


@dataclass(frozen=True)
class Column:
    """One column: its heading, how its values are written and on which side they stand."""

    name: str
    form: str = ""
    side: Literal["left", "right"] = "right"

    def write(self, value: Any) -> str:
        """`value` as text; None and NaN are a dash, so that absence is never a number."""
        if value is None or (isinstance(value, Real) and value != value):
            return "–"
        return format(value, self.form) if not isinstance(value, str) else value


@dataclass(frozen=True)
class Table:
    """Rows under named columns, with a title above and a note below."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""

    def cells(self) -> list[list[str]]:
        """Every cell as text, row by row."""
        return [
            [column.write(value) for column, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def __str__(self) -> str:
        cells = self.cells()
        widths = [
            max(len(column.name), *(len(row[i]) for row in cells), 0)
            for i, column in enumerate(self.columns)
        ]

        def line(texts: Sequence[str]) -> str:
            placed = [
                text.ljust(width) if column.side == "left" else text.rjust(width)
                for text, width, column in zip(texts, widths, self.columns, strict=True)
            ]
            return "  ".join(placed).rstrip()

        head = line([column.name for column in self.columns])
        parts = [self.title, head, "─" * len(head), *map(line, cells), self.note]
        return "\n".join(part for part in parts if part)

    def __rich__(self) -> Any:
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=SIMPLE_HEAD, pad_edge=False)
        for column in self.columns:
            table.add_column(Text(column.name), justify=column.side)
        for row in self.cells():
            table.add_row(*(Text(cell) for cell in row))
        note = [Text(self.note, style="dim")] if self.note else []
        return Group(Text(self.title, style="bold"), table, *note)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(column.name)}</th>" for column in self.columns)
        body = "".join(
            "<tr>"
            + "".join(
                f'<td style="text-align:{column.side}">{html.escape(cell)}</td>'
                for column, cell in zip(self.columns, row, strict=True)
            )
            + "</tr>"
            for row in self.cells()
        )
        caption = f"<caption>{html.escape(self.title)}</caption>"
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


class Shown(ABC):
    """A result that is read as a table: in a terminal, in a notebook and as text."""

    @abstractmethod
    def table(self) -> Table:
        """The result as a table."""

    def __str__(self) -> str:
        return str(self.table())

    def __rich__(self) -> Any:
        return self.table().__rich__()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
