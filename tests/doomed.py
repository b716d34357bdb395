"""A worker that dies by kill -9 at one named moment, the first time it comes: ``DOOM=... python -m tests.doomed``."""

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

from temporalio.worker import Worker

import worker
from activities.gateways.port import Outcome as Answer
from activities.gateways.stripe import StripeGateway
from ledger.books import Books
from models.commands import Command
from models.outcome import Outcome
from settings import settings
from workflows import timeouts

DOOMS: Final = {
    "before the commit": "an approval was decided, nothing is written",
    "after the commit": "an approval is committed, nobody knows",
    "after the gateway": "the gateway has moved the money, its answer is not yet Temporal's",
    "before recording": "Temporal has the gateway's answer, the books do not",
    "after the charge": "the gateway has charged the buyer, its answer is not yet Temporal's",
}


def die() -> None:
    """kill -9, as it comes to others from outside."""
    os.kill(os.getpid(), signal.SIGKILL)


class DoomedBooks(Books):
    """The real books, around which the process may die."""

    def apply(self, command: Command) -> Outcome:
        """Apply the command, and die beside it if that is the doom."""
        doom = os.environ["DOOM"]
        if (doom, command.name) in {("before the commit", "approve_milestone"), ("before recording", "record_payout")}:
            die()
        outcome = super().apply(command)
        if (doom, command.name) == ("after the commit", "approve_milestone"):
            die()
        return outcome


class DoomedGateway(StripeGateway):
    """The real adapter, after whose answer the process may die."""

    def transfer(self, **request: Any) -> Answer:
        """Transfer, and die with the answer if that is the doom."""
        return _answer("after the gateway", super().transfer, request)

    def charge(self, **request: Any) -> Answer:
        """Charge, and die with the answer if that is the doom."""
        return _answer("after the charge", super().charge, request)


def _answer(doom: str, send: Callable[..., Answer], request: dict[str, Any]) -> Answer:
    answer = send(**request)
    if os.environ["DOOM"] == doom:
        die()
    return answer


if __name__ == "__main__":
    assert os.environ["DOOM"] in DOOMS
    # What was a dead worker's is given to another when these are over; a test would wait long for 75 s and 10 s.
    vars(timeouts)["GATEWAY_START_TO_CLOSE"] = timedelta(seconds=3)
    soon_given_up = partial(Worker, sticky_queue_schedule_to_start_timeout=timedelta(seconds=1))
    vars(worker).update(Books=DoomedBooks, StripeGateway=DoomedGateway, Worker=soon_given_up)
    asyncio.run(worker.serve(settings()))
