"""The command `reconcile`: a round now, or the one that runs, through a worker; and what it leaves open."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ledger import corrections, reconciliation
from models.differences import GRACE, readable
from models.reconciliation import Balance, Correction, Difference, Reconciliation
from starter.endings import INTERRUPTED, EndedError
from starter.invocation import suggested
from starter.operating.following import follow
from starter.operating.lookup import sheet_text
from starter.operating.office import Office, office
from starter.operating.reconciling import documents, told
from starter.reports.sheet import Column, Sheet
from starter.reports.visible import visible

_SHOWN: Final = 20
_READ: Final = 1000  # late ones may be older than others, and are told after them
_COLUMNS: Final = (
    Column("currency", "code"),
    Column("theirs", "money", called="provider has"),
    Column("fees", "money", called="of it fees"),
    Column("ours", "money", called="gateway_cash"),
    Column("explained", "money"),
    Column("unexplained", "money"),
)


def reconcile_now(home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any], bool]:
    """Have everything compared; answers it for people and for scripts, and whether nothing is left open but
    what is late.

    Raises ``MisuseError``, ``EndedError`` (outcome_unknown, interrupted: the round goes on without us) and
    ``StackError``.
    """
    with office(home, quiet=quiet) as desk:
        desk.progress.doing("Asking a worker to compare the books with the provider's.")
        try:
            done = desk.see_to(lambda client, sender: follow(client, sender, desk.engine, desk.progress))
        except KeyboardInterrupt:
            line = suggested("reconcile")
            goes_on = f"Interrupted. The round goes on by itself while workers run: `{line}` follows it."
            raise EndedError(INTERRUPTED, "interrupted", goes_on) from None
        text, document = _left(desk, done)
    # What is late is in use, and not at odds: on a busy platform some of it is there in every round.
    agreed = not (done.found.keys() - {"late"}) and not done.failed
    return text, {"round": done.model_dump(mode="json"), **document}, agreed


def _left(desk: Office, done: Reconciliation) -> tuple[str, dict[str, Any]]:
    """What is open after the round: what is at odds first, and then what is only late."""
    found, has_more = reconciliation.differences(desk.engine, "open", _READ)
    waiting = {one.difference: one for one in corrections.waiting(desk.engine)}
    at_odds = [one for one in found if one.cause != "late"]
    page = [*at_odds, *(one for one in found if one.cause == "late")][:_SHOWN]
    lines = [
        sheet_text(Sheet(f"Reconciled with {done.provider}", _COLUMNS, _rows(done), "Nothing was moved yet.")).rstrip()
    ]
    lines += ["", *_equations(done), "", _counts(done), ""]
    if done.failed:
        lines += [f"The round is not whole: {visible(done.failed)}", ""]
    if not found:
        whole = f"Nothing differs: books, {done.provider} and workflows agree."
        lines.append("Nothing differs in what could be compared." if done.failed else whole)
    else:
        lines += still_open(done, at_odds[:_SHOWN], waiting)
    return "\n".join(lines), {"data": documents(page, waiting), "has_more": has_more or len(found) > len(page)}


def still_open(done: Reconciliation, at_odds: list[Difference], waiting: dict[str, Correction]) -> Iterator[str]:
    """How much is open, by cause, as the round counted it; the oldest of what is at odds; and what is late, in a line.

    Late ones take no room of the others: most of them are gone with the next round.
    """
    late = done.found.get("late", 0)
    total = sum(done.found.values())
    by_cause = ", ".join(
        f"{count:,} {cause.replace('_', ' ')}"
        for cause, count in sorted(done.found.items(), key=lambda one: (one[0] == "late", one[0]))
    )
    if at_odds:
        rest = f" The oldest {len(at_odds)}; `{suggested('reconcile', 'list')}` has all:"
        more = rest if total - late > len(at_odds) else ""
        yield f"{total:,} {'difference is' if total == 1 else 'differences are'} open: {by_cause}.{more}"
        yield ""
        yield from told(at_odds, waiting)
    if late:
        again = (done.read_up_to or done.finished_at or datetime.now(UTC)) + GRACE
        if at_odds:
            yield ""
        yield (
            f"{late:,} {'is' if late == 1 else 'are'} late: either side wrote it less than {GRACE.seconds // 60} "
            f"minutes ago. Reconcile again after {again.astimezone(UTC):%H:%M} UTC: till then "
            f"`{suggested('reconcile', 'list')}` has them."
        )


def _rows(done: Reconciliation) -> list[dict[str, Any]]:
    return [one.model_dump() | {"explained": sum(one.explained.values())} for one in done.balances]


def _equations(done: Reconciliation) -> Iterator[str]:
    """EUR: 1,010.00 + 30.00 fees - 970.00 gateway_cash = 20.00 contested + 50.00 unexplained."""
    for one in done.balances:
        fees = f" {'+' if one.fees < 0 else '-'} {_number(one, abs(one.fees))} fees" if one.fees else ""
        explained = [f"{_number(one, units)} {visible(why)}" for why, units in one.explained.items() if units]
        parts = " + ".join([*explained, f"{_number(one, one.unexplained)} unexplained"])
        yield f"  {one.currency}: {_number(one, one.theirs)}{fees} - {_number(one, one.ours)} gateway_cash = {parts}"


def _number(balance: Balance, units: int) -> str:
    return readable(units, balance.currency).partition(" ")[0]


def _counts(done: Reconciliation) -> str:
    return (
        f"{done.lines:,} lines of {done.provider}, {done.matched:,} matched; {done.escrows:,} escrows looked at; "
        f"healed {done.healed:,}."
    )
