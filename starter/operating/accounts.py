"""Tenants of the API and their keys, for operators: what `POST /v1/tenants` and the routes of keys do."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from ledger import keys, oversight
from ledger.engine import connect, for_tenant
from ledger.keys import NewKey
from models.ids import is_id
from starter.deals.telling import duration as spelled
from starter.misuse import MisuseError
from starter.operating.lookup import plain, sheet_text
from starter.operating.office import not_found, office, told_by_name
from starter.reports.sheet import Column, Sheet
from starter.reports.visible import visible
from starter.servers import external, read_settings

_CONNECTIONS: Final = 2
_LONGEST_NAME: Final = 200
_ENTROPY_BYTES: Final = 10
_KEYS: Final = "Keep the keys now: they are shown this once, and kept nowhere."
_COLUMNS: Final = (
    Column("id", "code"),
    Column("mode", "code"),
    Column("role", "code"),
    Column("name"),
    Column("ending", "code", called="ends in"),
    Column("state", "code"),
)


def create(name: str, currency: str, home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any]]:
    """Make a tenant with live and test books, and four keys. Raises ``MisuseError``, ``EndedError``, ``StackError``."""
    if not 0 < len(name.strip()) <= _LONGEST_NAME:
        raise MisuseError(f"NAME has 1 to {_LONGEST_NAME} characters.")
    with _api(home, quiet=quiet) as (engine, _):
        made = keys.create_account(
            engine, name.strip(), currency, datetime.now(UTC), secrets.token_bytes(_ENTROPY_BYTES)
        )
    document = {
        "id": made.id,
        "test_id": made.test_id,
        "name": name.strip(),
        "reporting_currency": currency,
        "keys": {what: {"id": key.id, "key": key.secret} for what, key in made.keys.items()},
    }
    told = [f"Tenant {made.id}, live; its books for rehearsals are {made.test_id}.", "", _KEYS]
    told += [f"  {what:18}{key.secret}" for what, key in made.keys.items()]
    return "\n".join(told), document


def list_keys(tenant: str, home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any]]:
    """The keys of a tenant and of its rehearsals, without what opens a door."""
    with _api(home, quiet=quiet) as (engine, all_of_it):
        found = [
            {"tenant": one["id"], "mode": one["mode"], "state": _state(row), **row}
            for one in _books_of(all_of_it, tenant)
            for row in keys.keys(for_tenant(engine, one["id"]), one["id"])
        ]
    sheet = Sheet("Keys", _COLUMNS, found, "This tenant has no keys.")
    return sheet_text(sheet), {"data": [plain(row) for row in found]}


def rotate(key: str, tenant: str, grace: timedelta, home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any]]:
    """Make a key like this one, which works for ``grace`` more. Raises ``EndedError`` (not_found, conflict)."""
    with _key(key, tenant, home, quiet=quiet) as (engine, holder):
        made = keys.rotate_key(for_tenant(engine, holder), holder, key, grace)
    until = f"stops working in {spelled(grace)}" if grace else "has stopped working"
    return _new(made, f"The old one, {key}, {until}.")


def revoke(key: str, tenant: str, home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any]]:
    """Let a key open nothing any more, at once. Raises ``EndedError`` (not_found, conflict)."""
    with _key(key, tenant, home, quiet=quiet) as (engine, holder):
        keys.revoke_key(for_tenant(engine, holder), holder, key)
    return f"{key} opens nothing any more.", {"id": key, "tenant": holder, "revoked": True}


@contextmanager
def _key(key: str, tenant: str, home: Path | None, *, quiet: bool) -> Iterator[tuple[Engine, str]]:
    """The way to a key, and whose it is: the tenant's, or that of its rehearsals."""
    if not is_id("key", key):
        raise MisuseError(f"{visible(key)} is not the id of a key, which begins with key_: `tenant keys` lists them.")
    with _api(home, quiet=quiet) as (engine, all_of_it):
        for one in _books_of(all_of_it, tenant):
            if any(row["id"] == key for row in keys.keys(for_tenant(engine, one["id"]), one["id"])):
                yield engine, one["id"]
                return
        raise not_found("key", key, f"tenant keys {tenant}")


@contextmanager
def _api(home: Path | None, *, quiet: bool) -> Iterator[tuple[Engine, Engine]]:
    """As the role of the API, which alone may make keys, and as that of the workers, which sees all tenants."""
    config = read_settings()
    if external(config) and config.api_database_url is None:
        raise MisuseError(
            "HOLDFAST_API_DATABASE_URL is not set: keys are made as the role of the API. See .env.example."
        )
    with office(home, quiet=quiet) as desk:
        url = desk.servers.api_database_url
        if url is None:
            raise MisuseError("These servers have no role for the API.")
        engine = connect(url, _CONNECTIONS)
        try:
            with told_by_name(own=desk.own):
                yield engine, desk.engine
        finally:
            engine.dispose()


def _books_of(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """The tenant, and its rehearsals if it is a live one. Raises ``EndedError`` (not_found)."""
    found = oversight.one(engine, "tenant", tenant)
    if found is None:
        raise not_found("tenant", tenant, "tenant list")
    tests = oversight.page(engine, oversight.Wanted("tenant", 1, matching={"test_of": tenant})).rows
    return [dict(found), *map(dict, tests)]


def _state(row: Any) -> str:
    if row["revoked_at"]:
        return "revoked"
    if row["expires_at"]:
        return "expired" if row["expires_at"] <= datetime.now(UTC) else f"until {row['expires_at']:%Y-%m-%d %H:%M} UTC"
    return "in use"


def _new(made: NewKey, remark: str) -> tuple[str, dict[str, Any]]:
    return f"{_KEYS}\n  {made.id}  {made.secret}\n{remark}", {"id": made.id, "key": made.secret}
