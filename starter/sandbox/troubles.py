"""The fault plan in force: which request, event or object it strikes. It survives restarts, as its counts do.

Requests are struck on the server's event loop. All else is drawn within the transaction that makes the object or event,
in its thread, and written with it. How often something was asked is read from the journal at the start.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from starter.sandbox.books import Books, Misposting
from starter.sandbox.faults import WHATEVER_THE_ANSWER, Fault
from starter.sandbox.happenings import Happenings
from starter.sandbox.plan import Asked, Plan
from starter.sandbox.reading import checked, parsed
from starter.sandbox.wire import Answer, RefusedError

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS plan (
        one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, document TEXT NOT NULL, file TEXT,
        from_file INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS scheduled (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, due REAL NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL,
        decide TEXT)""",
)
_NOTHING: Final = "{}"
_INJECTED: Final = "injected "


class Troubles:
    """One plan at a time. ``posts``: whether events are posted at all, so that something can go wrong with that."""

    def __init__(self, books: Books, happenings: Happenings, *, posts: bool) -> None:
        self._books = books
        self._happenings = happenings
        self._posts = posts
        self._key_window_seconds = books.key_window_seconds
        with books.transaction():
            for statement in _SCHEMA:
                books.write(statement)
            books.write("INSERT OR IGNORE INTO plan VALUES (1, 0, ?, NULL, 0)", _NOTHING)
        self._asked = Counter[str](
            dict(
                books.read(
                    "SELECT json_extract(line, '$.subject') AS subject, max(json_extract(line, '$.attempt'))"
                    " FROM journal WHERE subject IS NOT NULL GROUP BY 1"
                )
            )
        )
        self._load()
        books.watcher = self

    def use_file(self, file: Path | None) -> None:
        """Start with the plan of a file, or without one. Raises ``RefusedError``, ``OSError``.

        The same file as at the last start changes nothing; what was set since then stays.
        """
        text = None if file is None else checked(file.read_bytes())
        [(before, from_file)] = self._books.read("SELECT file, from_file FROM plan")
        if text == before:
            return
        if text is not None or from_file:
            self._store(text or _NOTHING)
        with self._books.transaction():
            self._books.write("UPDATE plan SET file = ?, from_file = ?", text, text is not None)

    def put(self, document: bytes) -> None:
        """Have another plan from now on, all its counts at zero. Raises ``RefusedError``."""
        self._store(checked(document))

    def document(self) -> Any:
        """The plan in force, as it was set."""
        [(text,)] = self._books.read("SELECT document FROM plan")
        return json.loads(text)

    def injected(self) -> dict[str, int]:
        """What went wrong so far, by kind."""
        return self._books.counted(_INJECTED)

    def asked(self, operation: str, subject: str, key: str | None, params: dict[str, Any]) -> Asked:
        """Count a request."""
        self._asked[subject] += 1
        return Asked(operation, subject, self._asked[subject], key, params)

    def strike(self, asked: Asked) -> tuple[Fault | None, list[str]]:
        """What goes wrong with a request by plan, and the counts to write down with it."""
        counts = []
        for entry in self._plan.requests:
            if not entry.fits(asked):
                continue
            if entry.numbers:
                counts.append(self._counted(f"{entry.place} fitted"))
                strikes = self._counts[f"{entry.place} fitted"] in entry.numbers
            else:
                about = (asked.operation, asked.subject, asked.attempt)
                strikes = self._plan.chance(entry.probability, entry.place, *about)
            if strikes and (entry.times is None or self._counts[f"{entry.place} struck"] < entry.times):
                counts.append(self._counted(f"{entry.place} struck"))
                return entry.made(asked.operation), counts
        return None, counts

    def noted(self, line: Mapping[str, Any], answer: Answer | None, done: Answer | None) -> None:
        """Count what went wrong with a request, and let happen later what the plan has for its object."""
        for name in line["counts"]:
            self._books.count(name)
        if line["fault"] in WHATEVER_THE_ANSWER or (line["fault"] is not None and done is not None):
            self._books.count(f"{_INJECTED}{line['fault']}")
        if line["executed"] and done is not None and isinstance(done.body, Mapping):
            self._schedule(line["operation"], line["subject"], dict(done.body))
        del answer

    def announced(self, kind: str, cause: str) -> Misposting | None:
        """Draw what goes wrong with posting an event, and count it."""
        plan = self._plan
        found = {
            name: chance
            for name, chance in (plan.webhooks if self._posts else {}).items()
            if plan.chance(chance.probability, f"webhooks.{name}", kind, cause)
        }
        if not found:
            return None
        if "lost" in found:
            found = {"lost": found["lost"]}
        for name in found:
            self._books.count(f"{_INJECTED}webhook_{name}")
        duplicate, late, out_of_order = (found.get(name) for name in ("duplicate", "late", "out_of_order"))
        return Misposting(
            lost="lost" in found,
            late=late.seconds if late else 0.0,
            again=duplicate.times - 1 if duplicate else 0,
            gap=duplicate.seconds if duplicate else 0.0,
            behind=out_of_order.seconds if out_of_order else 0.0,
        )

    def happen(self) -> None:
        """Let happen what is due."""
        due = self._books.read(
            "SELECT seq, name, document, decide FROM scheduled WHERE due <= ? ORDER BY seq", time.time()
        )
        for seq, name, document, decide in due:
            try:
                with self._books.transaction():
                    self._books.write("DELETE FROM scheduled WHERE seq = ?", seq)
                    changed = self._happenings.of(name, json.loads(document))
                    if decide is not None:
                        what = json.loads(decide)
                        self._later(what["seconds"], "decide", {"reference": changed["id"], "status": what["status"]})
            except RefusedError:  # what happened meanwhile has made it impossible
                with self._books.transaction():
                    self._books.write("DELETE FROM scheduled WHERE seq = ?", seq)
                    self._books.count(f"{_INJECTED}happening_{name}_impossible")

    def _schedule(self, operation: str, subject: str, made: dict[str, Any]) -> None:
        group = made.get("transfer_group")
        for entry in self._plan.happenings if group else ():
            struck = f"{self._prefix}{entry.place} struck"
            if (
                entry.after == operation
                and entry.possible(made)
                and self._plan.chance(entry.probability, entry.place, operation, subject)
                and (entry.times is None or self._books.count(struck) <= entry.times)
            ):
                amount = entry.amount(made["amount"])
                document = {"key": group, **entry.why, **({} if amount is None else {"amount": amount})}
                decide = None if entry.decide is None else json.dumps(vars(entry.decide))
                self._later(entry.seconds, entry.name, document, decide)

    def _later(self, seconds: float, name: str, document: dict[str, Any], decide: str | None = None) -> None:
        values = (time.time() + seconds, name, json.dumps(document), decide)
        self._books.write("INSERT INTO scheduled (due, name, document, decide) VALUES (?, ?, ?, ?)", *values)

    def _counted(self, name: str) -> str:
        self._counts[name] += 1
        return f"{self._prefix}{name}"

    def _store(self, text: str) -> None:
        with self._books.transaction():
            self._books.write("UPDATE plan SET number = number + 1, document = ?, from_file = 0", text)
            self._books.write("DELETE FROM counters WHERE name LIKE 'plan %'")
        self._load()

    def _load(self) -> None:
        [(number, text)] = self._books.read("SELECT number, document FROM plan")
        # With the number, requests that are under way while the plan changes are not counted for the new one.
        self._prefix = f"plan {number} "
        self._counts = Counter(self._books.counted(self._prefix))
        self._plan: Plan = parsed(text)
        window = self._plan.forget_keys_after_seconds
        self._books.key_window_seconds = self._key_window_seconds if window is None else window
