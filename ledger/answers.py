"""Requests by their idempotency key: claimed before they are carried out, their answers kept for a week.

Source: http-contract.md, "Idempotency-Key". What makes a command happen once is its row in the books; this makes its
answer the same every time, and keeps two attempts from running side by side.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Engine, Row, text

from ledger.keyring import Keyring

KEPT_FOR: Final = timedelta(days=7)
# An attempt that does not renew its lease has died; another one may carry the request out again, under the same ids.
LEASE: Final = timedelta(seconds=10)

# In one statement: claim the key, or take over from an attempt that died. Old answers go on the way.
_CLAIM: Final = """
WITH old AS (
    DELETE FROM idempotency WHERE (tenant_id, key) IN (
        SELECT tenant_id, key FROM idempotency
        WHERE tenant_id = :tenant AND created_at < now() - CAST(:kept AS interval)
        ORDER BY created_at LIMIT 20 FOR UPDATE SKIP LOCKED)
    AND key <> :key
)
INSERT INTO idempotency AS known (tenant_id, key, fingerprint, path, lease_until)
VALUES (:tenant, :key, :fingerprint, :path, clock_timestamp() + CAST(:lease AS interval))
ON CONFLICT (tenant_id, key) DO UPDATE SET lease_until = excluded.lease_until
WHERE known.status IS NULL AND known.lease_until < clock_timestamp() AND known.fingerprint = excluded.fingerprint
RETURNING created_at, memo::text AS memo
"""
_KNOWN: Final = """
SELECT fingerprint, status, headers::text AS headers, body FROM idempotency WHERE tenant_id = :tenant AND key = :key
"""


@dataclass(frozen=True)
class Answer:
    """What was answered: the status, the headers that matter, the body."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Claim:
    """The right to carry a request out. ``claimed_at`` and ``memo`` are the first attempt's, for every later one."""

    claimed_at: datetime
    memo: dict[str, Any]


class Answers:
    """The answers of one tenant. ``engine`` is for that tenant."""

    def __init__(self, engine: Engine, tenant: str, keyring: Keyring) -> None:
        self._engine = engine
        self._tenant = tenant
        self._keyring = keyring

    def claim(self, key: str, fingerprint: str, path: str) -> Claim | Answer | Literal["reused", "running"]:
        """Claim a request; or the answer it had, or that the key was used for another, or that it is being answered."""
        told = {
            "tenant": self._tenant,
            "key": key,
            "fingerprint": fingerprint,
            "path": path,
            "lease": LEASE,
            "kept": KEPT_FOR,
        }
        with self._engine.begin() as connection:
            if row := connection.execute(text(_CLAIM), told).first():
                return Claim(row.created_at, json.loads(row.memo or "{}"))
        with self._engine.begin() as connection:
            known = connection.execute(text(_KNOWN), {"tenant": self._tenant, "key": key}).first()
        if known is None:
            return "running"  # it was given back this moment
        if known.fingerprint != fingerprint:
            return "reused"
        if known.status is None:
            return "running"
        return self._opened(key, known)

    def renew(self, key: str) -> None:
        """Say that the attempt is still alive."""
        with self._engine.begin() as connection:
            connection.execute(
                text("""UPDATE idempotency SET lease_until = clock_timestamp() + CAST(:lease AS interval)
                        WHERE tenant_id = :tenant AND key = :key AND status IS NULL"""),
                {"tenant": self._tenant, "key": key, "lease": LEASE},
            )

    def remember(self, key: str, memo: dict[str, Any]) -> None:
        """Write down what every later attempt of the request has to keep to."""
        with self._engine.begin() as connection:
            connection.execute(
                text("UPDATE idempotency SET memo = :memo WHERE tenant_id = :tenant AND key = :key"),
                {"tenant": self._tenant, "key": key, "memo": json.dumps(memo)},
            )

    def keep(self, key: str, answer: Answer) -> Answer:
        """Keep the answer, encrypted, for everyone who asks again; answers the one that is kept.

        Another attempt may have taken over and been quicker: the first answer that is kept stays.
        """
        with self._engine.begin() as connection:
            kept = connection.execute(
                text("""UPDATE idempotency SET status = :status, headers = :headers, body = :body
                        WHERE tenant_id = :tenant AND key = :key AND status IS NULL"""),
                {
                    "tenant": self._tenant,
                    "key": key,
                    "status": answer.status,
                    "headers": json.dumps(answer.headers),
                    "body": self._keyring.encrypt("answer", answer.body, self._place(key)),
                },
            )
            if kept.rowcount:
                return answer
            known = connection.execute(text(_KNOWN), {"tenant": self._tenant, "key": key}).first()
        return self._opened(key, known) if known is not None and known.status is not None else answer

    def release(self, key: str) -> None:
        """Let the request be tried again at once: it came to nothing definite. What was remembered stays."""
        with self._engine.begin() as connection:
            connection.execute(
                text("""UPDATE idempotency SET lease_until = '-infinity'
                        WHERE tenant_id = :tenant AND key = :key AND status IS NULL"""),
                {"tenant": self._tenant, "key": key},
            )

    def forget(self, key: str) -> None:
        """Give the key back: nothing was tried under it, so it may stand for another request."""
        with self._engine.begin() as connection:
            connection.execute(
                text("DELETE FROM idempotency WHERE tenant_id = :tenant AND key = :key AND status IS NULL"),
                {"tenant": self._tenant, "key": key},
            )

    def _opened(self, key: str, known: Row[Any]) -> Answer:
        body = self._keyring.decrypt("answer", known.body, self._place(key))
        return Answer(known.status, json.loads(known.headers), body)

    def _place(self, key: str) -> str:
        return f"{self._tenant}/{key}"
