"""Where a tenant wants its events posted, and what became of each posting. What posts them is ``ledger.posting``.

A secret is shown when it is made and never again; it is kept encrypted, for its endpoint alone.
"""

import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from ledger import events
from ledger.keyring import Keyring
from models import ids
from models.errors import ErrorCode, RefusedError
from models.webhooks import check_types

MOST_ENDPOINTS: Final = 16
OVERLAP: Final = timedelta(hours=24)  # for so long the secret that was replaced signs too
LONGEST_OVERLAP: Final = timedelta(days=7)

_COLUMNS: Final = "id, url, description, events, status, disabled_because, disabled_at, failing_since, created_at"
_DELIVERY: Final = """id, endpoint_id AS endpoint, event_id AS event, sequence, status, attempts, next_attempt_at,
                      last_attempt_at, last_status, last_error, created_at"""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as its owner sees it. ``failing_since``: the first of the failures since the last success."""

    id: str
    url: str
    description: str
    events: Sequence[str]
    status: str
    disabled_because: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class NewSecret:
    """An endpoint with the secret that was just made for it, as Standard Webhooks writes it: ``whsec_`` and base64."""

    endpoint: Endpoint
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Delivery:
    """One event for one endpoint: what was tried, and when it is tried next (None: no more)."""

    id: str
    endpoint: str
    event: str
    sequence: int
    status: str
    attempts: int
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime


def create_endpoint(
    engine: Engine,
    keyring: Keyring,
    tenant: str,
    url: str,
    types: Sequence[str],
    description: str = "",
    *,
    identifier: str | None = None,
) -> NewSecret:
    """Register where events go from now on. ``url`` was judged by the caller (``models.destinations``).

    The same ``identifier`` again finds the same endpoint, with the secret that it was made with.

    Raises ``RefusedError``: invalid_command for types of events that there are not, and when there are 16 already.
    """
    wanted = _types(types)
    identifier = identifier or _new_id("whk")
    secret = _secret_for(keyring, identifier, identifier)
    with engine.begin() as connection:
        # Two at a time would both see fifteen.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant, 7))"), {"tenant": tenant})
        count = text("SELECT count(*) FROM webhook_endpoint WHERE tenant_id = :tenant AND id <> :id")
        if connection.execute(count, {"tenant": tenant, "id": identifier}).scalar_one() >= MOST_ENDPOINTS:
            raise RefusedError(
                ErrorCode.INVALID_COMMAND, f"a tenant has at most {MOST_ENDPOINTS} webhook endpoints: delete one first"
            )
        connection.execute(
            text("""INSERT INTO webhook_endpoint (id, tenant_id, url, description, events, secret)
                    VALUES (:id, :tenant, :url, :description, :events, :secret) ON CONFLICT (id) DO NOTHING"""),
            {
                "id": identifier,
                "tenant": tenant,
                "url": url,
                "description": description,
                "events": list(wanted),
                "secret": keyring.encrypt("webhook", secret.encode(), identifier),
            },
        )
        return NewSecret(_endpoint(connection, tenant, identifier), secret)


def endpoints(engine: Engine, tenant: str) -> list[Endpoint]:
    """A tenant's endpoints, newest first."""
    query = f"SELECT {_COLUMNS} FROM webhook_endpoint WHERE tenant_id = :tenant ORDER BY id DESC"  # noqa: S608
    with engine.connect() as connection:
        return [Endpoint(**row) for row in connection.execute(text(query), {"tenant": tenant}).mappings()]


def endpoint(engine: Engine, tenant: str, identifier: str) -> Endpoint:
    """One endpoint. Raises ``RefusedError`` (not_found)."""
    with engine.connect() as connection:
        return _endpoint(connection, tenant, identifier)


def change_endpoint(
    engine: Engine,
    tenant: str,
    identifier: str,
    *,
    url: str | None = None,
    types: Sequence[str] | None = None,
    description: str | None = None,
) -> Endpoint:
    """Change what is given; what waits goes to the new address.

    Raises ``RefusedError`` (not_found, invalid_command).
    """
    given: dict[str, Any] = {"url": url, "description": description}
    given["events"] = None if types is None else list(_types(types))
    changed = {name: value for name, value in given.items() if value is not None}
    with engine.begin() as connection:
        _endpoint(connection, tenant, identifier)
        _change(connection, tenant, identifier, changed)
        return _endpoint(connection, tenant, identifier)


def enable_endpoint(engine: Engine, tenant: str, identifier: str) -> Endpoint:
    """Let it have events again, from now on; what it missed is delivered when asked for (``redeliver``).

    Raises ``RefusedError`` (not_found).
    """
    fresh = {"status": "enabled", "disabled_because": None, "disabled_at": None}
    with engine.begin() as connection:
        if _endpoint(connection, tenant, identifier).status == "disabled":
            unfailing = {"failures": 0, "failing_since": None, "rest_until": None}
            _change(connection, tenant, identifier, fresh | unfailing)
        return _endpoint(connection, tenant, identifier)


def delete_endpoint(engine: Engine, tenant: str, identifier: str) -> None:
    """Forget an endpoint and its deliveries. Raises ``RefusedError`` (not_found)."""
    with engine.begin() as connection:
        _endpoint(connection, tenant, identifier)
        connection.execute(
            text("DELETE FROM webhook_endpoint WHERE tenant_id = :tenant AND id = :id"),
            {"tenant": tenant, "id": identifier},
        )


def rotate_secret(
    engine: Engine,
    keyring: Keyring,
    tenant: str,
    identifier: str,
    overlap: timedelta = OVERLAP,
    *,
    request: str | None = None,
) -> NewSecret:
    """Make a new secret. The one that it replaces signs too until the overlap is over (0 to 7 days).

    The same ``request`` again answers the same secret, and replaces nothing. Raises ``RefusedError`` (not_found,
    invalid_command).
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise RefusedError(ErrorCode.INVALID_COMMAND, "the replaced secret may sign for PT0S to P7D more, such as P1D")
    secret = _secret_for(keyring, identifier, request or _new_id("req"))
    with engine.begin() as connection:
        kept = connection.execute(
            text("SELECT secret FROM webhook_endpoint WHERE tenant_id = :tenant AND id = :id FOR UPDATE"),
            {"tenant": tenant, "id": identifier},
        ).scalar()
        if kept is not None and keyring.decrypt("webhook", bytes(kept), identifier).decode() == secret:
            return NewSecret(_endpoint(connection, tenant, identifier), secret)
        connection.execute(
            text("""UPDATE webhook_endpoint SET secret = :secret, previous_secret = secret,
                        previous_until = clock_timestamp() + :overlap
                    WHERE tenant_id = :tenant AND id = :id"""),
            {
                "secret": keyring.encrypt("webhook", secret.encode(), identifier),
                "overlap": overlap,
                "tenant": tenant,
                "id": identifier,
            },
        )
        return NewSecret(_endpoint(connection, tenant, identifier), secret)


def deliveries(
    engine: Engine, tenant: str, identifier: str, limit: int, starting_after: str | None = None
) -> list[Delivery]:
    """What was and will be posted to an endpoint, newest first; finished ones are kept for 30 days.

    Raises ``RefusedError`` (not_found).
    """
    later = "" if starting_after is None else " AND id < :starting_after"
    query = f"""SELECT {_DELIVERY} FROM webhook_delivery WHERE tenant_id = :tenant AND endpoint_id = :endpoint{later}
                ORDER BY id DESC LIMIT :limit"""  # noqa: S608 - constants
    given = {"tenant": tenant, "endpoint": identifier, "limit": limit, "starting_after": starting_after}
    with engine.connect() as connection:
        _endpoint(connection, tenant, identifier)
        return [Delivery(**row) for row in connection.execute(text(query), given).mappings()]


def redeliver(engine: Engine, tenant: str, event: str, endpoint: str | None = None) -> list[Delivery]:
    """Post an event once more: to every enabled endpoint that wants its type, or to the one named, if it is enabled.

    Where a delivery of it waits already, that one is due at once. Raises ``RefusedError``: not_found; conflict for an
    event that has no number yet (it is on its way), and for an endpoint that is disabled.
    """
    known = events.event(engine, tenant, event)
    if known.sequence is None:
        raise RefusedError(ErrorCode.CONFLICT, f"event {event} has no number yet: it is delivered as soon as it has")
    with engine.begin() as connection:
        if endpoint is None:
            found = _wanting(connection, tenant, known.type)
        elif _endpoint(connection, tenant, endpoint).status != "enabled":
            raise RefusedError(ErrorCode.CONFLICT, f"webhook endpoint {endpoint} is disabled: enable it first")
        else:
            found = [endpoint]
        ids_made = [_again(connection, tenant, one, event, known.sequence) for one in found]
        query = f"SELECT {_DELIVERY} FROM webhook_delivery WHERE id = ANY(:ids) ORDER BY id"  # noqa: S608 - constants
        return [Delivery(**row) for row in connection.execute(text(query), {"ids": ids_made}).mappings()]


def _again(connection: Connection, tenant: str, endpoint: str, event: str, sequence: int) -> str:
    waiting = connection.execute(
        text("""UPDATE webhook_delivery SET next_attempt_at = now()
                WHERE tenant_id = :tenant AND endpoint_id = :endpoint AND event_id = :event AND status = 'pending'
                RETURNING id"""),
        {"tenant": tenant, "endpoint": endpoint, "event": event},
    ).scalar()
    if waiting is not None:
        return str(waiting)
    identifier = _new_id("whd")
    connection.execute(
        text("""INSERT INTO webhook_delivery (id, tenant_id, endpoint_id, event_id, sequence)
                VALUES (:id, :tenant, :endpoint, :event, :sequence)"""),
        {"id": identifier, "tenant": tenant, "endpoint": endpoint, "event": event, "sequence": sequence},
    )
    return identifier


def _wanting(connection: Connection, tenant: str, kind: str) -> list[str]:
    query = """SELECT id FROM webhook_endpoint
               WHERE tenant_id = :tenant AND status = 'enabled' AND wants(events, :type) ORDER BY id"""
    return list(connection.execute(text(query), {"tenant": tenant, "type": kind}).scalars())


def _endpoint(connection: Connection, tenant: str, identifier: str) -> Endpoint:
    query = f"SELECT {_COLUMNS} FROM webhook_endpoint WHERE tenant_id = :tenant AND id = :id"  # noqa: S608 - constants
    row = connection.execute(text(query), {"tenant": tenant, "id": identifier}).mappings().first()
    if row is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no webhook endpoint {identifier}")
    return Endpoint(**row)


def _change(connection: Connection, tenant: str, identifier: str, changed: dict[str, Any]) -> None:
    if changed:
        columns = ", ".join(f"{name} = :{name}" for name in changed)  # names of this file, never a caller's
        connection.execute(
            text(f"UPDATE webhook_endpoint SET {columns} WHERE tenant_id = :tenant AND id = :id"),  # noqa: S608
            changed | {"tenant": tenant, "id": identifier},
        )


def _types(types: Sequence[str]) -> tuple[str, ...]:
    try:
        return check_types(types)
    except ValueError as error:
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"events: {error}") from error


def _new_id(prefix: str) -> str:
    return ids.make(prefix, datetime.now(UTC), secrets.token_bytes(10))


def _secret_for(keyring: Keyring, endpoint: str, request: str) -> str:
    """256 bits that only our key makes, of what is unique: a request that is repeated finds its secret again."""
    mac = keyring.sign("webhook", f"secret of {endpoint} by {request}".encode()).rpartition(":")[2]
    return f"whsec_{b64encode(bytes.fromhex(mac)).decode()}"
