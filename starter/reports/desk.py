"""The commands `report`, `audit` and `verify`: from what was asked to an answer, on whatever servers there are."""

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import sqlalchemy.exc
from psycopg import errors
from rich.console import Console
from sqlalchemy import Engine

from ledger import reports
from ledger.audit import latest_escrows, story, verify
from ledger.engine import connect
from ledger.reports import Span
from starter.embedded.child import StackError
from starter.endings import NOT_FOUND, EndedError
from starter.invocation import EXAMPLE, suggested
from starter.misuse import MisuseError
from starter.progress import Progress, console
from starter.reports import sheets
from starter.reports.choices import By, Format, Kind, StoryFormat
from starter.reports.formats import as_csv, as_json, as_text
from starter.reports.sheet import Sheet
from starter.reports.story import story_json, story_text, verification_json, verification_text
from starter.reports.visible import visible
from starter.servers import external, read_settings, servers_with_books

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_CONNECTIONS: Final = 2
_NAMED: Final = 5
_FILE_WIDTH: Final = 120
_SHEETS: Final = {
    Kind.LIQUIDITY: sheets.liquidity,
    Kind.TRIAL_BALANCE: sheets.trial_balance,
    Kind.FEES: sheets.fees,
    Kind.SETTLEMENTS: sheets.settlements,
}


@dataclass(frozen=True)
class Asked:
    """What a person wants to know, as it was typed."""

    kind: Kind
    tenant: str | None
    start: str | None
    end: str | None
    by: By
    format: Format
    output: Path | None
    quiet: bool = False


def answer_report(asked: Asked, home: Path | None) -> bool:
    """Write a report; answers whether its sums agree.

    Raises ``MisuseError``, ``EndedError`` (not_found) and ``StackError``.
    """
    span = _span(asked)
    if asked.kind is Kind.TENANTS:
        _refuse_limits(asked)
    if asked.kind is not Kind.TENANTS and asked.tenant == "":
        raise MisuseError("--tenant is empty.")
    with _reading(home, quiet=asked.quiet) as engine:
        if asked.kind is Kind.TENANTS:
            sheet, particulars = sheets.tenants(engine), {}
        else:
            tenant = _known_tenant(engine, asked.tenant, f"report {asked.kind}")
            sheet = _SHEETS[asked.kind](engine, tenant, span)
            limits = {"from": asked.start, "to": asked.end}
            particulars = {"tenant": tenant, **{name: day for name, day in limits.items() if day}, "by": asked.by.value}
    _write(_written(sheet, particulars, asked.format, asked.output), asked.output)
    return sheet.ties


def answer_audit(escrow: str | None, format_: StoryFormat, home: Path | None, *, quiet: bool = False) -> bool:
    """Write the story of an escrow; answers whether its books are whole. Raises as ``answer_report`` does."""
    with _reading(home, quiet=quiet) as engine:
        found = story(engine, escrow) if escrow else None
        if found is None:
            known = [f"{one['id']} ({visible(one['title'])})" for one in latest_escrows(engine, _NAMED)]
            latest = _listed("the latest", known)
            if not escrow:
                raise MisuseError(f"Missing argument 'ESCROW', an id like esc_…; {latest}")
            raise _unknown(f"there is no escrow {visible(escrow)}; {latest}")
    _write(story_text(found) if format_ is StoryFormat.TEXT else story_json(found), None)
    return found.verification.whole


def answer_verify(tenant: str | None, escrow: str | None, home: Path | None, *, json: bool) -> bool:
    """Check the books and say what was found; answers whether they are whole. Raises as the others do."""
    with _reading(home, quiet=json) as engine:
        if tenant is not None:
            _known_tenant(engine, tenant, "verify")
        found = verify(engine, tenant, escrow)
        if escrow is not None and not found.escrows and found.whole:
            if tenant is not None:
                raise _unknown(f"{tenant} has no escrow {visible(escrow)}{_its_latest(engine, tenant)}")
            known = [one["id"] for one in latest_escrows(engine, _NAMED)]
            raise _unknown(f"there is no escrow {visible(escrow)}; {_listed('the latest', known)}")
    _write(verification_json(found) if json else verification_text(found), None)
    return found.whole


def _its_latest(engine: Engine, tenant: str) -> str:
    latest = next(one["latest_escrow"] for one in reports.tenants(engine) if one["id"] == tenant)
    return f"; its latest is {latest}" if latest else "; it has none yet"


def _refuse_limits(asked: Asked) -> None:
    """The list of tenants is of all of them, as they are now."""
    limits = {
        "--tenant": asked.tenant is not None,
        "--from": asked.start is not None,
        "--to": asked.end is not None,
        "--by": asked.by is not By.TOTAL,
    }
    if given := [option for option, is_given in limits.items() if is_given]:
        raise MisuseError(f"`report tenants` lists all tenants as they are now: it does not take {', '.join(given)}.")


def _span(asked: Asked) -> Span:
    start, end = _day("--from", asked.start), _day("--to", asked.end)
    if start and end and start >= end:
        raise MisuseError(f"--from {start} has to be before --to {end}, which is the first day that does not count.")
    return Span(start, end, asked.by.value)


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # 2026-02-30
    raise MisuseError(f"{option} {visible(text)!s} is not a day: write it like 2026-06-30.")


def _known_tenant(engine: Engine, tenant: str | None, command: str) -> str:
    known = reports.tenants(engine)
    if tenant is not None and any(tenant == one["id"] for one in known):
        return tenant
    latest = _listed("the latest", [one["id"] for one in known[:_NAMED]])
    if not tenant:
        raise MisuseError(f"`{command}` needs to know of whom: --tenant ten_…; {latest}")
    raise _unknown(f"there is no tenant {visible(tenant)}; {latest}")


def _unknown(message: str) -> EndedError:
    return EndedError(NOT_FOUND, "not_found", message)


def _listed(what: str, known: list[str]) -> str:
    return f"{what}: {', '.join(known)}" if known else f"there are none yet: {suggested('run', EXAMPLE)} makes one"


@contextmanager
def _reading(chosen: Path | None, *, quiet: bool) -> Iterator[Engine]:
    """The books, on the servers that the settings name, of the stack that runs, or of one that is started for it."""
    config = read_settings()
    home, own = chosen or config.home, external(config)
    with Progress(quiet=quiet) as progress, servers_with_books(own, home, chosen, progress) as servers:
        engine = connect(servers.database_url, _CONNECTIONS)
        try:
            yield engine
        except sqlalchemy.exc.OperationalError as error:
            raise StackError(f"PostgreSQL cannot be reached: {_first_line(error)}") from error
        except sqlalchemy.exc.DBAPIError as error:
            old = isinstance(error.orig, errors.UndefinedColumn | errors.UndefinedTable)
            hint = f"\nIs its schema up to date? `{suggested('migrate')}` sees to it." if old and own else ""
            raise StackError(f"PostgreSQL refuses: {_first_line(error)}{hint}") from error
        finally:
            engine.dispose()


def _first_line(error: sqlalchemy.exc.DBAPIError) -> str:
    return str(error.orig).splitlines()[0]


def _written(sheet: Sheet, particulars: dict[str, str], format_: Format, output: Path | None) -> str:
    if format_ is Format.JSON:
        return as_json(sheet, particulars)
    if format_ is Format.CSV:
        return as_csv(sheet)
    # A file gets the width of a pipe and none of a terminal's colours.
    page = console() if output is None else Console(file=io.StringIO(), width=_FILE_WIDTH, markup=False, emoji=False)
    return as_text(sheet, particulars, page)


def _write(text: str, output: Path | None) -> None:
    """To the file or to stdout, byte for byte. Raises ``MisuseError`` where we may not write."""
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise MisuseError(f"{output} cannot be written: {error.strerror}") from error
