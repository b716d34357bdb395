"""What Stripe moved on our balance, and what it holds. Source: docs.stripe.com/api/balance_transactions.

Every movement is a balance transaction of some type, with the object that caused it as its source. A charge and a
transfer carry our key in their metadata. Of the others the key is found through what they belong to: the payment intent
of a dispute, the transfer of a reversal (``trr_…``). Which of them one is, its ``object`` says and not its type alone.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import stripe

from activities.gateways.port import GatewayUnavailableError, StatementPage
from activities.gateways.stripe_amounts import from_stripe
from activities.gateways.stripe_records import KEY, asked
from models.reconciliation import MovementKind, ProviderLine

Answer = TypeVar("Answer")

_PAGE: Final = 100
# docs.stripe.com/reports/balance-transaction-types: what each type says about us. Whatever is not here is ``other``.
_KINDS: Final[dict[str, MovementKind]] = {
    "charge": "charge",
    "payment": "charge",
    "transfer": "payout",
    "transfer_refund": "payout_return",
    "transfer_cancel": "payout_return",
    "transfer_failure": "payout_return",
    "payment_failure_refund": "contested",
}


class StripeStatement:
    """Reads balance transactions. One instance serves all threads."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._client = client

    def lines(self, since: datetime | None, after: str | None = None) -> StatementPage:
        """A hundred balance transactions with what caused them."""
        return _answered(lambda: self._lines(since, after))

    def balances(self) -> dict[str, int]:
        """What is available and what is still on its way to be: together the sum of all balance transactions."""
        return _answered(lambda: _held(_plain(self._client.v1.balance.retrieve())))

    def _lines(self, since: datetime | None, after: str | None) -> StatementPage:
        params: stripe.params.BalanceTransactionListParams = {"limit": _PAGE, "expand": ["data.source"]}
        if since is not None:
            params["created"] = {"gte": int(since.timestamp())}
        if after is not None:
            params["starting_after"] = after
        page = _plain(self._client.v1.balance_transactions.list(params))
        if page["object"] != "list":
            raise TypeError("not a list")
        data: list[dict[str, Any]] = page["data"]
        more = data[-1]["id"] if data and page["has_more"] else None
        return StatementPage(tuple(self._line(one) for one in data), more)

    def _line(self, moved: dict[str, Any]) -> ProviderLine:
        currency = moved["currency"].upper()
        source = moved["source"] if isinstance(moved["source"], dict) else {"id": moved["source"], "object": None}
        kind = _kind(moved["type"], source)
        reference, subject, key = self._about(kind, source)
        return ProviderLine(
            id=moved["id"],
            type=moved["type"],
            kind=kind,
            amount=from_stripe(moved["amount"], currency),
            fee=from_stripe(moved["fee"], currency),
            currency=currency,
            source=reference,
            subject=subject,
            key=key,
            created_at=datetime.fromtimestamp(moved["created"], UTC),
        )

    def _about(self, kind: MovementKind, source: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
        """Stripe's id of what moved, our name of it, and our key of the operation that it belongs to."""
        match kind, source["object"]:
            case "payout_return", "transfer_reversal":
                transfer = _plain(self._client.v1.transfers.retrieve(_id(source["transfer"])))
                return transfer["id"], _key(transfer), _key(transfer)
            case "contested", "dispute":
                return source["id"], source["id"], self._key_of_payment(source["payment_intent"])
            case "contested", "refund":
                charge = _plain(self._client.v1.charges.retrieve(_id(source["charge"])))
                return charge["id"], charge["id"], _key(charge)
            case "contested", _:
                return source["id"], source["id"], _key(source)
            case "other", _:
                return source["id"], None, _key(source)
            case _:
                return source["id"], _key(source), _key(source)

    def _key_of_payment(self, intent: Any) -> str | None:
        return None if intent is None else _key(_plain(self._client.v1.payment_intents.retrieve(_id(intent))))


def _answered(question: Callable[[], Answer]) -> Answer:
    answer = asked(question)
    if answer is None:
        raise GatewayUnavailableError("Stripe does not know what its own statement names")
    return answer


def _kind(moved: str, source: dict[str, Any]) -> MovementKind:
    """Adjustments are of many kinds: only those of a dispute are a payment that a bank contests."""
    if moved == "adjustment":
        return "contested" if source["object"] == "dispute" else "other"
    return _KINDS.get(moved, "other")


def _held(balance: dict[str, Any]) -> dict[str, int]:
    held: dict[str, int] = {}
    for part in (*balance["available"], *balance["pending"]):
        currency = part["currency"].upper()
        held[currency] = held.get(currency, 0) + from_stripe(part["amount"], currency)
    return held


def _plain(found: stripe.StripeObject) -> dict[str, Any]:
    return dict(found.to_dict())


def _id(named: Any) -> str:
    return str(named["id"] if isinstance(named, dict) else named)


def _key(found: dict[str, Any]) -> str | None:
    key = (found.get("metadata") or {}).get(KEY)
    return key if isinstance(key, str) else None
