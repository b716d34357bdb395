"""The ledger as Temporal activities: thin, since ``ledger.books`` does the work and ``models.decide`` the thinking.

Synchronous on a thread pool, and never interrupted by a cancellation thrown into the thread: an attempt ends by itself
or by PostgreSQL's statement timeout.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from ledger.books import Books
from ledger.charges import ChargeReusedError
from models.charges import Charge, ChargeOrder, ChargeResult
from models.commands import AnyCommand
from models.escrow import Escrow
from models.outcome import Outcome


class LedgerActivities:
    """Everything workflows ask of the books. ``gateway`` is the name under which arriving cash is booked."""

    def __init__(self, books: Books, gateway: str) -> None:
        self._books = books
        self._gateway = gateway

    @activity.defn(no_thread_cancel_exception=True)
    def apply(self, command: AnyCommand) -> Outcome:
        """Decide one command and write what follows, once. Refusals are values; what is raised is infrastructure."""
        with _said_briefly():
            return self._books.apply(command)

    @activity.defn(no_thread_cancel_exception=True)
    def read_escrow(self, escrow: str) -> Escrow | None:
        """Read an escrow as it stands."""
        with _said_briefly():
            return self._books.read(escrow)

    @activity.defn(no_thread_cancel_exception=True)
    def begin_charge(self, order: ChargeOrder) -> Charge:
        """Write a charge down before the gateway is asked."""
        try:
            with _said_briefly():
                return self._books.begin_charge(order)
        except ChargeReusedError as error:
            raise ApplicationError(str(error), type="idempotency_key_reused", non_retryable=True) from error

    @activity.defn(no_thread_cancel_exception=True)
    def settle_charge(self, result: ChargeResult) -> Charge:
        """Book a charge's definite outcome, once."""
        with _said_briefly():
            return self._books.settle_charge(result, self._gateway)


@contextmanager
def _said_briefly() -> Iterator[None]:
    """Say in one line why PostgreSQL could not, for whoever looks at the pending activity.

    The server shows no failure above 4 KB, which a chain of psycopg's traces is; and its details would quote rows.
    """
    try:
        yield
    except (psycopg.Error, SQLAlchemyError) as error:
        first_line = str(error).partition("\n")[0]
        raise ApplicationError(first_line[:300], type=type(error).__name__) from None
