"""The audit: who asked for what and what became of it, in a hash chain per escrow that is checked here.

PostgreSQL makes the chain when a row is written. This file computes it again in Python, from the rows alone, so that
one mistake in the trigger cannot hide another here. docs/reports.md tells others how to do the same.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Engine, RowMapping, text

from ledger.snapshot import snapshot
from ledger.soundness import CHECKS, Finding

GENESIS: Final = "0" * 64
ACCEPTED: Final = "accepted"
# What is told of broken books; the rest is counted.
_TOLD: Final = 100
# How far from its place a row is looked for that does not belong where it stands.
_SEARCHED: Final = 1000
_AT_A_TIME: Final = 500

# One rendering of every column, whatever the session's settings. The text of `details` is what is hashed.
COLUMNS: Final = """
    position, previous, hash, id, tenant_id, escrow_id, command_id, name, actor_role, actor_party, abbrev(ip) AS ip,
    user_agent, details::text AS details, outcome, message, before_version, after_version,
    to_char(received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS received_at,
    to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS recorded_at
"""
_CHAINS: Final = f"""
SELECT {COLUMNS} FROM audit
WHERE (CAST(:escrow AS text) IS NULL OR escrow_id = :escrow)
  AND (CAST(:tenant AS text) IS NULL OR escrow_id IN (
       SELECT id FROM escrow WHERE tenant_id = :tenant UNION SELECT escrow_id FROM audit WHERE tenant_id = :tenant))
ORDER BY escrow_id, position, id
"""  # noqa: S608 - our own names
_ESCROW: Final = "SELECT id, tenant_id, title, buyer, seller, currency, state, version FROM escrow WHERE id = :escrow"
_SETTLEMENTS: Final = "SELECT * FROM settlement WHERE escrow_id = :escrow ORDER BY created_at, id"
_MOVEMENTS: Final = """
SELECT t.command_id, t.memo, t.posted_at, e.account_kind, e.owner, e.direction, e.amount, e.currency
FROM ledger_transaction t JOIN entry e ON e.transaction_id = t.id
WHERE t.escrow_id = :escrow ORDER BY t.recorded_at, t.posted_at, t.position, t.id, e.position
"""


@dataclass(frozen=True)
class AuditRow:
    """One command that was decided: accepted, or refused with the code in ``outcome`` and why in ``message``.

    ``received_at`` and ``recorded_at`` are UTC in ISO 8601 with microseconds, ``details`` is JSON as it is stored.
    """

    position: int
    previous: str
    hash: str
    id: str
    tenant_id: str
    escrow_id: str
    command_id: str
    name: str
    actor_role: str
    actor_party: str | None
    ip: str | None
    user_agent: str | None
    details: str
    outcome: str
    message: str | None
    before_version: int
    after_version: int
    received_at: str
    recorded_at: str

    @property
    def accepted(self) -> bool:
        """Whether the command was carried out."""
        return self.outcome == ACCEPTED

    def canonical(self, *, position: int | None = None, previous: str | None = None) -> str:
        """What is hashed: a JSON array of all columns but the hash. A place in the chain may be tried in its stead."""
        columns = (
            self.previous if previous is None else previous, self.position if position is None else position,
            self.id, self.tenant_id, self.escrow_id, self.command_id, self.name, self.actor_role, self.actor_party,
            self.ip, self.user_agent, self.details, self.outcome, self.message, self.before_version,
            self.after_version, self.received_at, self.recorded_at,
        )  # fmt: skip
        return json.dumps(columns, ensure_ascii=False)

    def digest(self, *, position: int | None = None, previous: str | None = None) -> str:
        """SHA-256 of the canonical form, in hex: what ``hash`` has to be."""
        return hashlib.sha256(self.canonical(position=position, previous=previous).encode()).hexdigest()


@dataclass
class Chain:
    """The chain of one escrow, checked row by row in the order of their positions; it keeps the last one only."""

    position: int = 0
    head: str = GENESIS
    version: int = 0

    def check(self, row: AuditRow) -> Finding | None:
        """Say what is wrong with the next row; None if it is the one that was recorded here."""
        wrong = self._wrong(row)
        self.position, self.head = row.position, row.hash
        self.version = row.after_version
        return Finding(row.tenant_id, row.escrow_id, row.position, row.id, *wrong) if wrong else None

    def _wrong(self, row: AuditRow) -> tuple[str, str] | None:
        """The kind of damage and its description. What a row says of itself comes before what it says of others."""
        expected = self.position + 1
        if row.digest() != row.hash:
            return self._differs(row)
        if row.position > expected:
            gap = f"row {expected} is" if row.position == expected + 1 else f"rows {expected} to {row.position - 1} are"
            return "missing", f"{gap} missing before it"
        if row.position < expected:
            return "reordered", f"position {row.position} is taken twice"
        if row.previous != self.head:
            return "wrong previous", (
                "it was recorded after another row than the one that stands before it: "
                "that one was exchanged, its hash with it"
            )
        if row.before_version != self.version:
            return "wrong version", (
                f"it was decided at version {row.before_version}, but the rows before it lead to {self.version}"
            )
        return None

    def _differs(self, row: AuditRow) -> tuple[str, str]:
        """Its hash is not that of its content: moved, linked anew, or changed."""
        if row.digest(previous=self.head) == row.hash:
            return "wrong previous", "its link to the row before it was changed"
        nearby = range(max(1, row.position - _SEARCHED), row.position + _SEARCHED)
        moved = (place for place in nearby if row.digest(position=place) == row.hash)
        if place := next(moved, None):
            return "reordered", f"it was recorded at position {place}"
        return "changed", "its content is not what was recorded: its hash is of something else"


@dataclass
class Verification:
    """What a check of the books found. ``rows`` and ``escrows`` of the audit were looked at; ``total`` counts all
    findings, of which the first are told."""

    rows: int = 0
    escrows: int = 0
    total: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.total

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if there is room."""
        self.total += 1
        if len(self.findings) < _TOLD:
            self.findings.append(finding)


@dataclass(frozen=True)
class Story:
    """All that the books have of an escrow's commands. ``escrow`` is None when every one was refused.

    ``settlements`` and ``movements`` (entries) are by command, amounts in minor units. Where ``partial``, rows of the
    chain could not be seen, and nothing can be said of it.
    """

    identifier: str
    escrow: RowMapping | None
    rows: list[AuditRow]
    settlements: dict[str, RowMapping]
    movements: dict[str, list[RowMapping]]
    verification: Verification
    partial: bool = False


def verify(engine: Engine, tenant: str | None = None, escrow: str | None = None) -> Verification:
    """Check every chain, of one tenant or escrow or of all, and whether the rest of the books agrees with it.

    Everything is read as of one moment, row by row, so the books may be in use and of any size.
    """
    with snapshot(engine) as connection:
        return _verified(connection, tenant, escrow)


def story(engine: Engine, escrow: str, *, chain_only: bool = False) -> Story | None:
    """Read an escrow's audit with the money that each command moved; None when nobody ever spoke of that escrow.

    With ``chain_only`` the chain alone is checked, if all of it is seen: a stranger's refused attempt to create an
    escrow of that id is in it as well, and row-level security hides that row.
    """
    with snapshot(engine) as connection:
        scope = {"escrow": escrow}
        rows = [AuditRow(**row) for row in connection.execute(text(_CHAINS), scope | {"tenant": None}).mappings()]
        known = connection.execute(text(_ESCROW), scope).mappings().first()
        if not rows and known is None:
            return None
        moved: dict[str, list[RowMapping]] = {}
        for movement in connection.execute(text(_MOVEMENTS), scope).mappings():
            moved.setdefault(movement["command_id"], []).append(movement)
        settled = {row["command_id"]: row for row in connection.execute(text(_SETTLEMENTS), scope).mappings()}
        partial = chain_only and [row.position for row in rows] != list(range(1, len(rows) + 1))
        found = _chain_alone(rows) if chain_only else _verified(connection, None, escrow)
        return Story(escrow, known, rows, settled, moved, found, partial)


def latest_escrows(engine: Engine, limit: int) -> list[RowMapping]:
    """The escrows that were made last: ``id``, ``title``, ``tenant_id``."""
    query = "SELECT id, title, tenant_id FROM escrow ORDER BY created_at DESC, id DESC LIMIT :limit"
    with engine.connect() as connection:
        return list(connection.execute(text(query), {"limit": limit}).mappings())


def _verified(connection: Connection, tenant: str | None, escrow: str | None) -> Verification:
    scope = {"tenant": tenant, "escrow": escrow}
    found = Verification()
    _check_chains(_streamed(connection, _CHAINS, scope), found)
    for check in CHECKS:
        for row in _streamed(connection, check, scope):
            found.add(Finding(**row))
    return found


def _chain_alone(rows: list[AuditRow]) -> Verification:
    """What the chain says of itself."""
    chain, found = Chain(), Verification(rows=len(rows), escrows=1)
    if broken := next(filter(None, map(chain.check, rows)), None):
        found.add(broken)
    return found


def _check_chains(rows: Iterator[RowMapping], found: Verification) -> None:
    """Of each chain the first broken row is told: what follows it is not worth more than it."""
    escrow, broken, chain = None, False, Chain()
    for row in (AuditRow(**row) for row in rows):
        found.rows += 1
        if row.escrow_id != escrow:
            escrow, broken, chain = row.escrow_id, False, Chain()
            found.escrows += 1
        if not broken and (finding := chain.check(row)):
            found.add(finding)
            broken = True


def _streamed(connection: Connection, query: str, parameters: dict[str, Any]) -> Iterator[RowMapping]:
    return iter(connection.execute(text(query), parameters, execution_options={"yield_per": _AT_A_TIME}).mappings())
