"""The ledger as Temporal activities: thin, since ``ledger.books`` does the work and ``models.decide`` the thinking.

Synchronous on a thread pool, and never interrupted by a cancellation thrown into the thread: an attempt ends by itself
or by PostgreSQL's statement timeout.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.metrics import BooksMetrics
from ledger.books import Books
from ledger.charges import ChargeReusedError
from models.charges import AmountDue, Charge, ChargeOrder, ChargeResult
from models.commands import AnyCommand
from models.errors import ErrorCode, RefusedError
from models.escrow import Escrow
from models.outcome import Outcome


class LedgerActivities:
    """Everything workflows ask of the books. ``gateway`` is the name under which arriving cash is booked."""

    def __init__(self, books: Books, gateway: str, metrics: BooksMetrics | None = None) -> None:
        self._books = books
        self._gateway = gateway
        self._metrics = metrics or BooksMetrics()

    @activity.defn(no_thread_cancel_exception=True)
    def apply(self, command: AnyCommand) -> Outcome:
        """Decide one command and write what follows, once. Refusals are values; what is raised is infrastructure."""
        became = "failed"
        try:
            with self._metrics.timing(command.name), _said_briefly():
                outcome = self._books.apply(command)
            became = outcome.refusal.code if outcome.refusal else "accepted"
            return outcome
        finally:
            self._tell(command, became)

    @activity.defn(no_thread_cancel_exception=True)
    def amount_due(self, command: AnyCommand) -> AmountDue:
        """What a funding from the gateway has to charge, or why it would be refused all the same. Writes nothing."""
        with _said_briefly():
            return self._books.amount_due(command)

    @activity.defn(no_thread_cancel_exception=True)
    def read_escrow(self, escrow: str) -> Escrow | None:
        """Read an escrow as it stands."""
        with _said_briefly():
            return self._books.read(escrow)

    @activity.defn(no_thread_cancel_exception=True)
    def begin_charge(self, order: ChargeOrder) -> Charge:
        """Write a charge down before the gateway is asked."""
        with _said_briefly():
            try:
                return self._books.begin_charge(order)
            except ChargeReusedError as error:
                code = ErrorCode.IDEMPOTENCY_KEY_REUSED.code
                raise ApplicationError(str(error), type=code, non_retryable=True) from None
            except RefusedError as error:
                refusal = error.refusal
                raise ApplicationError(refusal.message, type=refusal.code, non_retryable=True) from None

    @activity.defn(no_thread_cancel_exception=True)
    def settle_charge(self, result: ChargeResult) -> Charge:
        """Book a charge's definite outcome, once."""
        with _said_briefly():
            return self._books.settle_charge(result, self._gateway)

    def _tell(self, command: AnyCommand, became: str) -> None:
        """Count it, and write one line: refusals are for whoever looks, the rest for whoever looks for it."""
        self._metrics.decided(command.name, became)
        level = logging.DEBUG if became == "accepted" else logging.INFO
        said = {"command": command.id, "command_name": command.name, "escrow": command.escrow, "outcome": became}
        activity.logger.log(level, "command", extra=said)


# What trying again cannot mend: the books refused a row, or a value did not fit. Only a mistake of ours leads here.
_DEFINITE = (psycopg.IntegrityError, psycopg.DataError, ValueError, TypeError, ArithmeticError, LookupError)


@contextmanager
def _said_briefly() -> Iterator[None]:
    """Say in one line why PostgreSQL could not, for whoever looks at the pending activity.

    The server shows no failure above 4 KB, which a chain of psycopg's traces is; and its details would quote rows. What
    is definite is not tried again: it would hold the escrow's only lock for ever.
    """
    try:
        yield
    except _DEFINITE as error:
        raise ApplicationError(_brief(error), type=ErrorCode.INTERNAL_ERROR.code, non_retryable=True) from None
    except (psycopg.Error, SQLAlchemyError) as error:
        raise ApplicationError(_brief(error), type=type(error).__name__) from None


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
