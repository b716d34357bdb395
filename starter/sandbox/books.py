"""The sandbox's own books in SQLite: objects, money, remembered keys, journal and events. The witness of the tests.

An operation is one transaction: its objects, its balance transactions, its remembered answer, its journal line and its
event are all there or none is, also after kill -9 (write-ahead log, ``synchronous=FULL``).
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from starter.sandbox.faults import WITHOUT_ANSWER
from starter.sandbox.wire import Answer, Params, RefusedError, error, new_id

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_group ON objects (kind, json_extract(body, '$.transfer_group'));
CREATE INDEX IF NOT EXISTS objects_intent ON objects (kind, json_extract(body, '$.payment_intent'));
CREATE TABLE IF NOT EXISTS keys (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, line TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_at REAL NOT NULL DEFAULT 0, delivered INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS events_due ON events (next_at) WHERE delivered = 0;
CREATE TABLE IF NOT EXISTS misposted (
    seq INTEGER PRIMARY KEY, lost INTEGER NOT NULL, again INTEGER NOT NULL, gap REAL NOT NULL, behind REAL NOT NULL);
CREATE TABLE IF NOT EXISTS made (
    id TEXT PRIMARY KEY, cause TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counters (
    name TEXT PRIMARY KEY, times INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Misposting:
    """What goes wrong with posting one event. ``behind``: until then only if a later event was posted."""

    lost: bool = False
    late: float = 0.0
    again: int = 0
    gap: float = 0.0
    behind: float = 0.0


class Watcher(Protocol):
    """Who is told what is being written, within the transaction that writes it."""

    def noted(self, line: Mapping[str, Any], answer: Answer | None, done: Answer | None) -> None:
        """A request is written down with its ``answer``, and the work that was ``done`` for it just now."""

    def announced(self, kind: str, cause: str) -> Misposting | None:
        """An event is announced; says what goes wrong with it."""


class Books:
    """All that the sandbox knows, in one file. Thread-safe: one writer at a time."""

    def __init__(self, path: Path, key_window_seconds: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.key_window_seconds = key_window_seconds
        self.watcher: Watcher | None = None
        self._cause = ""
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        with self._lock:
            self._database.close()

    @contextmanager
    def transaction(self, cause: str | None = None) -> Iterator[None]:
        """Everything inside is committed together, or not at all; one inside of another is a part of it.

        ``cause`` names what it is about, the same each time the same is asked for: what chance goes by for its events.
        """
        with self._lock:
            if self._database.in_transaction:
                self._cause = cause or self._cause
                yield
                return
            self._cause = cause or ""
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def once(
        self,
        key: str | None,
        fingerprint: str,
        work: Callable[[], Answer],
        line: Mapping[str, Any],
        instead: Answer | None = None,
    ) -> Answer:
        """Do the work under a key, or repeat what the key remembers. One transaction.

        Source: docs.stripe.com/api/idempotent_requests: the status and body of the first request are kept once its
        execution has begun, errors included; other parameters are an error; validation failures are not kept.
        ``instead`` is remembered and answered in place of the work's own answer.
        """
        with self.transaction(line["subject"]):
            answer = self._remembered(key, fingerprint)
            if answer is not None:
                self._write_line(line, answer)
                return answer
            try:
                done, keep = work(), True
            except RefusedError as refused:
                done, keep = refused.answer, refused.executed
            answer = done if instead is None else instead
            self._write_line(line, answer, done)
            if key is not None and keep:
                self._database.execute(
                    "INSERT INTO keys VALUES (?, ?, ?, ?, ?)",
                    (key, fingerprint, answer.status, json.dumps(answer.body), time.time()),
                )
            return answer

    def note(self, line: Mapping[str, Any], answer: Answer | None) -> None:
        """Write a journal line for a request that did not reach the books."""
        with self.transaction():
            self._write_line(line, answer)

    def journal(self) -> list[dict[str, Any]]:
        """Return every request seen, oldest first.

        ``executed``: it made its object just now (a replay did not); ``status``: what was sent back, ``None`` when
        nothing was; ``amount``: as it was asked for, in Stripe's units.
        """
        return [
            {"seq": seq, **json.loads(line)} for seq, line in self._all("SELECT seq, line FROM journal ORDER BY seq")
        ]

    def forget_keys(self) -> None:
        """Forget every key, as Stripe may after 24 hours."""
        with self.transaction():
            self._database.execute("DELETE FROM keys")

    def put(self, body: Params) -> None:
        """Write an object, new or changed."""
        self._database.execute(
            "INSERT INTO objects (id, kind, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (body["id"], body["object"], json.dumps(body)),
        )
        self._database.execute("INSERT OR IGNORE INTO made VALUES (?, ?)", (body["id"], self._cause))

    def get(self, kind: str, reference: str) -> Params | None:
        """Return one object."""
        rows = self._all("SELECT body FROM objects WHERE kind = ? AND id = ?", kind, reference)
        return json.loads(rows[0][0]) if rows else None

    def page(self, kind: str, filters: Mapping[str, str], limit: int, after: str | None) -> tuple[list[Params], bool]:
        """Return one page, newest first, and whether there is more. ``filters`` compare fields of the object."""
        where, values = ["kind = ?"], [kind]
        for name, value in filters.items():
            where.append(f"json_extract(body, '$.{name}') = ?")
            values.append(value)
        if after is not None:
            where.append("seq < (SELECT seq FROM objects WHERE id = ?)")
            values.append(after)
        # The names come from our own tables of endpoints, never from the request.
        statement = f"SELECT body FROM objects WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT ?"  # noqa: S608
        rows = [json.loads(body) for (body,) in self._all(statement, *values, limit + 1)]
        return rows[:limit], len(rows) > limit

    def move(self, kind: str, amount: int, currency: str, source: str) -> str:
        """Write a balance transaction (signed, Stripe's units) and return its id."""
        body = {
            "id": new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "created": int(time.time()),
            "currency": currency,
            "fee": 0,
            "net": amount,
            "source": source,
            "status": "available",
            "type": kind,
        }
        self.put(body)
        return str(body["id"])

    def balances(self) -> dict[str, int]:
        """Return what the platform has, by currency, as the sum of all balance transactions."""
        return dict(
            self._all(
                "SELECT json_extract(body, '$.currency'), sum(json_extract(body, '$.net')) FROM objects"
                " WHERE kind = 'balance_transaction' GROUP BY 1 ORDER BY 1"
            )
        )

    def announce(self, kind: str, about: Params) -> None:
        """Write an event for the webhook endpoint."""
        body = {
            "id": new_id("evt"),
            "object": "event",
            "created": int(time.time()),
            "data": {"object": about},
            "livemode": False,
            "pending_webhooks": 1,
            "type": kind,
        }
        wrong = None if self.watcher is None else self.watcher.announced(kind, self._cause)
        due = 0.0 if wrong is None else time.time() + wrong.late
        written = self._database.execute(
            "INSERT INTO events (id, body, next_at) VALUES (?, ?, ?)", (body["id"], json.dumps(body), due)
        )
        if wrong is not None:
            behind = time.time() + wrong.behind if wrong.behind else 0.0
            values = (written.lastrowid, wrong.lost, wrong.again, wrong.gap, behind)
            self._database.execute("INSERT INTO misposted VALUES (?, ?, ?, ?, ?)", values)

    def events(self) -> list[Params]:
        """Return every event, oldest first."""
        return [json.loads(body) for (body,) in self._all("SELECT body FROM events ORDER BY seq")]

    def due_events(self) -> list[tuple[int, str, int]]:
        """Return events to post now: sequence, body, attempts so far."""
        now = time.time()
        return self._all(
            "SELECT seq, body, attempts FROM events LEFT JOIN misposted USING (seq)"
            " WHERE delivered = 0 AND next_at <= ? AND (lost IS NULL OR (lost = 0 AND (behind <= ? OR EXISTS ("
            "  SELECT 1 FROM events AS later WHERE later.seq > events.seq AND later.attempts > 0))))"
            " ORDER BY seq LIMIT 20",
            now,
            now,
        )

    def posted(self, seq: int, *, delivered: bool, next_at: float) -> None:
        """Record one attempt to post an event."""
        with self.transaction():
            self._database.execute(
                "UPDATE events SET attempts = attempts + 1, delivered = ?, next_at = ? WHERE seq = ?",
                (delivered, next_at, seq),
            )
            again = self._all("SELECT gap FROM misposted WHERE seq = ? AND again > 0", seq) if delivered else []
            for (gap,) in again:
                self._database.execute("UPDATE misposted SET again = again - 1 WHERE seq = ?", (seq,))
                self._database.execute(
                    "UPDATE events SET delivered = 0, next_at = ? WHERE seq = ?", (time.time() + gap, seq)
                )

    def cause_of(self, reference: str) -> str:
        """Return the cause of the transaction that made an object, such as its idempotency key; else the id itself."""
        rows = self._all("SELECT cause FROM made WHERE id = ? AND cause <> ''", reference)
        return str(rows[0][0]) if rows else reference

    def count(self, name: str) -> int:
        """Count one more, inside a transaction; answers how many that makes."""
        [(times,)] = self._all(
            "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET times = times + 1 RETURNING times",
            name,
        )
        return int(times)

    def counted(self, prefix: str) -> dict[str, int]:
        """Return the counts of all names with the prefix, without it."""
        return dict(
            self._all(
                "SELECT substr(name, ?), times FROM counters WHERE substr(name, 1, ?) = ? ORDER BY name",
                len(prefix) + 1,
                len(prefix),
                prefix,
            )
        )

    def read(self, statement: str, *values: Any) -> list[Any]:
        """Return the rows of a query."""
        return self._all(statement, *values)

    def write(self, statement: str, *values: Any) -> None:
        """Change tables of others in the same file, inside a transaction."""
        self._all(statement, *values)

    def _remembered(self, key: str | None, fingerprint: str) -> Answer | None:
        rows = self._all(
            "SELECT fingerprint, status, body FROM keys WHERE key = ? AND created > ?",
            key,
            time.time() - self.key_window_seconds,
        )
        if not rows:
            if self._database.execute("DELETE FROM keys WHERE key = ?", (key,)).rowcount:
                self.count("injected key_forgotten")
            return None
        first, status, body = rows[0]
        if first != fingerprint:
            return error(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used with the same parameters they were first used with."
                f" Try using a key other than '{key}' if you meant to execute a different request.",
            )
        return Answer(status, json.loads(body), {"Idempotent-Replayed": "true"})

    def _write_line(self, line: Mapping[str, Any], answer: Answer | None, done: Answer | None = None) -> None:
        whole = {
            "at": time.time(),
            **line,
            "executed": done is not None and done.status == 200 and line["method"] == "POST",
            "replayed": answer is not None and "Idempotent-Replayed" in answer.headers,
            "status": None if answer is None or line["fault"] in WITHOUT_ANSWER else answer.status,
            "reference": next((known.reference for known in (done, answer) if known is not None), None),
        }
        self._database.execute("INSERT INTO journal (line) VALUES (?)", (json.dumps(whole),))
        if self.watcher is not None:
            self.watcher.noted(whole, answer, done)

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()
