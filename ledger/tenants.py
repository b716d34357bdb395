"""Tenants, their parties and their policies."""

import json
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, text

from ledger import personal
from ledger.keyring import Keyring
from models.errors import ErrorCode, RefusedError
from models.fields import GIVEN, Document, printable
from models.forms import why
from models.money import MAX_AMOUNT
from models.parties import PartyDetails
from models.policies import POLICY_KINDS, beyond_amounts
from models.templates import TEMPLATES, Template

FARTHEST: Final = timedelta(days=36500)


def create_tenant(engine: Engine, tenant: str, name: str, reporting_currency: str, *, live: bool = False) -> None:
    """Add a tenant; one in test mode has a clock of its own. The same id again changes nothing."""
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO tenant (id, name, mode, reporting_currency) VALUES (:id, :name, :mode, :currency)
                    ON CONFLICT (id) DO NOTHING"""),
            {"id": tenant, "name": name, "mode": "live" if live else "test", "currency": reporting_currency},
        )


def put_party(
    engine: Engine,
    tenant: str,
    party: str,
    name: str | None = None,
    payout_destination: str | None = None,
    *,
    keys: Keyring | None = None,
    **known: Any,
) -> None:
    """Add a party or change what is given of it: ``name``, ``payout_destination``, and of ``known`` the keys
    ``kyc_status``, ``email``, ``language`` (en, th). A destination that is given is good again if it was invalid.
    Who somebody is (``name``, ``email``, ``language``) is encrypted with ``keys``; the rest needs none.

    Raises ``RefusedError`` (invalid_command) naming what is wrong, ``personal.UnreadableError`` where what is known
    already cannot be read, ``ValueError`` without the keys that it needs. Payouts that wait for it are looked
    at within a day, or when somebody asks.
    """
    said = {"name": name, "payout_destination": payout_destination} | known
    given = {key: value for key, value in said.items() if value is not None}
    try:
        details = PartyDetails.model_validate(given)
    except ValidationError as error:
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"party {party}: {first_error(error)}") from error
    values = details.model_dump(exclude_unset=True)
    who = {name: value for name, value in values.items() if name in personal.PERSONAL}
    if who and keys is None:
        raise ValueError(f"without the keys of HOLDFAST_KEYS nothing personal can be kept: {', '.join(who)}")
    plain = {name: value for name, value in values.items() if name not in personal.PERSONAL}
    with engine.begin() as connection:
        _write_party(
            connection,
            tenant,
            party,
            plain | ({"invalid_destination": None, "invalid_because": None} if payout_destination else {}),
        )
        if who and keys is not None:
            personal.merge(connection, keys, tenant, party, who)


def erase_party(engine: Engine, keys: Keyring, tenant: str, party: str) -> None:
    """Forget who a party is: name, address and language go, here and in the answers to requests about it.

    Its money rows stay, and they know it by its id alone. A party that nobody told of is forgotten already.
    ``keys`` encrypt what is answered from then on to requests of before.
    """
    with engine.begin() as connection:
        personal.forget(connection, keys, tenant, party)


def block_party(engine: Engine, tenant: str, party: str, because: str | None) -> None:
    """Freeze a party's money and say why, or with None let it move again. Raises ``RefusedError`` (invalid_command)."""
    if because is not None and not because.strip():
        raise RefusedError(ErrorCode.INVALID_COMMAND, "say why the party is blocked: its money freezes, and people ask")
    with engine.begin() as connection:
        _write_party(connection, tenant, party, {"blocked_because": printable(because)})


def put_template(engine: Engine, tenant: str, template: Template) -> None:
    """Write a tenant's own milestone template, or replace the one of that name; escrows keep what they agreed on.

    Raises ``RefusedError`` (already_exists) for the name of a built-in template.
    """
    if template.name in TEMPLATES:
        raise RefusedError(ErrorCode.ALREADY_EXISTS, f"template {template.name!r} is built in: choose another name")
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO template (tenant_id, name, document) VALUES (:tenant, :name, :document)
                    ON CONFLICT (tenant_id, name) DO UPDATE SET document = excluded.document, updated_at = now()"""),
            {"tenant": tenant, "name": template.name, "document": template.model_dump_json()},
        )


def _write_party(connection: Connection, tenant: str, party: str, values: dict[str, Any]) -> None:
    columns = {"tenant_id": tenant, "id": party} | values
    names = ", ".join(columns)
    marks = ", ".join(f":{name}" for name in columns)
    changes = ", ".join(f"{name} = excluded.{name}" for name in values)
    kept = f"UPDATE SET {changes}" if changes else "NOTHING"
    connection.execute(
        text(f"INSERT INTO party ({names}) VALUES ({marks}) ON CONFLICT (tenant_id, id) DO {kept}"),  # noqa: S608 - our names
        columns,
    )


def put_policy(engine: Engine, tenant: str, kind: str, document: Document) -> int:
    """Write a new version of a policy, in force at once; answers the version. The same document again writes nothing.

    Raises ``RefusedError`` (invalid_command) for an unknown kind or a document of another kind.
    """
    expected = POLICY_KINDS.get(kind)
    if expected is None or not isinstance(document, expected):
        known = ", ".join(sorted(POLICY_KINDS))
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"{kind!r} is not the kind of this policy: there are {known}")
    if place := beyond_amounts(document):
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"{kind}.{place}: expected at most {MAX_AMOUNT} minor units")
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
        return POLICY_KINDS[kind].model_validate_json(json.dumps(document), context=GIVEN)
    except KeyError:
        known = ", ".join(sorted(POLICY_KINDS))
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"unknown policy {kind!r}: there are {known}") from None
    except ValidationError as error:
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"policy {kind}: {first_error(error)}") from error


def first_error(error: ValidationError) -> str:
    """Where a document is wrong, and what is allowed there."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {why(first)}" if where else why(first)


def move_clock(engine: Engine, tenant: str, to: timedelta) -> int:
    """Set how far a test tenant's clock is ahead; it never goes back. Answers the offset in seconds.

    Raises ``RefusedError`` (not_found, forbidden, invalid_command) for an unknown tenant, a live one, and for more than
    a hundred years.
    """
    if not timedelta(0) <= to <= FARTHEST:
        raise _not_so_far()
    with engine.begin() as connection:
        _refuse_real_time(connection, tenant)
        moved = connection.execute(
            text("""UPDATE tenant SET clock_offset = greatest(clock_offset, :offset) WHERE id = :id
                    RETURNING clock_offset"""),
            {"id": tenant, "offset": int(to.total_seconds())},
        )
        return int(moved.scalar_one())


def set_clock_forward(engine: Engine, tenant: str, by: timedelta, key: str) -> int:
    """Set a test tenant's clock forward once per claimed idempotency key; answers where to, an offset in seconds.

    Where to is remembered under the key in the same transaction, so that a repeated request finds it, and requests with
    other keys at the same time add up. ``engine`` is for the tenant. Raises as ``move_clock``.
    """
    if by < timedelta(0):
        raise _not_so_far()
    seconds = int(by.total_seconds())
    with engine.begin() as connection:
        claimed = {"tenant": tenant, "key": key}
        known = connection.execute(
            text("SELECT memo ->> 'to' FROM idempotency WHERE tenant_id = :tenant AND key = :key FOR UPDATE"), claimed
        ).scalar_one()
        if known is not None:
            return int(known)
        _refuse_real_time(connection, tenant)
        to = connection.execute(
            text("""UPDATE tenant SET clock_offset = clock_offset + :by
                    WHERE id = :tenant AND clock_offset + :by <= :farthest RETURNING clock_offset"""),
            {"tenant": tenant, "by": seconds, "farthest": int(FARTHEST.total_seconds())},
        ).scalar()
        if to is None:
            raise _not_so_far()
        connection.execute(
            text("""UPDATE idempotency
                    SET memo = coalesce(memo::jsonb, '{}') || jsonb_build_object('to', CAST(:to AS bigint))
                    WHERE tenant_id = :tenant AND key = :key"""),
            claimed | {"to": to},
        )
        return int(to)


def _refuse_real_time(connection: Connection, tenant: str) -> None:
    mode = connection.execute(text("SELECT mode FROM tenant WHERE id = :id"), {"id": tenant}).scalar()
    if mode is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no tenant {tenant}")
    if mode != "test":
        raise RefusedError(ErrorCode.FORBIDDEN, "only a tenant in test mode has a clock that can be moved")


def _not_so_far() -> RefusedError:
    return RefusedError(ErrorCode.INVALID_COMMAND, "a test clock goes forward, by at most 36500 days in all")
