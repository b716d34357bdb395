"""Reports tie to the last unit: every figure is compared with a sum that was made another way, from the raw rows."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ledger import reports, tenants
from ledger.reports import By, Liquidity, Span
from ledger.snapshot import snapshot
from models.commands import ApproveMilestone, ResolveDispute, ReverseMilestone, ReviewDispute, SendPayout
from models.escrow import Escrow
from models.postings import AccountKind
from models.states import State
from starter.reports import sheets
from starter.reports.formats import as_csv
from tests.builders import new_id
from tests.market import Market
from tests.servers import Connection, Servers

EUR_JPY_KWD = ("EUR", "JPY", "KWD")
FIRST, LAST = date(2026, 1, 29), date(2026, 3, 3)
CASH, OWES = (AccountKind.GATEWAY_CASH, "debit"), (AccountKind.RECEIVABLE, "debit")  # nobody owes less than nothing
SIDES = [(CASH, (kind, "credit")) for kind in AccountKind if kind not in {CASH[0], OWES[0], AccountKind.SUSPENSE}]
SIDES += [(OWES, (AccountKind.PAYABLE, "credit"))]
DEBIT_SIDE = {AccountKind.GATEWAY_CASH, AccountKind.RECEIVABLE, AccountKind.PLATFORM_LOSS}
ALL = Span()


@dataclass(frozen=True)
class Posted:
    """One entry, as it was posted by hand."""

    at: datetime
    kind: str
    direction: str
    amount: int
    currency: str


@dataclass(frozen=True)
class Ledgerful:
    """A tenant of which every entry is known from before it was written."""

    market: Market
    entries: list[Posted]


@pytest.fixture(scope="module")
def ledgerful(servers: Servers) -> Ledgerful:
    """Three currencies, every kind of account, more than two months, many entries at midnight exactly."""
    market, random, entries = Market(servers.engine, purse=0), Random(7), list[Posted]()  # noqa: S311 - no secret
    with closing(servers.owner()) as owner:
        for _ in range(120):
            day = FIRST + timedelta(days=random.randrange((LAST - FIRST).days))
            second = random.choice([0, 0, 86_399, random.randrange(86_400)])
            at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=second)
            currency, amount = random.choice(EUR_JPY_KWD), random.choice([1, 99, 10**15, random.randrange(1, 10**6)])
            sides = random.choice(SIDES)
            write(owner, market.tenant, [Posted(at, kind, side, amount, currency) for kind, side in sides])
            entries += [Posted(at, kind, side, amount, currency) for kind, side in sides]
        owner.commit()
    return Ledgerful(market, entries)


@pytest.fixture
def superuser(servers: Servers) -> Iterator[Connection]:
    """Somebody who can write settlements that no rule has made."""
    with closing(servers.superuser()) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def write(
    connection: Connection, tenant: str, entries: list[Posted], escrow: str | None = None, settlement: str | None = None
) -> None:
    """One transaction by raw SQL; all its entries have its time."""
    transaction = new_id("txn")
    connection.execute(
        """INSERT INTO ledger_transaction (id, tenant_id, escrow_id, command_id, settlement_id, memo, posted_at)
           VALUES (%s, %s, %s, 'by hand', %s, 'by hand', %s)""",
        (transaction, tenant, escrow, settlement, entries[0].at),
    )
    for one in entries:
        connection.execute(
            "INSERT INTO entry VALUES (%s, %s, %s, %s, 'somebody', %s, %s, %s)",
            (new_id("ent"), transaction, tenant, one.kind, one.currency, one.direction, one.amount),
        )


def settled(connection: Connection, escrow: Escrow, at: datetime, **columns: Any) -> str:
    """A settlement by raw SQL."""
    row = {
        "id": new_id("set"), "tenant_id": escrow.tenant, "escrow_id": escrow.id, "command_id": new_id("cmd"),
        "outcome": "release", "currency": escrow.currency, "fee_policy_version": 1, "fee_rule": "by hand",
        "fee_rate": "0.1", "fee_steps": "[]", "created_at": at,
    } | columns  # fmt: skip
    places = ", ".join(f"%({name})s" for name in row)
    connection.execute(f"INSERT INTO settlement ({', '.join(row)}) VALUES ({places})".encode(), row)
    return str(row["id"])


def period(day: date, by: By) -> str:
    """The period of a day, by another way than SQL's."""
    return {"day": day.isoformat(), "month": day.isoformat()[:7], "total": "total"}[by]


def inside(one: Posted, span: Span) -> bool:
    """Half-open: the first day counts, the last does not."""
    return (not span.start or one.at.date() >= span.start) and (not span.end or one.at.date() < span.end)


DAYS = st.none() | st.dates(FIRST - timedelta(days=2), LAST + timedelta(days=2))
SPANS = st.builds(Span, DAYS, DAYS, st.sampled_from(["day", "month", "total"])).filter(
    lambda span: not (span.start and span.end and span.start >= span.end)
)
RELAXED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@RELAXED
@given(span=SPANS)
def test_a_trial_balance_of_any_span_is_the_sum_of_its_entries(ledgerful: Ledgerful, span: Span) -> None:
    """Opening, debits, credits and closing of every account, by day, month or in all, from any day to any other."""
    lines = reports.trial_balance(ledgerful.market.engine, ledgerful.market.tenant, span)
    sums: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for one in ledgerful.entries:
        if inside(one, span):
            sums[period(one.at.date(), span.by), one.currency, one.kind, one.direction] += one.amount
    told = {
        (line.period, line.currency, line.account, side): units
        for line in lines
        for side, units in (("debit", line.debit), ("credit", line.credit))
        if units
    }
    assert told == sums
    for line in lines:
        until = [one for one in ledgerful.entries if _before(one, line.period, span)]
        balance = sum(
            one.amount if one.direction == line.normal_side else -one.amount
            for one in until
            if (one.kind, one.currency) == (line.account, line.currency)
        )
        assert line.closing == balance
        assert (line.normal_side == "debit") == (line.account in DEBIT_SIDE)


def _before(one: Posted, label: str, span: Span) -> bool:
    if span.end and one.at.date() >= span.end:
        return False
    return span.by == "total" or period(one.at.date(), span.by) <= label


@RELAXED
@given(span=SPANS)
def test_there_is_always_a_balance_at_the_end_of_a_span(ledgerful: Ledgerful, span: Span) -> None:
    """However long ago the last entry was: each account as it stands then, and nothing where nothing was posted yet."""
    lines = reports.trial_balance(ledgerful.market.engine, ledgerful.market.tenant, span)
    until = [one for one in ledgerful.entries if not span.end or one.at.date() < span.end]
    last = max((line.period for line in lines), default="")
    assert {(line.currency, line.account) for line in lines if line.period == last} == {
        (one.currency, one.kind) for one in until
    }
    if until and span.end:
        assert last == period(span.end - timedelta(days=1), span.by)


@pytest.mark.parametrize("by", ["day", "month", "total"])
def test_balances_outlive_their_last_entry(ledgerful: Ledgerful, by: By) -> None:
    """A year later they are still there, with and without an end of the span; of the year before there is nothing."""
    engine, tenant = ledgerful.market.engine, ledgerful.market.tenant
    now = {one.currency: one.balances for one in reports.liquidity(engine, tenant, ALL)}
    assert set(now) == set(EUR_JPY_KWD)
    later = date(2027, 6, 1)
    for span, day in ((Span(later, None, by), later), (Span(later, date(2027, 9, 1), by), date(2027, 8, 31))):
        lines = reports.liquidity(engine, tenant, span)
        assert {one.currency: one.balances for one in lines} == now
        assert {one.period for one in lines} == {period(day, by)}
        sheet = sheets.trial_balance(engine, tenant, span)
        assert all((row["debit"], row["credit"], row["opening"]) == (0, 0, row["closing"]) for row in sheet.rows)
    for nothing in (Span(None, date(2025, 1, 1), by), Span(None, date.min, by), Span(date.min, FIRST, by)):
        assert reports.liquidity(engine, tenant, nothing) == []


@RELAXED
@given(span=SPANS)
def test_liquidity_ties_to_zero_at_the_end_of_every_period(ledgerful: Ledgerful, span: Span) -> None:
    """Cash, receivables and losses are all that is owed and earned, in each currency; nothing is left out."""
    for line in reports.liquidity(ledgerful.market.engine, ledgerful.market.tenant, span):
        assert line.difference == 0
        until = [one for one in ledgerful.entries if one.currency == line.currency and _before(one, line.period, span)]
        cash = sum(one.amount for one in until if one.kind == AccountKind.GATEWAY_CASH)
        assert line.balances.get("gateway_cash", 0) == cash
        owed = sum(one.amount for one in until if one.direction == "credit" and one.kind in Liquidity.LIABILITIES)
        assert line.sum_of(Liquidity.LIABILITIES) == owed


@RELAXED
@given(span=SPANS)
def test_fees_earned_are_what_the_revenue_accounts_moved(ledgerful: Ledgerful, span: Span) -> None:
    """Each of the two accounts, to the last unit, whatever the span."""
    found = reports.fees(ledgerful.market.engine, ledgerful.market.tenant, span)
    assert not any(found.differences.values())
    for kind, told in (("fee_revenue", "platform_fees"), ("dispute_fee_revenue", "dispute_fees")):
        expected = sum(one.amount for one in ledgerful.entries if one.kind == kind and inside(one, span))
        assert sum(getattr(line, told) for line in found.lines) == expected


def test_no_kind_of_account_is_left_out_of_liquidity() -> None:
    """A new kind has to be put on one side or the other, or the report would no longer tie."""
    sides = (Liquidity.LIABILITIES, Liquidity.REVENUE, Liquidity.UNEXPLAINED, Liquidity.BACKING)
    assert {kind for side in sides for kind in side} == set(AccountKind)
    assert {kind for _, _, kinds in sheets._ITEMS for kind in kinds} == set(AccountKind)


def test_played_deals_are_reported_to_the_last_unit(market: Market) -> None:
    """A release, a split, a reversal and a payout under way: held, frozen, owed, in transit and earned."""
    released = market.do(ApproveMilestone, market.at(State.MILESTONE_PENDING, category="web"))
    market.do(SendPayout, released)
    market.do(ReverseMilestone, released, milestone=2, amount=50000)
    disputed = market.at(State.DISPUTED, category="logo")
    market.do(ReviewDispute, disputed)
    split = market.do(ResolveDispute, market.escrow(disputed), resolution="split", seller_share="0.7")
    market.at(State.DISPUTED)
    engine, tenant = market.engine, market.tenant
    (line,) = reports.liquidity(engine, tenant, ALL)
    names = ("escrow_hold", "disputed_funds", "payable", "payout_in_transit", "wallet", "fee_revenue", "gateway_cash")
    share = split.released - 50000
    assert {name: line.balances.get(name, 0) for name in names} == {
        "escrow_hold": 300000,
        "disputed_funds": 500000,
        "payable": share,
        "payout_in_transit": 135000,
        "wallet": 10**9 - 3 * 500000 + 50000 + split.refunded,
        "fee_revenue": 65000,
        "gateway_cash": 10**9,
    }
    assert line.difference == 0
    fees = reports.fees(engine, tenant, ALL)
    assert [(one.category, one.outcome, one.earned) for one in fees.lines] == [
        ("logo", "split", 50000),
        ("web", "release", 15000),
    ]
    lines = reports.settlements(engine, tenant, ALL)
    assert [(one.outcome, one.settlements, one.total, one.platform_fee) for one in lines] == [
        ("release", 1, 150000, 15000),
        ("reversal", 1, 50000, 0),
        ("split", 1, 500000, 50000),
    ]
    for one in lines:
        assert (one.reporting_currency, one.reporting_total) == (one.currency, one.total)
    assert sum(one.total for one in lines) == market.scalar(
        "SELECT sum(total) FROM settlement WHERE tenant_id = :tenant"
    )


def test_settlements_are_reported_in_the_currency_and_at_the_rate_of_their_moment(
    market: Market, superuser: Connection
) -> None:
    """The stored amounts are summed: 3 x 33 units at rates that round each to 36 are 108, not 3 x 33 at any rate."""
    escrow = market.create()
    parts = {"total": 33, "platform_fee": 3, "seller_payout": 30, "buyer_refund": 0}
    for number, total in enumerate((36, 36, 35)):
        stored = {"fx_quote": "USD", "fx_rate": f"1.{number}", "fx_as_of": date(2026, 1, 1), "fx_total": total}
        translated = {"fx_platform_fee": 3, "fx_seller_payout": total - 3, "fx_buyer_refund": 0}
        settled(
            superuser, escrow, datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC), **parts, **stored, **translated
        )
    settled(superuser, escrow, datetime(2026, 2, 1, tzinfo=UTC), **parts)
    lines = reports.settlements(market.engine, market.tenant, Span(by="month"))
    assert [(one.period, one.reporting_currency, one.settlements, one.total, one.reporting_total) for one in lines] == [
        ("2026-01", "USD", 3, 99, 107),
        ("2026-02", "EUR", 1, 33, 33),
    ]
    assert lines[0].reporting_seller_payout + lines[0].reporting_platform_fee == 107
    january = Span(date(2026, 1, 1), date(2026, 2, 1))
    assert [one.settlements for one in reports.settlements(market.engine, market.tenant, january)] == [3]
    superuser.execute("DELETE FROM settlement WHERE escrow_id = %s", (escrow.id,))


def test_a_clawback_gives_fees_back_and_is_no_settlement_of_its_own(servers: Servers, superuser: Connection) -> None:
    """500 of fee on a release, of it 50 for a dispute; a clawback returns 45, and 455 remain."""
    market = Market(servers.engine)  # its rows are written by hand, so its books are not whole
    escrow, at = market.create(), datetime(2026, 1, 31, tzinfo=UTC)
    superuser.execute("UPDATE escrow SET category = '=cmd()' WHERE id = %s", (escrow.id,))
    parts = {"total": 5000, "platform_fee": 500, "dispute_fee": 50, "seller_payout": 4500, "buyer_refund": 0}
    original = settled(superuser, escrow, at, **parts)
    back = {"total": 450, "platform_fee": 0, "seller_payout": 0, "buyer_refund": 450}
    taken = {"reverses": original, "fee_returned": 45, "from_payable": 405}
    clawback = settled(superuser, escrow, at + timedelta(days=1), outcome="reversal", **back, **taken)
    for settlement, moved in (
        (
            original,
            [
                ("escrow_hold", "debit", 5000),
                ("fee_revenue", "credit", 450),
                ("dispute_fee_revenue", "credit", 50),
                ("payable", "credit", 4500),
            ],
        ),
        (clawback, [("fee_revenue", "debit", 45), ("payable", "debit", 405), ("wallet", "credit", 450)]),
    ):
        moment = at if settlement == original else at + timedelta(days=1)
        entries = [Posted(moment, kind, side, units, "EUR") for kind, side, units in moved]
        write(superuser, market.tenant, entries, escrow.id, settlement)
    fees = reports.fees(market.engine, market.tenant, Span(by="month"))
    assert [
        (one.period, one.outcome, one.platform_fees, one.dispute_fees, one.returned, one.earned) for one in fees.lines
    ] == [
        ("2026-01", "release", 450, 50, 0, 500),
        ("2026-02", "clawback", 0, 0, 45, -45),
    ]
    assert not any(fees.differences.values())
    sheet = sheets.fees(market.engine, market.tenant, Span(by="month"))
    assert [(row["period"], row.get("outcome"), row["earned"]) for row in sheet.totals] == [
        ("2026-01", "total", 500),
        ("2026-02", "total", -45),
        ("total", None, 455),
    ]
    assert [check.says for check in sheet.checks] == [
        "platform fees less returned = movement of fee_revenue",
        "dispute fees = movement of dispute_fee_revenue",
    ]
    sheet = sheets.settlements(market.engine, market.tenant, ALL)
    told = ("outcome", "total", "platform_fee", "of_which_dispute_fee", "fee_returned")
    assert [tuple(row[name] for name in told) for row in sheet.rows] == [
        ("clawback", 450, 0, 0, 45),
        ("release", 5000, 500, 50, 0),
    ]
    assert (sheet.totals[0]["total"], sheet.ties, len(sheet.remarks)) == (5000, True, 1)
    assert ",platform_fee,platform_fee_minor,of_which_dispute_fee,of_which_dispute_fee_minor," in as_csv(sheet)
    assert "'=cmd()" in as_csv(sheets.fees(market.engine, market.tenant, ALL))
    superuser.execute(
        "DELETE FROM entry WHERE transaction_id IN (SELECT id FROM ledger_transaction WHERE escrow_id = %s)",
        (escrow.id,),
    )
    superuser.execute("DELETE FROM settlement WHERE escrow_id = %s", (escrow.id,))


def test_reports_of_one_tenant_have_nothing_of_another(market: Market, ledgerful: Ledgerful) -> None:
    """A tenant without entries has empty reports, however busy others are."""
    empty = Market(market.engine, purse=0)
    for make in (sheets.liquidity, sheets.trial_balance, sheets.fees, sheets.settlements):
        sheet = make(market.engine, empty.tenant, ALL)
        assert (sheet.rows, sheet.checks, sheet.ties) == ([], [], True)
        assert len(as_csv(sheet).splitlines()) == 1


def test_money_of_a_test_clock_is_reported_on_its_own_day(market: Market) -> None:
    """Periods are of the tenant's time: a rehearsal two weeks ahead is reported two weeks ahead."""
    before = reports.trial_balance(market.engine, market.tenant, Span(by="day"))
    tenants.move_clock(market.engine, market.tenant, timedelta(days=14))
    market.at(State.FUNDED)
    days = sorted({line.period for line in reports.trial_balance(market.engine, market.tenant, Span(by="day"))})
    first = date.fromisoformat(before[0].period)
    assert date.fromisoformat(days[-1]) - first in {timedelta(days=14), timedelta(days=15)}


def test_a_report_sees_one_moment_and_changes_nothing(market: Market) -> None:
    """What is committed while it reads is not in its second statement either; writing is refused."""
    count = text("SELECT count(*) FROM escrow WHERE tenant_id = :tenant")
    with snapshot(market.engine) as connection:
        before = connection.execute(count, {"tenant": market.tenant}).scalar()
        market.create()
        assert connection.execute(count, {"tenant": market.tenant}).scalar() == before
        with pytest.raises(DBAPIError, match="read-only transaction"):
            connection.execute(
                text("INSERT INTO party (tenant_id, id) VALUES (:tenant, 'x')"), {"tenant": market.tenant}
            )
    assert market.scalar("SELECT count(*) FROM escrow WHERE tenant_id = :tenant") == 1


def test_damaged_books_do_not_tie_and_the_report_says_so(servers: Servers, superuser: Connection) -> None:
    """One unit more on one side of one entry is a difference of one unit."""
    market = Market(servers.engine)
    market.at(State.FUNDED)
    superuser.execute(
        "UPDATE entry SET amount = amount + 1 WHERE tenant_id = %s AND account_kind = 'escrow_hold'", (market.tenant,)
    )
    for make in (sheets.liquidity, sheets.trial_balance):
        sheet = make(market.engine, market.tenant, ALL)
        assert (sheet.ties, [abs(check.difference) for check in sheet.checks]) == (False, [1])


def test_tenants_are_listed_with_the_newest_first(market: Market) -> None:
    """Whoever has just played a deal finds it at the top."""
    escrow = market.create()
    found = reports.tenants(market.engine)
    assert (found[0]["id"], found[0]["escrows"], found[0]["latest_escrow"]) == (market.tenant, 1, escrow.id)
