"""PostgreSQL itself refuses what must never happen to money, whoever writes: a bug of the program, or its owner."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import psycopg
import pytest
from psycopg import errors

from ledger.rates import put_rates
from models.commands import ApproveMilestone, ReverseMilestone
from models.escrow import Escrow
from models.exchange import Rate
from models.states import State
from tests.builders import new_id
from tests.database.postings import Line, post
from tests.market import Market
from tests.servers import Connection, Servers, one

APPEND_ONLY = (
    "entry", "ledger_transaction", "settlement", "settled_milestone", "audit", "policy", "command", "event",
    "account_kind", "exchange_rate", "provider_line",
)  # fmt: skip
FLOORED = ("wallet", "escrow_hold", "disputed_funds", "payable", "payout_in_transit", "chargeback_hold", "receivable")
FLOORLESS = ("gateway_cash", "fee_revenue", "dispute_fee_revenue", "platform_loss")
SOME_COLUMN = {
    "settled_milestone": "settlement_id",
    "policy": "document",
    "command": "outcome",
    "exchange_rate": "rate",
    "account_kind": "has_floor",
    "ledger_transaction": "recorded_by",
}
CASH: Line = ("gateway_cash", "stripe", "debit", 100, "EUR")


@pytest.fixture(params=["app", "owner"])
def writer(request: pytest.FixtureRequest) -> Connection:
    """Everything here holds for the program's role and for the owner of the tables alike."""
    connection: Connection = request.getfixturevalue(request.param)
    return connection


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("statement", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}", "TRUNCATE {table} CASCADE"])  # fmt: skip  # noqa: E501
def test_no_row_of_an_append_only_table_is_ever_changed_or_removed(
    market: Market, owner: Connection, app: Connection, table: str, statement: str
) -> None:
    """Updating, deleting and truncating are refused to the owner by a trigger, to the program by lack of right."""
    market.do(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    put_rates(
        market.engine, [Rate(base="EUR", quote="USD", rate=Decimal("1.08"), as_of=date(2026, 6, 1), source="test")]
    )
    owner.execute(
        """INSERT INTO provider_line (provider, id, type, kind, amount, fee, currency, created_at)
           VALUES ('nobody', 'txn_1', 'charge', 'charge', 1, 0, 'EUR', now())"""
    )
    assert one(owner, f"SELECT count(*) FROM {table}") > 0
    query = statement.format(table=table, column=SOME_COLUMN.get(table, "id")).encode()
    with pytest.raises(errors.RestrictViolation, match="never changed or deleted"):
        owner.execute(query)
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute(query)


def test_the_list_of_append_only_tables_is_the_databases_own(owner: Connection) -> None:
    """No table loses its guard, or gains one, without these tests knowing."""
    guarded = owner.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'append_only'").fetchall()
    assert {name for (name,) in guarded} == set(APPEND_ONLY)


@pytest.mark.parametrize(
    "lines",
    [
        [CASH],
        [CASH, ("wallet", "alice", "credit", 99, "EUR")],
        [CASH, ("wallet", "alice", "debit", 100, "EUR")],
        [CASH, ("wallet", "alice", "credit", 100, "USD")],
        [CASH, ("wallet", "alice", "credit", 60, "EUR"), ("wallet", "bob", "credit", 41, "EUR")],
    ],
    ids=["one side", "one unit short", "both debits", "other currency", "one unit over in three"],
)
def test_a_transaction_that_does_not_balance_in_each_currency_is_not_committed(
    market: Market, writer: Connection, lines: list[Line]
) -> None:
    """At commit the debits of a transaction equal its credits per currency, or nothing of it is written."""
    post(writer, market.tenant, *lines)
    with pytest.raises(errors.CheckViolation, match="does not balance"):
        writer.commit()
    assert market.balance("gateway_cash", "stripe") == 10**9


def test_a_transaction_may_balance_in_two_currencies_at_once(market: Market, writer: Connection) -> None:
    """The rule is per currency, so a transaction in two currencies that balances in both is written."""
    other: list[Line] = [("gateway_cash", "stripe", "debit", 7, "JPY"), ("wallet", "alice", "credit", 7, "JPY")]
    post(writer, market.tenant, CASH, ("wallet", "alice", "credit", 100, "EUR"), *other)
    writer.commit()
    assert (market.balance("wallet", "alice"), market.balance("wallet", "alice", "JPY")) == (10**9 + 100, 7)


def test_entries_never_join_a_transaction_that_is_already_recorded(market: Market, writer: Connection) -> None:
    """Even a balanced pair is refused once its transaction was committed, to the session that wrote it too."""
    pair: list[Line] = [CASH, ("wallet", "alice", "credit", 100, "EUR")]
    transaction = post(writer, market.tenant, *pair)
    writer.commit()
    with pytest.raises(errors.RestrictViolation, match="only when it is recorded"):
        post(writer, market.tenant, *pair, transaction=transaction)


@pytest.mark.parametrize("kind", FLOORED)
def test_an_account_with_a_floor_never_goes_below_zero(market: Market, writer: Connection, kind: str) -> None:
    """Taking one unit more than an account has is refused at once; taking all of it is not."""
    more, less = ("debit", "credit") if kind == "receivable" else ("credit", "debit")
    post(writer, market.tenant, ("gateway_cash", "stripe", less, 10, "EUR"), (kind, "carol", more, 10, "EUR"))
    post(writer, market.tenant, (kind, "carol", less, 10, "EUR"), ("gateway_cash", "stripe", more, 10, "EUR"))
    with pytest.raises(errors.CheckViolation, match="never_below_zero"):
        post(writer, market.tenant, (kind, "carol", less, 1, "EUR"), ("gateway_cash", "stripe", more, 1, "EUR"))


@pytest.mark.parametrize("kind", FLOORLESS)
def test_an_account_without_a_floor_may_go_below_zero_and_has_no_row(
    market: Market, writer: Connection, kind: str
) -> None:
    """Revenue, cash and what is owed are sums of entries only, on either side of zero."""
    against = "fee_revenue" if kind == "gateway_cash" else "gateway_cash"
    for direction, opposite in (("debit", "credit"), ("credit", "debit")):
        post(writer, market.tenant, (kind, "x", direction, 5, "CHF"), (against, "x", opposite, 5, "CHF"))
    writer.commit()
    assert market.scalar("SELECT count(*) FROM account WHERE tenant_id = :tenant AND kind = :kind", kind=kind) == 0


def test_the_floors_are_those_of_the_domain(owner: Connection) -> None:
    """The kinds of account and which of them have a floor are domain.md's, section 4."""
    kinds: dict[str, bool] = dict(owner.execute("SELECT kind, has_floor FROM account_kind").fetchall())
    assert kinds == dict.fromkeys(FLOORED, True) | dict.fromkeys((*FLOORLESS, "suspense"), False)


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        (("slush_fund", "bob", "credit", 100, "EUR"), errors.ForeignKeyViolation),
        (("wallet", "bob", "take", 100, "EUR"), errors.CheckViolation),
        (("wallet", "bob", "credit", 0, "EUR"), errors.CheckViolation),
        (("wallet", "bob", "debit", -100, "EUR"), errors.CheckViolation),
    ],
    ids=["unknown kind", "unknown direction", "zero", "negative"],
)
def test_an_entry_is_a_positive_debit_or_credit_of_a_known_kind_of_account(
    market: Market, writer: Connection, line: Line, refusal: type[psycopg.Error]
) -> None:
    """An entry of an unknown kind, of no direction, of nothing or of a negative amount is refused."""
    with pytest.raises(refusal):
        post(writer, market.tenant, CASH, line)


def test_an_entry_belongs_to_the_tenant_of_its_transaction(servers: Servers, market: Market, app: Connection) -> None:
    """Money of one tenant cannot be booked in a transaction of another."""
    pair: list[Line] = [CASH, ("wallet", "alice", "credit", 100, "EUR")]
    transaction = post(app, Market(servers.engine, purse=0).tenant, *pair)
    with pytest.raises(errors.ForeignKeyViolation):
        post(app, market.tenant, *pair, transaction=transaction)


Change = Callable[[dict[str, object]], dict[str, object]]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda row: {}, "one_settlement_per_command"),
        (lambda row: {"command_id": "other", "seller_payout": 134999}, "settlement_check"),
        (lambda row: {"command_id": "other", "total": 0, "platform_fee": 0, "seller_payout": 0}, "settlement_total"),
        (lambda row: {"command_id": "other", "platform_fee": -1, "seller_payout": 150001}, "settlement_platform_fee"),
        (lambda row: {"command_id": "other", "outcome": "gift"}, "settlement_outcome"),
    ],
    ids=["second of a command", "parts short", "nothing", "negative fee", "unknown outcome"],
)
def test_a_settlement_is_one_per_command_and_its_parts_sum_to_its_total(
    market: Market, writer: Connection, change: Change, refusal: str
) -> None:
    """``total = platform_fee + seller_payout + buyer_refund``, all of them sane, once for each command."""
    escrow = market.do(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    row = _settlement(writer, escrow)
    with pytest.raises((errors.UniqueViolation, errors.CheckViolation), match=refusal):
        _insert(writer, "settlement", row | {"id": new_id("set")} | change(row))


def test_a_milestone_is_settled_for_good_only_once(market: Market, writer: Connection) -> None:
    """A second final settlement of a released milestone is refused, whatever its command."""
    escrow = market.do(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    second = _settlement(writer, escrow) | {"id": new_id("set"), "command_id": "other"}
    _insert(writer, "settlement", second)
    with pytest.raises(errors.UniqueViolation, match="settled_milestone_pkey"):
        _insert(writer, "settled_milestone", {"milestone_id": escrow.milestones[0].id, "settlement_id": second["id"]})


def test_a_partial_reversal_leaves_a_milestone_open_for_its_settlement(market: Market) -> None:
    """Only final settlements are listed: after a reversal of a part the rest can still be released."""
    escrow = market.do(ReverseMilestone, market.at(State.MILESTONE_PENDING), amount=50000)
    assert market.do(ApproveMilestone, escrow).released == 100000


def test_a_payout_stands_for_one_settlement(market: Market, writer: Connection) -> None:
    """The seller's share of a settlement becomes one payout, never a second."""
    escrow = market.do(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    row = writer.execute("SELECT row_to_json(p) FROM payout p WHERE escrow_id = %s", (escrow.id,)).fetchone()
    assert row is not None
    with pytest.raises(errors.UniqueViolation, match="payout_settlement_key"):
        _insert(writer, "payout", row[0] | {"id": new_id("pay")})


@pytest.mark.parametrize("column", ["funded", "held", "disputed", "released", "refunded"])
def test_an_escrows_counters_always_add_up(market: Market, writer: Connection, column: str) -> None:
    """``funded = held + disputed + released + refunded`` holds after every statement."""
    escrow = market.at(State.FUNDED)
    with pytest.raises(errors.CheckViolation, match="every_unit_is_somewhere"):
        writer.execute(f"UPDATE escrow SET {column} = {column} + 1 WHERE id = %s".encode(), (escrow.id,))


def test_an_escrow_has_at_most_one_open_dispute(market: Market, writer: Connection) -> None:
    """A second dispute cannot be opened beside one that is open or under review."""
    escrow = market.at(State.DISPUTED)
    row = writer.execute("SELECT row_to_json(d) FROM dispute d WHERE escrow_id = %s", (escrow.id,)).fetchone()
    assert row is not None
    with pytest.raises(errors.UniqueViolation, match="one_open_dispute"):
        _insert(writer, "dispute", row[0] | {"id": new_id("dsp"), "status": "under_review"})


def _settlement(connection: Connection, escrow: Escrow) -> dict[str, object]:
    row = connection.execute("SELECT row_to_json(s) FROM settlement s WHERE escrow_id = %s", (escrow.id,)).fetchone()
    assert row is not None
    return dict(row[0])


def _insert(connection: Connection, table: str, row: dict[str, object]) -> None:
    """Insert a row given as a document."""
    connection.execute(
        f"INSERT INTO {table} SELECT * FROM json_populate_record(NULL::{table}, %s::json)".encode(),
        (psycopg.types.json.Json(row),),
    )
