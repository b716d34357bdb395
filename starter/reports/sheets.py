"""The five reports as sheets, from what the ledger sums up."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from sqlalchemy import Engine

from ledger import reports
from ledger.reports import Liquidity, Span
from models.postings import AccountKind
from starter.reports.sheet import Check, Column, Row, Sheet, totals

_PERIOD: Final = Column("period", "code")
_CURRENCY: Final = Column("currency", "code")
# Each kind of account by the name that people in charge of money call it, in the order of the report.
_ITEMS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("owed", "held", (AccountKind.ESCROW_HOLD,)),
    ("owed", "disputed", (AccountKind.DISPUTED_FUNDS,)),
    ("owed", "contested", (AccountKind.CHARGEBACK_HOLD,)),
    ("owed", "payable", (AccountKind.PAYABLE,)),
    ("owed", "in transit", (AccountKind.PAYOUT_IN_TRANSIT,)),
    ("owed", "wallets", (AccountKind.WALLET,)),
    ("owed", "all liabilities", Liquidity.LIABILITIES),
    ("earned", "platform fees", (AccountKind.FEE_REVENUE,)),
    ("earned", "dispute fees", (AccountKind.DISPUTE_FEE_REVENUE,)),
    ("unexplained", "suspense", Liquidity.UNEXPLAINED),
    ("there", "cash", (AccountKind.GATEWAY_CASH,)),
    ("there", "receivable", (AccountKind.RECEIVABLE,)),
    ("there", "platform loss", (AccountKind.PLATFORM_LOSS,)),
)
_TIES: Final = "cash + receivable + platform loss = all liabilities + fees earned + suspense"
_MOVEMENTS: Final[dict[str, str]] = {
    AccountKind.FEE_REVENUE: "platform fees less returned = movement of fee_revenue",
    AccountKind.DISPUTE_FEE_REVENUE: "dispute fees = movement of dispute_fee_revenue",
}
_FEES: Final = ("settlements", "platform_fees", "dispute_fees", "returned", "earned")
_SETTLED: Final = ("total", "platform_fee", "seller_payout", "buyer_refund", "fee_returned")
_SHOWN: Final = (*_SETTLED[:2], "of_which_dispute_fee", *_SETTLED[2:])
_REPORTED: Final = tuple(f"reporting_{name}" for name in _SETTLED if name != "fee_returned")
_CLAWBACKS: Final = "Clawbacks reverse settlements that were counted when they were made; totals are without them."


def liquidity(engine: Engine, tenant: str, span: Span) -> Sheet:
    """What is owed, what was earned, what nobody can explain and what is there, at the end of each period."""
    lines = reports.liquidity(engine, tenant, span)
    rows = [
        {"period": line.period, "currency": line.currency, "side": side, "item": item, "amount": line.sum_of(kinds)}
        for line in lines
        for side, item, kinds in _ITEMS
    ]
    columns = (_PERIOD, _CURRENCY, Column("side", "code"), Column("item", "code"), Column("amount", "money"))
    checks = [Check(_named(_TIES, line.period), line.currency, line.difference) for line in lines]
    return Sheet("Liquidity", columns, rows, "Nothing was posted up to then.", checks=checks)


def trial_balance(engine: Engine, tenant: str, span: Span) -> Sheet:
    """Every kind of account with its opening balance, debits, credits and closing balance."""
    lines = reports.trial_balance(engine, tenant, span)
    rows = [asdict(line) | {"closing": line.closing} for line in lines]
    moneys = (Column(name, "money") for name in ("opening", "debit", "credit", "closing"))
    sums = totals(rows, ("period", "currency"), ("debit", "credit"), "account")
    checks = [
        Check(_named("debits = credits", one["period"]), one["currency"], one["debit"] - one["credit"]) for one in sums
    ]
    return Sheet(
        "Trial balance",
        (_PERIOD, _CURRENCY, Column("account", "code"), Column("normal_side", "code"), *moneys),
        rows,
        "Nothing was posted up to then.",
        sums,
        checks,
    )


def fees(engine: Engine, tenant: str, span: Span) -> Sheet:
    """What the platform earned, less what it gave back."""
    found = reports.fees(engine, tenant, span)
    rows = [asdict(line) | {"returned": line.returned, "earned": line.earned} for line in found.lines]
    moneys = (Column(name, "money") for name in _FEES[1:])
    checks = [
        Check(_MOVEMENTS[account], currency, difference)
        for (account, currency), difference in sorted(found.differences.items(), reverse=True)
    ]
    sums = totals(rows, ("currency",), _FEES, "period")
    if span.by != "total":
        sums = [*totals(rows, ("period", "currency"), _FEES, "outcome"), *sums]
    return Sheet(
        "Fees earned",
        (_PERIOD, _CURRENCY, Column("category"), Column("outcome", "code"), Column("settlements", "count"), *moneys),
        rows,
        "No fees were earned or given back in this time.",
        sums,
        checks,
    )


def settlements(engine: Engine, tenant: str, span: Span) -> Sheet:
    """What was settled, in the deals' currency and in the reporting currency."""
    lines = reports.settlements(engine, tenant, span)
    rows: list[Row] = [asdict(line) | {"of_which_dispute_fee": line.dispute_fee} for line in lines]
    deal, reporting = "In the deals' currency", "In the reporting currency, at the rate of each settlement's moment"
    return Sheet(
        "Settlements",
        (
            _PERIOD,
            Column("outcome", "code"),
            Column("settlements", "count"),
            Column("currency", "code", called="deals in"),
            *(Column(name, "money", part=deal) for name in _SHOWN),
            Column("reporting_currency", "code", part=reporting),
            *(Column(name, "money", "reporting_currency", reporting) for name in _REPORTED),
        ),
        rows,
        "Nothing was settled in this time.",
        totals(
            (row for row in rows if row["outcome"] != "clawback"),
            ("currency", "reporting_currency"),
            ("settlements", *_SHOWN, *_REPORTED),
            "period",
        ),
        [check for row in rows for check in _division(row)],
        (_CLAWBACKS,) if any(row["outcome"] == "clawback" for row in rows) else (),
    )


def tenants(engine: Engine) -> Sheet:
    """Whom there are books of."""
    columns = (
        Column("id", "code"),
        Column("name"),
        Column("mode", "code"),
        Column("reporting_currency", "code"),
        Column("escrows", "count"),
        Column("latest_escrow", "code"),
    )
    rows = [dict(row) for row in reports.tenants(engine)]
    return Sheet("Tenants", columns, rows, "There are no tenants yet: a deal that is played makes one.")


def _division(row: Row) -> Iterator[Check]:
    """In both currencies the parts of a sum of settlements are the whole."""
    for prefix in ("", "reporting_"):
        total, *parts = (row[f"{prefix}{name}"] for name in _SETTLED[:4])
        says = f"{row['outcome']}: total = fee + seller + buyer"
        yield Check(_named(says, row["period"]), row[f"{prefix}currency"], total - sum(parts))


def _named(says: str, period: str) -> str:
    return says if period == reports.TOTAL else f"{period}: {says}"
