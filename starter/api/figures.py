"""The figures that PostgreSQL answers, as Prometheus reads them: kept in the process, so that scrapes cost little."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from ledger import figures
from ledger.figures import Figure, Read
from models.states import PayoutStatus, State
from starter.api.kept import Kept

_MODES: Final = ("live", "test")
_WAITS_SECONDS: Final = 2.0

# A provider that has not answered, and a side that only follows, are told apart from what somebody has to explain.
_CAUSES: Final = (
    *(("provider", cause) for cause in (
        "missing_here", "missing_there", "amount_differs", "duplicate", "misdirected", "late", "unknown_outcome",
    )),
    ("workflows", "not_running"), ("workflows", "behind"), ("workflows", "stuck"), ("books", "unsound"),
)  # fmt: skip

# By the figure's name: the metric, its type, what it means, its labels, and the series that are there even at 0.
_Zeros = tuple[tuple[str, ...], ...]
_SHOWN: Final[dict[str, tuple[str, type[Metric], str, tuple[str, ...], _Zeros]]] = {
    "oldest_unknown_payout": (
        "holdfast_oldest_unknown_payout_seconds", GaugeMetricFamily,
        "For how long the gateway has not said what became of a payout.", ("mode",), tuple((m,) for m in _MODES),
    ),
    "overdue_deadlines": (
        "holdfast_overdue_deadlines", GaugeMetricFamily,
        "Deadlines that passed more than 5 minutes ago and did not act.", ("mode",), tuple((m,) for m in _MODES),
    ),
    "outbox_waiting": ("holdfast_outbox_events", GaugeMetricFamily, "Events that were not told yet.", (), ((),)),
    "outbox_oldest": (
        "holdfast_outbox_oldest_seconds", GaugeMetricFamily, "The age of the oldest event that was not told yet.",
        (), ((),),
    ),
    "unnumbered_events": (
        "holdfast_unnumbered_events", GaugeMetricFamily, "Events that have no number in their tenant's feed yet.",
        (), ((),),
    ),
    "webhook_deliveries": (
        "holdfast_webhook_deliveries", GaugeMetricFamily, "Webhooks that wait, or were given up within a day.",
        ("status",), (("pending",), ("failed",)),
    ),
    "webhook_oldest": (
        "holdfast_webhook_oldest_seconds", GaugeMetricFamily, "The age of the oldest webhook that waits.", (), ((),),
    ),
    "gateway_events": (
        "holdfast_gateway_events", GaugeMetricFamily, "Events of the gateway that wait, or that were refused.",
        ("status",), (("pending",), ("refused",)),
    ),
    "gateway_oldest": (
        "holdfast_gateway_oldest_seconds", GaugeMetricFamily, "The age of the oldest event of the gateway that waits.",
        (), ((),),
    ),
    "differences": (
        "holdfast_differences", GaugeMetricFamily, "What does not agree and is open.", ("compared", "cause"), _CAUSES,
    ),
    "oldest_difference": (
        "holdfast_oldest_difference_seconds", GaugeMetricFamily, "The age of the oldest open difference.", (), ((),),
    ),
    "corrections_waiting": (
        "holdfast_corrections_waiting", GaugeMetricFamily, "Corrections that another operator has to approve.",
        (), ((),),
    ),
    "reconciled": (
        "holdfast_reconciled_seconds", GaugeMetricFamily, "How long ago a round of reconciliation was last finished.",
        (), (),
    ),
    "escrows": (
        "holdfast_escrows", GaugeMetricFamily, "Escrows by state.", ("mode", "state"),
        tuple((m, str(state)) for m in _MODES for state in State),
    ),
    "payouts": (
        "holdfast_payouts", GaugeMetricFamily, "Payouts by status.", ("mode", "status"),
        tuple((m, str(status)) for m in _MODES for status in PayoutStatus),
    ),
    "settlements": (
        "holdfast_settlements", CounterMetricFamily, "Settlements.", ("mode", "outcome", "currency"), (),
    ),
    "settled": (
        "holdfast_settled_minor_units", CounterMetricFamily, "Money that settlements moved, in minor units.",
        ("mode", "outcome", "currency"), (),
    ),
    "unbalanced": (
        "holdfast_ledger_unbalanced_minor_units", GaugeMetricFamily,
        "By how much debits and credits differ, in minor units: must be 0.", ("currency",), (),
    ),
}  # fmt: skip


class Figures(Collector):
    """Reads figures over all tenants, each kind as often as it is cheap. ``engine`` needs a connection or two.

    Belongs to one event loop: ``refresh`` it there, then have the registry collect. While PostgreSQL does not answer,
    or ``away`` says that it does not, its figures are missing; none is repeated as if it were true.
    """

    def __init__(self, engine: Engine, *, keep_seconds: float = 10.0) -> None:
        self._engine = engine
        self.away = False
        # A frozen PostgreSQL holds these threads and no others.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="figures")
        self._kept = (
            self._keep("backlog", figures.backlog, keep_seconds, share=0.1),
            self._keep("reconciliation", figures.reconciliation, keep_seconds, share=0.1),
            self._keep("totals", figures.totals, keep_seconds, share=0.05),
            self._keep("unbalanced", figures.unbalanced, keep_seconds * 6, share=0.01),
        )

    async def refresh(self) -> None:
        """Read again what is due, without waiting long: what takes longer is there the next time."""
        await asyncio.gather(*(kept.refresh(_WAITS_SECONDS) for kept in self._kept))

    def describe(self) -> list[Metric]:
        """Every metric that there may be, without numbers."""
        shown = [kind(name, says, labels=labels) for name, kind, says, labels, _ in _SHOWN.values()]  # type: ignore[call-arg]
        return [*shown, _age()]

    def collect(self) -> Iterator[Metric]:
        """The figures as they are known."""
        ages = _age()
        for kept in self._kept:
            if kept.age_seconds is not None:
                ages.add_metric((kept.name,), kept.age_seconds)
            if kept.answer is not None and not self.away:
                yield from _families(kept.name, kept.answer)
        yield ages

    def close(self) -> None:
        """Give the threads back."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _keep(self, name: str, read: Read, keep_seconds: float, *, share: float) -> Kept[list[Figure]]:
        async def ask() -> list[Figure]:
            return await asyncio.get_running_loop().run_in_executor(self._threads, read, self._engine)

        return Kept(name, ask, keep_seconds=keep_seconds, share=share)


# What each of the four answers; together they are all that is shown.
_ANSWERED: Final = {
    "backlog": (
        "oldest_unknown_payout", "overdue_deadlines", "outbox_waiting", "outbox_oldest", "unnumbered_events",
        "webhook_deliveries", "webhook_oldest", "gateway_events", "gateway_oldest",
    ),
    "reconciliation": ("differences", "oldest_difference", "corrections_waiting", "reconciled"),
    "totals": ("escrows", "payouts", "settlements", "settled"),
    "unbalanced": ("unbalanced",),
}  # fmt: skip


def _families(answered: str, found: list[Figure]) -> Iterator[Metric]:
    for figure in _ANSWERED[answered]:
        name, kind, says, labels, zeros = _SHOWN[figure]
        family = kind(name, says, labels=labels)  # type: ignore[call-arg]
        values: dict[tuple[str, ...], Decimal] = dict.fromkeys(zeros, Decimal(0))
        values |= {one.labels: one.value for one in found if one.name == figure}
        for labelled, value in sorted(values.items()):
            family.add_metric(labelled, float(value))  # type: ignore[attr-defined]
        yield family


def _age() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "holdfast_figures_age_seconds", "How old the figures from PostgreSQL are.", labels=("figures",)
    )
