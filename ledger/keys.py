"""Who may come in: tenants with their API keys, and the public keys that their end users' tokens are signed with.

A key is 256 bits of chance, so its SHA-256 is as good as a slow hash would be, and nothing that is kept opens a door.
Source: http-contract.md, "Authentication".
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import Connection, Engine, RowMapping, text

from ledger.engine import for_tenant
from models import ids
from models.currencies import exponent
from models.errors import ErrorCode, RefusedError

KeyRole = Literal["operator", "platform", "read_only"]
Mode = Literal["test", "live"]

_SECRET_BYTES: Final = 32
_ENDING: Final = 4
_LEAST_RSA_BITS: Final = 2048
_MOST_KEYS: Final = 50
LONGEST_GRACE: Final = timedelta(days=30)


@dataclass(frozen=True)
class NewKey:
    """A key that was just made; ``secret`` is shown once and kept nowhere."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Account:
    """A tenant of the API: live books under ``id``, rehearsals under ``test_id``, and two keys for each."""

    id: str
    test_id: str
    keys: dict[str, NewKey]


@dataclass(frozen=True)
class Holder:
    """Whom an API key lets in."""

    key: str
    tenant: str
    role: KeyRole
    mode: Mode


@dataclass(frozen=True)
class Issuer:
    """A registered public key: tokens that it verifies are those of a tenant's end users."""

    key: str
    tenant: str
    mode: Mode
    algorithm: str
    public_key: str


def create_account(engine: Engine, name: str, reporting_currency: str, at: datetime, entropy: bytes) -> Account:
    """Make a tenant with its live and test books and a platform and an operator key for each.

    The same moment and 10 bytes of entropy again find the same tenant and keys, which get new secrets. Raises
    ``RefusedError`` (invalid_command) for an unknown currency.
    """
    _known_currency(reporting_currency)
    live = ids.make("ten", at, entropy)
    test = ids.derive("ten", at, live, "test")
    made: dict[str, NewKey] = {}
    for tenant, mode, of in ((live, "live", None), (test, "test", live)):
        with for_tenant(engine, tenant).begin() as connection:
            connection.execute(
                text("""INSERT INTO tenant (id, name, mode, reporting_currency, test_of)
                        VALUES (:id, :name, :mode, :currency, :of) ON CONFLICT DO NOTHING"""),
                {"id": tenant, "name": name, "mode": mode, "currency": reporting_currency, "of": of},
            )
            platform, operator = (ids.derive("key", at, tenant, role) for role in ("platform", "operator"))
            made[f"{mode}_key"] = _make(connection, tenant, mode, "platform", "first key of the platform", platform)
            made[f"operator_{mode}_key"] = _make(
                connection, tenant, mode, "operator", "first key of operators", operator
            )
    return Account(live, test, made)


def create_key(engine: Engine, tenant: str, role: KeyRole, name: str, identifier: str | None = None) -> NewKey:
    """Add a key. Raises ``RefusedError`` (not_found, invalid_command): no such tenant, 50 usable keys already.

    With an ``identifier`` that there is already, that key gets a new secret: one request makes one key.
    """
    with engine.begin() as connection:
        _one_writer(connection, tenant)
        if identifier is None or _found(connection, tenant, identifier) is None:
            _refuse_too_many(connection, tenant)
        return _make(connection, tenant, _mode(connection, tenant), role, name, identifier or _new("key"))


def rotate_key(engine: Engine, tenant: str, key: str, grace: timedelta, identifier: str | None = None) -> NewKey:
    """Make a key like another one, which expires after ``grace``. ``identifier`` is as for ``create_key``.

    Raises ``RefusedError``: not_found, conflict for one that is not in use, invalid_command for another grace or with
    50 usable keys already. One that ends at once makes room for its successor.
    """
    if not timedelta(0) <= grace <= LONGEST_GRACE:
        raise RefusedError(ErrorCode.INVALID_COMMAND, "the old key may stay for up to P30D, such as P1D or PT0S")
    now = datetime.now(UTC)
    with engine.begin() as connection:
        _one_writer(connection, tenant)
        old = _key(connection, tenant, key)
        if identifier is None or _found(connection, tenant, identifier) is None:
            if old["revoked_at"] or (old["expires_at"] and old["expires_at"] <= now):
                raise RefusedError(ErrorCode.CONFLICT, f"key {key} is not in use any more: make a new one")
            connection.execute(
                text("UPDATE api_key SET expires_at = least(expires_at, :at) WHERE id = :id AND tenant_id = :tenant"),
                {"id": key, "tenant": tenant, "at": now + grace},
            )
            _refuse_too_many(connection, tenant)
        return _make(connection, tenant, _mode(connection, tenant), old["role"], old["name"], identifier or _new("key"))


def revoke_key(engine: Engine, tenant: str, key: str) -> None:
    """Let a key open nothing any more, at once; again changes nothing. Raises ``RefusedError`` (not_found, conflict).

    The last operator key that does not expire stays: without one nobody could make another.
    """
    with engine.begin() as connection:
        _one_writer(connection, tenant)
        old = _key(connection, tenant, key)
        if old["role"] == "operator" and not old["revoked_at"] and not _others_stay(connection, tenant, key):
            raise RefusedError(
                ErrorCode.CONFLICT,
                "this is the last operator key, but for those that expire: rotate it, or make another one first",
            )
        connection.execute(
            text(
                """UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = :id AND tenant_id = :tenant"""
            ),
            {"id": key, "tenant": tenant},
        )


def keys(engine: Engine, tenant: str) -> Sequence[RowMapping]:
    """A tenant's keys, newest first, without what opens a door: id, role, name, ending, created, expires, revoked."""
    with engine.connect() as connection:
        return (
            connection.execute(
                text("""SELECT id, role, name, ending, created_at, expires_at, revoked_at FROM api_key
                        WHERE tenant_id = :tenant ORDER BY id DESC"""),
                {"tenant": tenant},
            )
            .mappings()
            .all()
        )


def holder(engine: Engine, secret: str) -> Holder | None:
    """Whom a key lets in; None for one that is unknown, expired or revoked."""
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM find_api_key(:hash)"), {"hash": _hash(secret)}).mappings().first()
    return Holder(row["id"], row["tenant_id"], row["role"], row["mode"]) if row and row["usable"] else None


def issuer(engine: Engine, key: str) -> Issuer | None:
    """The registered public key of that id; None for one that is unknown or revoked."""
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM find_jwt_key(:id)"), {"id": key}).mappings().first()
    if not row or not row["usable"]:
        return None
    return Issuer(row["id"], row["tenant_id"], row["mode"], row["algorithm"], row["public_key"])


def register_jwt_key(engine: Engine, tenant: str, name: str, public_key: str, identifier: str | None = None) -> str:
    """Register the public key (PEM) that end users' tokens are signed with; answers its id, the tokens' ``kid``.

    An ``identifier`` that there is already stays what it is: one request registers one key. Raises ``RefusedError``
    (invalid_command) for anything but Ed25519, P-256 or RSA of at least 2048 bits.
    """
    identifier = identifier or _new("jwk")
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO jwt_key (id, tenant_id, name, algorithm, public_key)
                    VALUES (:id, :tenant, :name, :algorithm, :public_key) ON CONFLICT (id) DO NOTHING"""),
            {
                "id": identifier,
                "tenant": tenant,
                "name": name,
                "algorithm": _algorithm(public_key),
                "public_key": public_key,
            },
        )
    return identifier


def jwt_keys(engine: Engine, tenant: str) -> Sequence[RowMapping]:
    """A tenant's registered public keys, newest first."""
    with engine.connect() as connection:
        return (
            connection.execute(
                text("""SELECT id, name, algorithm, public_key, created_at, revoked_at FROM jwt_key
                        WHERE tenant_id = :tenant ORDER BY id DESC"""),
                {"tenant": tenant},
            )
            .mappings()
            .all()
        )


def revoke_jwt_key(engine: Engine, tenant: str, key: str) -> None:
    """Accept no token of this key any more; again changes nothing. Raises ``RefusedError`` (not_found)."""
    with engine.begin() as connection:
        changed = connection.execute(
            text("UPDATE jwt_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = :id AND tenant_id = :tenant"),
            {"id": key, "tenant": tenant},
        )
        if changed.rowcount == 0:
            raise RefusedError(ErrorCode.NOT_FOUND, f"there is no key {key}")


def _new(prefix: str) -> str:
    return ids.make(prefix, datetime.now(UTC), secrets.token_bytes(10))


def _make(connection: Connection, tenant: str, mode: str, role: str, name: str, identifier: str) -> NewKey:
    """The key of that id, with a secret that nobody has had before."""
    secret = f"hf_{mode}_{secrets.token_hex(_SECRET_BYTES)}"
    connection.execute(
        text("""INSERT INTO api_key (id, tenant_id, role, name, hash, ending)
                VALUES (:id, :tenant, :role, :name, :hash, :ending)
                ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, ending = excluded.ending"""),
        {
            "id": identifier,
            "tenant": tenant,
            "role": role,
            "name": name,
            "hash": _hash(secret),
            "ending": secret[-_ENDING:],
        },
    )
    return NewKey(identifier, secret)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key(connection: Connection, tenant: str, key: str) -> RowMapping:
    row = _found(connection, tenant, key)
    if row is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no key {key}")
    return row


def _found(connection: Connection, tenant: str, key: str) -> RowMapping | None:
    return (
        connection.execute(
            text("SELECT * FROM api_key WHERE id = :id AND tenant_id = :tenant FOR UPDATE"),
            {"id": key, "tenant": tenant},
        )
        .mappings()
        .first()
    )


def _one_writer(connection: Connection, tenant: str) -> None:
    """One writer of a tenant's keys at a time, so that two cannot both revoke the last but one."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"keys:{tenant}"})


def _refuse_too_many(connection: Connection, tenant: str) -> None:
    usable: Any = connection.execute(
        text("""SELECT count(*) FROM api_key WHERE tenant_id = :tenant AND revoked_at IS NULL
                AND coalesce(expires_at > clock_timestamp(), true)"""),
        {"tenant": tenant},
    ).scalar_one()
    if int(usable) >= _MOST_KEYS:
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"a tenant has at most {_MOST_KEYS} keys: revoke one first")


def _others_stay(connection: Connection, tenant: str, key: str) -> bool:
    """Whether there is another operator key, one that does not expire."""
    other: Any = connection.execute(
        text("""SELECT EXISTS (SELECT FROM api_key WHERE tenant_id = :tenant AND id <> :id AND role = 'operator'
                AND revoked_at IS NULL AND expires_at IS NULL)"""),
        {"tenant": tenant, "id": key},
    ).scalar_one()
    return bool(other)


def _mode(connection: Connection, tenant: str) -> str:
    mode: str | None = connection.execute(text("SELECT mode FROM tenant WHERE id = :id"), {"id": tenant}).scalar()
    if mode is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no tenant {tenant}")
    return mode


def _known_currency(code: str) -> None:
    try:
        exponent(code)
    except ValueError as error:
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"reporting_currency: {error}") from error


def _algorithm(public_key: str) -> str:
    try:
        key = load_pem_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "EdDSA"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        return "RS256"
    raise RefusedError(
        ErrorCode.INVALID_COMMAND,
        f"public_key: expected a public key in PEM: Ed25519, P-256, or RSA of at least {_LEAST_RSA_BITS} bits",
    )
