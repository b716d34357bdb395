"""Shorter timeouts for a run that has no time: who died is noticed after seconds, and in life after half a minute.

The order between them (``workflows.timeouts``) stays: a call ends before its attempt, an attempt before its lease.
"""

import os
from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy

HASTE: Final = "CHAOS_HASTE"
GATEWAY_TIMEOUT_SECONDS: Final = "1.5"
FORGETS_AFTER_SECONDS: Final = 25
"""The provider's memory of keys, in haste: a few times longer than it is relied on."""


def in_haste() -> bool:
    """Whether this process was told to hurry."""
    return HASTE in os.environ


def hasten_worker() -> None:
    """Shorten what a worker waits for. Before it is started."""
    import worker  # noqa: PLC0415 - an API has no need of it
    from activities import gateway, reconciliation  # noqa: PLC0415
    from workflows import timeouts  # noqa: PLC0415

    vars(timeouts).update(
        BOOKS_START_TO_CLOSE=timedelta(seconds=16),
        GATEWAY_START_TO_CLOSE=timedelta(seconds=6),
        GATEWAY_EVENTS_HEARTBEAT=timedelta(seconds=3),
        GATEWAY_EVENT_START_TO_CLOSE=timedelta(seconds=5),
        FOLLOW_EVERY=timedelta(seconds=5),
        RESEND_FIRST=timedelta(seconds=1),
        RECONCILIATION_HEARTBEAT=timedelta(seconds=4),
        RECONCILIATION_RETRY=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=2)),
    )
    vars(reconciliation)["_BEAT_SECONDS"] = 1
    vars(gateway)["_ASK_AFTER"] = timedelta(seconds=8)
    vars(worker)["GATEWAY_EVENTS_LEASE"] = timedelta(seconds=8)


def hasten_api() -> None:
    """Shorten the lease of a claim."""
    from ledger import answers  # noqa: PLC0415
    from starter.api import once  # noqa: PLC0415

    for module in (answers, once):
        vars(module)["LEASE"] = timedelta(seconds=3)
