"""What the books recorded, for people who ask over the API: an escrow's settlements, transactions, audit and events,
a charge, what became of a command. Newest first, a page at a time.

Every list answers up to ``limit + 1`` rows (see ``listings.cut_off``) of those before the row with the id ``after``.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, RowMapping, text

from ledger import audit, events
from ledger.audit import AuditRow
from ledger.listings import Cut
from models.webhooks import TenantEvent

_SETTLEMENTS: Final = """
SELECT s.* FROM settlement s WHERE s.escrow_id = :escrow AND (CAST(:after AS text) IS NULL OR (s.created_at, s.id)
    < (SELECT l.created_at, l.id FROM settlement l WHERE l.escrow_id = :escrow AND l.id = :after))
ORDER BY s.created_at DESC, s.id DESC LIMIT :limit
"""
_TRANSACTIONS: Final = """
WITH page AS (
    SELECT t.* FROM ledger_transaction t
    WHERE t.escrow_id = :escrow AND (CAST(:after AS text) IS NULL OR (t.recorded_at, t.posted_at, t.position, t.id)
        < (SELECT l.recorded_at, l.posted_at, l.position, l.id FROM ledger_transaction l
           WHERE l.escrow_id = :escrow AND l.id = :after))
    ORDER BY t.recorded_at DESC, t.posted_at DESC, t.position DESC, t.id DESC LIMIT :limit
)
SELECT p.id, p.escrow_id AS escrow, p.command_id AS command, p.settlement_id AS settlement, p.memo, p.posted_at,
       p.recorded_at,
       (SELECT json_agg(json_build_object('account', e.account_kind, 'owner', e.owner, 'direction', e.direction,
                                          'amount', e.amount, 'currency', e.currency) ORDER BY e.position, e.id)
        FROM entry e WHERE e.transaction_id = p.id) AS entries
FROM page p ORDER BY p.recorded_at DESC, p.posted_at DESC, p.position DESC, p.id DESC
"""
_AUDIT: Final = f"""
SELECT {audit.COLUMNS} FROM audit WHERE escrow_id = :escrow AND (CAST(:after AS text) IS NULL OR position
    < (SELECT l.position FROM audit l WHERE l.escrow_id = :escrow AND l.id = :after))
ORDER BY position DESC LIMIT :limit
"""  # noqa: S608 - our own names
_PLACE: Final = "{0}.version, {0}.type = 'command.refused', {0}.position, {0}.recorded_at, {0}.id"
_EVENTS: Final = f"""
SELECT {events.COLUMNS} FROM event e JOIN tenant t ON t.id = e.tenant_id
LEFT JOIN numbered_event n ON n.event_id = e.id
WHERE e.escrow_id = :escrow AND (CAST(:types AS text[]) IS NULL OR e.type = ANY(:types))
    AND (CAST(:after AS text) IS NULL OR ({_PLACE.format("e")})
    < (SELECT {_PLACE.format("l")} FROM event l WHERE l.escrow_id = :escrow AND l.id = :after))
ORDER BY e.version DESC, (e.type = 'command.refused') DESC, e.position DESC, e.recorded_at DESC, e.id DESC
LIMIT :limit
"""  # noqa: S608 - our own names
_COMMAND: Final = """
SELECT c.id, c.escrow_id AS escrow, c.name, c.outcome -> 'refusal' AS refusal
FROM command c WHERE c.tenant_id = :tenant AND c.id = :id
    AND (CAST(:party AS text) IS NULL OR EXISTS (
        SELECT FROM audit a WHERE a.escrow_id = c.escrow_id AND a.command_id = c.id AND a.actor_party = :party))
"""


@dataclass(frozen=True)
class Decided:
    """What became of a command. ``refusal`` has ``code``, ``message`` and ``details``; None: it was accepted."""

    id: str
    escrow: str
    name: str
    refusal: dict[str, Any] | None


def settlements(engine: Engine, escrow: str, cut: Cut) -> Sequence[RowMapping]:
    """An escrow's settlements, with every column of the row."""
    return _rows(engine, _SETTLEMENTS, escrow, cut)


def transactions(engine: Engine, escrow: str, cut: Cut) -> Sequence[RowMapping]:
    """An escrow's ledger transactions, each with its ``entries`` in the order in which they were posted."""
    return _rows(engine, _TRANSACTIONS, escrow, cut)


def audit_rows(engine: Engine, escrow: str, cut: Cut) -> list[AuditRow]:
    """An escrow's audit rows, the end of the chain first."""
    return [AuditRow(**row) for row in _rows(engine, _AUDIT, escrow, cut)]


def escrow_events(engine: Engine, escrow: str, cut: Cut, types: Collection[str] | None = None) -> list[TenantEvent]:
    """An escrow's events, also those that have no number in the tenant's feed yet; of some types alone if given."""
    given = None if types is None else sorted(types)
    return [events.event_of(row) for row in _rows(engine, _EVENTS, escrow, cut, types=given)]


def completions(engine: Engine, escrow: str) -> dict[str, datetime]:
    """When each milestone of an escrow was settled for good: released, refunded or divided; by its id."""
    query = """SELECT m.milestone_id, s.created_at FROM settlement s JOIN settled_milestone m ON m.settlement_id = s.id
               WHERE s.escrow_id = :escrow"""
    with engine.connect() as connection:
        return {row.milestone_id: row.created_at for row in connection.execute(text(query), {"escrow": escrow})}


def charge(engine: Engine, party: str, identifier: str) -> RowMapping | None:
    """A charge of a party's payment method: ``id party amount currency status reason``."""
    query = "SELECT id, party, amount, currency, status, reason FROM charge WHERE id = :id AND party = :party"
    with engine.connect() as connection:
        return connection.execute(text(query), {"id": identifier, "party": party}).mappings().first()


def command(engine: Engine, tenant: str, identifier: str, party: str | None = None) -> Decided | None:
    """What became of a command; None when it is not decided. With a ``party`` only of those that it sent itself."""
    with engine.connect() as connection:
        parameters = {"tenant": tenant, "id": identifier, "party": party}
        row = connection.execute(text(_COMMAND), parameters).mappings().first()
    return Decided(**row) if row else None


def _rows(engine: Engine, query: str, escrow: str, cut: Cut, **further: Any) -> Sequence[RowMapping]:
    with engine.connect() as connection:
        parameters = {"escrow": escrow, "after": cut.after, "limit": cut.limit + 1, **further}
        return connection.execute(text(query), parameters).mappings().all()
