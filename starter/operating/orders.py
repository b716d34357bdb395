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
from pydantic_core import ErrorDetails

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

_OPTIONS: Final = {"party": "--operator", "expected_version": "--expect-version"}
_SHAPES: Final = {
    "party": "write a name of up to 64 letters, digits and . _ : - without blanks, such as olga",
    "id": "write up to 255 visible ASCII characters, of which the first is not ~",
    "destination": "write up to 100 letters, digits and _",
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
    yes: bool = False


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
        after: Escrow = desk.see_to(lambda _, sender: sender.send(command), command.id, told=sending.id is not None)
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
    example = str(Money(12345, currency)).replace(",", "").partition(" ")[0]
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


def resolution(word: str, refund_amount: str | None, seller_share: str | None) -> None:
    """Whether a resolution comes with what belongs to it, and with nothing else. Raises ``MisuseError``."""
    for option, said, belongs, example in (
        ("--refund-amount", refund_amount, "partial_refund", "400.00"),
        ("--seller-share", seller_share, "split", "0.7"),
    ):
        if said is None and word == belongs:
            raise MisuseError(f"--resolution {word} needs {option}, like {option} {example}.")
        if said is not None and word != belongs:
            raise MisuseError(f"{option} goes with --resolution {belongs} alone, not with {word}.")


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
        raise MisuseError("\n".join(_wrong(str(one["loc"][-1]), one) for one in error.errors())) from error


def _wrong(field: str, error: ErrorDetails) -> str:
    option = _OPTIONS.get(field, f"--{field.replace('_', '-')}")
    if error["type"] == "string_pattern_mismatch" and field in _SHAPES:
        return f"{option} {visible(str(error['input']))}: {_SHAPES[field]}."
    return f"{option}: {error['msg'].removeprefix('Value error, ')}"


def _ask(desk: Office, question: str) -> None:
    with desk.progress.paused():
        meant = typer.confirm(question, err=True)
    if not meant:
        raise EndedError(INTERRUPTED, "interrupted", "Nothing was sent.")
