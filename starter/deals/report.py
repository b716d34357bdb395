"""What a person wants to see after a deal was played: the story, the money, and that the books balance."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Final
from urllib.parse import quote

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text
from sqlalchemy import Engine

from ledger import reads
from ledger.reads import Movement, StatementLine, TrialBalanceLine
from models import ids
from models.escrow import Escrow
from models.outcome import Outcome
from models.postings import PLATFORM, AccountKind
from models.states import PayoutStatus
from starter.deals.deal import Deal
from starter.deals.play import Played, Step
from starter.deals.telling import amount, what, who
from starter.servers import Servers
from workflows.visibility import waits_for

_GOOD: Final = "green"
_BAD: Final = "red"
_DIM: Final = "dim"
_MESSAGE_LENGTH: Final = 72
_SIDES: Final = ("debit", "credit")

# What a credit of an account means to the people of a deal.
_CREDITED: Final[dict[str, str]] = {
    AccountKind.ESCROW_HOLD: "held",
    AccountKind.DISPUTED_FUNDS: "frozen",
    AccountKind.FEE_REVENUE: "fee",
}
_OURS: Final = frozenset({AccountKind.FEE_REVENUE})


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
        yield "Milestones", _milestones(escrow)
        yield "Settlements", _settlements(escrow, books.settlements)
        yield "Payouts", _payouts(escrow)
    for owner, lines in books.statements.items():
        yield f"Statement of {owner}", _statement(lines)
    yield "Trial balance", _trial_balance(books)


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
    table = _table(_number("#"), "who", "does", "state", "money moved")
    for deed in _deeds(played, books):
        style = _BAD if deed.surprising else _DIM if not deed.number else None
        because = Text(shorten(deed.because, _MESSAGE_LENGTH, placeholder=" ..."), _DIM)
        table.add_row(deed.number, deed.who, deed.what, deed.state, _moved(moved[deed.command]) or because, style=style)
    return table


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


def _deeds(played: Played, books: Books) -> Iterator[_Deed]:
    """The steps in order; between them, by version, what deadlines did."""
    acted = [(outcome.escrow, command) for command, outcome in books.deadlines if outcome.escrow]
    for step in played.steps:
        while acted and step.escrow and step.action.command and acted[0][0].version < step.escrow.version:
            yield _by_itself(*acted.pop(0), books)
        yield _step(step, played.deal)
    for escrow, command in acted:
        yield _by_itself(escrow, command, books)


def _step(step: Step, deal: Deal) -> _Deed:
    action = step.action
    state = step.escrow.state.value if step.escrow and action.command else ""
    if step.refusal:
        state = f"refused: {step.refusal.code}"
    surprising = step.surprise(deal) is not None
    because = step.refusal.message if step.refusal else ""
    return _Deed(str(step.number), who(action), what(action, deal.currency), state, step.id or "", surprising, because)


def _by_itself(escrow: Escrow, command: str, books: Books) -> _Deed:
    event = next((one for one in books.events if one["version"] == escrow.version), None)
    data = event["data"] if event else {}
    deferred = next((one for one in escrow.deadlines if one.id == data.get("deadline") and one.deferred_because), None)
    milestone = escrow.milestone(deferred.milestone if deferred else data.get("milestone", ""))
    name = event["type"].removeprefix("milestone.") if event else "deadline"
    deed = f"{name} {milestone.position if milestone else ''}".rstrip()
    because = deferred.deferred_because or "" if deferred else ""
    return _Deed("", "system", deed, escrow.state.value, command, because=because)


def _moved(movements: Iterable[Movement]) -> str:
    """Where the money went: ``bob 1,350.00, fee 150.00``."""
    credits_ = (one for one in movements if one.direction == "credit")
    credited = sorted(credits_, key=lambda one: (one.account in _OURS, one.account))
    return ", ".join(f"{_CREDITED.get(one.account, one.owner)} {amount(one.amount, one.currency)}" for one in credited)


def _milestones(escrow: Escrow) -> Table:
    described = ("in other words",) if any(one.description for one in escrow.milestones) else ()
    table = _table(_number("#"), "title", *described, "due", _number(f"amount {escrow.currency}"), "status")
    for one in escrow.milestones:
        description = (one.description or "",) if described else ()
        due = one.due.isoformat() if one.due else ""
        table.add_row(str(one.position), one.title, *description, due, _units(escrow, one.amount), one.status)
    return table


def _settlements(escrow: Escrow, settlements: Sequence[Any]) -> Table:
    columns = (_number(name) for name in (f"total {escrow.currency}", "fee", "seller", "buyer"))
    table = _table("of", "outcome", *columns, "by the rule")
    for row in settlements:
        milestone = escrow.milestone(row["milestone"] or "")
        of = f"milestone {milestone.position}" if milestone else "all that was held"
        parts = (row[name] for name in ("total", "platform_fee", "seller_payout", "buyer_refund"))
        rule = f"{row['fee_rule']} {row['fee_rate']} (v{row['fee_policy_version']})"
        table.add_row(of, row["outcome"], *(_units(escrow, part) for part in parts), rule)
    return table


def _payouts(escrow: Escrow) -> Table:
    table = _table("to", "destination", _number(f"amount {escrow.currency}"), "status", "at the gateway")
    for one in escrow.payouts:
        style = _GOOD if one.status == PayoutStatus.PAID else _BAD
        known = one.reference or one.reason or ""
        table.add_row(one.party, one.destination or "", _units(escrow, one.amount), Text(one.status, style), known)
    return table


def _statement(lines: list[StatementLine]) -> Table:
    table = _table("time", "memo", "account", "", _number("amount"), _number("balance"))
    for line in lines:
        moved = f"{'+' if line.amount > 0 else ''}{amount(line.amount, line.currency)}"
        balance = amount(line.balance, line.currency)
        table.add_row(f"{line.posted_at:%Y-%m-%d %H:%M}", line.memo, line.account, line.currency, moved, balance)
    return table


def _trial_balance(books: Books) -> Table:
    lines = books.trial_balance
    table = _table("account", "", _number("debit"), _number("credit"), _number("balance"), "side")
    for line in lines:
        sums = (amount(units, line.currency) for units in (line.debit, line.credit, line.balance))
        table.add_row(line.account, line.currency, *sums, line.normal_side if line.balance else "")
    table.add_section()
    for currency, difference in books.differences.items():
        debit, credit = (sum(getattr(one, side) for one in lines if one.currency == currency) for side in _SIDES)
        verdict = Text(f"difference {amount(difference, currency)}", _BAD if difference else _GOOD)
        table.add_row("total", currency, amount(debit, currency), amount(credit, currency), "", verdict)
    return table


def _conclusion(played: Played, books: Books, servers: Servers, up: str) -> Iterator[Text | str]:
    for problem in verdict(played, books):
        yield Text(problem, _BAD)
    escrow = played.escrow
    if escrow is None:
        return
    if escrow.attention and escrow.open_dispute:  # a story may end so; what has failed is part of the verdict
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
    """Why a person has to look at what the escrow could not do by itself. An open dispute is no failure."""
    if escrow is None:
        return
    if escrow.attention and not escrow.open_dispute:
        yield escrow.attention
    elif escrow.open_dispute:  # it hides the rest
        yield from (one.deferred_because for one in escrow.deadlines if one.deferred_because)


def _units(escrow: Escrow, units: int) -> str:
    return amount(units, escrow.currency) if units else "-"


def _number(header: str) -> Column:
    return Column(header, justify="right", no_wrap=True)


def _table(*headers: Column | str) -> Table:
    """A table in which, however narrow the terminal, nothing is cut off."""
    columns = (one if isinstance(one, Column) else Column(one, overflow="fold") for one in headers)
    return Table(*columns, box=box.SIMPLE_HEAD, header_style=_DIM, show_edge=False, pad_edge=False)
