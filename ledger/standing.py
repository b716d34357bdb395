"""What of the books a workflow has to look after: escrows that are not over, and charges without a definite answer.

For the role of the workers, which sees every tenant. Pages go by id, and ids sort by time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, RowMapping, text

from models.charges import ChargeOrder
from models.states import TERMINAL, PayoutStatus

PAGE: Final = 500
_SETTLED: Final = (PayoutStatus.PAID.value, PayoutStatus.CANCELLED.value)
_SENDING: Final = (PayoutStatus.DUE.value, PayoutStatus.IN_TRANSIT.value, PayoutStatus.UNKNOWN.value)
_OPEN: Final = """
SELECT e.id, e.tenant_id AS tenant, e.state, e.version, next.due_at, next.overdue,
       coalesce((SELECT max(v.recorded_at) FROM event v WHERE v.escrow_id = e.id AND v.version = e.version),
                e.created_at) AS written_at,
       (SELECT json_agg(json_build_array(p.id, p.generation) ORDER BY p.id) FROM payout p
        WHERE p.escrow_id = e.id AND p.hold IS NULL AND p.status = ANY(:sending)) AS sending
FROM escrow e JOIN tenant t ON t.id = e.tenant_id
LEFT JOIN LATERAL (
    SELECT d.due_at, now() - (d.due_at - make_interval(secs => t.clock_offset)) AS overdue FROM deadline d
    WHERE d.escrow_id = e.id AND d.pending ORDER BY d.due_at, d.id LIMIT 1) next ON true
WHERE {which}
  AND (e.state <> ALL(:terminal)
       OR EXISTS (SELECT FROM payout p WHERE p.escrow_id = e.id AND p.status <> ALL(:settled)))
ORDER BY e.id LIMIT :limit
"""
_PAGE_OF: Final = "e.id > :after AND (CAST(:tenant AS text) IS NULL OR e.tenant_id = :tenant)"
_PENDING: Final = """
SELECT id, tenant_id AS tenant, party, amount, currency, payment_method, created_at FROM charge
WHERE status = 'pending' AND id > :after AND (CAST(:tenant AS text) IS NULL OR tenant_id = :tenant)
ORDER BY id LIMIT :limit
"""
_SELLERS: Final = """
SELECT DISTINCT e.tenant_id AS tenant, e.seller FROM escrow e
WHERE (CAST(:tenant AS text) IS NULL OR e.tenant_id = :tenant)
  AND (e.state <> ALL(:terminal)
       OR EXISTS (SELECT FROM payout p WHERE p.escrow_id = e.id AND p.status <> ALL(:settled)))
ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Open:
    """An escrow that needs a workflow. ``due_at`` is its next deadline, on the tenant's clock, and ``overdue`` for how
    long that has been, below zero before it; ``sending`` are the payouts that are to go or are on their way, each with
    its generation. The last version was ``written_at``, on the real clock.
    """

    escrow: str
    tenant: str
    state: str
    version: int
    due_at: datetime | None
    overdue: timedelta
    sending: tuple[tuple[str, int], ...]
    written_at: datetime


def open_escrows(engine: Engine, tenant: str | None, after: str = "") -> list[Open]:
    """Escrows whose workflow has to run, oldest first, at most ``PAGE``: those that are not over, or whose payouts are
    not. ``models.escrow.Escrow.finished`` says the same of a snapshot.
    """
    return _open(engine, _PAGE_OF, tenant=tenant, after=after)


def open_escrow(engine: Engine, escrow: str) -> Open | None:
    """One of them; None when it is over, or there is none of that id."""
    return next(iter(_open(engine, "e.id = :escrow", escrow=escrow)), None)


def _open(engine: Engine, which: str, **parameters: Any) -> list[Open]:
    terminal = [state.value for state in TERMINAL]
    states = {"terminal": terminal, "settled": list(_SETTLED), "sending": list(_SENDING)}
    return [
        Open(
            row["id"],
            row["tenant"],
            row["state"],
            row["version"],
            row["due_at"],
            row["overdue"] or timedelta(0),
            tuple((payout, generation) for payout, generation in row["sending"] or ()),
            row["written_at"],
        )
        for row in _rows(engine, _OPEN.format(which=which), **parameters, **states)
    ]


def pending_charges(engine: Engine, tenant: str | None, after: str = "") -> list[tuple[ChargeOrder, datetime]]:
    """Charges whose outcome the books do not know, oldest first, at most ``PAGE``, and when each was written down."""
    return [
        (ChargeOrder(**{name: row[name] for name in ChargeOrder.model_fields if name != "seal"}), row["created_at"])
        for row in _rows(engine, _PENDING, tenant=tenant, after=after)
    ]


def charge_status(engine: Engine, charge: str) -> str | None:
    """How a charge stands: pending, succeeded, declined; None without one."""
    rows = _rows(engine, "SELECT status FROM charge WHERE id = :charge", charge=charge)
    return str(rows[0]["status"]) if rows else None


def sellers(engine: Engine, tenant: str | None) -> list[tuple[str, str]]:
    """Whom escrows that are not over may still pay, each with its tenant."""
    found = _rows(engine, _SELLERS, tenant=tenant, terminal=[state.value for state in TERMINAL], settled=list(_SETTLED))
    return [(row["tenant"], row["seller"]) for row in found]


def _rows(engine: Engine, query: str, **parameters: Any) -> Sequence[RowMapping]:
    with engine.connect() as connection:
        return connection.execute(text(query), {"limit": PAGE} | parameters).mappings().all()
