"""The parts of Stripe's API that the sandbox speaks: what each endpoint checks, writes and answers.

Everything is checked before anything is written, so a refusal never leaves half an operation. Test payment methods have
Stripe's names (docs.stripe.com/testing); connected accounts are any ``acct_…``, except that names beginning with
``acct_closed``, ``acct_declined`` and ``acct_missing`` are refused.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from starter.sandbox.books import Books
from starter.sandbox.faults import Fault
from starter.sandbox.wire import (
    Answer,
    Params,
    RefusedError,
    check_known,
    error,
    invalid,
    metadata,
    new_id,
    positive_integer,
    required,
)

LISTS: Final[Mapping[str, tuple[str, str]]] = {
    "payment_intents": ("payment_intent", "customer"),
    "charges": ("charge", "transfer_group payment_intent customer"),
    "refunds": ("refund", "payment_intent charge"),
    "transfers": ("transfer", "transfer_group destination"),
    "disputes": ("dispute", "charge payment_intent"),
    "balance_transactions": ("balance_transaction", "type currency source"),
}
"""Path of a list → kind of its objects and the filters it has."""

_CARD_DECLINES: Final = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", "expired_card"),
    "pm_card_authenticationRequired": ("authentication_required", "authentication_required"),
}
_DESTINATIONS: Final = {
    "acct_closed": ("account_closed", "The destination account has been closed."),
    "acct_declined": (
        "insufficient_capabilities_for_transfer",
        "Your destination account needs to have at least one of the following capabilities enabled: transfers.",
    ),
}


Page = tuple[list[Params], bool]
_SOURCES: Final = ("charge", "transfer", "dispute", "refund")
"""What can be behind a balance transaction."""


class Endpoints:
    """Stripe's resources over the books. Every method runs inside a transaction of the books."""

    def __init__(self, books: Books, *, enforce_balance: bool) -> None:
        self._books = books
        self._enforce_balance = enforce_balance

    def create_payment_intent(self, params: Params, fault: Fault | None) -> Answer:
        """Create and confirm in one. Source: docs.stripe.com/api/payment_intents/create."""
        check_known(
            params,
            "amount currency payment_method confirm off_session automatic_payment_methods transfer_group metadata"
            " customer description expand",
        )
        amount, currency = _money(params)
        method = required(params, "payment_method")
        if params.get("confirm") != "true":
            raise invalid("The sandbox knows only intents that are confirmed at once.", param="confirm")
        if not method.startswith(("pm_card_", "pm_usBankAccount_")):
            raise invalid(f"No such PaymentMethod: '{method}'", code="resource_missing", param="payment_method")
        intent = _intent(params, amount, currency, method)
        decline = _card_decline(method, fault)
        if decline is not None:
            return self._fail_intent(intent, *decline)
        if fault is not None and fault.fault == "requires_action":
            intent |= {"status": "requires_action", "next_action": {"type": "use_stripe_sdk"}}
        elif method == "pm_usBankAccount_processing" or (fault is not None and fault.fault == "pending"):
            intent["latest_charge"] = self._charge(intent, "pending")["id"]
            intent["status"] = "processing"
        else:
            charge = self._charge(intent, "succeeded")
            charge["balance_transaction"] = self._books.move("charge", amount, currency, charge["id"])
            self._books.put(charge)
            intent |= {"status": "succeeded", "amount_received": amount, "latest_charge": charge["id"]}
            self._books.announce("payment_intent.succeeded", intent)
        self._books.put(intent)
        return Answer(200, intent)

    def cancel_payment_intent(self, reference: str, params: Params) -> Answer:
        """Source: docs.stripe.com/api/payment_intents/cancel."""
        check_known(params, "cancellation_reason expand")
        intent = self._existing("payment_intent", reference)
        if not intent["status"].startswith("requires_"):
            raise RefusedError(
                error(
                    400,
                    "invalid_request_error",
                    f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}.",
                    code="payment_intent_unexpected_state",
                ),
                executed=True,
            )
        intent |= {"status": "canceled", "canceled_at": int(time.time()), "next_action": None}
        self._books.put(intent)
        self._books.announce("payment_intent.canceled", intent)
        return Answer(200, intent)

    def create_refund(self, params: Params, fault: Fault | None) -> Answer:
        """Source: docs.stripe.com/api/refunds/create. Whole or partial, never more than what is left."""
        check_known(params, "payment_intent amount metadata reason expand")
        intent = self._existing("payment_intent", required(params, "payment_intent"))
        if intent["status"] != "succeeded":
            raise invalid("This PaymentIntent does not have a successful charge to refund.", param="payment_intent")
        charge = self._existing("charge", intent["latest_charge"])
        left = charge["amount"] - charge["amount_refunded"]
        amount = positive_integer(params, "amount") if "amount" in params else left
        self._check_refund(amount, left, charge, fault)
        refund: Params = {
            "id": new_id("re"),
            "object": "refund",
            "amount": amount,
            "charge": charge["id"],
            "created": int(time.time()),
            "currency": charge["currency"],
            "metadata": metadata(params),
            "payment_intent": intent["id"],
            "reason": params.get("reason"),
            "status": "pending" if fault is not None and fault.fault == "pending" else "succeeded",
        }
        refund["balance_transaction"] = self._books.move("refund", -amount, charge["currency"], refund["id"])
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self._books.put(charge)
        self._books.put(refund)
        self._books.announce("refund.created", refund)
        return Answer(200, refund)

    def create_transfer(self, params: Params, fault: Fault | None) -> Answer:
        """Source: docs.stripe.com/api/transfers/create."""
        check_known(params, "amount currency destination transfer_group metadata description source_transaction expand")
        amount, currency = _money(params)
        destination = required(params, "destination")
        if not destination.startswith("acct_") or destination.startswith("acct_missing"):
            raise invalid(f"No such destination: '{destination}'", code="resource_missing", param="destination")
        self._check_transfer(destination, amount, currency, fault)
        transfer: Params = {
            "id": new_id("tr"),
            "object": "transfer",
            "amount": amount,
            "amount_reversed": 0,
            "created": int(time.time()),
            "currency": currency,
            "description": params.get("description"),
            "destination": destination,
            "destination_payment": new_id("py"),
            "livemode": False,
            "metadata": metadata(params),
            "reversals": {"object": "list", "data": [], "has_more": False, "url": "/v1/transfers/reversals"},
            "reversed": False,
            "source_transaction": params.get("source_transaction"),
            "source_type": "card",
            "transfer_group": params.get("transfer_group"),
        }
        transfer["balance_transaction"] = self._books.move("transfer", -amount, currency, transfer["id"])
        self._books.put(transfer)
        self._books.announce("transfer.created", transfer)
        return Answer(200, transfer)

    def retrieve(self, path: str, reference: str) -> Answer:
        """One object by its id."""
        return Answer(200, self._existing(LISTS[path][0], reference, status=404))

    def list(self, path: str, params: Params) -> Answer:
        """A list, newest first. Source: docs.stripe.com/api/pagination."""
        kind, filters = LISTS[path]
        dated = path == "balance_transactions"
        check_known(params, f"{filters} limit starting_after expand{' created' if dated else ''}")
        limit = positive_integer(params, "limit") if "limit" in params else 10
        if limit > 100:
            raise invalid("Invalid integer: limit must be at most 100", param="limit")
        wanted = {name: str(params[name]) for name in filters.split() if name in params}
        data, has_more = self._books.page(kind, wanted, limit, params.get("starting_after"))
        if dated:
            following = partial(self._books.page, kind, wanted, limit)
            data, has_more = _dated((data, has_more), params, following)
            data = [self._expanded(one, params) for one in data]
        return Answer(200, {"object": "list", "data": data, "has_more": has_more, "url": f"/v1/{path}"})

    def _expanded(self, one: Params, params: Params) -> Params:
        """A balance transaction, if asked for with its source in full. Source: docs.stripe.com/api/expanding."""
        asked = (params.get("expand") or {}).values()
        if unknown := next((name for name in asked if name != "data.source"), None):
            raise invalid(f"This property cannot be expanded ({unknown}).", param="expand")
        if not asked:
            return one
        found = (self._books.get(kind, one["source"]) for kind in _SOURCES)
        return one | {"source": next((source for source in found if source is not None), one["source"])}

    def balance(self) -> Answer:
        """Source: docs.stripe.com/api/balance. Money is available at once here."""
        available = [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in self._books.balances().items()
        ]
        return Answer(200, {"object": "balance", "available": available, "livemode": False, "pending": []})

    def _charge(self, intent: Params, status: str) -> Params:
        charge: Params = {
            "id": new_id("ch"),
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if status == "succeeded" else 0,
            "amount_refunded": 0,
            "balance_transaction": None,
            "captured": status == "succeeded",
            "created": intent["created"],
            "currency": intent["currency"],
            "customer": intent["customer"],
            "livemode": False,
            "metadata": intent["metadata"],
            "paid": status == "succeeded",
            "payment_intent": intent["id"],
            "payment_method": intent["payment_method"],
            "refunded": False,
            "status": status,
            "transfer_group": intent["transfer_group"],
        }
        self._books.put(charge)
        return charge

    def _fail_intent(self, intent: Params, code: str, decline_code: str) -> Answer:
        reason = {
            "type": "card_error",
            "code": code,
            "decline_code": decline_code,
            "message": "Your card was declined.",
        }
        charge = self._charge(intent, "failed")
        intent |= {"latest_charge": charge["id"], "last_payment_error": reason, "payment_method": None}
        self._books.put(intent)
        self._books.announce("payment_intent.payment_failed", intent)
        return Answer(402, {"error": {**reason, "charge": charge["id"], "payment_intent": intent}})

    def _check_refund(self, amount: int, left: int, charge: Params, fault: Fault | None) -> None:
        if fault is not None and fault.fault == "decline":
            raise _balance_insufficient(fault.code)
        if left == 0:
            raise RefusedError(
                error(
                    400,
                    "invalid_request_error",
                    f"Charge {charge['id']} has already been refunded.",
                    code="charge_already_refunded",
                ),
                executed=True,
            )
        if amount > left:
            raise invalid(
                f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount"
            )

    def _check_transfer(self, destination: str, amount: int, currency: str, fault: Fault | None) -> None:
        if fault is not None and fault.fault == "decline":
            raise _balance_insufficient(fault.code)
        for prefix, (code, message) in _DESTINATIONS.items():
            if destination.startswith(prefix):
                raise RefusedError(error(400, "invalid_request_error", message, code=code), executed=True)
        if self._enforce_balance and self._books.balances().get(currency, 0) < amount:
            raise _balance_insufficient(None)

    def _existing(self, kind: str, reference: str, status: int = 400) -> Params:
        found = self._books.get(kind, reference)
        if found is None:
            message = f"No such {kind}: '{reference}'"
            raise RefusedError(error(status, "invalid_request_error", message, code="resource_missing", param=kind))
        return found


def _dated(page: Page, params: Params, following: Callable[[str], Page]) -> Page:
    """Those of a page that were created between two seconds, or of the first page that has such ones.

    Source: docs.stripe.com/api/balance_transactions/list.
    """
    data, has_more = page
    first, last = _created(params)
    while data and last is not None and data[-1]["created"] > last and has_more:
        data, has_more = following(data[-1]["id"])
    if first is not None and data and data[-1]["created"] < first:
        has_more = False
    kept = [one for one in data if (first or 0) <= one["created"] <= (one["created"] if last is None else last)]
    return kept, has_more


def _created(params: Params) -> tuple[int | None, int | None]:
    """The first and the last second that ``created`` allows."""
    given = params.get("created")
    bounds = given if isinstance(given, dict) else {}
    if (given is not None and not bounds) or not bounds.keys() <= {"gte", "lte"}:
        raise invalid("The sandbox knows created[gte] and created[lte].", param="created")
    first, last = (positive_integer(bounds, name) if name in bounds else None for name in ("gte", "lte"))
    return first, last


def _money(params: Params) -> tuple[int, str]:
    amount, currency = positive_integer(params, "amount"), required(params, "currency")
    if len(currency) != 3 or not currency.isascii() or not currency.islower():
        raise invalid(f"Invalid currency: {currency}.", param="currency")
    # docs.stripe.com/currencies: three-decimal amounts end in 0; ISK and UGX keep two decimals that must be 00.
    step = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}.get(currency, 1)
    if amount % step:
        raise invalid(f"Invalid amount: {currency} amounts must be divisible by {step}.", param="amount")
    return amount, currency


def _intent(params: Params, amount: int, currency: str, method: str) -> Params:
    reference = new_id("pi")
    return {
        "id": reference,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": 0,
        "automatic_payment_methods": {"allow_redirects": "never", "enabled": True},
        "canceled_at": None,
        "capture_method": "automatic",
        "client_secret": f"{reference}_secret_{new_id('x')}",
        "confirmation_method": "automatic",
        "created": int(time.time()),
        "currency": currency,
        "customer": params.get("customer"),
        "description": params.get("description"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": metadata(params),
        "next_action": None,
        "payment_method": method,
        "payment_method_types": ["card"],
        "status": "requires_payment_method",
        "transfer_group": params.get("transfer_group"),
    }


def _card_decline(method: str, fault: Fault | None) -> tuple[str, str] | None:
    if fault is not None and fault.fault == "decline":
        return "card_declined", fault.code or "generic_decline"
    return _CARD_DECLINES.get(method)


def _balance_insufficient(code: str | None) -> RefusedError:
    message = "You have insufficient available funds in your Stripe account."
    body: dict[str, Any] = {"code": code or "balance_insufficient"}
    return RefusedError(error(400, "invalid_request_error", message, **body), executed=True)
