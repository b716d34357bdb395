"""Tables of reports for people: as narrow as the terminal, as long as nothing has to be broken or cut off for it."""

from io import StringIO
from typing import Final

import pytest
from rich.console import Console

from starter.reports.formats import as_text
from starter.reports.sheet import Column, Sheet

COLUMNS: Final = (
    Column("outcome", "code"),
    Column("name"),
    Column("currency", "code", called="deals in"),
    Column("settlements", "count"),
    Column("of_which_dispute_fee", "money"),
    Column("fee_returned", "money"),
)
ROW: Final = {
    "outcome": "partial_refund",
    "name": "Studio Marketplace " + "x" * 60,
    "currency": "EUR",
    "settlements": 1,
    "of_which_dispute_fee": 123456789,
    "fee_returned": 0,
}
WORDS: Final = {"partial_refund", "Studio", "deals", "settlements", "dispute", "returned", "1,234,567.89"}


def told(row: dict[str, object], width: int) -> str:
    """A sheet of one row and its total."""
    total = {"outcome": "total", "currency": "EUR", "of_which_dispute_fee": 123456789}
    sheet = Sheet("Test", COLUMNS, [row], "nothing", totals=[total])
    return as_text(sheet, {}, Console(file=StringIO(), width=width))


@pytest.mark.parametrize("width", [20, 40, 80, 100, 300])
def test_no_amount_code_or_heading_breaks_inside_a_word(width: int) -> None:
    """However narrow the terminal: each word of a heading, each code and each amount stands in one piece."""
    text = told(ROW, width)
    assert set(text.split()) >= WORDS
    assert text.count("x") == 60
    assert "…" not in text


@pytest.mark.parametrize("width", [95, 100, 110])
def test_a_table_is_as_wide_as_the_terminal_and_no_wider(width: int) -> None:
    """What can be broken is, before anything runs over the edge; where there is room, a heading is one line."""
    assert max(map(len, told(ROW, width).splitlines())) == width
    assert "of which dispute fee" in told(ROW | {"name": "Studio"}, 110)


def test_the_console_keeps_its_width() -> None:
    """A wide table is nobody else's business."""
    console = Console(file=StringIO(), width=40)
    as_text(Sheet("Test", COLUMNS, [ROW], "nothing"), {}, console)
    assert console.width == 40
