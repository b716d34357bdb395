"""A sheet as text, JSON or CSV."""

import csv
import io
import json
from decimal import Decimal
from typing import Any, Final

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from models.currencies import exponent
from models.differences import readable
from models.money import Money
from starter.reports.sheet import Column, Row, Sheet
from starter.reports.visible import cell, visible

_TEXT: Final = frozenset({"text", "code"})
_INDENT: Final = 2
_GAP: Final = 3
_LONG_WORD: Final = 24


def as_text(sheet: Sheet, asked: dict[str, str], console: Console) -> str:
    """Tables for people, with totals and whether the sums agree; as wide as ``console``."""
    with console.capture() as capture:
        console.print(f"{sheet.title}{_asked(asked)}", soft_wrap=True)
        parts = dict.fromkeys(column.part for column in sheet.columns if column.part) or ("",)
        for part in parts if sheet.rows else ():
            console.print(f"\n{part}".rstrip(), soft_wrap=True)
            _print_table(console, sheet, part)
        console.print()
        if not sheet.rows:
            console.print(sheet.empty, soft_wrap=True)
        for line in (*sheet.remarks, *_verdicts(sheet)):
            console.print(line, soft_wrap=True)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def as_json(sheet: Sheet, asked: dict[str, str]) -> str:
    """One object; money as minor units (integers) and as major units (decimal strings), all of it ASCII."""
    document = {
        "report": sheet.title,
        **asked,
        "rows": [_plain(sheet, row) for row in sheet.rows],
        "checks": [
            {"says": check.says, "currency": check.currency, "difference_minor": check.difference}
            for check in sheet.checks
        ],
        "ties": sheet.ties,
    }
    return json.dumps(document, indent=2) + "\n"


def as_csv(sheet: Sheet) -> str:
    """RFC 4180: a header, CRLF, quotes where they are needed. No cell of text can become a formula."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(name for column in sheet.columns for name in _names(column))
    for row in sheet.rows:
        plain = _plain(sheet, row)
        writer.writerow(
            cell(str(plain[name] or "")) if column.kind in _TEXT else plain[name]
            for column in sheet.columns
            for name in _names(column)
        )
    return stream.getvalue()


def major(units: int, currency: str) -> str:
    """Major units as a plain decimal: ``1500.00``."""
    decimals = exponent(currency)
    return f"{Decimal(units).scaleb(-decimals):.{decimals}f}"


def _names(column: Column) -> tuple[str, ...]:
    return (column.name, f"{column.name}_minor") if column.kind == "money" else (column.name,)


def _plain(sheet: Sheet, row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column in sheet.columns:
        value = row[column.name]
        if column.kind == "money":
            values[column.name] = major(value, row[column.currency])
            values[f"{column.name}_minor"] = value
        else:
            values[column.name] = value
    return values


def _print_table(console: Console, sheet: Sheet, part: str) -> None:
    """However narrow the terminal, nothing is cut off and no amount, code or heading breaks inside a word.

    What does not fit even so runs over the edge, and the terminal breaks the line.
    """
    columns = [column for column in sheet.columns if column.part in {"", part}]
    rows = [[_shown(column, row) for column in columns] for row in (*sheet.rows, *sheet.totals)]
    edges = _INDENT + _GAP * (len(columns) - 1)
    limits = [_limits(column, [row[place] for row in rows]) for place, column in enumerate(columns)]
    widths = _widths(limits, console.width - edges)
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", show_edge=False, pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            column.label, width=width, overflow="fold", justify="left" if column.kind in _TEXT else "right"
        )
    for number, row in enumerate(rows, start=1):
        table.add_row(*row, end_section=number == len(sheet.rows) and bool(sheet.totals))
    wide = console.width
    console.width = max(wide, edges + sum(widths))
    console.print(Padding(table, (0, 0, 0, _INDENT)))
    console.width = wide


def _limits(column: Column, cells: list[str]) -> tuple[int, int]:
    """How narrow a column can be, and how wide it need be at most. Words of people may break when they are long."""
    words = [cell_len(word) for word in column.label.split()]
    least = [min(cell_len(word), _LONG_WORD) for cell in cells for word in cell.split()]
    whole = [cell_len(cell) for cell in cells]
    most = max([cell_len(column.label), *whole])
    return max(words + (least if column.kind == "text" else whole)), most


def _widths(limits: list[tuple[int, int]], available: int) -> list[int]:
    """As wide as each would be, less what there is no room for, taken where there is most to take."""
    widths = [most for _, most in limits]
    while sum(widths) > available:
        spare, place = max((width - limits[place][0], place) for place, width in enumerate(widths))
        if not spare:
            break
        widths[place] -= 1
    return widths


def _shown(column: Column, row: Row) -> str:
    value = row.get(column.name)
    if value is None:
        return ""
    if column.kind == "money":
        return readable(value, row[column.currency]).partition(" ")[0] if value else "-"
    return visible(str(value))


def _asked(asked: dict[str, str]) -> str:
    """of ten_… from 2026-01-01 up to 2026-02-01 by day"""
    words = {"tenant": "of", "from": "from", "to": "up to, without,", "by": "by"}
    told = (f" {words[name]} {visible(value)}" for name, value in asked.items() if (name, value) != ("by", "total"))
    return "".join(told)


def _verdicts(sheet: Sheet) -> list[str]:
    """What does not agree, or once for all that everything does."""
    wrong = [
        f"Does not tie: {check.says}: difference {Money(check.difference, check.currency)}"
        for check in sheet.checks
        if check.difference
    ]
    if wrong or not sheet.checks:
        return wrong
    kinds = dict.fromkeys(check.says.rpartition(": ")[2] for check in sheet.checks)
    return [f"Ties to the last unit: {'; '.join(kinds)}."]
