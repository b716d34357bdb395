"""What PostgreSQL refuses of corrections, whoever writes: suspense has their entries alone, decided by the rules."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from psycopg import errors

from ledger.audit import verify
from tests.builders import new_id
from tests.database.corrections_desk import Desk, desks
from tests.database.postings import Line, post
from tests.market import GATEWAY, Market
from tests.servers import Connection, Servers


@pytest.fixture
def desk(market: Market) -> Iterator[Desk]:
    """Those of the market."""
    with desks(market) as desk:
        yield desk


@pytest.fixture(params=["app", "owner"])
def writer(request: pytest.FixtureRequest) -> Connection:
    """What is refused is refused to the program's role and to the owner of the tables alike."""
    connection: Connection = request.getfixturevalue(request.param)
    return connection


def by_hand(connection: Connection, desk: Desk, found: str, transaction: str | None, **said: Any) -> None:
    """A correction by raw SQL, past every rule of the program."""
    row = {
        "id": new_id("cor"), "difference_id": found, "tenant_id": desk.market.tenant, "amount": 7000,
        "currency": "EUR", "theirs": 7000, "reason": "Because", "needs_approval": False, "proposed_by": "olga",
        "status": "booked", "decided_by": "olga", "transaction_id": transaction,
    } | said  # fmt: skip
    places = ", ".join(f"%({column})s" for column in row)
    statement = f"INSERT INTO correction ({', '.join(row)}, decided_at) VALUES ({places}, now())"
    connection.execute(statement.encode(), row)


PAIR: list[Line] = [("gateway_cash", GATEWAY, "debit", 7000, "EUR"), ("suspense", GATEWAY, "credit", 7000, "EUR")]


def test_nobody_but_a_correction_posts_to_suspense(desk: Desk, writer: Connection) -> None:
    """Balanced entries by hand are refused at commit; with the correction that says the same they are not."""
    post(writer, desk.market.tenant, *PAIR)
    with pytest.raises(errors.CheckViolation, match="is not what a correction says"):
        writer.commit()
    writer.rollback()
    by_hand(writer, desk, desk.differs(), post(writer, desk.market.tenant, *PAIR))
    writer.commit()
    assert desk.suspense() == 7000


@pytest.mark.parametrize(
    "lines",
    [
        [("gateway_cash", GATEWAY, "debit", 6999, "EUR"), ("suspense", GATEWAY, "credit", 6999, "EUR")],
        [("gateway_cash", GATEWAY, "credit", 7000, "EUR"), ("suspense", GATEWAY, "debit", 7000, "EUR")],
        [("gateway_cash", GATEWAY, "debit", 7000, "USD"), ("suspense", GATEWAY, "credit", 7000, "USD")],
        [("gateway_cash", GATEWAY, "debit", 7000, "EUR"), ("wallet", "mallory", "credit", 7000, "EUR")],
        [("gateway_cash", "elsewhere", "debit", 7000, "EUR"), ("suspense", "elsewhere", "credit", 7000, "EUR")],
        [*PAIR, ("fee_revenue", "platform", "debit", 1, "EUR"), ("wallet", "mallory", "credit", 1, "EUR")],
    ],
    ids=["less", "the other way", "another currency", "a wallet", "another provider", "more beside it"],
)
def test_a_correction_posts_what_it_says_and_nothing_else(desk: Desk, writer: Connection, lines: list[Line]) -> None:
    by_hand(writer, desk, desk.differs(), post(writer, desk.market.tenant, *lines))
    with pytest.raises(errors.CheckViolation, match="is not what a correction says"):
        writer.commit()


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"needs_approval": True}, "two_people"),
        ({"needs_approval": True, "decided_by": "OLGA"}, "two_people"),
        ({"theirs": 6999}, "no_more_than_differs"),
        ({"ours": 7000, "theirs": None}, "no_more_than_differs"),
        ({"transaction_id": None}, "booked"),
        ({"status": "rejected"}, "booked"),
        ({"decided_by": None}, "decided"),
    ],
)
def test_postgresql_refuses_a_correction_that_breaks_the_rules(
    desk: Desk, writer: Connection, said: dict[str, Any], refusal: str
) -> None:
    """One person where two are needed, more than differs, a booking without entries, nobody's decision."""
    transaction = post(writer, desk.market.tenant, *PAIR)
    with pytest.raises(errors.CheckViolation, match=refusal):
        by_hand(writer, desk, desk.differs(), transaction, **said)


def test_what_was_proposed_stays_and_what_was_decided_stays_decided(
    desk: Desk, writer: Connection, owner: Connection
) -> None:
    """Neither by the program nor by the owner; and no other correction of the same difference."""
    proposed, booked = desk.propose(desk.differs()), desk.propose(desk.differs(theirs=1))
    for correction, change in (
        (proposed, "amount = 1"),
        (proposed, "reason = 'another'"),
        (proposed, "proposed_by = 'mallory', needs_approval = false"),
        (booked, "status = 'rejected', transaction_id = NULL"),
        (booked, "decided_by = 'mallory'"),
    ):
        with pytest.raises(errors.RestrictViolation, match="decided once"):
            writer.execute(f"UPDATE correction SET {change} WHERE id = %s".encode(), (correction.id,))
        writer.rollback()
    with pytest.raises(errors.UniqueViolation, match="correction_once"):
        by_hand(writer, desk, proposed.difference, post(writer, desk.market.tenant, *PAIR))
    writer.rollback()
    for statement in ("DELETE FROM correction", "TRUNCATE correction"):
        with pytest.raises((errors.RestrictViolation, errors.InsufficientPrivilege)):
            writer.execute(statement.encode())
        writer.rollback()


def test_verify_finds_what_was_posted_to_suspense_past_the_guards(desk: Desk, servers: Servers) -> None:
    """And stays quiet about corrections, which every test here ends with."""
    with closing(servers.superuser()) as root:
        root.execute("SET session_replication_role = replica")
        transaction = post(root, desk.market.tenant, *PAIR)
        (found,) = verify(desk.market.engine, desk.market.tenant).findings
        assert found.says == f"ledger transaction {transaction} posts to suspense, and no correction says so"
        root.execute("DELETE FROM entry WHERE transaction_id = %s", (transaction,))
        root.execute("DELETE FROM ledger_transaction WHERE id = %s", (transaction,))
