"""Who may come in: tenants with their API keys, and the public keys that their end users' tokens are signed with.

A key is 256 bits of chance, so its SHA-256 is as good as a slow hash would be, and nothing that is kept opens a door.
Source: api.md, "Authentication".
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

    The same moment and 10 bytes of entropy again find the same tenant, with new keys. Raises ``RefusedError``
    (invalid_command) for an unknown currency.
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
            made[f"{mode}_key"] = _make(connection, tenant, mode, "platform", "first key of the platform", at)
            made[f"operator_{mode}_key"] = _make(connection, tenant, mode, "operator", "first key of operators", at)
    return Account(live, test, made)


def create_key(engine: Engine, tenant: str, role: KeyRole, name: str) -> NewKey:
    """Add a key. Raises ``RefusedError`` (not_found, invalid_command): no such tenant, 50 usable keys already."""
    with engine.begin() as connection:
        if _usable_keys(connection, tenant) >= _MOST_KEYS:
            raise RefusedError(ErrorCode.INVALID_COMMAND, f"a tenant has at most {_MOST_KEYS} keys: revoke one first")
        return _make(connection, tenant, _mode(connection, tenant), role, name, datetime.now(UTC))


def rotate_key(engine: Engine, tenant: str, key: str, grace: timedelta) -> NewKey:
    """Make a key like another one, which expires after ``grace``. Raises ``RefusedError`` (not_found, conflict)."""
    if not timedelta(0) <= grace <= LONGEST_GRACE:
        raise RefusedError(ErrorCode.INVALID_COMMAND, "the old key may stay for up to P30D, such as P1D or PT0S")
    now = datetime.now(UTC)
    with engine.begin() as connection:
        old = _key(connection, tenant, key)
        if old["revoked_at"] or (old["expires_at"] and old["expires_at"] <= now):
            raise RefusedError(ErrorCode.CONFLICT, f"key {key} is not in use any more: make a new one")
        connection.execute(
            text("UPDATE api_key SET expires_at = least(expires_at, :at) WHERE id = :id AND tenant_id = :tenant"),
            {"id": key, "tenant": tenant, "at": now + grace},
        )
        return _make(connection, tenant, _mode(connection, tenant), old["role"], old["name"], now)


def revoke_key(engine: Engine, tenant: str, key: str) -> None:
    """Let a key open nothing any more, at once; again changes nothing. Raises ``RefusedError`` (not_found, conflict).

    The last operator key stays: without one nobody could make another.
    """
    with engine.begin() as connection:
        old = _key(connection, tenant, key)
        if old["role"] == "operator" and not old["revoked_at"] and _usable_keys(connection, tenant, "operator") <= 1:
            raise RefusedError(
                ErrorCode.CONFLICT, "this is the last operator key: rotate it, or make another one first"
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


def register_jwt_key(engine: Engine, tenant: str, name: str, public_key: str) -> str:
    """Register the public key (PEM) that end users' tokens are signed with; answers its id, the tokens' ``kid``.

    Raises ``RefusedError`` (invalid_command) for anything but Ed25519, P-256 or RSA of at least 2048 bits.
    """
    now = datetime.now(UTC)
    identifier = ids.make("jwk", now, secrets.token_bytes(10))
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO jwt_key (id, tenant_id, name, algorithm, public_key)
                    VALUES (:id, :tenant, :name, :algorithm, :public_key)"""),
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


def _make(connection: Connection, tenant: str, mode: str, role: str, name: str, at: datetime) -> NewKey:
    secret = f"hf_{mode}_{secrets.token_hex(_SECRET_BYTES)}"
    identifier = ids.make("key", at, secrets.token_bytes(10))
    connection.execute(
        text("""INSERT INTO api_key (id, tenant_id, role, name, hash, ending)
                VALUES (:id, :tenant, :role, :name, :hash, :ending)"""),
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
    row = (
        connection.execute(
            text("SELECT * FROM api_key WHERE id = :id AND tenant_id = :tenant FOR UPDATE"),
            {"id": key, "tenant": tenant},
        )
        .mappings()
        .first()
    )
    if row is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no key {key}")
    return row


def _usable_keys(connection: Connection, tenant: str, role: str | None = None) -> int:
    # One writer of a tenant's keys at a time, so that two cannot both revoke the last but one.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"keys:{tenant}"})
    found: Any = connection.execute(
        text("""SELECT count(*) FROM api_key WHERE tenant_id = :tenant AND revoked_at IS NULL
                AND coalesce(expires_at > now(), true) AND role = coalesce(:role, role)"""),
        {"tenant": tenant, "role": role},
    ).scalar_one()
    return int(found)


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
