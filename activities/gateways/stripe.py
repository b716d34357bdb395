"""Stripe behind the gateway port, on the official library.

**Keys.** The operation's key travels three times: as ``Idempotency-Key``, as ``metadata[holdfast_key]`` and as
``transfer_group``. The first makes a repeated POST one operation for at least 24 hours
(docs.stripe.com/api/idempotent_requests); the other two let us find the object afterwards.

**Looking up.** Never by Stripe's search, which may lag for minutes (docs.stripe.com/search#data-freshness), but by
lists, which do not: transfers and charges are listed by ``transfer_group``, refunds by their payment intent, and what
is found must carry our key in its metadata. A payment intent leads to a charge as soon as money was attempted, so a key
without a charge has moved nothing. An answer that is not a proper list is ``Unknown``, never "nothing found".

**Charges** are payment intents, confirmed at once and off session. ``processing`` (bank debits, for days) is
``Unknown``. An intent that waits for its customer (3-D Secure) could still be completed by them, so it is cancelled
first and ``Declined`` only when Stripe confirms that.

**Refunds** may be ``pending`` for days (``Unknown``) and may fail after ``succeeded``; **transfers** may be reversed
later. Both arrive as webhooks, as new facts after a success; ``stripe_records`` reads how things then stand.

**Retries** belong to the workflow: the library's are off, and the API version is the one the library was made for.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

import stripe

from activities.gateways.port import (
    Declined,
    GatewayMisconfiguredError,
    IdempotencyMismatchError,
    NotFound,
    Outcome,
    Succeeded,
    Unknown,
)
from activities.gateways.stripe_amounts import AmountNotRepresentableError, from_stripe, to_stripe
from activities.gateways.stripe_errors import outcome_of, word
from activities.gateways.stripe_records import KEY, StripeRecords
from activities.gateways.stripe_statement import StripeStatement
from models.gateway import GatewayOperation

T = TypeVar("T")

_PARTY: Final = "holdfast_party"


class StripeGateway:
    """The Stripe adapter. One instance serves all threads; the library keeps one HTTP session per thread."""

    name: Final = "stripe"
    # "You can remove keys from the system automatically after they're at least 24 hours old."
    key_window: Final = timedelta(hours=24)

    def __init__(
        self,
        *,
        api_key: str,
        api_base: str | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        """Make a client of its own, without the library's globals. ``api_base`` is for the sandbox.

        One call takes at most about ``timeout_seconds``: a third of it, but no more than 3 s, to connect, the rest to
        wait for the answer.
        """
        connect = min(3.0, timeout_seconds / 3)
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base.rstrip("/")} if api_base else None,
            http_client=stripe.RequestsClient(timeout=(connect, timeout_seconds - connect)),
            max_network_retries=0,
        )
        # At INFO the library logs Stripe's messages, which name accounts; at DEBUG every request and answer in full.
        logging.getLogger("stripe").setLevel(logging.WARNING)

    def charge(
        self,
        *,
        key: str,
        party: str,
        payment_method: str,
        amount: int,
        currency: str,
        metadata: Mapping[str, str],
        customer: str | None = None,
    ) -> Outcome:
        """Create and confirm a payment intent. The reference is its id (``pi_…``)."""

        def send(amount: int) -> stripe.PaymentIntent:
            params: stripe.params.PaymentIntentCreateParams = {
                "amount": amount,
                "currency": currency.lower(),
                "payment_method": payment_method,
                "confirm": True,
                "off_session": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                "transfer_group": key,
                "metadata": {**metadata, KEY: key, _PARTY: party},
            }
            if customer is not None:
                params["customer"] = customer
            return self._client.v1.payment_intents.create(params, {"idempotency_key": key})

        return _attempt(amount, currency, lambda converted: self._read_intent(send(converted)))

    def refund(
        self, *, key: str, charge_reference: str, amount: int, currency: str, metadata: Mapping[str, str]
    ) -> Outcome:
        """Refund a payment intent, in its own currency. The reference is the refund's id (``re_…``)."""

        def send(amount: int) -> stripe.Refund:
            return self._client.v1.refunds.create(
                {
                    "payment_intent": charge_reference,
                    "amount": amount,
                    "metadata": {**metadata, KEY: key},
                },
                {"idempotency_key": key},
            )

        return _attempt(amount, currency, lambda converted: _read_refund(send(converted)))

    def transfer(
        self, *, key: str, destination: str, amount: int, currency: str, metadata: Mapping[str, str]
    ) -> Outcome:
        """Send money to a connected account (``acct_…``). The reference is the transfer's id (``tr_…``)."""

        def send(amount: int) -> stripe.Transfer:
            return self._client.v1.transfers.create(
                {
                    "amount": amount,
                    "currency": currency.lower(),
                    "destination": destination,
                    "transfer_group": key,
                    "metadata": {**metadata, KEY: key},
                },
                {"idempotency_key": key},
            )

        return _attempt(amount, currency, lambda converted: _read_transfer(send(converted)))

    def look_up(
        self,
        *,
        operation: GatewayOperation,
        key: str,
        reference: str | None = None,
        charge_reference: str | None = None,
    ) -> Outcome | NotFound:
        """Find what a key led to: by ``reference`` when it is known, else by listing. Sends no money.

        Raises ``IdempotencyMismatchError`` when the key led to two objects or the reference to another operation.
        """
        match operation:
            case "charge":
                return _attempt_look_up(lambda: self._find_charge(key, reference))
            case "refund":
                if charge_reference is None:
                    raise ValueError("a refund is looked up through its charge: charge_reference is missing")
                return _attempt_look_up(lambda: self._find_refund(key, reference, charge_reference))
            case "transfer":
                return _attempt_look_up(lambda: self._find_transfer(key, reference))

    def records(self) -> StripeRecords:
        """How things stand with Stripe, over the same connections."""
        return StripeRecords(self._client)

    def statement(self) -> StripeStatement:
        """What Stripe has moved and holds, over the same connections."""
        return StripeStatement(self._client)

    def _read_intent(self, intent: stripe.PaymentIntent) -> Outcome:
        match intent.status:
            case "succeeded":
                return _succeeded(intent.id, intent.amount_received, intent.currency)
            case "canceled" | "requires_payment_method":
                failure = intent.to_dict().get("last_payment_error") or {}
                code = word(failure.get("decline_code"), word(failure.get("code"), intent.status))
                return Declined(code, f"Stripe refused: {code}", intent.id)
            case "requires_action" | "requires_confirmation" | "requires_capture":
                return self._close_intent(intent)
            case _:
                return Unknown(word(intent.status, "unexpected_status"), intent.id)

    def _close_intent(self, intent: stripe.PaymentIntent) -> Outcome:
        try:
            closed = self._client.v1.payment_intents.cancel(intent.id)
        except stripe.InvalidRequestError:
            return Unknown("could_not_cancel", intent.id)  # it has moved on meanwhile: the next look-up reads how
        if closed.status != "canceled":
            return Unknown("could_not_cancel", intent.id)
        return Declined("authentication_required", "Stripe refused: authentication_required", intent.id)

    def _find_charge(self, key: str, reference: str | None) -> Outcome | NotFound:
        if reference is None:
            charges = _all(self._client.v1.charges.list({"transfer_group": key, "limit": 100}))
            charge = _only(charges, key)
            if charge is None:
                return NotFound()
            reference = str(charge.to_dict()["payment_intent"])
        return self._read_intent(_own(self._client.v1.payment_intents.retrieve(reference), key))

    def _find_refund(self, key: str, reference: str | None, charge_reference: str) -> Outcome | NotFound:
        if reference is not None:
            return _read_refund(_own(self._client.v1.refunds.retrieve(reference), key))
        refund = _only(_all(self._client.v1.refunds.list({"payment_intent": charge_reference, "limit": 100})), key)
        return NotFound() if refund is None else _read_refund(refund)

    def _find_transfer(self, key: str, reference: str | None) -> Outcome | NotFound:
        if reference is not None:
            return _read_transfer(_own(self._client.v1.transfers.retrieve(reference), key))
        transfer = _only(_all(self._client.v1.transfers.list({"transfer_group": key, "limit": 100})), key)
        return NotFound() if transfer is None else _read_transfer(transfer)


class _UnreadableAnswerError(Exception):
    """A 200 that is not what Stripe would say."""


def _attempt(amount: int, currency: str, send: Callable[[int], Outcome]) -> Outcome:
    """Run one operation; whatever is not a definite answer of Stripe's becomes ``Unknown``."""
    try:
        converted = to_stripe(amount, currency)
    except AmountNotRepresentableError as error:  # definite: nothing was sent
        return Declined("amount_not_representable", str(error))
    try:
        return send(converted)
    except stripe.StripeError as error:
        return outcome_of(error)
    except (GatewayMisconfiguredError, IdempotencyMismatchError):
        raise
    # The library raises bare AttributeErrors for answers it cannot read (an error body that is a string, a status
    # left out). By then the request was sent, so letting them out would read as a failure of a payment that was made.
    except Exception as error:  # noqa: BLE001
        return Unknown(f"unreadable_answer ({type(error).__name__})")


def _attempt_look_up(call: Callable[[], Outcome | NotFound]) -> Outcome | NotFound:
    try:
        return call()
    # For a question, "no such object" and "bad request" say something about the question only.
    except stripe.InvalidRequestError as error:
        outcome = outcome_of(error)
        reason = outcome.code if isinstance(outcome, Declined) else outcome.reason
        raise GatewayMisconfiguredError(f"Stripe does not know what we ask about: {reason}; another account?") from None
    except stripe.StripeError as error:
        outcome = outcome_of(error)
        return outcome if isinstance(outcome, Unknown) else Unknown(outcome.code)
    except (GatewayMisconfiguredError, IdempotencyMismatchError):
        raise
    except Exception as error:  # noqa: BLE001 - as above
        return Unknown(f"unreadable_answer ({type(error).__name__})")


def _succeeded(reference: str, amount: int, currency: str) -> Outcome:
    code = currency.upper()
    return Succeeded(reference, from_stripe(amount, code), code)


def _read_refund(refund: stripe.Refund) -> Outcome:
    match refund.status:
        case "succeeded":
            return _succeeded(refund.id, refund.amount, refund.currency)
        case "failed" | "canceled":
            code = word(refund.to_dict().get("failure_reason"), refund.status)
            return Declined(code, f"Stripe refused: {code}", refund.id)
        case _:
            return Unknown(word(refund.status, "unexpected_status"), refund.id)


def _read_transfer(transfer: stripe.Transfer) -> Outcome:
    # A transfer has no status: it exists or it does not. A later reversal is a fact of its own.
    return _succeeded(transfer.id, transfer.amount, transfer.currency)


def _all(page: stripe.ListObject[Any]) -> Iterator[Any]:
    # The library iterates over any JSON object as over an empty list, which would read as "nothing found".
    while True:
        if page.to_dict().get("object") != "list" or not isinstance(page.data, list):
            raise _UnreadableAnswerError
        yield from page.data
        if not page.has_more:
            return
        page = page.next_page()


def _only(objects: Iterator[Any], key: str) -> Any:
    found = [candidate for candidate in objects if _key_of(candidate) == key]
    if len(found) > 1:
        raise IdempotencyMismatchError(f"Stripe holds {len(found)} objects under one key: {[o.id for o in found]}")
    return found[0] if found else None


def _own(found: T, key: str) -> T:
    if _key_of(found) != key:
        raise IdempotencyMismatchError("the reference belongs to another operation")
    return found


def _key_of(found: Any) -> str | None:
    key = (found.to_dict().get("metadata") or {}).get(KEY)
    return key if isinstance(key, str) else None
