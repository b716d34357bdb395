"""How things stand with Stripe, by its own ids. Source: docs.stripe.com/api/disputes/object, /charges, /transfers.

A dispute carries no metadata of ours: its payment intent does. Of a payment intent the latest charge is what counts; a
bank debit that fails after it had succeeded turns that charge to ``failed``, or is told as a dispute whose reason is
the bank's and not the payer's (docs.stripe.com/payments/bank-debits).
"""

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import stripe

from activities.gateways.port import Contested, Declined, GatewayUnavailableError, Sent, Taken
from activities.gateways.stripe_amounts import from_stripe
from activities.gateways.stripe_errors import outcome_of, word

Answer = TypeVar("Answer")

KEY: Final = "holdfast_key"
"""The member of Stripe's metadata that holds our operation's key."""

# Reasons of disputes by which the bank says that it could not collect: a late failure, not a quarrel.
_COULD_NOT_COLLECT: Final = frozenset({"bank_cannot_process", "incorrect_account_details", "insufficient_funds"})
# An inquiry (warning_…) that ends without a dispute took nothing, and one that Stripe prevented never came.
_WON: Final = frozenset({"won", "warning_closed", "prevented"})


class StripeRecords:
    """Reads objects of Stripe's. One instance serves all threads."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._client = client

    def taken(self, reference: str) -> Taken | None:
        """A payment intent by its latest charge, or the payment intent of a charge."""
        return asked(lambda: self._taken(reference))

    def sent(self, reference: str) -> Sent | None:
        """A transfer with what of it was reversed."""
        return asked(lambda: _sent(_plain(self._client.v1.transfers.retrieve(reference))))

    def contested(self, reference: str) -> Contested | None:
        """A dispute with the key of the payment that it is about."""
        return asked(lambda: self._contested(_plain(self._client.v1.disputes.retrieve(reference))))

    def _taken(self, reference: str) -> Taken | None:
        if not reference.startswith("pi_"):
            reference = str(_plain(self._client.v1.charges.retrieve(reference))["payment_intent"])
        intent = _plain(self._client.v1.payment_intents.retrieve(reference))
        latest = intent["latest_charge"]
        if latest is None:
            return None
        charge = _plain(self._client.v1.charges.retrieve(latest))
        return Taken(_key(intent), charge["id"], _status(charge), *_money(charge), charge.get("failure_code"))

    def _contested(self, dispute: dict[str, Any]) -> Contested:
        intent = dispute["payment_intent"]
        key = None if intent is None else _key(_plain(self._client.v1.payment_intents.retrieve(intent)))
        reason = word(dispute.get("reason"), "general")
        status: Literal["open", "won", "lost"] = "open"
        if dispute["status"] in _WON:
            status = "won"
        elif dispute["status"] == "lost":
            status = "lost"
        return Contested(key, *_money(dispute), status, reason in _COULD_NOT_COLLECT, reason)


def asked(question: Callable[[], Answer | None]) -> Answer | None:
    """The answer to a question, None where Stripe knows no such thing.

    Raises ``GatewayMisconfiguredError`` or ``GatewayUnavailableError``, which quote nothing of Stripe's.
    """
    try:
        return question()
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing":
            return None
        raise _silent(error) from None
    except stripe.StripeError as error:
        raise _silent(error) from None
    # As in ``stripe.py``: the library raises what it likes for an answer that it cannot read.
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise GatewayUnavailableError(f"Stripe's answer cannot be read ({type(error).__name__})") from None


def _silent(error: stripe.StripeError) -> GatewayUnavailableError:
    """What an error says about a question: nothing. Raises ``GatewayMisconfiguredError`` where a person has to mend."""
    outcome = outcome_of(error)
    why = outcome.code if isinstance(outcome, Declined) else outcome.reason
    return GatewayUnavailableError(f"Stripe did not say: {why}")


def _sent(transfer: dict[str, Any]) -> Sent:
    currency = transfer["currency"].upper()
    amount, returned = (from_stripe(transfer[name], currency) for name in ("amount", "amount_reversed"))
    return Sent(_key(transfer), amount, returned, currency)


def _status(charge: dict[str, Any]) -> Literal["pending", "succeeded", "failed"]:
    match charge["status"]:
        case "succeeded":
            return "succeeded"
        case "failed":
            return "failed"
        case _:
            return "pending"


def _money(found: dict[str, Any]) -> tuple[int, str]:
    currency = found["currency"].upper()
    return from_stripe(found["amount"], currency), currency


def _plain(found: stripe.StripeObject) -> dict[str, Any]:
    return dict(found.to_dict())


def _key(found: dict[str, Any]) -> str | None:
    key = (found.get("metadata") or {}).get(KEY)
    return key if isinstance(key, str) else None
