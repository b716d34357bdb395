"""What a person wants to see after a deal was played: the story, the money, and that the books balance."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from textwrap import shorten
from typing import Any, Final
from urllib.parse import quote

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from ledger import reads
from ledger.reads import Movement, StatementLine, TrialBalanceLine
from models import ids
from models.escrow import Escrow
from models.outcome import Outcome
from models.postings import PLATFORM
from models.states import PayoutStatus
from starter.deals import tables
from starter.deals.deal import Deal
from starter.deals.play import Played, Step
from starter.deals.tables import BAD, DIM, number, table
from starter.deals.telling import amount, what, who
from starter.servers import Servers
from workflows.visibility import waits_for

_MESSAGE_LENGTH: Final = 72
# A deadline of 14 days comes 14 days after something that happened a little after the beginning.
_OF_PLAYING: Final = timedelta(minutes=10)
_FAILED: Final = frozenset({PayoutStatus.FAILED, PayoutStatus.UNKNOWN, PayoutStatus.RETURNED})


@dataclass(frozen=True)
class Books:
    """Everything of a run that the ledger has. Amounts are minor units."""

    movements: list[Movement]
    deadlines: list[tuple[str, Outcome]]
    events: Sequence[Any]
    settlements: Sequence[Any]
    statements: dict[str, list[StatementLine]]
    trial_balance: list[TrialBalanceLine]

    @property
    def differences(self) -> dict[str, int]:
        """Debits less credits, per currency: zero, or the books are wrong."""
        differences = defaultdict[str, int](int)
        for line in self.trial_balance:
            differences[line.currency] += line.debit - line.credit
        return differences


def read_books(engine: Engine, played: Played) -> Books:
    """Read what the ledger has of a run."""
    tenant, escrow = played.run.tenant, played.run.escrow
    owners = (*played.deal.parties, PLATFORM)
    return Books(
        movements=reads.movements(engine, tenant),
        deadlines=reads.decided(engine, escrow, "reach_deadline"),
        events=reads.events(engine, escrow),
        settlements=reads.settlements(engine, escrow),
        statements={owner: lines for owner in owners if (lines := reads.statement(engine, tenant, owner))},
        trial_balance=reads.trial_balance(engine, tenant),
    )


def show(console: Console, played: Played, books: Books, servers: Servers, up: str) -> None:
    """Print the report, without the blanks that tables end their lines with. ``up`` is the command that stays up."""
    with console.capture() as capture:
        for title, content in _sections(played, books):
            console.print(title, style="bold")
            console.print(Padding(content if content.row_count else "none", (0, 0, 1, 2)))
        for line in _conclusion(played, books, servers, up):
            console.print(line, soft_wrap=True)
    console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))
    console.file.flush()


def _sections(played: Played, books: Books) -> Iterator[tuple[str, Table]]:
    escrow = played.escrow
    yield _heading(played), _story(played, books)
    if escrow:
        yield "Milestones", tables.milestones(escrow)
        yield "Settlements", tables.settlements(escrow, books.settlements)
        yield from _where_there_are_any(escrow, books.settlements)
        yield "Payouts", tables.payouts(escrow)
    for owner, lines in books.statements.items():
        yield f"Statement of {owner}", tables.statement(lines)
    yield "Trial balance", tables.trial_balance(books.trial_balance, books.differences)


def _where_there_are_any(escrow: Escrow, settlements: Sequence[Any]) -> Iterator[tuple[str, Table]]:
    """What most deals do not have."""
    found = (
        ("Fees, step by step", tables.fee_steps(escrow, settlements)),
        ("Settlements in the reporting currency", tables.translations(escrow, settlements)),
        ("Taken back after release", tables.clawbacks(escrow, settlements)),
        ("Chargebacks", tables.chargebacks(escrow)),
    )
    yield from ((title, content) for title, content in found if content.row_count)


def _heading(played: Played) -> str:
    escrow = played.escrow
    if escrow is None:
        return f"{played.deal.title}: there is no escrow"
    agreed = f"{escrow.money(escrow.amount)} from {escrow.buyer} to {escrow.seller}"
    return f"{escrow.title}: {agreed}, {escrow.state}"


def _story(played: Played, books: Books) -> Table:
    moved = defaultdict[str, list[Movement]](list)
    for movement in books.movements:
        moved[movement.command].append(movement)
    story = table(number("#"), "who", "does", "state", "money moved")
    for deed in _deeds(played, books):
        style = BAD if deed.surprising else DIM if not deed.number else None
        because = Text(shorten(deed.because, _MESSAGE_LENGTH, placeholder=" ..."), DIM)
        money = tables.moved(moved[deed.command])
        story.add_row(deed.number, deed.who, deed.what, deed.state, money or because, style=style)
    return story


@dataclass(frozen=True)
class _Deed:
    """A row of the story: a step of the file, or a deadline that acted by itself. ``because`` says what hindered it."""

    number: str
    who: str
    what: str
    state: str
    command: str
    surprising: bool = False
    because: str = ""


@dataclass(frozen=True)
class _Acted:
    """What a deadline did, the version that it made, and when, on the tenant's clock."""

    version: int
    at: datetime
    deed: _Deed


def _deeds(played: Played, books: Books) -> Iterator[_Deed]:
    """The steps in order; between them what deadlines did, each after the move of the clock that let it come."""
    acted = list(_acted(played.deal, books))
    clock = played.run.started + _OF_PLAYING
    for step in played.steps:
        while acted and step.escrow and step.action.command and acted[0].version < step.escrow.version:
            yield acted.pop(0).deed
        yield _step(step, played.deal)
        clock += step.action.moves_clock_by
        while acted and step.action.moves_clock_by and acted[0].at <= clock:
            yield acted.pop(0).deed
    yield from (one.deed for one in acted)


def _step(step: Step, deal: Deal) -> _Deed:
    action = step.action
    state = step.escrow.state.value if step.escrow and action.command else ""
    if step.refusal:
        state = f"refused: {step.refusal.code}"
    surprising = step.surprise(deal) is not None
    because = step.refusal.message if step.refusal else ""
    return _Deed(str(step.number), who(action), what(action, deal.currency), state, step.id or "", surprising, because)


def _acted(deal: Deal, books: Books) -> Iterator[_Acted]:
    """What deadlines did, in order. One that only looked and changed nothing is no deed."""
    for command, outcome in books.deadlines:
        escrow = outcome.escrow
        event = next((one for one in books.events if escrow and one["version"] == escrow.version), None)
        if escrow and event:
            yield _Acted(escrow.version, escrow.updated_at, _by_itself(escrow, command, event, deal.currency))


def _by_itself(escrow: Escrow, command: str, event: Any, currency: str) -> _Deed:
    data = event["data"]
    deferred = next((one for one in escrow.deadlines if one.id == data.get("deadline") and one.deferred_because), None)
    milestone = escrow.milestone((deferred.milestone if deferred else data.get("milestone")) or "")
    payout = escrow.payout((deferred.payout if deferred else data.get("payout")) or "")
    words = [event["type"].removeprefix("milestone."), data.get("resolution"), data.get("hold")]
    if milestone:
        words.append(str(milestone.position))
    if payout:
        words += [str(1 + escrow.payouts.index(payout)), amount(payout.amount, currency)]
    because = (deferred.deferred_because if deferred else data.get("reason")) or ""
    return _Deed("", "system", " ".join(filter(None, words)), escrow.state.value, command, because=because)


def _conclusion(played: Played, books: Books, servers: Servers, up: str) -> Iterator[Text | str]:
    for problem in verdict(played, books):
        yield Text(problem, BAD)
    escrow = played.escrow
    if escrow is None:
        return
    if escrow.attention and _is_awaited(escrow):  # a story may end so; what has failed is part of the verdict
        yield f"Needs attention: {escrow.attention}"
    yield f"The escrow is {escrow.state}" + ("." if escrow.finished else f" and waits for {waits_for(escrow)}.")
    workflow = ids.escrow_workflow(escrow.id)
    namespace = servers.temporal.get("namespace", "default")
    if servers.ui is None:
        yield f"In Temporal: workflow {workflow} of namespace {namespace}."
        return
    yield f"In Temporal: {servers.ui}/namespaces/{namespace}/workflows/{quote(workflow, safe='')}"
    if not servers.lasting:
        yield f"The stack of this run stops now; `{up}` brings it back, with everything that is in it."


def verdict(played: Played, books: Books) -> list[str]:
    """Everything that did not come out as it should, a line each; empty after a good run."""
    unbalanced = (
        f"the books do not balance: debits and credits in {currency} differ by {amount(difference, currency)}"
        for currency, difference in books.differences.items()
        if difference
    )
    problems = [f"Problem: {problem}" for problem in (*played.problems, *unbalanced)]
    return [*problems, *(f"Needs attention: {why}" for why in _failed(played.escrow))]


def _failed(escrow: Escrow | None) -> Iterator[str]:
    """Why a person has to look at what the escrow could not do by itself. What somebody is to decide is no failure."""
    if escrow is None:
        return
    if escrow.attention and not _is_awaited(escrow):
        yield escrow.attention
    elif escrow.attention:  # it hides the rest
        yield from (one.deferred_because for one in escrow.deadlines if one.deferred_because)


def _is_awaited(escrow: Escrow) -> bool:
    """Whether it waits for an operator, for the payer's bank, or for papers that a party has to bring."""
    if escrow.open_dispute or escrow.open_chargeback:
        return True
    return any(one.hold for one in escrow.payouts) and not any(one.status in _FAILED for one in escrow.payouts)
