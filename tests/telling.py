"""A market whose parties are told what happens, and what became of it: read from the outbox, the record, the mails."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text

from activities.channels.port import Channel
from activities.notifications import Courier
from ledger.outbox import Outbox
from models.escrow import Escrow
from models.notifications import Contact
from tests.market import Market
from tests.post_office import PostOffice


@contextmanager
def towns(market: Market) -> Iterator[Market]:
    """The market with nothing left to tell, whose alice reads English and whose bob reads Thai."""
    reach(market, "alice", "en")
    reach(market, "bob", "th")
    drain(Courier(Outbox(market.engine), []))
    yield market
    run(market.engine, "DELETE FROM outbox WHERE tenant_id = :tenant", tenant=market.tenant)


def reach(market: Market, party: str, language: str) -> None:
    """Make known how a party is reached."""
    run(
        market.engine,
        """INSERT INTO party (tenant_id, id, email, language) VALUES (:tenant, :party, :email, :language)
           ON CONFLICT (tenant_id, id) DO UPDATE SET email = excluded.email, language = excluded.language""",
        tenant=market.tenant,
        party=party,
        email=address(market, party),
        language=language,
    )


def address(market: Market, party: str) -> str:
    """The party's address, of this market only."""
    return f"{party}@{market.tenant.replace('_', '-')}.example"


def run(engine: Engine, statement: str, **parameters: object) -> None:
    """One statement of its own transaction."""
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)


def courier(market: Market, *channels: Channel) -> Courier:
    """A courier whose operator has an address of this market."""
    return Courier(Outbox(market.engine), channels, Contact(None, address(market, "ops")))


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
