"""The tables of a report. Amounts stand in major units, in the currency that the head of their column or row names."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

from rich import box
from rich.table import Column, Table
from rich.text import Text

from ledger.reads import Movement, StatementLine, TrialBalanceLine
from models.escrow import Escrow, Payout
from models.postings import AccountKind
from models.states import PayoutStatus
from starter.deals.telling import amount

GOOD: Final = "green"
BAD: Final = "red"
DIM: Final = "dim"
_SIDES: Final = ("debit", "credit")

# What an entry means to the people of a deal, who know nothing of debits; others bear the name of the account's owner.
_CREDITED: Final[dict[str, str]] = {
    AccountKind.ESCROW_HOLD: "held ",
    AccountKind.DISPUTED_FUNDS: "frozen ",
    AccountKind.CHARGEBACK_HOLD: "contested ",
    AccountKind.GATEWAY_CASH: "the bank ",
    AccountKind.FEE_REVENUE: "fee ",
    AccountKind.DISPUTE_FEE_REVENUE: "dispute fee ",
    AccountKind.RECEIVABLE: "{owner} repays ",
}
_DEBITED: Final[dict[str, str]] = {
    AccountKind.FEE_REVENUE: "fee -",
    AccountKind.PAYABLE: "{owner} -",
    AccountKind.WALLET: "{owner} -",
    AccountKind.RECEIVABLE: "{owner} owes ",
}
# Where these are credited, it is plain whose money it is.
_ITS_OWN_MONEY: Final = frozenset({AccountKind.ESCROW_HOLD, AccountKind.RECEIVABLE})
_LAST: Final = (AccountKind.FEE_REVENUE, AccountKind.DISPUTE_FEE_REVENUE, AccountKind.RECEIVABLE)


def moved(movements: Sequence[Movement]) -> str:
    """Where the money went: ``bob 1,350.00, fee 150.00``; and of money taken back, from where it came."""
    to = [one for one in movements if one.direction == "credit"]
    away = [one for one in movements if one.direction == "debit" and one.account in _DEBITED]
    if any(one.account in _ITS_OWN_MONEY for one in to):
        away = [one for one in away if one.account == AccountKind.RECEIVABLE]
    return ", ".join((*_summed(to, _CREDITED), *_summed(away, _DEBITED)))


def _summed(movements: list[Movement], meaning: Mapping[str, str]) -> Iterator[str]:
    """Each meaning once: a chargeback takes from what is held and from what was released, and all goes to the bank."""
    sums = defaultdict[tuple[str, str], int](int)
    for one in sorted(movements, key=_rank):
        sums[meaning.get(one.account, "{owner} ").format(owner=one.owner), one.currency] += one.amount
    yield from (f"{words}{amount(units, currency)}" for (words, currency), units in sums.items())


def _rank(one: Movement) -> tuple[int, str]:
    return _LAST.index(AccountKind(one.account)) if one.account in _LAST else -1, one.account


def milestones(escrow: Escrow) -> Table:
    """What was agreed, and what became of it."""
    described = ("in other words",) if any(one.description for one in escrow.milestones) else ()
    rows = table(number("#"), "title", *described, "due", number(f"amount {escrow.currency}"), "status")
    for one in escrow.milestones:
        description = (one.description or "",) if described else ()
        due = one.due.isoformat() if one.due else ""
        rows.add_row(str(one.position), one.title, *description, due, _units(escrow, one.amount), one.status)
    return rows


def settlements(escrow: Escrow, found: Sequence[Any]) -> Table:
    """How every total was divided; the parts of a row sum to its total."""
    disputed = ("dispute fee",) if any(row["dispute_fee"] for row in found) else ()
    columns = (number(name) for name in (f"total {escrow.currency}", "fee", *disputed, "seller", "buyer"))
    rows = table("of", "outcome", *columns, "by the rule")
    for row in found:
        fees = (row["platform_fee"] - row["dispute_fee"], *(row["dispute_fee"] for _ in disputed))
        parts = (row["total"], *fees, row["seller_payout"], row["buyer_refund"])
        rows.add_row(_of(escrow, row), _outcome(row), *(_units(escrow, part) for part in parts), _rule(row))
    return rows


def fee_steps(escrow: Escrow, found: Sequence[Any]) -> Table:
    """How those fees came about that no single rate explains: tiers, minimums, dispute fees. In minor units."""
    rows = table("of", "computed in minor units")
    for row in found:
        if row["reverses"] is None and (len(row["fee_steps"]) > 2 or row["fee_rate"] is None):
            first, *more = row["fee_steps"]
            rows.add_row(_of(escrow, row), first)
            for step in more:
                rows.add_row("", step)
    return rows


def translations(escrow: Escrow, found: Sequence[Any]) -> Table:
    """The same settlements in the tenant's own currency, each at the rate of its moment."""
    foreign = [row for row in found if row["fx_quote"] not in {None, row["currency"]}]
    quote = foreign[0]["fx_quote"] if foreign else ""
    columns = (number(name) for name in (f"total {quote}", "fee", "seller", "buyer"))
    rows = table("of", "outcome", *columns, "at the rate")
    for row in foreign:
        parts = (row[f"fx_{name}"] for name in ("total", "platform_fee", "seller_payout", "buyer_refund"))
        rate = f"1 {row['currency']} = {_plain(row['fx_rate'])} {quote} of {row['fx_as_of']}"
        rows.add_row(_of(escrow, row), _outcome(row), *(_or_dash(int(part), quote) for part in parts), rate)
    return rows


def clawbacks(escrow: Escrow, found: Sequence[Any]) -> Table:
    """Whose money it was that went back to the buyer: the fee's part, then what was left of the seller's, then debt."""
    names = (f"total {escrow.currency}", "from the fee", "from payable", "from wallet", "owed by the seller")
    rows = table("of", *(number(name) for name in names))
    for row in found:
        if row["reverses"] is not None:
            parts = (row[name] for name in ("total", "fee_returned", "from_payable", "from_wallet", "to_receivable"))
            rows.add_row(_of(escrow, row), *(_units(escrow, part) for part in parts))
    return rows


def chargebacks(escrow: Escrow) -> Table:
    """What the payer's bank contests or took, and how much of it was still held."""
    rows = table("reference", "kind", number(f"amount {escrow.currency}"), number("of it held"), "status", "reason")
    for one in escrow.chargebacks:
        units = (_units(escrow, part) for part in (one.amount, one.frozen))
        rows.add_row(one.reference, one.kind, *units, one.status, one.reason or "")
    return rows


def payouts(escrow: Escrow) -> Table:
    """The money on its way to the seller, in the order in which it became due."""
    netted = (number("kept for debt"),) if any(one.netted for one in escrow.payouts) else ()
    rows = table("to", "destination", number(f"amount {escrow.currency}"), *netted, "status", "at the gateway")
    for one in escrow.payouts:
        kept = (_units(escrow, one.netted),) if netted else ()
        status = Text(f"held ({one.hold})" if one.hold else one.status, _style(one))
        known = one.reference or one.reason or ""
        rows.add_row(one.party, one.destination or "", _units(escrow, one.amount), *kept, status, known)
    return rows


def _style(payout: Payout) -> str:
    return GOOD if payout.status == PayoutStatus.PAID else "" if payout.hold else BAD


def statement(lines: list[StatementLine]) -> Table:
    """One owner's accounts as they moved; a ``receivable`` is what the party owes."""
    rows = table("time", "memo", "account", "", number("amount"), number("balance"))
    for line in _as_it_happened(lines):
        units = f"{'+' if line.amount > 0 else ''}{amount(line.amount, line.currency)}"
        account = f"{line.account} (owes)" if line.account == AccountKind.RECEIVABLE else line.account
        balance = amount(line.balance, line.currency)
        rows.add_row(f"{line.posted_at:%Y-%m-%d %H:%M}", line.memo, account, line.currency, units, balance)
    return rows


def _as_it_happened(lines: list[StatementLine]) -> Iterator[StatementLine]:
    """The books keep no order among the entries of one command: first stands what came, then what went."""
    balances = defaultdict[tuple[str, str], int](int)
    for _, at_once in groupby(lines, key=lambda line: line.posted_at):
        for line in sorted(at_once, key=lambda line: (line.amount < 0, line.account, line.memo, line.amount)):
            balances[line.account, line.currency] += line.amount
            yield replace(line, balance=balances[line.account, line.currency])


def trial_balance(lines: list[TrialBalanceLine], differences: Mapping[str, int]) -> Table:
    """Every kind of account; debits and credits sum to the same, or the books are wrong."""
    rows = table("account", "", number("debit"), number("credit"), number("balance"), "side")
    for line in lines:
        sums = (amount(units, line.currency) for units in (line.debit, line.credit, line.balance))
        rows.add_row(line.account, line.currency, *sums, line.normal_side if line.balance else "")
    rows.add_section()
    for currency, difference in differences.items():
        debit, credit = (sum(getattr(one, side) for one in lines if one.currency == currency) for side in _SIDES)
        verdict = Text(f"difference {amount(difference, currency)}", BAD if difference else GOOD)
        rows.add_row("total", currency, amount(debit, currency), amount(credit, currency), "", verdict)
    return rows


def number(header: str) -> Column:
    """A column of amounts."""
    return Column(header, justify="right", no_wrap=True)


def table(*headers: Column | str) -> Table:
    """A table in which, however narrow the terminal, nothing is cut off."""
    columns = (one if isinstance(one, Column) else Column(one, overflow="fold") for one in headers)
    return Table(*columns, box=box.SIMPLE_HEAD, header_style=DIM, show_edge=False, pad_edge=False)


def _of(escrow: Escrow, row: Any) -> str:
    milestone = escrow.milestone(row["milestone"] or "")
    if milestone:
        return f"milestone {milestone.position}"
    return "what was disputed" if row["dispute"] else "all that was held"


def _outcome(row: Any) -> str:
    return "clawback" if row["reverses"] else str(row["outcome"])


def _rule(row: Any) -> str:
    """The rule and its rate, if it has a single one: ``release/* 0.10 (v1)``; else ``in bands`` or ``fixed``."""
    rate = "in bands" if row["fee_rate"] is None else str(row["fee_rate"])
    if not row["fee_rate"] and any(", fixed amount" in step for step in row["fee_steps"][:1]):  # as models.fees says it
        rate = "fixed"
    return f"{row['fee_rule']} {rate} (v{row['fee_policy_version']})"


def _plain(figure: Decimal) -> str:
    text = f"{figure:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _units(escrow: Escrow, units: int) -> str:
    return _or_dash(units, escrow.currency)


def _or_dash(units: int, currency: str) -> str:
    return amount(units, currency) if units else "-"
