"""Operators' corrections of what reconciliation found: proposed, approved, rejected; ``ledger.corrections`` decides."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import typer
from pydantic import ValidationError

from ledger import corrections
from ledger.corrections import Proposal, Verdict
from models.fields import Document
from models.ids import is_id
from models.reconciliation import Correction, Difference
from settings import Settings
from starter.endings import INTERRUPTED, EndedError
from starter.invocation import suggested
from starter.misuse import MisuseError
from starter.operating import orders
from starter.operating.office import Office, not_found, office
from starter.operating.reconciling import amount, looked_up
from starter.reports.visible import visible
from starter.servers import read_settings

T = TypeVar("T", bound=Document)

_OPTIONS: Final = {
    "operator": "--operator {}: write a name of up to 64 letters, digits and . _ : - without blanks, such as olga.",
    "reason": "--reason has 1 to 2000 characters, without control characters.",
    "why": "--reason has 1 to 2000 characters, without control characters.",
    "tenant": "--tenant {} is not the id of a tenant, which begins with ten_: `tenant list` lists them.",
}


@dataclass(frozen=True)
class Asked:
    """Who asks for it, on which servers, and whether anybody is asked before money is booked."""

    operator: str
    home: Path | None
    quiet: bool
    yes: bool = False

    def ask(self, desk: Office, question: str) -> None:
        """Let a person say no. Raises ``EndedError`` (interrupted)."""
        if self.yes:
            return
        with desk.progress.paused():
            meant = typer.confirm(question, err=True)
        if not meant:
            raise EndedError(INTERRUPTED, "interrupted", "Nothing was booked.")

    def see_that_somebody_can_be_asked(self) -> None:
        """Raises ``MisuseError`` where nobody said --yes and nobody is there."""
        if not self.yes and not sys.stdin.isatty():
            raise MisuseError("This moves money, and nobody can be asked here: say --yes if it is meant.")


def correct(
    difference: str, part: str | None, tenant: str | None, reason: str, asked: Asked
) -> tuple[str, dict[str, Any]]:
    """Propose a correction, which books it up to the limit. Raises ``MisuseError``, ``EndedError``, ``StackError``."""
    asked.see_that_somebody_can_be_asked()
    wanted = _checked(Proposal, difference=difference, tenant=tenant, reason=reason, operator=asked.operator)
    config: Settings = read_settings()
    with office(asked.home, quiet=asked.quiet) as desk:
        found = looked_up(desk.engine, difference)
        wanted = wanted.model_copy(update={"amount": _part(found, part)})
        before = corrections.booked_alone(desk.engine, found)
        asked.ask(desk, f"{_plan(found, wanted)}{_needs(found, wanted, config.correction_limit, before)} Go on?")
        made = corrections.propose(desk.engine, wanted, config.correction_limit)
    return told(made), made.model_dump(mode="json")


def approve(correction: str, why: str | None, asked: Asked) -> tuple[str, dict[str, Any]]:
    """Book what somebody else proposed. Raises ``MisuseError``, ``EndedError``, ``StackError``."""
    asked.see_that_somebody_can_be_asked()
    verdict = _verdict(correction, why, asked)
    with office(asked.home, quiet=asked.quiet) as desk:
        if not asked.yes:
            proposed = _found(desk, correction)
            asked.ask(
                desk,
                f"{visible(looked_up(desk.engine, proposed.difference).says)}.\n"
                f"{proposed.proposed_by} wants {amount(proposed.amount, proposed.currency)} booked to gateway_cash in "
                f"{proposed.tenant}, against suspense: {visible(proposed.reason)}. Approve?",
            )
        made = corrections.approve(desk.engine, verdict)
    return told(made), made.model_dump(mode="json")


def reject(correction: str, why: str, asked: Asked) -> tuple[str, dict[str, Any]]:
    """Close what was proposed without booking it. Raises ``MisuseError``, ``EndedError``, ``StackError``."""
    verdict = _verdict(correction, why, asked)
    with office(asked.home, quiet=asked.quiet) as desk:
        made = corrections.reject(desk.engine, verdict)
    return told(made), made.model_dump(mode="json")


def _verdict(correction: str, why: str | None, asked: Asked) -> Verdict:
    if not is_id("cor", correction):
        raise not_found("correction", correction, "reconcile list")
    return _checked(Verdict, correction=correction, operator=asked.operator, why=why)


def _found(desk: Office, correction: str) -> Correction:
    found = corrections.correction(desk.engine, correction)
    if found is None:
        raise not_found("correction", correction, "reconcile list")
    return found


def _checked(kind: type[T], **said: Any) -> T:
    try:
        return kind(**said)
    except ValidationError as error:
        wrong = (_OPTIONS[str(one["loc"][0])].format(visible(str(one["input"]))) for one in error.errors())
        raise MisuseError("\n".join(wrong)) from error


def _part(found: Difference, text: str | None) -> int | None:
    """What was typed is without a sign: it goes the way of the difference."""
    if text is None:
        return None
    if found.currency is None:
        raise MisuseError(f"--amount {visible(text)}: no amount differs in {found.id}.")
    units = orders.amount("--amount", text, found.currency)
    return units if (found.theirs or 0) > (found.ours or 0) else -units


def _plan(found: Difference, wanted: Proposal) -> str:
    """What would be booked, so that whoever is asked knows. What cannot be is refused by the books."""
    units = wanted.amount if wanted.amount is not None else (found.theirs or 0) - (found.ours or 0)
    return f"Book {amount(units, found.currency)} to gateway_cash in {found.tenant or wanted.tenant}, against suspense."


def _needs(found: Difference, wanted: Proposal, limit: int, before: int) -> str:
    units = wanted.amount if wanted.amount is not None else (found.theirs or 0) - (found.ours or 0)
    if abs(units) + before <= limit:
        return " It is booked at once."
    with_it = f", since {amount(before, found.currency)} of it was booked by one alone before" if before else ""
    return f" Another operator has to approve it{with_it}."


def told(made: Correction) -> str:
    """What became of it, and what is left of the difference."""
    whole = (made.theirs or 0) - (made.ours or 0)
    part = f" of {amount(whole, made.currency)}" if made.amount != whole else ""
    rest = f"; {amount(whole - made.amount, made.currency)} remains, which the next round lists" if part else ""
    what = f"{made.id}: {amount(made.amount, made.currency)}{part} to gateway_cash in {made.tenant}, against suspense"
    if made.status == "booked":
        return f"{what}, is booked as {made.transaction}. {made.difference} is corrected{rest}."
    if made.status == "rejected":
        return f"{what}, was rejected by {made.decided_by}. Nothing was booked."
    line = suggested("reconcile", "approve", made.id, "--operator", "NAME")
    return f"{what}, waits for another operator than {made.proposed_by}: {line}"
