"""The one writer: turns decisions into rows. Everything goes out in one round trip, the commit with it.

Rows travel as JSON and are unfolded by PostgreSQL, in one statement for all tables however many rows there are: twelve
statements cost twice the time. Foreign keys and triggers act when it ends, so the balance trigger sees all entries of
a transaction at once and locks their accounts in one order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from psycopg import sql
from pydantic_core import to_json

from ledger.load import Connection
from models import ids
from models.commands import Command
from models.decision import Decision
from models.errors import Refusal
from models.escrow import Deadline, Escrow, Milestone
from models.outcome import Outcome

Row = dict[str, Any]

_INVALID_DESTINATION: Final = """
UPDATE party SET invalid_destination = %(at)s, invalid_because = %(why)s WHERE tenant_id = %(tenant)s AND id = %(party)s
"""
# Under the seller's lock, which whoever reads these rows to decide has taken before.
_CARRIED_ALONG: Final = "UPDATE payout SET enough = true WHERE id = ANY(%(payouts)s) AND status = 'due'"

# Parts of an escrow whose rows are what the snapshot says, with the escrow's id.
_PARTS: Final = {"dispute": "disputes", "payout": "payouts", "release": "releases", "chargeback": "chargebacks"}

# Their rows change while an escrow lives; everything else is written once.
_UPSERTED: Final = frozenset({"milestone", "dispute", "deadline", "payout", "release", "chargeback"})

# The same party takes part in many escrows; one that is known stays as it is.
_KEPT: Final = frozenset({"party"})

_COMMON: Final = frozenset({"name", "id", "escrow", "actor", "expected_version", "received_at", "origin", "seal"})


@dataclass
class Batch:
    """The rows of one database transaction: the decisions taken in it, and the command's outcome."""

    tenant: str
    before: Escrow | None
    received_at: datetime
    escrow: Escrow | None = None
    rows: dict[str, list[Row]] = field(default_factory=dict)
    updates: list[tuple[str, Row]] = field(default_factory=list)

    def add(self, table: str, *rows: Row) -> None:
        """Queue rows for a table."""
        self.rows.setdefault(table, []).extend(rows)

    def accept(self, command: Command, before: Escrow | None, decision: Decision) -> None:
        """Queue everything a decision asks for."""
        after = decision.escrow
        self.escrow = after
        self._settlement(command, decision)
        self._elsewhere(decision)
        self._transactions(command, decision)
        self._audit(command, before.version if before else 0, after.version, None)
        self.add(
            "event",
            *(
                _event(event.id, after, position, event.type, event.data)
                for position, event in enumerate(decision.events)
            ),
        )

    def refuse(
        self, command: Command, escrow: Escrow | None, refusal: Refusal, now: datetime, attempt: str = ""
    ) -> None:
        """Queue the record of a refusal: an audit row and an event, no money.

        ``attempt`` tells the records of a command apart that uses up no id, and so can be refused over and over.
        """
        version = escrow.version if escrow else 0
        self._audit(command, version, version, refusal, attempt)
        if escrow is not None:
            identifier = ids.derive("evt", now, command.escrow, command.id, f"refused{attempt}")
            data = {"command": command.id, "name": command.name, "code": refusal.code}
            self.add("event", _event(identifier, escrow, 0, "command.refused", data) | {"occurred_at": now})

    def finish(self, command: Command, input_hash: str, outcome: Outcome) -> None:
        """Queue the command's stored outcome; its key is what makes a command happen once."""
        self.add(
            "command",
            {
                "tenant_id": self.tenant,
                "id": command.id,
                "escrow_id": command.escrow,
                "name": command.name,
                "input_hash": input_hash,
                "outcome": outcome,
            },
        )

    def write(self, connection: Connection) -> None:
        """Send everything and commit, in one round trip. Raises what PostgreSQL refuses; then nothing was written."""
        if not self.rows and self.escrow is None:
            return  # a deadline that was superseded
        self._snapshot()
        with connection.pipeline():
            if self.before is not None and self.escrow is not None:
                connection.execute(_UPDATE_ESCROW, (self.before.version, _json(_escrow_row(self.escrow))))
            insert_rows(connection, self.rows)
            for statement, parameters in self.updates:
                connection.execute(statement, parameters)
            connection.commit()

    def _snapshot(self) -> None:
        """Queue what changed of the escrow and of its parts; only the row of an escrow that exists is not inserted."""
        if self.escrow is None:
            return
        before, after = self.before, self.escrow
        if before is None:
            self.add("escrow", _escrow_row(after))
            self.add("party", *({"tenant_id": self.tenant, "id": one} for one in sorted((after.buyer, after.seller))))
        self.add("milestone", *(_milestone_row(after, one) for one in _changed(before, after, "milestones")))
        for table, part in _PARTS.items():
            self.add(table, *(dict(one) | {"escrow_id": after.id} for one in _changed(before, after, part)))
        self.add("deadline", *(_deadline_row(after, one) for one in _changed(before, after, "deadlines")))
        agreed = {milestone.id for milestone in after.milestones}
        amended = (one for one in (before.milestones if before else ()) if one.id not in agreed)
        self.add("milestone", *(_milestone_row(after, one) | {"withdrawn": True} for one in amended))
        kept = {deadline.id for deadline in after.deadlines}
        ended = (deadline for deadline in (before.deadlines if before else ()) if deadline.id not in kept)
        self.add("deadline", *(_deadline_row(after, one) | {"pending": False} for one in ended))

    def _elsewhere(self, decision: Decision) -> None:
        """Queue what a decision changes outside its escrow."""
        if invalid := decision.invalid_destination:
            told = {"tenant": self.tenant, "party": invalid.party, "at": invalid.destination, "why": invalid.because}
            self.updates.append((_INVALID_DESTINATION, told))
        if decision.carried_along:
            payouts = [one.payout for one in decision.carried_along]
            self.updates.append((_CARRIED_ALONG, {"payouts": payouts}))

    def _settlement(self, command: Command, decision: Decision) -> None:
        settlement = decision.settlement
        if settlement is None:
            return
        division, projection, translation = settlement.division, settlement.projection, settlement.translation
        taken = settlement.taken_back
        self.add(
            "settlement",
            {
                "id": settlement.id,
                "tenant_id": self.tenant,
                "escrow_id": command.escrow,
                "command_id": command.id,
                "milestone": settlement.milestones[0] if len(settlement.milestones) == 1 else None,
                "dispute": settlement.dispute,
                "outcome": settlement.outcome,
                "currency": division.total.currency,
                "total": division.total.amount,
                "platform_fee": division.platform_fee.amount,
                "seller_payout": division.seller_payout.amount,
                "buyer_refund": division.buyer_refund.amount,
                "fee_policy_version": settlement.rule.policy_version,
                "fee_rule": settlement.rule.name,
                "fee_rate": settlement.rule.rate,
                "dispute_fee": settlement.dispute_fee,
                "volume": settlement.volume,
                "reverses": taken.reverses if taken else None,
                "fee_returned": taken.fee_returned if taken else 0,
                "from_payable": taken.payable if taken else 0,
                "from_wallet": taken.wallet if taken else 0,
                "to_receivable": taken.receivable if taken else 0,
                "fx_rate": settlement.rate.rate,
                "fx_quote": settlement.rate.quote,
                "fx_as_of": settlement.rate.as_of,
                "fx_total": translation.total.amount,
                "fx_platform_fee": translation.platform_fee.amount,
                "fx_seller_payout": translation.seller_payout.amount,
                "fx_buyer_refund": translation.buyer_refund.amount,
                "fee_steps": settlement.steps,
                "projected_fee_returned": projection.fee_returned.amount if projection else 0,
                "projected_payout_reduced": projection.payout_reduced.amount if projection else 0,
                "created_at": decision.escrow.updated_at,
            },
        )
        if settlement.outcome != "reversal":
            links = ({"milestone_id": one, "settlement_id": settlement.id} for one in settlement.milestones)
            self.add("settled_milestone", *links)

    def _transactions(self, command: Command, decision: Decision) -> None:
        for number, transaction in enumerate(decision.transactions):
            now = decision.escrow.updated_at
            identifier = ids.derive("txn", now, command.escrow, command.id, str(number))
            settlement = decision.settlement
            self.add(
                "ledger_transaction",
                {
                    "id": identifier,
                    "tenant_id": self.tenant,
                    "escrow_id": command.escrow,
                    "command_id": command.id,
                    "settlement_id": settlement.id if settlement else None,
                    "memo": transaction.memo,
                    "posted_at": now,
                    "position": number,
                },
            )
            self.add("entry", *entry_rows(self.tenant, identifier, now, transaction.postings))

    def _audit(self, command: Command, before: int, after: int, refusal: Refusal | None, attempt: str = "") -> None:
        identifier = ids.derive("aud", self.received_at, command.escrow, command.id, f"{after}{attempt}")
        self.add(
            "audit",
            {
                "id": identifier,
                "tenant_id": self.tenant,
                "escrow_id": command.escrow,
                "command_id": command.id,
                "name": command.name,
                "actor_role": command.actor.role,
                "actor_party": command.actor.party,
                "ip": command.origin.ip if command.origin else None,
                "user_agent": command.origin.user_agent if command.origin else None,
                "details": command.model_dump(exclude=set(_COMMON), exclude_none=True),
                "outcome": refusal.code if refusal else "accepted",
                "message": refusal.message if refusal else None,
                "before_version": before,
                "after_version": after,
                "received_at": self.received_at,
            },
        )


def entry_rows(tenant: str, transaction: str, at: datetime, postings: Iterable[Any]) -> list[Row]:
    """The entries of one ledger transaction, as rows."""
    return [
        {
            "id": ids.derive("ent", at, transaction, str(number)),
            "transaction_id": transaction,
            "tenant_id": tenant,
            "account_kind": posting.kind,
            "owner": posting.owner,
            "currency": posting.money.currency,
            "direction": posting.direction,
            "amount": posting.money.amount,
            "position": number,
        }
        for number, posting in enumerate(postings)
    ]


def insert_rows(connection: Connection, rows: Mapping[str, Sequence[Row]]) -> None:
    """Insert rows, by table, in one statement. The rows of a table share their columns."""
    filled = {table: some for table, some in rows.items() if some}
    statement = _insert(tuple((table, tuple(some[0])) for table, some in filled.items()))
    connection.execute(statement, [_json(some) for some in filled.values()])


def _event(identifier: str, escrow: Escrow, position: int, kind: str, data: Row) -> Row:
    return {
        "id": identifier,
        "tenant_id": escrow.tenant,
        "escrow_id": escrow.id,
        "version": escrow.version,
        "position": position,
        "type": kind,
        "data": data,
        "occurred_at": escrow.updated_at,
    }


def _changed(before: Escrow | None, after: Escrow, part: str) -> list[Any]:
    known = set(map(id, getattr(before, part))) if before else set()
    return [one for one in getattr(after, part) if id(one) not in known]


def _escrow_row(escrow: Escrow) -> Row:
    elsewhere = {"milestones", "deadlines", *_PARTS.values(), "clock_offset", "tenant"}
    return {name: value for name, value in escrow if name not in elsewhere} | {"tenant_id": escrow.tenant}


_ESCROW_CHANGING: Final = (
    "amount", "title", "state", "funded", "held", "disputed", "released", "refunded", "surcharge", "contested",
    "charged_back", "fee_policy_version", "release", "updated_at",
)  # fmt: skip
# The row is locked, so its version cannot differ. Should a bug get past the lock, NULL is refused and nothing commits.
_UPDATE_ESCROW: Final = (
    f"UPDATE escrow SET {', '.join(f'{name} = new.{name}' for name in _ESCROW_CHANGING)}, "  # noqa: S608 - our names
    "version = CASE escrow.version WHEN %s THEN new.version END "
    "FROM json_populate_record(NULL::escrow, %s::json) new WHERE escrow.id = new.id"
)


def _milestone_row(escrow: Escrow, milestone: Milestone) -> Row:
    return dict(milestone) | {"escrow_id": escrow.id, "withdrawn": False}


def _deadline_row(escrow: Escrow, deadline: Deadline) -> Row:
    return dict(deadline) | {"escrow_id": escrow.id, "pending": True}


def _json(rows: Row | Sequence[Row]) -> str:
    return to_json(rows).decode()


@lru_cache(maxsize=256)
def _insert(shapes: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    """One statement for all the tables, whose columns are given, with one parameter each: their rows as JSON."""
    inserts = (
        sql.SQL("{} AS ({})").format(sql.Identifier(f"new_{table}"), _insert_one(table, columns))
        for table, columns in shapes
    )
    return sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(inserts)).as_string()


def _insert_one(table: str, columns: tuple[str, ...]) -> sql.Composed:
    update: sql.Composable = sql.SQL(" ON CONFLICT DO NOTHING" if table in _KEPT else "")
    if table in _UPSERTED:
        kept = (column for column in columns if column not in {"id", "escrow_id"})
        pairs = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in kept)
        update = sql.SQL(" ON CONFLICT (id) DO UPDATE SET {}").format(pairs)
    return sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM json_populate_recordset(NULL::{0}, %s::json){2}").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns)), update
    )
