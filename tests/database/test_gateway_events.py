"""Events of the payment provider in PostgreSQL: stored once, claimed once at a time, and judged by how things stand."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import Engine

from ledger.engine import connect
from ledger.gateway_events import GatewayEvents
from models.states import State
from tests.market import Market
from tests.provider import an_event, by_card, row, tell
from tests.servers import Servers, one

NO_LEASE = timedelta(0)


@pytest.fixture
def door(servers: Servers) -> Iterator[Engine]:
    """Connections as the role of the API."""
    engine = connect(servers.endpoints.api_database_url, 8)
    yield engine
    engine.dispose()


@pytest.fixture
def events(servers: Servers) -> GatewayEvents:
    """The stored events as workers see them."""
    return GatewayEvents(servers.engine)


def test_an_event_is_stored_once_however_often_and_from_wherever_it_comes(servers: Servers, door: Engine) -> None:
    """A hundred deliveries at the same time: one row, and one of them was new."""
    event = an_event("charge.failed", id="ch_1", object="charge")
    with ThreadPoolExecutor(8) as pool:
        new = [
            fresh for answer in pool.map(lambda _: tell(door, servers.endpoints, event), range(100)) for fresh in answer
        ]
    assert (len(new), sum(new)) == (100, 1)
    assert row(servers.engine, event)["status"] == "pending"


def test_no_name_and_no_card_of_an_event_is_kept(servers: Servers, door: Engine) -> None:
    """Only ids, our key and what helps to understand it: the rest of the provider's object is not stored."""
    billing = {"name": "Alice Example", "email": "alice@example.org"}
    card = {"last4": "4242", "fingerprint": "Xt5EWLLDS7FJjR1c"}
    event = an_event(
        "charge.failed", id="ch_1", object="charge", amount=700, currency="eur", billing_details=billing,
        payment_method_details={"card": card}, metadata={"holdfast_key": "chg_1", "holdfast_party": "alice"},
        reason={"text": "Alice"}, status="failed",
    )  # fmt: skip
    tell(door, servers.endpoints, event)
    kept = row(servers.engine, event)
    assert (kept["subject"], kept["reference"], kept["key"]) == ("charge", "ch_1", "chg_1")
    assert kept["details"] == {"amount": 700, "currency": "eur", "status": "failed"}
    assert not any(word in str(kept).lower() for word in ("alice", "4242", "xt5e"))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM gateway_event",
        "UPDATE gateway_event SET status = 'ignored', applied_at = now()",
        "DELETE FROM gateway_event",
        """INSERT INTO gateway_event (provider, id, type, created, details, status, applied_at)
           VALUES ('stripe', 'evt_1', 'a', now(), '{}', 'applied', now())""",
    ],
)
def test_the_api_can_add_an_event_and_nothing_else(servers: Servers, statement: str) -> None:
    """It reads none, settles none and forgets none."""
    url = servers.endpoints.api_database_url.replace("+psycopg", "")
    with closing(psycopg.connect(url)) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_a_worker_can_change_what_became_of_an_event_and_not_what_was_told(servers: Servers) -> None:
    """What the provider said stands as it said it."""
    for statement in (
        "UPDATE gateway_event SET key = 'x'",
        "UPDATE gateway_event SET type = 'x'",
        "DELETE FROM gateway_event",
    ):
        with closing(servers.app()) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_an_event_is_claimed_by_one_until_its_lease_ends(servers: Servers, door: Engine, events: GatewayEvents) -> None:
    """Rivals get different events; what was claimed comes again after its lease, and never once it is settled."""
    told = [an_event("charge.failed", id=f"ch_{n}", object="charge") for n in range(40)]
    tell(door, servers.endpoints, *told)
    ours = {row(servers.engine, event)["number"] for event in told}
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda _: events.claim(200, timedelta(seconds=1)), range(4)))
    claimed = [number for claim in claims for number in claim if number in ours]
    assert sorted(claimed) == sorted(ours)
    (first, *_) = sorted(ours)
    events.settle(first, "ignored", "nothing")
    events.settle(first, "refused", "something else")
    assert (row(servers.engine, told[0])["status"], row(servers.engine, told[0])["last_error"]) == (
        "ignored",
        "nothing",
    )
    with closing(servers.owner()) as owner:
        owner.execute("UPDATE gateway_event SET next_attempt_at = now() WHERE status = 'pending'")
        owner.commit()
    again = set(events.claim(10_000, NO_LEASE))
    assert ours - {first} <= again
    assert first not in again


def test_an_event_that_waits_is_looked_at_later_and_later(
    servers: Servers, door: Engine, events: GatewayEvents
) -> None:
    """After a second, two, four and so on, at most an hour."""
    event = an_event("charge.failed", id="ch_1", object="charge")
    tell(door, servers.endpoints, event)
    number = row(servers.engine, event)["number"]
    waits = []
    wait = """SELECT round(extract(epoch FROM next_attempt_at - clock_timestamp()))::int
              FROM gateway_event WHERE number = %s"""
    for _ in range(15):
        with closing(servers.owner()) as owner:
            owner.execute("UPDATE gateway_event SET next_attempt_at = now() WHERE number = %s", (number,))
            owner.commit()
            assert number in events.claim(10_000, timedelta(minutes=5))
            events.put_off(number, "not yet")
            waits.append(one(owner, wait, number))
    assert waits == [min(2**n, 3600) for n in range(15)]
    events.settle(number, "ignored", None)


def test_a_charge_is_traced_to_the_one_escrow_that_it_funded(
    servers: Servers, market: Market, events: GatewayEvents
) -> None:
    """Among escrows of the same millisecond; a top-up and a funding that was refused lead to none."""
    first, key = by_card(servers, market)
    second, other = by_card(servers, market)
    market.at(State.FUNDED)
    topped_up = market.top_up(700).id
    for charge, expected in ((key, first.id), (other, second.id), (topped_up, None)):
        known = events.charge(charge)
        assert known is not None
        assert events.funded_by(known) == expected
