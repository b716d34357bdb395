"""Reports as text, JSON and CSV: exact, and harmless whatever people have written."""

import csv
import io
import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ledger.audit import GENESIS, AuditRow, Chain, Story, Verification
from models.currencies import EXPONENTS
from starter.misuse import MisuseError
from starter.reports.choices import By, Format, Kind
from starter.reports.desk import Asked, _span
from starter.reports.formats import as_csv, as_json, as_text, major
from starter.reports.sheet import Check, Column, Sheet
from starter.reports.story import story_json, story_text, verification_text
from starter.reports.visible import cell, visible, visible_json

NASTY = "\x1b[31mred\u202eeht\u2066\x07\n\u0085\ufeff"
COLUMNS = (Column("category"), Column("currency", "code"), Column("n", "count"), Column("fee", "money"))


def a_row(position: int = 1, previous: str = GENESIS, **columns: object) -> AuditRow:
    """A row as it would have been recorded."""
    usual = AuditRow(
        position=position,
        previous=previous,
        hash="",
        id=f"aud_{position}",
        tenant_id="ten",
        escrow_id="esc",
        command_id=f"cmd_{position}",
        name="note",
        actor_role="buyer",
        actor_party="alice",
        ip=None,
        user_agent=None,
        details="{}",
        outcome="accepted",
        message=None,
        before_version=position - 1,
        after_version=position,
        received_at="2026-01-01T00:00:00.000000Z",
        recorded_at="2026-01-01T00:00:00.000001Z",
    )
    row = replace(usual, **columns)  # type: ignore[arg-type]
    return replace(row, hash=row.digest())


def a_sheet(category: str = "web", fee: int = 15000, currency: str = "EUR") -> Sheet:
    """A report of one row."""
    row = {"category": category, "currency": currency, "n": 2, "fee": fee}
    return Sheet("Fees", COLUMNS, [row], "Nothing.", checks=[Check("fee = fee", currency, 0)])


@given(st.text())
def test_nothing_that_a_terminal_obeys_or_an_eye_misses_is_shown_as_it_is(text: str) -> None:
    """What is shown is one line of printable characters."""
    assert visible(text).isprintable()


@given(st.text(), st.text())
def test_different_texts_are_shown_differently(one: str, other: str) -> None:
    """A backslash is escaped as well, so nobody can write what looks like another's escape."""
    assert (visible(one) == visible(other)) == (one == other)


@given(st.recursive(st.text() | st.none(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_for_people_is_still_json(document: object) -> None:
    """Escaped where it has to be, it parses to the same."""
    shown = visible_json(json.dumps(document, ensure_ascii=False))
    assert shown.isprintable()
    assert json.loads(shown) == document


def test_marks_that_turn_text_around_are_made_visible() -> None:
    """Terminal escapes, right-to-left overrides, isolates, bells, line breaks, zero widths; Thai stays Thai."""
    assert visible(NASTY) == r"\u001b[31mred\u202eeht\u2066\u0007\u000a\u0085\ufeff"
    assert visible("มัดจำ a\\b 🎉") == "มัดจำ a\\\\b 🎉"
    assert visible("\U000e0041") == r"\udb40\udc41"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", " =1", "\uff1d1"])
def test_no_cell_is_a_formula(text: str) -> None:
    """An apostrophe makes it text for a spreadsheet."""
    assert cell(text) == f"'{text}"
    (row,) = csv.DictReader(io.StringIO(as_csv(a_sheet(text))))
    assert row["category"] == f"'{text}"


def test_a_negative_amount_is_a_number_and_no_formula() -> None:
    """Fees that were given back are below zero, and can be added up."""
    (row,) = csv.DictReader(io.StringIO(as_csv(a_sheet(fee=-15000))))
    assert (row["fee"], row["fee_minor"]) == ("-150.00", "-15000")


def test_csv_is_rfc_4180() -> None:
    """A header, CRLF after each row, quotes where they are needed, in minor and in major units."""
    assert as_csv(a_sheet('logo, "big"')) == (
        'category,currency,n,fee,fee_minor\r\n"logo, ""big""",EUR,2,150.00,15000\r\n'
    )


@given(st.integers(-(10**21), 10**21), st.sampled_from(sorted(EXPONENTS)))
def test_major_units_are_exact_in_every_currency(units: int, currency: str) -> None:
    """JPY has no decimals, KWD three; no digit is lost, however long the sum."""
    text = major(units, currency)
    assert int(text.replace(".", "")) == units
    assert -Decimal(text).as_tuple().exponent == EXPONENTS[currency]  # type: ignore[operator]


def test_json_has_the_same_figures_and_only_ascii() -> None:
    """Money as integers of minor units and as decimal strings, never as a float."""
    text = as_json(a_sheet(NASTY), {"tenant": "ten_1"})
    assert text.isascii()
    assert "\x1b" not in text
    document = json.loads(text, parse_float=lambda _: pytest.fail("a float"))
    assert document["rows"] == [{"category": NASTY, "currency": "EUR", "n": 2, "fee": "150.00", "fee_minor": 15000}]
    assert (document["tenant"], document["ties"]) == ("ten_1", True)


def test_a_table_shows_amounts_and_whether_they_tie() -> None:
    """And says what does not, by how much."""
    page = Console(file=io.StringIO(), width=100, markup=False)
    text = as_text(a_sheet(NASTY), {"tenant": "ten_1", "from": "2026-01-01", "by": "day"}, page)
    assert text.startswith("Fees of ten_1 from 2026-01-01 by day\n")
    assert "150.00" in text
    assert "Ties to the last unit: fee = fee." in text
    assert "\x1b" not in text
    broken = replace(a_sheet(), checks=[Check("fee = fee", "EUR", 1)])
    assert "Does not tie: fee = fee: difference 0.01 EUR" in as_text(broken, {}, page)
    assert not broken.ties


def test_an_empty_report_says_so() -> None:
    """In words for people; CSV has its header only."""
    empty = replace(a_sheet(), rows=[], checks=[])
    page = Console(file=io.StringIO(), width=100)
    assert as_text(empty, {}, page) == "Fees\n\nNothing.\n"
    assert as_csv(empty) == "category,currency,n,fee,fee_minor\r\n"


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        ("2026-02-30", None, "--from 2026-02-30 is not a day"),
        (None, "20260101", "--to 20260101 is not a day"),
        ("yesterday\x1b", None, r"--from yesterday\u001b is not a day"),
        ("2026-02-01", "2026-02-01", "has to be before --to"),
    ],
)
def test_bad_days_are_named(start: str | None, end: str | None, says: str) -> None:
    """Which option, what it said, and what a day looks like."""
    with pytest.raises(MisuseError) as refused:
        _span(Asked(Kind.FEES, "ten", start, end, By.DAY, Format.TEXT, None))
    assert says in str(refused.value)


def test_good_days_are_taken_as_they_are() -> None:
    """The last day is the first that does not count."""
    span = _span(Asked(Kind.FEES, "ten", "2026-01-01", "2026-02-01", By.MONTH, Format.CSV, Path("x")))
    assert (span.start, span.end, span.by) == (date(2026, 1, 1), date(2026, 2, 1), "month")


def test_the_canonical_form_is_the_documented_one() -> None:
    """The example of docs/reports.md, computed."""
    row = a_row(details='{"a":"é"}', message="")
    assert row.canonical() == (
        f'["{GENESIS}", 1, "aud_1", "ten", "esc", "cmd_1", "note", "buyer", "alice", null, null, '
        '"{\\"a\\":\\"é\\"}", "accepted", "", 0, 1, "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000001Z"]'
    )
    page = (Path(__file__).parents[2] / "docs/reports.md").read_text(encoding="utf-8")
    assert row.canonical() in page
    assert row.hash in page


def test_a_chain_is_checked_row_by_row() -> None:
    """Each of the kinds of damage, without a database."""
    first = a_row()
    second = a_row(2, first.hash)
    third = a_row(3, second.hash)

    def kinds(*rows: AuditRow) -> list[str | None]:
        chain = Chain()
        return [(found.kind if (found := chain.check(row)) else None) for row in rows]

    assert kinds(first, second, third) == [None, None, None]
    assert kinds(first, third) == [None, "missing"]
    assert kinds(replace(first, name="x")) == ["changed"]
    assert kinds(first, replace(second, previous="f" * 64)) == [None, "wrong previous"]
    assert kinds(first, replace(third, position=2)) == [None, "reordered"]
    assert kinds(first, first) == [None, "reordered"]
    assert kinds(a_row(name="x"), second) == [None, "wrong previous"]
    assert kinds(first, a_row(2, first.hash, before_version=7)) == [None, "wrong version"]


def test_a_story_cannot_drive_a_terminal() -> None:
    """Every text of a user is escaped, wherever it stands; in JSON too."""
    row = a_row(
        command_id=NASTY, name=NASTY, actor_party=NASTY, user_agent=NASTY, outcome=NASTY, message=NASTY,
        details=json.dumps({NASTY: NASTY}, ensure_ascii=False),
    )  # fmt: skip
    told = story_text(Story("esc", None, [row], {}, {}, Verification(1, 1)))
    assert all(line.isprintable() for line in told.split("\n"))
    assert r"\u202eeht" in told
    assert "The chain is whole: 1 row." in told
    assert story_json(Story("esc", None, [row], {}, {}, Verification(1, 1))).isascii()


def test_a_broken_chain_names_its_first_row() -> None:
    """Where and what, before anything else that is wrong; at most a screenful."""
    found = Verification(7, 2)
    for position in range(1, 31):
        broken = Chain().check(replace(a_row(position), name="x"))
        assert broken is not None
        found.add(broken)
    lines = verification_text(found).splitlines()
    assert lines[0] == "BROKEN: 7 audit rows of 2 escrows checked, 30 findings."
    assert lines[1].startswith("First: escrow esc, position 1, audit row aud_1: changed: ")
    assert (len(lines), lines[-1]) == (22, "And 10 more.")
