"""What operators look up across all tenants: lists of tenants, escrows, disputes and payouts, the newest first.

For the role of the workers, which sees every tenant. Pages go by id, and ids sort by time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sqlalchemy import Engine, RowMapping, text

from models.states import TERMINAL, PayoutStatus

Kind = Literal["tenant", "escrow", "dispute", "payout"]

_AT_A_TIME: Final = 500
_LISTS: Final[dict[Kind, str]] = {
    "tenant": """
        SELECT id, name, mode, reporting_currency, test_of, clock_offset, created_at,
               (SELECT count(*) FROM escrow WHERE tenant_id = x.id) AS escrows
        FROM tenant x""",
    "escrow": """
        SELECT id, tenant, title, category, buyer, seller, amount, currency, state, version, held, disputed, released,
               refunded, created_at, updated_at
        FROM (SELECT e.*, tenant_id AS tenant FROM escrow e) x""",
    "dispute": """
        SELECT id, tenant, escrow, status, raised_by, reason, amount, currency, resolution, resolved_by
        FROM (SELECT d.id, d.escrow_id AS escrow, d.status, d.raised_by, d.reason, d.amount, d.resolution,
                     d.resolved_by, e.tenant_id AS tenant, e.currency
              FROM dispute d JOIN escrow e ON e.id = d.escrow_id) x""",
    "payout": """
        SELECT id, tenant, escrow, party, destination, amount, currency, status, hold, ready_at, generation, reference,
               reason
        FROM (SELECT p.*, p.escrow_id AS escrow, e.tenant_id AS tenant, e.currency
              FROM payout p JOIN escrow e ON e.id = p.escrow_id) x""",
}
_SETTLED: Final = (PayoutStatus.PAID.value, PayoutStatus.CANCELLED.value)
_UNFINISHED: Final = """
SELECT id FROM escrow e
WHERE id > :after AND (CAST(:tenant AS text) IS NULL OR tenant_id = :tenant)
  AND (state <> ALL(:terminal)
       OR EXISTS (SELECT FROM payout p WHERE p.escrow_id = e.id AND p.status <> ALL(:settled)))
ORDER BY id LIMIT :limit
"""


@dataclass(frozen=True)
class Page:
    """Some rows of a list, newest first, and whether there are older ones. Amounts are minor units."""

    rows: Sequence[RowMapping]
    has_more: bool


@dataclass(frozen=True)
class Wanted:
    """Which rows: ``matching`` are columns and the values they have, ``after`` is the last id of the page before."""

    kind: Kind
    limit: int
    after: str | None = None
    matching: dict[str, str] = field(default_factory=dict)


def page(engine: Engine, wanted: Wanted) -> Page:
    """One page of a list."""
    conditions = [f"{column} = :{column}" for column in wanted.matching]
    if wanted.after is not None:
        conditions.append("id < :after")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"{_LISTS[wanted.kind]}{where} ORDER BY id DESC LIMIT :limit"  # our own names, never a person's
    rows = _rows(engine, query, **wanted.matching, after=wanted.after, limit=wanted.limit + 1)
    return Page(rows[: wanted.limit], len(rows) > wanted.limit)


def one(engine: Engine, kind: Kind, identifier: str) -> RowMapping | None:
    """One row of a list; None when there is none of that id."""
    rows = _rows(engine, f"{_LISTS[kind]} WHERE id = :id", id=identifier)
    return rows[0] if rows else None


def unfinished(engine: Engine, tenant: str | None, after: str = "") -> list[str]:
    """Escrows whose workflow has to run, oldest first, at most 500: those that are not over, or whose payouts are not.

    ``models.escrow.Escrow.finished`` says the same of a snapshot.
    """
    rows = _rows(
        engine,
        _UNFINISHED,
        after=after,
        tenant=tenant,
        terminal=[state.value for state in TERMINAL],
        settled=list(_SETTLED),
        limit=_AT_A_TIME,
    )
    return [row["id"] for row in rows]


def _rows(engine: Engine, query: str, **parameters: Any) -> Sequence[RowMapping]:
    with engine.connect() as connection:
        return connection.execute(text(query), parameters).mappings().all()
