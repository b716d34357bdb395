"""A market whose parties are told what happens, and what became of it: read from the outbox, the record, the mails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, text

from activities.channels.port import Channel
from activities.notifications import Courier
from ledger import parties, personal, tenants
from ledger.outbox import Outbox
from ledger.parties import PartyView
from models.escrow import Escrow
from models.notifications import Contact
from tests.market import KEYS, Market
from tests.post_office import PostOffice


@contextmanager
def towns(market: Market) -> Iterator[Market]:
    """The market with nothing left to tell, whose alice reads English and whose bob reads Thai."""
    know(market, "alice", email=address(market, "alice"), language="en")
    know(market, "bob", email=address(market, "bob"), language="th")
    drain(Courier(Outbox(market.engine, KEYS), []))
    yield market
    run(market.engine, "DELETE FROM outbox WHERE tenant_id = :tenant", tenant=market.tenant)


def know(market: Market, party: str, **said: Any) -> None:
    """Make known who a party is and how it is reached."""
    tenants.put_party(market.engine, market.tenant, party, keys=KEYS, **said)


def known(market: Market, party: str) -> PartyView:
    """What is known of a party."""
    view = parties.party(market.engine, KEYS, market.tenant, party)
    assert view is not None
    return view


def had_address(market: Market, party: str, email: str) -> None:
    """An address that an earlier release took, whatever is taken now."""
    with market.engine.begin() as connection:
        personal.merge(connection, KEYS, market.tenant, party, {"email": email})


def address(market: Market, party: str) -> str:
    """The party's address, of this market only."""
    return f"{party}@{market.tenant.replace('_', '-')}.example"


def run(engine: Engine, statement: str, **parameters: object) -> None:
    """One statement of its own transaction."""
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)


def courier(market: Market, *channels: Channel) -> Courier:
    """A courier whose operator has an address of this market."""
    return Courier(Outbox(market.engine, KEYS), channels, Contact(None, address(market, "ops")))


def drain(courier: Courier) -> None:
    """Tell all that is due."""
    while courier.deliver_next():
        pass


def make_due(market: Market) -> None:
    """Let the time of every next attempt come."""
    run(market.engine, "UPDATE outbox SET next_attempt_at = now() WHERE tenant_id = :tenant", tenant=market.tenant)


def waiting(market: Market, escrow: Escrow) -> list[str]:
    """The types of an escrow's events that are still to be told, in order."""
    query = """SELECT coalesce(json_agg(e.type ORDER BY o.number), '[]') FROM outbox o
               JOIN event e ON e.id = o.event_id WHERE o.escrow_id = :escrow"""
    return list(market.scalar(query, escrow=escrow.id))


def head(market: Market, column: str, escrow: Escrow) -> object:
    """A column of the escrow's first event that is still to be told."""
    return market.scalar(f"SELECT {column} FROM outbox WHERE escrow_id = :escrow ORDER BY number", escrow=escrow.id)


def record(market: Market, escrow: Escrow) -> list[tuple[str, str, str, str]]:
    """Who was told of what: event, channel, role, status, in order."""
    query = """SELECT coalesce(json_agg(json_build_array(e.type, n.channel, n.recipient_role, n.status) ORDER BY n.id),
                               '[]')
               FROM notification n JOIN event e ON e.id = n.event_id WHERE n.escrow_id = :escrow"""
    return [tuple(row) for row in market.scalar(query, escrow=escrow.id)]


def told(office: PostOffice, market: Market, party: str) -> list[str]:
    """The events a party was told of, by the ids in its mails."""
    ids = [mail.message["Message-ID"].split(".")[0].strip("<") for mail in office.to(address(market, party))]
    return [market.scalar("SELECT type FROM event WHERE id = :id", id=one) for one in ids]
