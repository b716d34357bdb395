"""Tenants, their parties and their policies."""

import json
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import Engine, text

from models.errors import ErrorCode, RefusedError
from models.fields import Document
from models.policies import POLICY_KINDS

_FARTHEST: Final = timedelta(days=36500)


def create_tenant(engine: Engine, tenant: str, name: str, reporting_currency: str, *, live: bool = False) -> None:
    """Add a tenant; one in test mode has a clock of its own. The same id again changes nothing."""
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO tenant (id, name, mode, reporting_currency) VALUES (:id, :name, :mode, :currency)
                    ON CONFLICT (id) DO NOTHING"""),
            {"id": tenant, "name": name, "mode": "live" if live else "test", "currency": reporting_currency},
        )


def put_party(
    engine: Engine, tenant: str, party: str, name: str | None = None, payout_destination: str | None = None
) -> None:
    """Add a party or change what is given of it."""
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO party (tenant_id, id, name, payout_destination)
                    VALUES (:tenant, :party, :name, :destination)
                    ON CONFLICT (tenant_id, id) DO UPDATE SET
                        name = coalesce(excluded.name, party.name),
                        payout_destination = coalesce(excluded.payout_destination, party.payout_destination)"""),
            {"tenant": tenant, "party": party, "name": name, "destination": payout_destination},
        )


def put_policy(engine: Engine, tenant: str, kind: str, document: Document) -> int:
    """Write a new version of a policy, in force at once; answers the version. The same document again writes nothing.

    Raises ``RefusedError`` (invalid_command) for an unknown kind or a document of another kind.
    """
    expected = POLICY_KINDS.get(kind)
    if expected is None or not isinstance(document, expected):
        known = ", ".join(sorted(POLICY_KINDS))
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"{kind!r} is not the kind of this policy: there are {known}")
    written = document.model_dump_json()
    with engine.begin() as connection:
        # One writer of a tenant's policies at a time, so that two cannot both make the same version.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"policy:{tenant}"})
        newest = connection.execute(
            text("""SELECT version, document::text FROM policy WHERE tenant_id = :tenant AND kind = :kind
                    ORDER BY version DESC LIMIT 1"""),
            {"tenant": tenant, "kind": kind},
        ).first()
        if newest and newest.document == written:
            return int(newest.version)
        version = (newest.version if newest else 0) + 1
        connection.execute(
            text(
                "INSERT INTO policy (tenant_id, kind, version, document) VALUES (:tenant, :kind, :version, :document)"
            ),
            {"tenant": tenant, "kind": kind, "version": version, "document": written},
        )
        return int(version)


def parse_policy(kind: str, document: dict[str, Any]) -> Document:
    """Validate a policy document. Raises ``RefusedError`` naming the field that is wrong and what is allowed."""
    try:
        return POLICY_KINDS[kind].model_validate_json(json.dumps(document))
    except KeyError:
        known = ", ".join(sorted(POLICY_KINDS))
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"unknown policy {kind!r}: there are {known}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"policy {kind}: {where}: {first['msg']}") from error


def move_clock(engine: Engine, tenant: str, to: timedelta) -> int:
    """Set how far a test tenant's clock is ahead; it never goes back. Answers the offset in seconds.

    Raises ``RefusedError`` (not_found, forbidden, invalid_command) for an unknown tenant, a live one, and for more than
    a hundred years.
    """
    if not timedelta(0) <= to <= _FARTHEST:
        raise RefusedError(ErrorCode.INVALID_COMMAND, "a test clock goes forward, by at most 36500 days in all")
    with engine.begin() as connection:
        mode = connection.execute(text("SELECT mode FROM tenant WHERE id = :id"), {"id": tenant}).scalar()
        if mode is None:
            raise RefusedError(ErrorCode.NOT_FOUND, f"there is no tenant {tenant}")
        if mode != "test":
            raise RefusedError(ErrorCode.FORBIDDEN, "only a tenant in test mode has a clock that can be moved")
        moved = connection.execute(
            text("""UPDATE tenant SET clock_offset = greatest(clock_offset, :offset) WHERE id = :id
                    RETURNING clock_offset"""),
            {"id": tenant, "offset": int(to.total_seconds())},
        )
        return int(moved.scalar_one())
