"""Gateway calls as Temporal activities. They answer with plain data; not knowing is an answer too, never an exception.

An exception would be retried or handled as a failure, and a payout that failed is paid back: so ``unknown`` is a value.
Raised are only ``GatewayMisconfigured`` (retried until an operator has mended the configuration) and
``IdempotencyMismatch`` (never retried: a person must look); and by ``find_out``, which only asks, ``OutcomeUnknown``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.gateways.port import (
    Declined,
    Gateway,
    GatewayMisconfiguredError,
    IdempotencyMismatchError,
    NotFound,
    Outcome,
    Succeeded,
    Unknown,
)
from models.gateway import (
    ChargeRequest,
    GatewayOperation,
    GatewayResult,
    LookUpRequest,
    RefundRequest,
    TransferRequest,
)

# For so long after the first sending a provider surely knows its keys, even one that keeps them far shorter than it
# promises, and for no longer is it relied on: asking costs one request. A first sending is seconds old, so that usually
# nothing is asked; and clocks that differ by less than the provider's window never make an old one look so young.
_ASK_AFTER: Final = timedelta(minutes=10)
# From the window's end on no card is charged any more. What was sent just before has had an answer or is lost after
# this while: a request is carried by one connection, and takes seconds.
_ON_ITS_WAY: Final = timedelta(hours=1)


class GatewayActivities:
    """Moves money through one gateway. Every method may be retried with the same request and acts once."""

    def __init__(self, gateway: Gateway, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._gateway = gateway
        self._now = now

    # no_thread_cancel_exception: a cancellation thrown into the thread between the provider's answer and ours would
    # lose the answer.
    @activity.defn(name="charge", no_thread_cancel_exception=True)
    def charge(self, request: ChargeRequest) -> GatewayResult:
        """Take money from a buyer's payment method."""

        def send() -> Outcome:
            return self._gateway.charge(
                key=request.key,
                party=request.party,
                payment_method=request.payment_method,
                amount=request.amount,
                currency=request.currency,
                metadata=request.metadata,
                customer=request.customer,
            )

        return self._once("charge", request, send)

    @activity.defn(name="refund", no_thread_cancel_exception=True)
    def refund(self, request: RefundRequest) -> GatewayResult:
        """Give back all or part of a charge."""

        def send() -> Outcome:
            return self._gateway.refund(
                key=request.key,
                charge_reference=request.charge_reference,
                amount=request.amount,
                currency=request.currency,
                metadata=request.metadata,
            )

        return self._once("refund", request, send)

    @activity.defn(name="transfer", no_thread_cancel_exception=True)
    def transfer(self, request: TransferRequest) -> GatewayResult:
        """Send money to a seller's or buyer's connected account."""

        def send() -> Outcome:
            return self._gateway.transfer(
                key=request.key,
                destination=request.destination,
                amount=request.amount,
                currency=request.currency,
                metadata=request.metadata,
            )

        return self._once("transfer", request, send)

    @activity.defn(name="look_up", no_thread_cancel_exception=True)
    def look_up(self, request: LookUpRequest) -> GatewayResult:
        """Ask what became of an operation. Moves nothing."""
        with _as_application_errors():
            outcome = self._gateway.look_up(
                operation=request.operation,
                key=request.key,
                reference=request.reference,
                charge_reference=request.charge_reference,
            )
            return _result(outcome, request)

    @activity.defn(name="find_out", no_thread_cancel_exception=True)
    def find_out(self, request: LookUpRequest) -> GatewayResult:
        """Look up until the answer is definite or the provider has nothing. Moves nothing.

        Raises ``OutcomeUnknown`` while it is not: the retries are this activity's own, so that days of asking are one
        pending activity in the Temporal UI and not thousands of history events.
        """
        result = self.look_up(request)
        if result.status == "unknown":
            wait = result.retry_after_seconds
            raise ApplicationError(
                f"{request.key}: {result.message}",
                type="OutcomeUnknown",
                next_retry_delay=None if wait is None else timedelta(seconds=wait),
            )
        return result

    def _once(
        self,
        operation: GatewayOperation,
        request: ChargeRequest | RefundRequest | TransferRequest,
        send: Callable[[], Outcome],
    ) -> GatewayResult:
        """Send; all but what is sent for the first time, and just now, only after the provider was asked (edge 11)."""
        with _as_application_errors():
            at_least, age = sorted(clock - request.first_sent_at for clock in (self._now(), _temporals_clock()))
            # Neither clock may be right, so the older age counts. Below zero it is the books' clock that was ahead: how
            # old the operation is, nobody knows.
            if activity.info().attempt > 1 or abs(age) >= _ASK_AFTER:
                known = self._gateway.look_up(
                    operation=operation,
                    key=request.key,
                    charge_reference=request.charge_reference if isinstance(request, RefundRequest) else None,
                )
                if not isinstance(known, NotFound):
                    return _result(known, request)
                window = self._gateway.key_window
                if isinstance(request, ChargeRequest) and age >= window:
                    return _result(_too_late(window, at_least), request)
            return _result(send(), request)


def _temporals_clock() -> datetime:
    """When Temporal handed this attempt out, by the clock of its server; it may have waited for a worker for hours."""
    return activity.info().started_time


def _too_late(window: timedelta, age: timedelta) -> Outcome:
    """Nobody's card is charged out of the blue: a charge of which the provider has nothing so long after it was wanted.

    Definite an hour after the window's end by both clocks. Every attempt was before its end by both, so by Temporal's
    alone an hour lies between: none is on its way any more, and none will be made. Money that is owed to somebody is
    sent however late, unlike this.
    """
    hours = window // timedelta(hours=1)
    if age < window + _ON_ITS_WAY:
        return Unknown(f"not sent any more, {hours} hours after it was wanted; an earlier attempt may be on its way")
    return Declined("expired", f"for {hours} hours it did not reach the provider, and a card is not charged so late")


@contextmanager
def _as_application_errors() -> Iterator[None]:
    # "from None": the causes hold the provider's own words, and a failure is kept in histories.
    try:
        yield
    except GatewayMisconfiguredError as error:
        raise ApplicationError(str(error), type="GatewayMisconfigured") from None
    except IdempotencyMismatchError as error:
        raise ApplicationError(str(error), type="IdempotencyMismatch", non_retryable=True) from None


def _result(
    outcome: Outcome | NotFound, asked: ChargeRequest | RefundRequest | TransferRequest | LookUpRequest
) -> GatewayResult:
    match outcome:
        case Succeeded(reference, amount, currency):
            if (amount, currency) != (asked.amount, asked.currency):
                raise IdempotencyMismatchError(
                    f"{reference} moved {amount} {currency} under a key that stands for {asked.amount} {asked.currency}"
                )
            return GatewayResult(status="succeeded", reference=reference, amount=amount, currency=currency)
        case Declined(code, message, reference):
            return GatewayResult(status="declined", reference=reference, code=code, message=message)
        case Unknown(reason, reference, retry_after):
            seconds = None if retry_after is None else int(retry_after.total_seconds())
            return GatewayResult(status="unknown", reference=reference, message=reason, retry_after_seconds=seconds)
        case NotFound():
            return GatewayResult(status="not_found")
