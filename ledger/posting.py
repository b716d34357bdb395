"""What is to be posted next, and what became of it.

Events get their number, and a delivery for each endpoint that wants them; deliveries are claimed, called and recorded.

A claim is a lease on the endpoint and no lock: nothing is held in PostgreSQL while somebody's server takes its time. A
process that dies leaves its lease to run out; then the same event is posted again.
"""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from ledger.events import event_of
from models import ids
from models.webhooks import DisabledBecause, TenantEvent, is_hopeless, rest_after, wait_after

NUMBERED_AT_ONCE: Final = 500
KEPT_FOR: Final = timedelta(days=30)
PURGED_AT_ONCE: Final = 1000
# Longer than a call and its look-up of a name may take (activities/webhooks.py).
LEASE: Final = timedelta(seconds=60)

# Of all that is called at a time, one call to an endpoint, two for a tenant, and half of the lanes for endpoints that
# have failed: neither one that hangs nor many of them keep the others waiting.
CALLS_OF_A_TENANT: Final = 2
CALLS_THAT_MAY_HANG: Final = 4

_NUMBERING: Final = 4_206_001
_CLAIMING: Final = 4_206_002

# One process numbers at a time, so the last number is what the table says. An escrow's events are committed in the
# order of their `number`: whoever sees one sees those before it.
_NUMBER: Final = """
WITH batch AS (
    DELETE FROM unnumbered_event
    WHERE number IN (SELECT number FROM unnumbered_event ORDER BY number LIMIT :most)
    RETURNING number, event_id, tenant_id
), numbered AS (
    INSERT INTO numbered_event (tenant_id, sequence, event_id, type)
    SELECT b.tenant_id,
           coalesce((SELECT n.sequence FROM numbered_event n WHERE n.tenant_id = b.tenant_id
                     ORDER BY n.sequence DESC LIMIT 1), 0)
               + row_number() OVER (PARTITION BY b.tenant_id ORDER BY b.number),
           e.id, e.type
    FROM batch b JOIN event e ON e.id = b.event_id
    RETURNING tenant_id, sequence, event_id, type
)
SELECT n.tenant_id, n.sequence, n.event_id, w.id AS endpoint_id FROM numbered n
LEFT JOIN webhook_endpoint w ON w.tenant_id = n.tenant_id AND w.status = 'enabled' AND wants(w.events, n.type)
ORDER BY n.tenant_id, n.sequence, w.id
"""

# Under a lock of a few milliseconds, since it counts what the others have claimed. Endpoints take turns: whoever was
# called longest ago is next, however long the queue of another is.
_CLAIM: Final = """
WITH next AS MATERIALIZED (
    SELECT w.id, d.id AS delivery FROM webhook_endpoint w CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_delivery d
        WHERE d.endpoint_id = w.id AND d.status = 'pending' AND d.next_attempt_at <= now()
        ORDER BY d.next_attempt_at, d.sequence LIMIT 1
    ) d
    WHERE w.status = 'enabled' AND coalesce(w.leased_until <= now(), true) AND coalesce(w.rest_until <= now(), true)
        AND (SELECT count(*) FROM webhook_endpoint o
             WHERE o.tenant_id = w.tenant_id AND o.leased_until > now()) < :of_a_tenant
        AND (w.failures = 0 OR (SELECT count(*) FROM webhook_endpoint o
                                WHERE o.failures > 0 AND o.leased_until > now()) < :that_may_hang)
    ORDER BY w.called_at NULLS FIRST, w.id LIMIT 1 FOR UPDATE OF w SKIP LOCKED
), leased AS (
    UPDATE webhook_endpoint w SET leased_until = now() + :lease, called_at = clock_timestamp()
    FROM next WHERE w.id = next.id
    RETURNING w.id, w.url, w.secret, w.called_at, next.delivery,
              CASE WHEN w.previous_until > now() THEN w.previous_secret END AS previous_secret
)
SELECT l.id AS endpoint, l.url, l.secret, l.previous_secret, l.called_at, d.id AS delivery, d.attempts,
       e.id, e.type, d.sequence, e.tenant_id AS tenant, t.mode = 'live' AS live, e.escrow_id AS escrow, e.version,
       e.data, e.occurred_at
FROM leased l JOIN webhook_delivery d ON d.id = l.delivery JOIN event e ON e.id = d.event_id
JOIN tenant t ON t.id = e.tenant_id
"""

# By the number of attempts before: what another process has recorded meanwhile, its lease having run out, stands.
_ATTEMPTED: Final = """
UPDATE webhook_delivery SET attempts = attempts + 1, last_attempt_at = now(), last_status = :answered,
    last_error = :error, status = :status, next_attempt_at = now() + CAST(:wait AS interval),
    finished_at = CASE WHEN :status = 'pending' THEN NULL ELSE now() END
WHERE id = :delivery AND status = 'pending' AND attempts = :attempts
"""
_RETURNED: Final = "leased_until = CASE WHEN called_at = :called_at THEN NULL ELSE leased_until END"
_SUCCEEDED: Final = f"""
UPDATE webhook_endpoint SET {_RETURNED}, failures = 0, failing_since = NULL, rest_until = NULL WHERE id = :endpoint
"""  # noqa: S608 - constants
_FAILED: Final = f"""
UPDATE webhook_endpoint SET {_RETURNED}, failures = failures + 1, failing_since = coalesce(failing_since, now())
WHERE id = :endpoint RETURNING status, failures, failing_since, now() AS at
"""  # noqa: S608 - constants
_POSTPONED: Final = f"""
UPDATE webhook_endpoint SET {_RETURNED}, rest_until = now() + :rest WHERE id = :endpoint
"""  # noqa: S608 - constants

_DISABLE: Final = """
UPDATE webhook_endpoint SET status = 'disabled', disabled_because = :because, disabled_at = now() WHERE id = :endpoint
"""
_ABANDON: Final = """
UPDATE webhook_delivery SET status = 'failed', next_attempt_at = NULL, finished_at = now(),
    last_error = coalesce(last_error, 'the endpoint was disabled')
WHERE endpoint_id = :endpoint AND status = 'pending'
"""
_TELL: Final = """
INSERT INTO event (id, tenant_id, version, position, type, data, occurred_at)
SELECT :id, t.id, 0, 0, 'webhook_endpoint.disabled',
       json_build_object('endpoint', CAST(:endpoint AS text), 'code', CAST(:because AS text)),
       now() + t.clock_offset * interval '1 second'
FROM tenant t WHERE t.id = :tenant
"""


@dataclass(frozen=True)
class Posting:
    """One event for one endpoint, leased to whoever holds this. ``attempts`` failed before; secrets are encrypted."""

    endpoint: str
    url: str
    event: TenantEvent
    delivery: str
    attempts: int
    secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(repr=False)
    called_at: datetime


@dataclass(frozen=True)
class Failure:
    """Why an attempt was none. ``answered``: the HTTP status, if there was one; ``retry_after``: what it asked for."""

    because: str
    answered: int | None = None
    retry_after: timedelta | None = None
    gone: bool = False


class PostingQueue:
    """The deliveries behind a pool of their own: who posts takes no connection from money.

    Every method raises ``SQLAlchemyError`` while PostgreSQL is away.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def number(self) -> int:
        """Give the oldest events without a number theirs, and a delivery per endpoint; answers how many events.

        0 when there is none, or while somebody else does this.
        """
        with self._engine.begin() as connection:
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _NUMBERING}).scalar():
                return 0
            rows = connection.execute(text(_NUMBER), {"most": NUMBERED_AT_ONCE}).mappings().all()
            made, due = datetime.now(UTC), [dict(row) for row in rows if row["endpoint_id"]]
            fresh = sorted(_id("whd", made) for _ in due)  # those of one moment sort as their events do
            wanted = [{"id": identifier} | one for identifier, one in zip(fresh, due, strict=True)]
            if wanted:
                # An endpoint that was deleted since has no deliveries.
                connection.execute(
                    text("""INSERT INTO webhook_delivery (id, tenant_id, endpoint_id, event_id, sequence)
                            SELECT :id, :tenant_id, w.id, :event_id, :sequence FROM webhook_endpoint w
                            WHERE w.id = :endpoint_id FOR KEY SHARE"""),
                    wanted,
                )
            return len({row["event_id"] for row in rows})

    def claim(self) -> Posting | None:
        """Lease the endpoint whose turn it is, with its next delivery; None when nothing is due."""
        with self._engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLAIMING})
            limits = {"of_a_tenant": CALLS_OF_A_TENANT, "that_may_hang": CALLS_THAT_MAY_HANG, "lease": LEASE}
            row = connection.execute(text(_CLAIM), limits).mappings().first()
            if row is None:
                return None
            return Posting(
                endpoint=row["endpoint"],
                url=row["url"],
                event=event_of(row),
                delivery=row["delivery"],
                attempts=row["attempts"],
                secret=bytes(row["secret"]),
                previous_secret=row["previous_secret"] and bytes(row["previous_secret"]),
                called_at=row["called_at"],
            )

    def delivered(self, posting: Posting, answered: int) -> None:
        """Write down that the endpoint took it, and free the endpoint for its next one."""
        with self._engine.begin() as connection:
            _attempted(connection, posting, "delivered", answered, None, None)
            connection.execute(text(_SUCCEEDED), _whose(posting))

    def failed(self, posting: Posting, failure: Failure, chance: int) -> None:
        """Write down that it did not, and when it is tried again; ``chance`` from 0 to 999 is for the jitter.

        An endpoint that is gone, or has failed for five days, is disabled, and its tenant told by an event.
        """
        wait = wait_after(posting.attempts + 1, chance, failure.retry_after)
        with self._engine.begin() as connection:
            status = "pending" if wait is not None else "failed"
            _attempted(connection, posting, status, failure.answered, failure.because, wait)
            now = connection.execute(text(_FAILED), _whose(posting)).mappings().first()
            if now is None or now["status"] == "disabled":
                return
            rest = rest_after(now["failures"], failure.retry_after)
            if rest:
                connection.execute(text(_POSTPONED), _whose(posting) | {"rest": rest})
            if failure.gone:
                _disable(connection, posting, "gone")
            elif is_hopeless(now["failures"], now["failing_since"], now["at"]):
                _disable(connection, posting, "failing")

    def postpone(self, posting: Posting, rest: timedelta) -> None:
        """Leave the endpoint alone for a while without an attempt: it is us who could not."""
        with self._engine.begin() as connection:
            connection.execute(text(_POSTPONED), _whose(posting) | {"rest": rest})

    def purge(self) -> int:
        """Delete some of the deliveries that were over 30 days ago; answers how many."""
        query = """DELETE FROM webhook_delivery WHERE id IN (
                       SELECT id FROM webhook_delivery WHERE status <> 'pending' AND finished_at < now() - :kept
                       ORDER BY finished_at LIMIT :most FOR UPDATE SKIP LOCKED)"""
        with self._engine.begin() as connection:
            return connection.execute(text(query), {"kept": KEPT_FOR, "most": PURGED_AT_ONCE}).rowcount


def _attempted(
    connection: Connection,
    posting: Posting,
    status: str,
    answered: int | None,
    error: str | None,
    wait: timedelta | None,
) -> None:
    connection.execute(
        text(_ATTEMPTED),
        {
            "delivery": posting.delivery,
            "attempts": posting.attempts,
            "status": status,
            "answered": answered,
            "error": error,
            "wait": wait,
        },
    )


def _disable(connection: Connection, posting: Posting, because: DisabledBecause) -> None:
    given = {"endpoint": posting.endpoint, "because": because, "tenant": posting.event.tenant}
    connection.execute(text(_DISABLE), given)
    connection.execute(text(_ABANDON), given)
    connection.execute(text(_TELL), given | {"id": _id("evt", datetime.now(UTC))})


def _whose(posting: Posting) -> dict[str, Any]:
    return {"endpoint": posting.endpoint, "called_at": posting.called_at}


def _id(prefix: str, at: datetime) -> str:
    return ids.make(prefix, at, os.urandom(10))
