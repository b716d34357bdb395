"""Rounds of reconciliation: the provider's lines, what did not agree, and what people ask about both.

For others (``holdfast reconcile``, metrics): ``latest``, ``rounds``, ``differences``, ``difference`` read. A round is
started by ``client.start_workflow(ReconcileWorkflow.run, id=RECONCILIATION, task_queue=RECONCILIATION_TASK_QUEUE,
id_conflict_policy=USE_EXISTING)``, the three from ``workflows.reconcile`` and ``workflows.timeouts``; its result is the
``models.reconciliation.Reconciliation`` that ``latest`` answers then. ``ledger.comparing`` compares.
"""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic_core import to_json
from sqlalchemy import Connection, Engine, RowMapping, text

from ledger.corrections import drop_superseded
from models import ids
from models.differences import Found
from models.gateway_events import GatewayEvent
from models.reconciliation import Compared, Difference, Finished, ProviderLine, Reading, Reconciliation

Status = Literal["open", "healed", "corrected"]

AT_A_TIME: Final = 1000
# A provider may write a line down a while after its own time of it.
OVERLAP: Final = timedelta(days=1)
_RECENT: Final = 50
_SUMMARY: Final = {"escrows", "asked", "started"}

_ROUNDS: Final = """
SELECT id, provider, started_at, finished_at, read_up_to, summary, failed FROM reconciliation
WHERE CAST(:provider AS text) IS NULL OR provider = :provider ORDER BY started_at DESC, id DESC LIMIT :limit
"""
_COLUMNS: Final = """
    id, provider, compared, cause, kind, subject, tenant_id AS tenant, escrow_id AS escrow, ours, theirs, currency,
    since, says, remedy, first_seen, last_seen, status, closed_at, closed_why"""
_DIFFERENCES: Final = f"""
SELECT {_COLUMNS} FROM difference d
WHERE (CAST(:status AS text) IS NULL OR status = :status)
  AND (CAST(:after AS text) IS NULL OR (since, id) > (SELECT since, id FROM difference WHERE id = :after))
ORDER BY since, id LIMIT :limit
"""  # noqa: S608 - our own names
_DIFFERENCE: Final = f"SELECT {_COLUMNS} FROM difference WHERE id = :id"  # noqa: S608

# Only one round runs at a time, so another that was not finished never will be.
_GIVE_UP: Final = """
UPDATE reconciliation SET finished_at = clock_timestamp(), failed = 'it was given up before its end'
WHERE provider = :provider AND finished_at IS NULL AND id <> :id
"""
_BEGIN: Final = "INSERT INTO reconciliation (id, provider) VALUES (:id, :provider) ON CONFLICT DO NOTHING"
_READ_UP_TO: Final = "SELECT max(read_up_to) FROM reconciliation WHERE provider = :provider AND id <> :id"
_BEGUN: Final = "SELECT provider, started_at, finished_at FROM reconciliation WHERE id = :id FOR UPDATE"
_FOUND: Final = """
SELECT cause, count(*) FROM difference WHERE provider = :provider AND status = 'open' GROUP BY cause ORDER BY cause
"""
_HEALED: Final = """
SELECT count(*) FROM difference
WHERE provider = :provider AND status = 'healed' AND cause <> 'late' AND closed_at >= :started_at
"""
_FINISH: Final = """
UPDATE reconciliation SET finished_at = clock_timestamp(), read_up_to = :read_up_to, failed = :failed,
    summary = CAST(:summary AS json)
WHERE id = :id
"""
_STORE: Final = """
INSERT INTO provider_line (provider, id, type, kind, amount, fee, currency, source, subject, key, destination,
                           created_at)
SELECT :provider, r.id, r.type, r.kind, r.amount, r.fee, r.currency, r.source, r.subject, r.key,
       r.destination, r.created_at
FROM json_populate_recordset(NULL::provider_line, CAST(:rows AS json)) r ON CONFLICT DO NOTHING RETURNING id
"""
_HELD: Final = """
SELECT currency, (sum(amount) - sum(fee))::bigint FROM provider_line WHERE provider = :provider GROUP BY currency
"""
_NOTE: Final = """
INSERT INTO difference (id, provider, compared, cause, kind, subject, tenant_id, escrow_id, ours, theirs, currency,
                        since, says, remedy, first_seen, last_seen)
SELECT r.id, r.provider, r.compared, r.cause, r.kind, r.subject, (SELECT id FROM tenant WHERE id = r.tenant_id),
       (SELECT id FROM escrow WHERE id = r.escrow_id), r.ours, r.theirs, r.currency, r.since, r.says, r.remedy, :at, :at
FROM json_populate_recordset(NULL::difference, CAST(:rows AS json)) r
ON CONFLICT (provider, compared, coalesce(kind, ''), subject, coalesce(currency, '')) WHERE status = 'open'
DO UPDATE SET
    cause = excluded.cause, tenant_id = excluded.tenant_id, escrow_id = excluded.escrow_id, ours = excluded.ours,
    theirs = excluded.theirs, since = least(difference.since, excluded.since), says = excluded.says,
    remedy = excluded.remedy, last_seen = excluded.last_seen
"""
_CLOSE: Final = """
UPDATE difference SET status = 'healed', closed_at = :at,
    closed_why = CASE cause WHEN 'late' THEN 'the other side followed'
        WHEN 'misdirected' THEN 'it came back, or is not what the payout is about any more' ELSE 'both sides agree' END
WHERE provider = :provider AND compared = :compared AND status = 'open' AND last_seen < :at
"""
_LOOKED: Final = """
SELECT DISTINCT ON (reference) reference, last_error FROM gateway_event
WHERE provider = :provider AND reference = ANY(:references) AND id LIKE 'reconciliation:%'
    AND status IN ('refused', 'ignored') AND last_error IS NOT NULL
ORDER BY reference, number DESC
"""
_TO_LOOK_INTO: Final = """
WITH unlike AS (
    SELECT DISTINCT ON (l.kind, l.subject) l.id AS thing, l.source AS reference, l.key, l.created_at AS created,
           CASE l.kind WHEN 'charge' THEN 'charge.succeeded' WHEN 'payout' THEN 'transfer.created'
               WHEN 'payout_return' THEN 'transfer.reversed'
               ELSE CASE l.type WHEN 'adjustment' THEN 'charge.dispute.created' ELSE 'charge.failed' END END AS type
    FROM difference d JOIN provider_line l ON (l.provider, l.kind, l.subject) = (d.provider, d.kind, d.subject)
    WHERE d.provider = :provider AND d.compared = 'provider' AND d.status = 'open' AND d.theirs IS NOT NULL
        AND d.cause IN ('missing_here', 'unknown_outcome') AND l.source IS NOT NULL
        AND (EXISTS (SELECT FROM charge WHERE id = l.key)
             OR EXISTS (SELECT FROM payout WHERE id = split_part(l.key, ':', 1)))
    ORDER BY l.kind, l.subject, l.created_at DESC, l.id),
decided AS (
    SELECT c.reference AS thing, c.reference, l.key, now() AS created,
           CASE l.type WHEN 'payment_failure_refund' THEN 'charge.failed' ELSE 'charge.dispute.closed' END AS type
    FROM chargeback c LEFT JOIN LATERAL (SELECT key, type FROM provider_line
        WHERE provider = :provider AND source = c.reference AND kind = 'contested' ORDER BY id LIMIT 1) l ON true
    WHERE c.status = 'open')
SELECT 'reconciliation:' || left(thing, 170) || ':' || to_char(now(), 'YYYYMMDD') AS id, type, created, reference, key
FROM (SELECT * FROM unlike UNION ALL SELECT * FROM decided) wanted
WHERE NOT EXISTS (SELECT FROM gateway_event g
    WHERE g.provider = :provider AND g.reference = wanted.reference AND g.type = wanted.type
        AND g.id LIKE 'reconciliation:%'
        AND (g.status IN ('pending', 'refused') OR g.received_at > now() - interval '1 day'))
ORDER BY created, thing LIMIT :limit
"""
# The events that a round wrote, and the charges and payouts that the provider has and that are still in flight here.
_BEING_LOOKED_INTO: Final = """
SELECT (SELECT count(*) FROM gateway_event g JOIN reconciliation r ON r.id = :round
        WHERE g.provider = r.provider AND g.id LIKE 'reconciliation:%' AND g.status = 'pending'
            AND g.received_at >= r.started_at)
     + (SELECT count(*) FROM difference d JOIN reconciliation r ON r.id = :round
        WHERE d.provider = r.provider AND d.compared = 'provider' AND d.status = 'open'
            AND d.cause = 'unknown_outcome' AND d.theirs IS NOT NULL
            AND (EXISTS (SELECT FROM charge c WHERE c.id = d.subject AND c.status = 'pending')
                 OR EXISTS (SELECT FROM payout p WHERE p.id = split_part(d.subject, ':', 1)
                            AND p.id || ':' || p.generation = d.subject AND p.status IN ('in_transit', 'unknown'))))
"""


def latest(engine: Engine, provider: str | None = None) -> Reconciliation | None:
    """The round that began last, finished or not; None before the first one."""
    return next(iter(rounds(engine, 1, provider)), None)


def rounds(engine: Engine, limit: int, provider: str | None = None) -> list[Reconciliation]:
    """The last rounds, the newest first. One that runs has no ``finished_at`` yet; one with ``failed`` is not whole."""
    with engine.connect() as connection:
        found = connection.execute(text(_ROUNDS), {"provider": provider, "limit": limit}).mappings().all()
    return [_round(row) for row in found]


def differences(
    engine: Engine, status: Status | None = "open", limit: int = 100, after: str | None = None
) -> tuple[list[Difference], bool]:
    """A page of what did not agree, the oldest (``since``) first, and whether there is more; ``after`` is the last id
    of the page before, ``status`` None means all of them."""
    with engine.connect() as connection:
        values = {"status": status, "after": after, "limit": limit + 1}
        found = connection.execute(text(_DIFFERENCES), values).mappings().all()
    return [Difference(**row) for row in found[:limit]], len(found) > limit


def difference(engine: Engine, identifier: str) -> Difference | None:
    """One difference, open or not; None when there is none of that id."""
    with engine.connect() as connection:
        row = connection.execute(text(_DIFFERENCE), {"id": identifier}).mappings().first()
    return Difference(**row) if row else None


# Rounds ---------------------------------------------------------------------------------------------------------------


def begin(engine: Engine, identifier: str, provider: str) -> Reading:
    """Write down that a round has begun, and say from where the provider's lines are to be read: a day before the
    moment that was read up to last, since a line may turn up late. Again with the same id changes nothing.
    """
    with engine.begin() as connection:
        values = {"id": identifier, "provider": provider}
        connection.execute(text(_GIVE_UP), values)
        connection.execute(text(_BEGIN), values)
        last: datetime | None = connection.execute(text(_READ_UP_TO), values).scalar()
    return Reading(round=identifier, provider=provider, since=last - OVERLAP if last else None)


def finish(engine: Engine, done: Finished) -> Reconciliation:
    """Write down what a round came to, once; answers the round as it stands in the books."""
    with engine.begin() as connection:
        values = {"id": done.round, "read_up_to": done.read_up_to, "failed": done.failed}
        row = connection.execute(text(_BEGUN), values).mappings().one()
        if row["finished_at"] is None:
            at = {"provider": row["provider"], "started_at": row["started_at"]}
            found: dict[str, int] = {row[0]: row[1] for row in connection.execute(text(_FOUND), at)}
            healed: int = connection.execute(text(_HEALED), at).scalar_one()
            summary = done.model_dump(mode="json", include=_SUMMARY) | {"found": found, "healed": healed}
            agreement = done.agreement.model_dump(mode="json", exclude={"round"})
            drop_superseded(connection)
            connection.execute(text(_FINISH), values | {"summary": json.dumps(summary | agreement)})
    return next(one for one in rounds(engine, _RECENT) if one.id == done.round)


# The provider's lines -------------------------------------------------------------------------------------------------


def store(engine: Engine, provider: str, lines: Sequence[ProviderLine]) -> list[ProviderLine]:
    """Add the lines that are not known yet; answers those, in the same order. It is committed when this returns."""
    rows = [line.model_dump(mode="json") for line in lines]
    with engine.begin() as connection:
        stored = connection.execute(text(_STORE), {"provider": provider, "rows": json.dumps(rows)})
        new = set(stored.scalars())
    return [line for line in lines if line.id in new]


def clock(engine: Engine) -> datetime:
    """What time it is for PostgreSQL."""
    with engine.connect() as connection:
        now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def held(engine: Engine, provider: str) -> dict[str, int]:
    """What the provider's lines sum up to by currency, less its fees."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        return {row[0]: row[1] for row in connection.execute(text(_HELD), {"provider": provider})}


# Differences ----------------------------------------------------------------------------------------------------------


def note(connection: Connection, provider: str, at: datetime, found: Iterable[Found]) -> None:
    """Write differences down as seen at a moment; one that is open already keeps its id and its age."""
    rows = [
        {name: value for name, value in vars(one).items() if name not in {"tenant", "escrow"}}
        | {
            "id": ids.make("dif", at, secrets.token_bytes(10)),
            "provider": provider,
            "tenant_id": one.tenant,
            "escrow_id": one.escrow,
            "subject": one.subject[:200],
        }
        for one in found
    ]
    if rows:
        connection.execute(text(_NOTE), {"rows": to_json(rows).decode(), "at": at})


def close(connection: Connection, provider: str, compared: Compared, at: datetime) -> int:
    """Close what was open and was not seen at that moment any more: it agrees again. Answers how many those were."""
    values = {"provider": provider, "compared": compared, "at": at}
    return connection.execute(text(_CLOSE), values).rowcount


def replace_all(engine: Engine, provider: str, compared: Compared, found: Sequence[Found]) -> None:
    """Make these the open differences of a comparison, in one transaction. Those of one subject become one."""
    found = _grouped(found)
    with engine.begin() as connection:
        at: datetime = connection.execute(text("SELECT now()")).scalar_one()
        for first in range(0, len(found), AT_A_TIME):
            note(connection, provider, at, found[first : first + AT_A_TIME])
        close(connection, provider, compared, at)


def _grouped(found: Iterable[Found]) -> list[Found]:
    known: dict[tuple[str | None, str, str | None], Found] = {}
    for one in found:
        same = (one.kind, one.subject[:200], one.currency)
        if other := known.get(same):
            says = other.says if one.says in other.says else f"{other.says}; {one.says}"
            known[same] = replace(
                other, says=says, since=min(other.since, one.since), tenant=other.tenant or one.tenant
            )
        else:
            known[same] = one
    return list(known.values())


# Looking into them ----------------------------------------------------------------------------------------------------


def looked_into(connection: Connection, provider: str, references: list[str]) -> dict[str, str]:
    """Why looking into these of the provider's references led to nothing, where it did and a person has to."""
    if not references:
        return {}
    found = connection.execute(text(_LOOKED), {"provider": provider, "references": references})
    return {row[0]: row[1] for row in found}


def to_look_into(engine: Engine, provider: str, limit: int) -> list[GatewayEvent]:
    """What is to be looked into with the provider, as the events that it should have told us.

    Each thing at most once a day, and not while an earlier look is not done or has shown that a person has to decide:
    the differences of which the provider knows more than the books, and every chargeback that waits for its bank.
    """
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        rows = connection.execute(text(_TO_LOOK_INTO), {"provider": provider, "limit": limit}).mappings().all()
    return [GatewayEvent(**row) for row in rows]


def being_looked_into(engine: Engine, identifier: str) -> int:
    """How much of what a round has set going is not done yet."""
    with engine.connect() as connection:
        return int(connection.execute(text(_BEING_LOOKED_INTO), {"round": identifier}).scalar_one())


def _round(row: RowMapping) -> Reconciliation:
    columns = {name: value for name, value in row.items() if name != "summary"}
    return Reconciliation.model_validate_json(to_json(row["summary"] | columns))
