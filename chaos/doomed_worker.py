"""The real worker, which may be struck at named points: ``python -m chaos.doomed_worker``."""

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

import psycopg
from temporalio import activity
from temporalio.worker import Worker

import worker
from activities.gateway_events import GatewayEventActivities
from activities.gateways.port import Outcome as Answer
from activities.gateways.stripe import StripeGateway
from activities.reconciliation import ReconciliationActivities
from chaos.haste import hasten_worker, in_haste
from chaos.points import pass_by
from ledger.books import Books
from models.charges import Charge, ChargeResult
from models.commands import Command
from models.gateway_events import Step
from models.outcome import Outcome
from models.reconciliation import Agreement, Reading

Written = TypeVar("Written")

# Set while this thread writes the books of a command or a charge: other transactions have no point in them.
_writing: Final = threading.local()
_commit: Final = psycopg.Connection.commit


class DoomedBooks(Books):
    """The real books, around whose transactions the process may be struck."""

    def apply(self, command: Command) -> Outcome:
        """Apply a command."""
        if command.name == "record_payout":
            pass_by("worker-answer-known")
        return _written(lambda: super(DoomedBooks, self).apply(command))

    def settle_charge(self, result: ChargeResult, gateway: str) -> Charge:
        """Book a charge's outcome."""
        pass_by("worker-answer-known")
        return _written(lambda: super(DoomedBooks, self).settle_charge(result, gateway))


class DoomedGateway(StripeGateway):
    """The real adapter, before and after whose calls the process may be struck."""

    def transfer(self, **request: Any) -> Answer:
        """Transfer."""
        return _asked(super().transfer, request)

    def charge(self, **request: Any) -> Answer:
        """Charge."""
        return _asked(super().charge, request)


class DoomedEvents(GatewayEventActivities):
    """The real applying of webhooks, before whose end the process may be struck."""

    @activity.defn(name="settle_gateway_event", no_thread_cancel_exception=True)
    def settle_gateway_event(self, step: Step) -> None:
        """Write down what became of an event."""
        pass_by("worker-event-judged")
        super().settle_gateway_event(step)


class DoomedReconciliation(ReconciliationActivities):
    """The real parts of a round, after whose work the process may be struck."""

    @activity.defn(no_thread_cancel_exception=True)
    def compare_with_provider(self, reading: Reading) -> Agreement:
        """Compare the books with the provider's lines."""
        found = super().compare_with_provider(reading)
        pass_by("worker-reconciling")
        return found

    @activity.defn(no_thread_cancel_exception=True)
    def look_into(self) -> int:
        """Store the events by which what the provider knows better is looked into."""
        new = super().look_into()
        pass_by("worker-healing")
        return new


def _written(write: Callable[[], Written]) -> Written:
    _writing.now = True
    try:
        done = write()
    finally:
        _writing.now = False
    pass_by("worker-after-commit")
    return done


def _asked(send: Callable[..., Answer], request: dict[str, Any]) -> Answer:
    pass_by("worker-ledger-first")
    answer = send(**request)
    pass_by("worker-provider-done")
    return answer


def _committed(connection: "psycopg.Connection[Any]") -> None:
    if getattr(_writing, "now", False):
        pass_by("worker-before-commit")
    _commit(connection)


def main() -> None:
    """Work until SIGTERM, or until struck."""
    vars(worker).update(Books=DoomedBooks, StripeGateway=DoomedGateway, GatewayEventActivities=DoomedEvents)
    psycopg.Connection.commit = _committed  # type: ignore[method-assign,assignment]
    # Two sides that differ for less than 15 minutes are only late, which no run of ours can wait for.
    vars(worker)["ReconciliationActivities"] = partial(DoomedReconciliation, grace=timedelta(seconds=1))
    if in_haste():
        hasten_worker()
        soon_given_up = partial(Worker, sticky_queue_schedule_to_start_timeout=timedelta(seconds=1))
        vars(worker)["Worker"] = soon_given_up
    worker.main()


if __name__ == "__main__":
    main()
