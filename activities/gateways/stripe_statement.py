"""What Stripe moved on our balance, and what it holds. Source: docs.stripe.com/api/balance_transactions.

Every movement is a balance transaction of some type, with the object that caused it as its source. A charge and a
transfer carry our key in their metadata. Of the others the key is found through what they belong to: the payment intent
of a dispute, the transfer of a reversal (``trr_…``). Which of them one is, its ``object`` says and not its type alone.

One strange line must not keep the others from being read. A currency that we do not know is kept under Stripe's word
for it, in small letters and in Stripe's units; a part of a minor unit is rounded down; what a line belongs to and
cannot be found any more, and a key that none of ours looks like, are left out.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import stripe

from activities.gateways.port import GatewayUnavailableError, StatementPage
from activities.gateways.stripe_amounts import from_stripe
from activities.gateways.stripe_records import KEY, asked
from models.fields import printable
from models.reconciliation import MovementKind, ProviderLine

Answer = TypeVar("Answer")

_PAGE: Final = 100
_LONGEST: Final = 200
_SHORT: Final = 20
_MOST: Final = 10**17  # the sum of many still fits into a bigint
_HUNDRED: Final = 100
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
        return StatementPage(tuple(self._read(one) for one in data), more)

    def _read(self, moved: dict[str, Any]) -> ProviderLine:
        try:
            return self._line(moved)
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            name = printable(str(moved.get("id")), 100)
            raise GatewayUnavailableError(f"Stripe's line {name} cannot be read ({type(error).__name__})") from None

    def _line(self, moved: dict[str, Any]) -> ProviderLine:
        if _name(moved["id"]) is None:
            raise ValueError("no name that the books can hold")
        amount, currency = _units(moved["amount"], moved["currency"])
        fee, _ = _units(moved["fee"], moved["currency"])
        source = moved["source"] if isinstance(moved["source"], dict) else {"id": moved["source"], "object": None}
        kind = _kind(moved["type"], source)
        reference, subject, key = (_name(one) for one in self._about(kind, source))
        sent_to = source.get("destination") if kind == "payout" else None
        return ProviderLine(
            id=moved["id"],
            type=printable(moved["type"], 100) or "",
            kind=kind,
            amount=amount,
            fee=fee,
            currency=currency,
            source=reference,
            subject=subject,
            key=key,
            destination=_name(_id(sent_to)) if sent_to else None,
            created_at=datetime.fromtimestamp(moved["created"], UTC),
        )

    def _about(self, kind: MovementKind, source: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
        """Stripe's id of what moved, our name of it, and our key of the operation that it belongs to."""
        match kind, source["object"]:
            case "payout_return", "transfer_reversal":
                transfer = _found(self._client.v1.transfers.retrieve, source.get("transfer"))
                return transfer.get("id", source["id"]), _key(transfer), _key(transfer)
            case "contested", "dispute":
                return (
                    source["id"],
                    source["id"],
                    _key(_found(self._client.v1.payment_intents.retrieve, source.get("payment_intent"))),
                )
            case "contested", "refund":
                charge = _found(self._client.v1.charges.retrieve, source.get("charge"))
                return charge.get("id", source["id"]), charge.get("id"), _key(charge)
            case "contested", _:
                return source["id"], source["id"], _key(source)
            case "other", _:
                return source["id"], None, _key(source)
            case _:
                return source["id"], _key(source), _key(source)


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
        held[part["currency"]] = held.get(part["currency"], 0) + part["amount"]
    # Converted once they are summed up, so that parts of a minor unit add up first.
    converted = (_units(amount, currency) for currency, amount in held.items())
    return {currency: amount for amount, currency in converted}


def _units(amount: int, named: str) -> tuple[int, str]:
    """An amount in our minor units and our currency; in Stripe's own of a currency that is none of ours."""
    if not -_MOST < amount < _MOST:
        raise ValueError("more than the books can hold")
    currency = named.upper()
    for whole in (amount, amount - amount % _HUNDRED):
        with suppress(ValueError):
            return from_stripe(whole, currency), currency
    return amount, named.lower()[:_SHORT]


def _found(retrieve: Callable[[str], stripe.StripeObject], named: Any) -> dict[str, Any]:
    """What something belongs to; empty where it is not said, or Stripe does not know it any more."""
    if named is None:
        return {}
    try:
        return _plain(retrieve(_id(named)))
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
        return {}


def _plain(found: stripe.StripeObject) -> dict[str, Any]:
    return dict(found.to_dict())


def _id(named: Any) -> str:
    return str(named["id"] if isinstance(named, dict) else named)


def _name(named: Any) -> str | None:
    """An id as the books can hold it; what they cannot is none of ours."""
    return named if isinstance(named, str) and len(named) <= _LONGEST and named.isprintable() else None


def _key(found: dict[str, Any]) -> str | None:
    key = (found.get("metadata") or {}).get(KEY)
    return key if isinstance(key, str) else None
