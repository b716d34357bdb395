"""Figures for monitoring, over all tenants at once and without anything of one: for the API's role or the workers'.

PostgreSQL's own functions answer them (migrations 0010 and 0012). What waits is asked often and is found by indexes;
totals and the balance of the books read whole tables, so whoever asks keeps the answers for a while.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, text

# Alembic takes long to import and knows no more than the names of the files.
_VERSIONS: Final = Path(__file__).parent / "migrations" / "versions"
NEEDED_REVISION: Final = max(path.name[:4] for path in _VERSIONS.glob("[0-9]*.py"))


@dataclass(frozen=True)
class Figure:
    """One number: a count, an amount in minor units or an age in seconds, by what its name says."""

    name: str
    labels: tuple[str, ...]
    value: Decimal


Read = Callable[[Engine], list[Figure]]


def backlog(engine: Engine) -> list[Figure]:
    """What waits: unknown payouts, deadlines overdue by 5 minutes, news, webhooks, what the gateway told us.

    By name and labels: ``oldest_unknown_payout`` (mode), ``overdue_deadlines`` (mode), ``outbox_waiting``,
    ``outbox_oldest``, ``unnumbered_events``, ``webhook_deliveries`` (status: pending, or failed within a day),
    ``webhook_oldest``, ``gateway_events`` (status), ``gateway_oldest``. What there is none of may be missing.
    """
    return _read(engine, "backlog_figures", seconds=5)


def reconciliation(engine: Engine) -> list[Figure]:
    """What is not reconciled: open ``differences`` (compared, cause), the ``oldest_difference``,
    ``corrections_waiting`` for another operator, and how long ago a round was last finished: ``reconciled``.

    Without any open difference there is no oldest, and before the first round nothing was reconciled.
    """
    return _read(engine, "reconciliation_figures", seconds=5)


def totals(engine: Engine) -> list[Figure]:
    """``escrows`` (mode, state), ``payouts`` (mode, status), ``settlements`` and ``settled`` (mode, outcome, currency).

    ``settled`` is in minor units; the outcome of money that was taken back after its release is ``clawback``.
    """
    return _read(engine, "total_figures", seconds=30)


def unbalanced(engine: Engine) -> list[Figure]:
    """``unbalanced`` (currency): by how many minor units debits and credits differ, tenant by tenant. Must be 0."""
    return _read(engine, "unbalanced_figures", seconds=120)


def schema_revision(engine: Engine) -> str | None:
    """The revision of the schema, as ``NEEDED_REVISION`` is written; None when nothing was migrated."""
    with engine.connect() as connection:
        found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _read(engine: Engine, function: str, seconds: int) -> list[Figure]:
    """Raises ``sqlalchemy.exc.SQLAlchemyError`` when PostgreSQL is away or the answer takes longer than ``seconds``."""
    with engine.begin() as connection:
        connection.execute(text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": f"{seconds}s"})
        rows = connection.execute(text(f"SELECT figure, labels, value FROM {function}() WHERE value IS NOT NULL"))  # noqa: S608
        return [Figure(row.figure, tuple(row.labels), Decimal(row.value)) for row in rows]
