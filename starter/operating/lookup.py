"""What operators look up: lists of tenants, escrows, disputes and payouts, and one of each."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, RowMapping

from ledger import oversight, reads
from ledger.oversight import Kind, Page, Wanted
from models.escrow import Escrow
from models.ids import is_id
from starter.invocation import suggested
from starter.misuse import MisuseError
from starter.operating.office import not_found, office
from starter.progress import console
from starter.reports.formats import as_text
from starter.reports.sheet import Column, Sheet
from starter.reports.visible import visible
from workflows.visibility import waits_for

_PREFIXES: Final[dict[Kind, str]] = {"tenant": "ten", "escrow": "esc", "dispute": "dsp", "payout": "pay"}
_TITLES: Final[dict[Kind, str]] = {
    "tenant": "Tenants",
    "escrow": "Escrows",
    "dispute": "Disputes",
    "payout": "Payouts",
}
_ID, _STATUS, _CURRENCY = Column("id", "code"), Column("status", "code"), Column("currency", "code")
_AMOUNT: Final = Column("amount", "money")
_MONEY: Final = ("amount", "surcharge", "netted")
_COLUMNS: Final[dict[Kind, tuple[Column, ...]]] = {
    "tenant": (
        _ID, Column("name"), Column("mode", "code"), Column("reporting_currency", "code", called="currency"),
        Column("test_of", "code", called="books of rehearsal for"), Column("escrows", "count"),
    ),
    "escrow": (
        _ID, Column("title"), Column("buyer"), Column("seller"), _AMOUNT, _CURRENCY, Column("state", "code"),
        Column("held", "money"), Column("disputed", "money"),
    ),
    "dispute": (_ID, Column("escrow", "code"), _STATUS, Column("raised_by", "code"), _AMOUNT, _CURRENCY,
                Column("reason")),
    "payout": (_ID, Column("escrow", "code"), Column("party"), _AMOUNT, _CURRENCY, _STATUS, Column("hold", "code"),
               Column("reason")),
}  # fmt: skip


def look_up(wanted: Wanted, home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any]]:
    """One page of a list, for people and for scripts. Raises ``MisuseError``, ``StackError``."""
    if wanted.after is not None and not is_id(_PREFIXES[wanted.kind], wanted.after):
        begins = f"{_PREFIXES[wanted.kind]}_"
        raise MisuseError(
            f"--after {visible(wanted.after)} is not the id of a {wanted.kind}: those begin with {begins}"
        )
    with office(home, quiet=quiet) as desk:
        found = oversight.page(desk.engine, wanted)
    return _told(wanted, found), {"data": [plain(row) for row in found.rows], "has_more": found.has_more}


def show(kind: Kind, identifier: str, home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any]]:
    """One of them, for people and for scripts. Raises ``EndedError`` (not_found), ``StackError``."""
    with office(home, quiet=quiet) as desk:
        row = oversight.one(desk.engine, kind, identifier)
        if row is None:
            raise not_found(kind, identifier, f"{kind} list")
        if kind == "tenant":
            return particulars(plain(row)), plain(row)
        escrow = found_escrow(desk.engine, identifier if kind == "escrow" else row["escrow"])
    if kind == "escrow":
        return escrow_text(escrow), escrow_document(escrow)
    parts = escrow.disputes if kind == "dispute" else escrow.payouts
    part = next(one for one in parts if one.id == identifier).model_dump(mode="json")
    document = {"tenant": escrow.tenant, "escrow": escrow.id, "currency": escrow.currency, **part}
    return particulars(document | _major(escrow, document)) + _what_to_do(kind, document), document


def found_escrow(engine: Engine, identifier: str) -> Escrow:
    """The escrow as it stands. Raises ``EndedError`` (not_found)."""
    escrow = reads.escrow(engine, identifier)
    if escrow is None:
        raise not_found("escrow", identifier, "escrow list")
    return escrow


def escrow_document(escrow: Escrow) -> dict[str, Any]:
    """The snapshot, amounts in minor units, and what follows from it."""
    return {
        **escrow.model_dump(mode="json"),
        "refundable": escrow.refundable,
        "attention": escrow.attention,
        "waits_for": waits_for(escrow),
    }


def escrow_text(escrow: Escrow) -> str:
    """How it stands, with everything in it that has an id to give to another command."""
    agreed = f"{escrow.money(escrow.amount)} from {escrow.buyer} to {escrow.seller}"
    lines = [
        f"{escrow.id}: {visible(escrow.title)}",
        f"  tenant {escrow.tenant}, {agreed}, {escrow.category}",
        f"  {escrow.state}, version {escrow.version}, waits for {visible(waits_for(escrow))}",
        f"  {_money(escrow)}",
    ]
    if escrow.attention:
        lines.append(f"  needs attention: {visible(escrow.attention)}")
    lines += [
        f"  {one.id}  {one.position}. {visible(one.title)}, {escrow.money(one.amount)}, {one.status}"
        for one in escrow.milestones
    ]
    lines += [f"  {one.id}  {escrow.money(one.amount)}, {one.status}: {visible(one.reason)}" for one in escrow.disputes]
    lines += [
        f"  {one.id}  {escrow.money(one.amount)} to {one.party}, {one.status}"
        + (f", held: {visible(one.reason or one.hold)}" if one.hold else "")
        for one in escrow.payouts
    ]
    return "\n".join(lines)


def outcome_text(escrow: Escrow) -> str:
    """What a command made of it, in one line."""
    return f"{escrow.id} is {escrow.state}, version {escrow.version}: {_money(escrow)}."


def particulars(document: Mapping[str, Any]) -> str:
    """One member a line; the words of people with every character shown."""
    width = max(map(len, document)) + 2
    return "\n".join(
        f"{name.replace('_', ' '):{width}}{visible(_word(value))}" for name, value in document.items() if value
    )


def plain(row: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    """A row as JSON has it: times in RFC 3339."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def sheet_text(sheet: Sheet) -> str:
    """A table as wide as the terminal."""
    return as_text(sheet, {}, console())


def _told(wanted: Wanted, found: Page) -> str:
    rows = [dict(row) for row in found.rows]
    remarks = (f"There are more: --after {rows[-1]['id']}",) if found.has_more else ()
    return sheet_text(
        Sheet(_TITLES[wanted.kind], _COLUMNS[wanted.kind], rows, f"There is no such {wanted.kind}.", remarks=remarks)
    )


def _what_to_do(kind: Kind, document: Mapping[str, Any]) -> str:
    """How to go on with a payout that has nowhere to go."""
    if kind != "payout" or document["status"] != "failed" or document["destination"]:
        return ""
    line = suggested("payout", "retry", document["id"], "--operator", "NAME", "--destination", "ACCOUNT")
    return f"\nIt has no destination: `{line}` sends it to one."


def _money(escrow: Escrow) -> str:
    parts = {"held": escrow.held, "disputed": escrow.disputed, "released": escrow.released, "refunded": escrow.refunded}
    return ", ".join(f"{name} {escrow.money(amount)}" for name, amount in parts.items())


def _major(escrow: Escrow, document: Mapping[str, Any]) -> dict[str, str]:
    """What is money in it, as people write it."""
    return {name: str(escrow.money(document[name])) for name in _MONEY if document.get(name)}


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(map(_word, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_word(one)}" for name, one in value.items() if one)
    return str(value)
