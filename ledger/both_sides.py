"""What both sides have of one difference, row by row: the provider's lines, and our ledger transactions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from models import ids
from models.reconciliation import Difference, ProviderLine

_PAYOUT: Final = ("payout", "payout_return")
_LINES: Final = """
SELECT id, type, kind, amount, fee, currency, source, subject, key, created_at FROM provider_line
WHERE provider = :provider AND kind = :kind AND CASE kind WHEN 'other' THEN id ELSE coalesce(subject, id) END = :subject
ORDER BY created_at, id
"""
# A charge's transaction is found by its id, a payout's by its account, which has the payout's id for owner; money that
# came back or was contested by the escrow's rows. What corrections booked counts as ours too.
_OF_IT: Final = """(
    SELECT unnest(CAST(:named AS text[]))
    UNION ALL
    SELECT e.transaction_id FROM payout p JOIN escrow x ON x.id = p.escrow_id
    JOIN entry e ON e.tenant_id = x.tenant_id AND e.account_kind = 'payout_in_transit' AND e.owner = p.id
    WHERE p.id = :payout AND CAST(:kind AS text) = 'payout'
    UNION ALL
    SELECT r.id FROM ledger_transaction r JOIN audit a ON a.escrow_id = r.escrow_id AND a.command_id = r.command_id
    WHERE r.escrow_id = :escrow AND r.memo = 'payout returned' AND a.details ->> 'payout' = :payout
        AND CAST(:kind AS text) = 'payout_return'
    UNION ALL
    SELECT c.id FROM ledger_transaction c JOIN entry e ON e.transaction_id = c.id
    WHERE c.escrow_id = :escrow AND CAST(:kind AS text) = 'contested'
        AND (e.account_kind = 'chargeback_hold' OR e.account_kind = 'gateway_cash' AND e.direction = 'credit'
             AND c.memo IN ('charge back', 'charged back'))
    UNION ALL
    SELECT b.transaction_id FROM correction b JOIN difference d ON d.id = b.difference_id
    WHERE b.status = 'booked' AND (d.provider, d.kind, d.subject) = (:provider, :kind, :subject)
)"""
_OURS: Final = f"""
SELECT t.id, t.memo, t.posted_at, t.escrow_id AS escrow,
       (SELECT json_agg(json_build_object('account', e.account_kind, 'owner', e.owner, 'direction', e.direction,
                                          'amount', e.amount, 'currency', e.currency) ORDER BY e.position, e.id)
        FROM entry e WHERE e.transaction_id = t.id) AS entries
FROM ledger_transaction t WHERE t.id IN {_OF_IT} ORDER BY t.recorded_at, t.posted_at, t.id
"""  # noqa: S608 - our own names
# A transaction counts from when it began, so one that a round did not see may be a little older than the round.
_MOVED: Final = f"""
SELECT EXISTS (SELECT FROM ledger_transaction t
               WHERE t.id IN {_OF_IT} AND t.recorded_at > CAST(:seen AS timestamptz) - interval '1 minute')
    OR EXISTS (SELECT FROM provider_line l JOIN gateway_event g ON g.provider = l.provider AND g.reference = l.source
               WHERE (l.provider, l.kind, l.subject) = (:provider, :kind, :subject) AND g.status = 'pending')
"""  # noqa: S608


@dataclass(frozen=True)
class Ours:
    """One of our ledger transactions. An entry is ``account``, ``owner``, ``direction``, ``amount``, ``currency``."""

    id: str
    memo: str
    posted_at: datetime
    escrow: str | None
    entries: list[dict[str, Any]]


def both_sides(engine: Engine, difference: Difference) -> tuple[list[ProviderLine], list[Ours]]:
    """The provider's lines of what a difference is about, and our transactions of it, each the oldest first. A payout
    and what came back of it are shown together.

    Both empty where no movement of the provider's balance is meant.
    """
    if difference.kind is None:
        return [], []
    kinds = _PAYOUT if difference.kind in _PAYOUT else (difference.kind,)
    with engine.connect() as connection:
        of_each = [_given(difference) | {"kind": kind} for kind in kinds]
        lines = [ProviderLine(**row) for given in of_each for row in connection.execute(text(_LINES), given).mappings()]
        ours = [Ours(**row) for given in of_each for row in connection.execute(text(_OURS), given).mappings()]
    return sorted(lines, key=lambda one: one.created_at), sorted(ours, key=lambda one: one.posted_at)


def moved_since(connection: Connection, difference: Difference) -> bool:
    """Whether our books moved the same money after a round last saw the difference, or are about to. Then it may agree
    by now, and the next round tells; rather once too often.
    """
    given = _given(difference) | {"seen": difference.last_seen}
    return bool(connection.execute(text(_MOVED), given).scalar_one())


def _given(difference: Difference) -> dict[str, Any]:
    subject = difference.subject
    charged = [ids.derive("txn", ids.made_at(subject), subject)] if ids.is_id("chg", subject) else []
    return {
        "provider": difference.provider,
        "kind": difference.kind,
        "subject": subject,
        "named": [*charged, subject],
        "payout": subject.partition(":")[0],
        "escrow": difference.escrow,
    }
