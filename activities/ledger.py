"""The ledger as Temporal activities: thin, since ``ledger.books`` does the work and ``models.decide`` the thinking.

Synchronous on a thread pool, and never interrupted by a cancellation thrown into the thread: an attempt ends by itself
or by PostgreSQL's statement timeout.
"""

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
        return self._books.apply(command)

    @activity.defn(no_thread_cancel_exception=True)
    def read_escrow(self, escrow: str) -> Escrow | None:
        """Read an escrow as it stands."""
        return self._books.read(escrow)

    @activity.defn(no_thread_cancel_exception=True)
    def begin_charge(self, order: ChargeOrder) -> Charge:
        """Write a charge down before the gateway is asked."""
        try:
            return self._books.begin_charge(order)
        except ChargeReusedError as error:
            raise ApplicationError(str(error), type="idempotency_key_reused", non_retryable=True) from error

    @activity.defn(no_thread_cancel_exception=True)
    def settle_charge(self, result: ChargeResult) -> Charge:
        """Book a charge's definite outcome, once."""
        return self._books.settle_charge(result, self._gateway)
