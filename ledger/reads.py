"""Reading the books: escrows, statements, settlements, the trial balance. Everything comes from the ledger's rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, RowMapping, text

from ledger.books import input_hash
from ledger.load import ESCROW
from models.commands import Command
from models.escrow import Escrow
from models.outcome import Outcome


@dataclass(frozen=True)
class WalletBalance:
    """One party's money in one currency, in minor units: ``balance = available + locked``."""

    party: str
    currency: str
    available: int
    locked: int

    @property
    def balance(self) -> int:
        """All of the party's money with us."""
        return self.available + self.locked


@dataclass(frozen=True)
class StatementLine:
    """One entry of a party's account: ``amount`` in minor units, positive where the account grew on its normal side."""

    posted_at: datetime
    account: str
    memo: str
    escrow: str | None
    amount: int
    balance: int
    currency: str


@dataclass(frozen=True)
class Movement:
    """One entry and the command that posted it; ``amount`` in minor units."""

    command: str
    account: str
    owner: str
    direction: str
    amount: int
    currency: str


@dataclass(frozen=True)
class TrialBalanceLine:
    """One kind of account in one currency, in minor units."""

    account: str
    normal_side: str
    currency: str
    debit: int
    credit: int

    @property
    def balance(self) -> int:
        """On the account's normal side."""
        return self.debit - self.credit if self.normal_side == "debit" else self.credit - self.debit


def escrow(engine: Engine, identifier: str) -> Escrow | None:
    """One escrow as it stands."""
    with engine.connect() as connection:
        row = connection.exec_driver_sql(ESCROW, {"escrow": identifier}).first()
    return Escrow.model_validate_json(row[0]) if row else None


def tenant_of(engine: Engine, escrow_id: str) -> str | None:
    """Whose escrow it is; None where there is none that we see."""
    rows = _rows(engine, "SELECT tenant_id FROM escrow WHERE id = :escrow", escrow=escrow_id)
    return str(rows[0]["tenant_id"]) if rows else None


def stored_outcome(engine: Engine, command: Command) -> Outcome | None:
    """What became of a command that was decided before; None when it was not, or when its id stood for another."""
    found = _rows(
        engine,
        "SELECT input_hash, outcome::text AS outcome FROM command WHERE id = :id AND escrow_id = :escrow",
        id=command.id,
        escrow=command.escrow,
    )
    if not found or found[0]["input_hash"] != input_hash(command):
        return None
    return Outcome.model_validate_json(found[0]["outcome"])


def wallets(engine: Engine, tenant: str, party: str) -> list[WalletBalance]:
    """A party's wallet per currency; locked is what it has in escrow, held or disputed. Source: domain.md, 7."""
    rows = _rows(
        engine,
        """WITH available AS (
               SELECT currency, balance FROM account WHERE tenant_id = :tenant AND kind = 'wallet' AND owner = :party),
           locked AS (
               SELECT currency, sum(held + disputed)::bigint AS locked FROM escrow
               WHERE tenant_id = :tenant AND buyer = :party GROUP BY currency)
           SELECT currency, coalesce(balance, 0) AS available, coalesce(locked, 0) AS locked
           FROM available FULL JOIN locked USING (currency) ORDER BY currency""",
        tenant=tenant,
        party=party,
    )
    return [WalletBalance(party, row["currency"], row["available"], row["locked"]) for row in rows]


def statement(engine: Engine, tenant: str, owner: str) -> list[StatementLine]:
    """Every entry of an owner's accounts in the order they were recorded, each with the balance after it.

    Not by ``posted_at``: a funding from the gateway is posted when it was received, before the charge that paid for it.
    """
    rows = _rows(
        engine,
        """SELECT t.posted_at, e.account_kind AS account, t.memo, t.escrow_id AS escrow, e.currency,
                  CASE WHEN e.direction = k.normal_side THEN e.amount ELSE -e.amount END AS amount,
                  sum(CASE WHEN e.direction = k.normal_side THEN e.amount ELSE -e.amount END)
                      OVER (PARTITION BY e.account_kind, e.currency
                            ORDER BY t.recorded_at, t.posted_at, t.position, t.id, e.position)::bigint AS balance
           FROM entry e JOIN ledger_transaction t ON t.id = e.transaction_id
           JOIN account_kind k ON k.kind = e.account_kind
           WHERE e.tenant_id = :tenant AND e.owner = :owner
           ORDER BY t.recorded_at, t.posted_at, t.position, t.id, e.position""",
        tenant=tenant,
        owner=owner,
    )
    return [StatementLine(**row) for row in rows]


def settlements(engine: Engine, escrow_id: str) -> Sequence[RowMapping]:
    """An escrow's settlements, oldest first, with every column of the row."""
    return _rows(engine, "SELECT * FROM settlement WHERE escrow_id = :escrow ORDER BY created_at, id", escrow=escrow_id)


def events(engine: Engine, escrow_id: str) -> Sequence[RowMapping]:
    """An escrow's events in order; what was refused at a version comes after what made that version."""
    return _rows(
        engine,
        """SELECT * FROM event WHERE escrow_id = :escrow
           ORDER BY version, type = 'command.refused', position, recorded_at, id""",
        escrow=escrow_id,
    )


def audit(engine: Engine, escrow_id: str) -> Sequence[RowMapping]:
    """An escrow's audit rows in the order in which they were decided: that of their hash chain."""
    return _rows(engine, "SELECT * FROM audit WHERE escrow_id = :escrow ORDER BY position", escrow=escrow_id)


def trial_balance(engine: Engine, tenant: str) -> list[TrialBalanceLine]:
    """Debits and credits per kind of account and currency; over all kinds both columns sum to the same."""
    rows = _rows(
        engine,
        """SELECT e.account_kind AS account, k.normal_side, e.currency,
                  coalesce(sum(e.amount) FILTER (WHERE e.direction = 'debit'), 0)::bigint AS debit,
                  coalesce(sum(e.amount) FILTER (WHERE e.direction = 'credit'), 0)::bigint AS credit
           FROM entry e JOIN account_kind k ON k.kind = e.account_kind
           WHERE e.tenant_id = :tenant GROUP BY 1, 2, 3 ORDER BY 3, 1""",
        tenant=tenant,
    )
    return [TrialBalanceLine(**row) for row in rows]


def movements(engine: Engine, tenant: str) -> list[Movement]:
    """Every entry of a tenant's books with the command (or charge) that posted it, in the order of posting."""
    rows = _rows(
        engine,
        """SELECT t.command_id AS command, e.account_kind AS account, e.owner, e.direction, e.amount, e.currency
           FROM entry e JOIN ledger_transaction t ON t.id = e.transaction_id
           WHERE e.tenant_id = :tenant ORDER BY t.recorded_at, t.posted_at, t.position, t.id, e.position""",
        tenant=tenant,
    )
    return [Movement(**row) for row in rows]


def decided(engine: Engine, escrow_id: str, name: str) -> list[tuple[str, Outcome]]:
    """The commands of one name that were decided on an escrow, by id, oldest first, each with its stored outcome."""
    rows = _rows(
        engine,
        """SELECT id, outcome::text AS outcome FROM command WHERE escrow_id = :escrow AND name = :name
           ORDER BY recorded_at, id""",
        escrow=escrow_id,
        name=name,
    )
    return [(row["id"], Outcome.model_validate_json(row["outcome"])) for row in rows]


def clock_offset(engine: Engine, tenant: str) -> timedelta | None:
    """How far a tenant's clock is ahead of the real one; None for an unknown tenant."""
    rows = _rows(engine, "SELECT clock_offset FROM tenant WHERE id = :tenant", tenant=tenant)
    return timedelta(seconds=rows[0]["clock_offset"]) if rows else None


def waiting_escrows(engine: Engine, tenant: str) -> list[str]:
    """The tenant's escrows that wait for a deadline, the earliest first."""
    rows = _rows(
        engine,
        """SELECT d.escrow_id FROM deadline d JOIN escrow e ON e.id = d.escrow_id
           WHERE e.tenant_id = :tenant AND d.pending GROUP BY 1 ORDER BY min(d.due_at), 1""",
        tenant=tenant,
    )
    return [row["escrow_id"] for row in rows]


def volume(engine: Engine, tenant: str, seller: str, currency: str) -> int:
    """What a seller was released so far by a tenant in a currency, in minor units: tiers go by it."""
    rows = _rows(
        engine,
        """SELECT released FROM party_volume
           WHERE tenant_id = :tenant AND party = :seller AND currency = :currency""",
        tenant=tenant,
        seller=seller,
        currency=currency,
    )
    return int(rows[0]["released"]) if rows else 0


def held_payouts(engine: Engine, tenant: str, party: str) -> list[tuple[str, str]]:
    """A party's payouts that wait for something, oldest first, each with its escrow."""
    rows = _rows(
        engine,
        """SELECT p.id, p.escrow_id FROM payout p JOIN escrow e ON e.id = p.escrow_id
           WHERE e.tenant_id = :tenant AND p.party = :party AND p.status = 'due' AND p.hold IS NOT NULL
           ORDER BY p.id""",
        tenant=tenant,
        party=party,
    )
    return [(row["id"], row["escrow_id"]) for row in rows]


def _rows(engine: Engine, query: str, **parameters: Any) -> Sequence[RowMapping]:
    with engine.connect() as connection:
        return connection.execute(text(query), parameters).mappings().all()
