"""Who parties are: names and addresses are in one table, encrypted, and gone when a party is forgotten.

Everything else knows a party by the tenant's own opaque id. Each row is encrypted for its tenant and party, so that one
which is copied to another party cannot be read there.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from ledger.keyring import DamagedError, Keyring, UnknownKeyError

_ROWS_AT_ONCE: Final = 500

_UNDER_OLDER_KEYS: Final = """
SELECT tenant_id, party, data FROM personal_data
WHERE (tenant_id, party) > (:tenant, :party) AND substring(data FROM 1 FOR :length) <> :head
ORDER BY tenant_id, party LIMIT :rows FOR UPDATE
"""
_RENEW: Final = "UPDATE personal_data SET data = :data WHERE tenant_id = :tenant AND party = :party"

# Answers that say something of the party; that it was forgotten is none.
_ANSWERED: Final = """
SELECT key, path FROM idempotency WHERE tenant_id = :tenant AND status IS NOT NULL
AND (path = :path OR starts_with(path, :path || '/')) AND path <> :path || '/personal-data' FOR UPDATE
"""
_SAY_GONE: Final = """
UPDATE idempotency SET status = 410, headers = :headers, body = :body, memo = NULL
WHERE tenant_id = :tenant AND key = :key
"""
_PROBLEM: Final = json.dumps({"content-type": "application/problem+json"})


class UnreadableError(ValueError):
    """Who a party is cannot be read: the keyring lacks the key, or the row is not what we wrote. It has no names."""


@dataclass(frozen=True)
class Personal:
    """What is known of a person or a business; ``language`` is en or th. It does not show in ``repr``."""

    name: str | None = field(default=None, repr=False)
    email: str | None = field(default=None, repr=False)
    language: str | None = field(default=None, repr=False)


PERSONAL: Final = frozenset(one.name for one in fields(Personal))


def opened(keys: Keyring, tenant: str, party: str, data: bytes | None) -> Personal:
    """Decrypt ``personal_data.data``; None, no row, is a party of whom nothing is known. Raises ``UnreadableError``."""
    if data is None:
        return Personal()
    try:
        return Personal(**json.loads(keys.decrypt("personal", data, _place(tenant, party))))
    except (UnknownKeyError, DamagedError) as error:
        raise UnreadableError(f"who party {party} is cannot be read: {error}") from None


def merge(connection: Connection, keys: Keyring, tenant: str, party: str, given: Mapping[str, str]) -> None:
    """Add what is given of a party that has a row, by the names of ``PERSONAL``, to what is known of it.

    Raises ``UnreadableError`` where that cannot be read: forgetting the party first makes room.
    """
    data = _locked(connection, tenant, party)
    known = opened(keys, tenant, party, data)
    changed = Personal(**{name: given.get(name, getattr(known, name)) for name in PERSONAL})
    if changed == known and data is not None:
        return
    connection.execute(
        text("""INSERT INTO personal_data (tenant_id, party, data) VALUES (:tenant, :party, :data)
                ON CONFLICT (tenant_id, party) DO UPDATE SET data = excluded.data, updated_at = now()"""),
        {"tenant": tenant, "party": party, "data": _sealed(keys, tenant, party, changed)},
    )


def forget(connection: Connection, keys: Keyring, tenant: str, party: str) -> None:
    """Delete what is known of a party, and the answers to requests about it, which repeat what was sent.

    Their keys stay for as long as all do, so that no such request is carried out again: it is answered 410. A request
    without an answer keeps its row, which says nothing yet: the request to forget may be one itself, and one that tells
    of the party may have its answer kept after this.
    """
    key = {"tenant": tenant, "party": party, "path": f"/v1/parties/{party}"}
    _locked(connection, tenant, party)
    connection.execute(text("DELETE FROM personal_data WHERE tenant_id = :tenant AND party = :party"), key)
    answered = connection.execute(text(_ANSWERED), key).all()
    if answered:
        neutral = [
            {"tenant": tenant, "key": one.key, "headers": _PROBLEM, "body": _gone(keys, tenant, one.key, one.path)}
            for one in answered
        ]
        connection.execute(text(_SAY_GONE), neutral)


def reencrypt(engine: Engine, keys: Keyring, rows_at_once: int = _ROWS_AT_ONCE) -> int:
    """Encrypt under the current key what is under older ones, so that those can be retired; answers how many rows.

    Each ``rows_at_once`` are a transaction of their own; it may be stopped and called again, beside everything else.
    Raises ``UnreadableError`` when all others are done, if there are rows that the keyring does not open.
    """
    done, unreadable, last = 0, list[UnreadableError](), ("", "")
    while True:
        with engine.begin() as connection:
            place = {"tenant": last[0], "party": last[1], "rows": rows_at_once}
            old = connection.execute(text(_UNDER_OLDER_KEYS), place | _head(keys)).all()
            for tenant, party, data in old:
                try:
                    known = opened(keys, tenant, party, data)
                except UnreadableError as error:
                    unreadable.append(error)
                    continue
                renewed = {"tenant": tenant, "party": party, "data": _sealed(keys, tenant, party, known)}
                connection.execute(text(_RENEW), renewed)
                done += 1
        if not old:
            break
        last = (old[-1].tenant_id, old[-1].party)
    if unreadable:
        raise UnreadableError(f"not renewed: {len(unreadable)}, of which the first: {unreadable[0]}")
    return done


def _locked(connection: Connection, tenant: str, party: str) -> bytes | None:
    """What is kept of a party, which nobody else changes before this transaction ends, not even where there is none."""
    key = {"tenant": tenant, "party": party}
    # The party's own row, since there may be no other. Not FOR UPDATE, for which everyone waits who refers to it.
    connection.execute(text("SELECT FROM party WHERE tenant_id = :tenant AND id = :party FOR NO KEY UPDATE"), key)
    found = connection.execute(
        text("SELECT data FROM personal_data WHERE tenant_id = :tenant AND party = :party FOR UPDATE"), key
    )
    data: bytes | None = found.scalar()
    return data


def _sealed(keys: Keyring, tenant: str, party: str, who: Personal) -> bytes:
    known = {name: value for name, value in asdict(who).items() if value is not None}
    return keys.encrypt("personal", json.dumps(known).encode(), _place(tenant, party))


def _gone(keys: Keyring, tenant: str, key: str, path: str) -> bytes:
    """What stands in place of an answer, as ``ledger.answers`` keeps one."""
    problem = {
        "type": "urn:holdfast:problem:forgotten",
        "title": "Forgotten",
        "status": 410,
        "detail": "the party was forgotten after this request was answered, and its answer with it; nothing was done "
        "now: use a new key for a new request",
        "instance": path,
        "code": "forgotten",
        "request_id": "req_" + "0" * 26,  # the request's own is not known any more
    }
    return keys.encrypt("answer", json.dumps(problem).encode(), f"{tenant}/{key}")


def _place(tenant: str, party: str) -> str:
    return f"{tenant}/{party}"


def _head(keys: Keyring) -> dict[str, Any]:
    """How everything begins that ``Keyring.encrypt`` makes under the current key."""
    head = len(keys.current).to_bytes() + keys.current.encode()
    return {"head": head, "length": len(head)}
