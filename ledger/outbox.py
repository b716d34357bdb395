"""The outbox: which news is next, and what became of it. One transaction claims an event, and ends when it was told.

Its row stays locked while it is told, so two deliverers never tell one escrow's news at once; should the process die,
PostgreSQL gives the row back. Money is never behind this lock: nothing else reads or writes these rows.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import psycopg
from sqlalchemy import Engine

from ledger import personal
from ledger.keyring import Keyring
from ledger.load import Connection
from models.notifications import Agreement, Contact, Event, Message, News

# A transaction that waits for a mail server is idle as PostgreSQL sees it; it may be so for longer than one of money.
# The plan of the statement below is kept, and made when the outbox may be empty: without this it would read all of it.
_TERMS: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '5min', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true)
"""

# The first event of each escrow that is still to be told, if it is due: a failure holds back its own escrow only. It is
# found by two indexes and locked before anything is joined to it: a long queue costs no more than a short one.
_CLAIM: Final = """
WITH o AS MATERIALIZED (
    SELECT * FROM outbox due WHERE next_attempt_at <= now()
        AND number = (SELECT min(number) FROM outbox WHERE escrow_id = due.escrow_id)
    ORDER BY next_attempt_at, number LIMIT 1 FOR UPDATE SKIP LOCKED
)
SELECT o.event_id, o.attempts, e.escrow_id, o.tenant_id, e.type, e.version, e.data::text, e.occurred_at,
       t.mode = 'test', s.title, s.currency, s.buyer, b.data, s.seller, v.data,
       (SELECT json_object_agg(m.id, m.title)::text FROM milestone m WHERE m.escrow_id = o.escrow_id),
       (SELECT json_object_agg(p.id, p.party)::text FROM payout p WHERE p.escrow_id = o.escrow_id),
       (SELECT json_object_agg(m.id, left(m.description, 200))::text FROM milestone m
        WHERE m.escrow_id = o.escrow_id AND m.description IS NOT NULL),
       (SELECT json_agg(json_build_array(n.channel, n.recipient_role, n.party))::text
        FROM notification n WHERE n.event_id = o.event_id)
FROM o
JOIN event e ON e.id = o.event_id
JOIN tenant t ON t.id = o.tenant_id
LEFT JOIN escrow s ON s.id = o.escrow_id
LEFT JOIN personal_data b ON b.tenant_id = s.tenant_id AND b.party = s.buyer
LEFT JOIN personal_data v ON v.tenant_id = s.tenant_id AND v.party = s.seller
"""

# What waits behind it is put off with it, so that it is not looked at before it can be told. From 1 second doubling to
# an hour.
_PUT_OFF: Final = """
UPDATE outbox SET
    next_attempt_at = clock_timestamp() + least(interval '1 hour', interval '1 second' * 2 ^ least(%(before)s, 12)),
    attempts = attempts + (event_id = %(event)s)::int,
    last_error = CASE event_id WHEN %(event)s THEN %(error)s ELSE last_error END
WHERE escrow_id = %(escrow)s
"""

_DELIVERED: Final = "DELETE FROM outbox WHERE event_id = %(event)s"

_RECORD: Final = """
INSERT INTO notification (event_id, tenant_id, escrow_id, channel, recipient_role, party, language, subject, status,
                          attempts, error)
VALUES (%(event)s, %(tenant)s, %(escrow)s, %(channel)s, %(role)s, %(party)s, %(language)s, %(subject)s, %(status)s,
        %(attempts)s, %(error)s)
"""

# One who was told by a channel: the channel, the role, the party.
Told = tuple[str, str, str | None]


@dataclass(frozen=True)
class Claim:
    """An event that is being told, by whoever holds this. ``attempts`` failed before; ``told`` know it already.

    ``unreadable`` says why nobody knows whom to tell, if so: then it has to wait until a person mends that.
    """

    news: News
    attempts: int
    told: frozenset[Told]
    connection: Connection
    unreadable: str | None = None

    def record(
        self, channel: str, message: Message, status: Literal["sent", "undeliverable"], error: str | None
    ) -> None:
        """Write down that a message was handed over, or that it never can be."""
        event = self.news.event
        self.connection.execute(
            _RECORD,
            {
                "event": event.id,
                "tenant": event.tenant,
                "escrow": event.escrow,
                "channel": channel,
                "role": message.role,
                "party": message.party,
                "language": message.language,
                "subject": message.subject,
                "status": status,
                "attempts": self.attempts + 1,
                "error": error,
            },
        )

    def delivered(self) -> None:
        """Everybody who is to know this knows it: the escrow's next event is due."""
        self.connection.execute(_DELIVERED, {"event": self.news.event.id})

    def put_off(self, error: str) -> None:
        """Try again later, and later each time: after 1 second, 2, 4 … and then every hour."""
        event = self.news.event
        queue = event.escrow or event.id  # what happens to no escrow waits for nothing
        self.connection.execute(_PUT_OFF, {"event": event.id, "escrow": queue, "before": self.attempts, "error": error})


class Outbox:
    """The outbox behind a pool of its own: who tells the news takes no connection from money."""

    def __init__(self, engine: Engine, keys: Keyring) -> None:
        self._engine = engine
        self._keys = keys

    @contextmanager
    def claim(self) -> Iterator[Claim | None]:
        """The next event that is due, locked until the end of the block and committed with it; None when none is.

        What PostgreSQL refuses to have recorded puts the event off, so that it does not stop all others. Raises
        ``psycopg.Error`` or ``SQLAlchemyError`` while PostgreSQL is away; what was recorded is then not kept, and the
        event will be told again.
        """
        pooled = self._engine.raw_connection()
        connection: Connection = pooled.driver_connection  # type: ignore[assignment]
        claim: Claim | None = None
        try:
            connection.execute(_TERMS)
            row = connection.execute(_CLAIM).fetchone()
            claim = None if row is None else _claim(connection, row, self._keys)
            yield claim
            connection.commit()
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            if claim is None:
                raise
            connection.rollback()
            claim.put_off(type(error).__name__)
            connection.commit()
        except psycopg.OperationalError:
            self._engine.dispose()  # the server went away: the other pooled connections are dead as well
            raise
        finally:
            pooled.close()  # rolls back what was not committed


def _claim(connection: Connection, row: tuple[Any, ...], keys: Keyring) -> Claim:
    event_id, attempts, escrow, tenant, kind, version, data, occurred_at, rehearsal, title, currency = row[:11]
    milestones, payouts, descriptions, told = (json.loads(one or "[]") for one in row[15:])
    agreement = (
        Agreement(title, currency, dict(milestones), dict(payouts), dict(descriptions)) if title is not None else None
    )
    buyer = seller = unreadable = None
    if agreement:
        try:
            buyer, seller = _contact(keys, tenant, *row[11:13]), _contact(keys, tenant, *row[13:15])
        except personal.UnreadableError as error:
            unreadable = str(error)
    news = News(
        event=Event(event_id, kind, tenant, escrow, version, json.loads(data), occurred_at),
        agreement=agreement,
        buyer=buyer,
        seller=seller,
        rehearsal=rehearsal,
    )
    return Claim(news, attempts, frozenset((one[0], one[1], one[2]) for one in told), connection, unreadable)


def _contact(keys: Keyring, tenant: str, party: str, data: bytes | None) -> Contact:
    known = personal.opened(keys, tenant, party, data)
    return Contact(party, known.email, known.language)
