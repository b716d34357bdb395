"""The command `test-clock advance`: a test tenant's time moves ahead, with every deadline that comes due."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from ledger import reads
from models import durations
from starter.endings import UNKNOWN, EndedError
from starter.misuse import MisuseError
from starter.operating.office import not_found, office
from starter.reports.visible import visible


def duration(option: str, text: str) -> timedelta:
    """An ISO 8601 duration that is not negative. Raises ``MisuseError``."""
    try:
        return durations.read(text)
    except ValueError:
        raise MisuseError(
            f"{option} {visible(text)} is not a duration: write it like P14D, PT36H or P1DT12H."
        ) from None


def advance(
    tenant: str, by: str | None, to: str | None, home: Path | None, *, quiet: bool
) -> tuple[str, dict[str, Any]]:
    """Move the clock by so much, or to so much ahead in all, which can be repeated without harm.

    Raises ``MisuseError``, ``EndedError`` (not_found, forbidden, outcome_unknown), ``StackError``.
    """
    if (by is None) == (to is None):
        raise MisuseError("Say either --by P14D, how much further, or --to P14D, how far ahead in all.")
    option, text = ("--by", by) if by else ("--to", to)
    length = duration(option, text or "")
    with office(home, quiet=quiet) as desk:
        ahead = reads.clock_offset(desk.engine, tenant)
        if ahead is None:
            raise not_found("tenant", tenant, "tenant list")
        wanted = ahead + length if by else length
        if wanted < ahead:
            raise MisuseError(f"The clock is {durations.written(ahead)} ahead already, and goes forward only.")
        desk.progress.doing(f"Moving the clock of {tenant} to {durations.written(wanted)} ahead.")
        try:
            desk.see_to(lambda _, sender: sender.advance_clock(tenant, wanted))
        except EndedError as error:
            if error.exit_code != UNKNOWN:
                raise
            again = f"{error} `test-clock advance --tenant {tenant} --to {durations.written(wanted)}` goes on."
            raise EndedError(UNKNOWN, error.code, again, to=durations.written(wanted)) from error
    told = f"The clock of {tenant} is {durations.written(wanted)} ahead; every deadline that came due was handled."
    return told, {"tenant": tenant, "ahead": durations.written(wanted)}
