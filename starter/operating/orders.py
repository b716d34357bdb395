"""Operators' commands: from what was typed to a command that an escrow's workflow takes, and what became of it."""

import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import ValidationError

from ledger import oversight
from models import ids
from models.commands import Actor, Cancel, Command, Refund
from models.currencies import exponent
from models.escrow import Escrow
from models.money import Money
from starter.endings import INTERRUPTED, EndedError
from starter.misuse import MisuseError
from starter.operating.lookup import escrow_document, found_escrow, outcome_text
from starter.operating.office import Office, not_found, office
from starter.reports.visible import visible

_OPTIONS: Final = {
    "id": "--id",
    "actor.party": "--operator",
    "expected_version": "--expect-version",
    "seller_share": "--seller-share",
}

Fields = Callable[[Escrow], dict[str, Any]]


@dataclass(frozen=True)
class Sending:
    """How a command is sent: by whom, under which id, on which servers, and whether anybody is asked before."""

    operator: str
    id: str | None
    expect_version: int | None
    home: Path | None
    quiet: bool
    yes: bool = True


@dataclass(frozen=True)
class Wish:
    """What an operator wants: a command about something of an escrow (or the escrow itself), by its id.

    ``fields`` makes the rest of the command from the escrow; ``asks`` says what it does, to whoever may still say no,
    and is None where no money moves.
    """

    command: type[Command]
    kind: oversight.Kind
    target: str
    fields: Fields = lambda _: {}
    asks: Callable[[Escrow], str] | None = None


def send(wish: Wish, sending: Sending) -> tuple[str, dict[str, Any]]:
    """Send it and tell what became of it, for people and for scripts.

    Raises ``MisuseError``, ``EndedError`` and ``StackError``.
    """
    if wish.asks and not sending.yes and not sys.stdin.isatty():
        raise MisuseError("This moves money, and nobody can be asked here: say --yes if it is meant.")
    with office(sending.home, quiet=sending.quiet) as desk:
        escrow = _escrow(desk, wish)
        command = _command(wish, sending, escrow)
        if wish.asks and not sending.yes:
            _ask(desk, f"{wish.asks(escrow)} {outcome_text(escrow)} Go on?")
        if sending.id is None:
            desk.progress.say(f"Command {command.id}")
        after: Escrow = desk.see_to(lambda _, sender: sender.send(command), command.id)
    return outcome_text(after), {"command": command.id, "escrow": escrow_document(after)}


def amount(option: str, text: str, currency: str) -> int:
    """Minor units of an amount with exactly the decimals of its currency: nobody means 40000 and gets 400.00.

    Raises ``MisuseError``.
    """
    decimals = exponent(currency)
    try:
        units = Money.parse(text, currency).amount
        if units > 0 and len(text.partition(".")[2]) == decimals:
            return units
    except ValueError:
        pass
    example = str(Money(12345, currency)).replace(",", "")
    raise MisuseError(
        f"{option} {visible(text)} is not an amount: write it above zero and with {decimals} decimals, like {example}."
    )


def milestone(escrow: Escrow, text: str) -> str:
    """The id of a milestone that is named by its id or its number, from 1. Raises ``EndedError`` (not_found)."""
    for one in escrow.milestones:
        if text in (one.id, str(one.position)):
            return one.id
    raise not_found("milestone", text, f"escrow show {escrow.id}")


def ending(command: type[Cancel] | type[Refund], escrow: str, reason: str | None) -> Wish:
    """To end an escrow: what is still held returns to the buyer."""
    return Wish(
        command,
        "escrow",
        escrow,
        lambda _: {"reason": reason},
        asks=lambda found: f"Return {found.money(found.held)} to {found.buyer}.",
    )


def to_send(escrow: Escrow, payout: str) -> str:
    """What sending a payout does."""
    found = escrow.payout(payout)
    return f"Send {escrow.money(found.amount)} to {found.party}." if found else ""


def _escrow(desk: Office, wish: Wish) -> Escrow:
    if wish.kind == "escrow":
        return found_escrow(desk.engine, wish.target)
    row = oversight.one(desk.engine, wish.kind, wish.target)
    if row is None:
        raise not_found(wish.kind, wish.target, f"{wish.kind} list")
    return found_escrow(desk.engine, row["escrow"])


def _command(wish: Wish, sending: Sending, escrow: Escrow) -> Command:
    identifier = sending.id or ids.make("cmd", datetime.now(UTC), secrets.token_bytes(10))
    fields: dict[str, Any] = wish.fields(escrow) | ({} if wish.kind == "escrow" else {wish.kind: wish.target})
    try:
        return wish.command(
            id=identifier,
            escrow=escrow.id,
            actor=Actor(role="operator", party=sending.operator),
            expected_version=sending.expect_version,
            **{name: value for name, value in fields.items() if value is not None},
        )
    except ValidationError as error:
        raise MisuseError("\n".join(_wrong(one["loc"], one["msg"]) for one in error.errors())) from error


def _wrong(place: tuple[int | str, ...], why: str) -> str:
    name = ".".join(map(str, place)) or "party"
    option = _OPTIONS.get("actor.party" if name == "party" else name) or f"--{name.replace('_', '-')}"
    return f"{option}: {why.removeprefix('Value error, ')}"


def _ask(desk: Office, question: str) -> None:
    with desk.progress.paused():
        meant = typer.confirm(question, err=True)
    if not meant:
        raise EndedError(INTERRUPTED, "interrupted", "Nothing was sent.")
