"""The feed of a tenant's events, by their number: newest first, without gaps.

An event has its number within a second of the command, while a worker runs. Until then it is found by its id and among
the events of its escrow.
"""

from typing import Final

from sqlalchemy import Engine, RowMapping, text

from models.errors import ErrorCode, RefusedError
from models.webhooks import TenantEvent

COLUMNS: Final = """e.id, e.type, n.sequence, e.tenant_id AS tenant, t.mode = 'live' AS live, e.escrow_id AS escrow,
                     e.version, e.data, e.occurred_at"""


def events(
    engine: Engine,
    tenant: str,
    limit: int,
    starting_after: str | None = None,
    type: str | None = None,  # noqa: A002 - as callers name it
    escrow: str | None = None,
) -> list[TenantEvent]:
    """The newest events, or those before ``starting_after`` (an event's id), of one type and one escrow if given.

    Raises ``RefusedError`` (not_found) when there is no event ``starting_after`` that has a number.
    """
    with engine.connect() as connection:
        before = None
        if starting_after is not None:
            before = connection.execute(
                text("SELECT sequence FROM numbered_event WHERE tenant_id = :tenant AND event_id = :event"),
                {"tenant": tenant, "event": starting_after},
            ).scalar()
            if before is None:
                raise RefusedError(ErrorCode.NOT_FOUND, f"there is no event {starting_after} to start after")
        filters = {"before": before, "type": type, "escrow": escrow}
        conditions = {"before": "n.sequence < :before", "type": "n.type = :type", "escrow": "e.escrow_id = :escrow"}
        given = "".join(f" AND {condition}" for name, condition in conditions.items() if filters[name] is not None)
        # What is put in here are the constants above.
        query = f"""SELECT {COLUMNS} FROM numbered_event n JOIN event e ON e.id = n.event_id
                    JOIN tenant t ON t.id = n.tenant_id
                    WHERE n.tenant_id = :tenant{given} ORDER BY n.sequence DESC LIMIT :limit"""  # noqa: S608
        rows = connection.execute(text(query), {"tenant": tenant, "limit": limit} | filters).mappings().all()
        return [event_of(row) for row in rows]


def event(engine: Engine, tenant: str, identifier: str) -> TenantEvent:
    """One event of a tenant. Raises ``RefusedError`` (not_found)."""
    query = f"""SELECT {COLUMNS} FROM event e JOIN tenant t ON t.id = e.tenant_id
                LEFT JOIN numbered_event n ON n.event_id = e.id
                WHERE e.tenant_id = :tenant AND e.id = :event"""  # noqa: S608 - constants
    with engine.connect() as connection:
        row = connection.execute(text(query), {"tenant": tenant, "event": identifier}).mappings().first()
    if row is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no event {identifier}")
    return event_of(row)


def event_of(row: RowMapping) -> TenantEvent:
    """The event of a row with these columns."""
    return TenantEvent(
        row["id"], row["type"], row["sequence"], row["tenant"], row["live"], row["escrow"], row["version"], row["data"],
        row["occurred_at"],
    )  # fmt: skip
