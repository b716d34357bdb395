"""Wallets: what a party has with us, and putting money in. Source: http-contract.md, "Routes"; domain.md, section 7."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict
from starlette.concurrency import run_in_threadpool

from ledger import reads, records
from models import ids
from models.charges import ChargeOrder
from models.errors import ErrorCode, Refusal, RefusedError
from models.fields import Amount, Currency, Document, PaymentMethod
from starter.api.asking import Ask, Json, known_id, known_party, own_party
from starter.api.commanding import COMMANDED, discreet, pending
from starter.api.once import Asked, OnceRoute
from starter.api.problems import ProblemError
from starter.api.views import Page, View
from starter.arrival import OutcomeUnknownError

router = APIRouter(prefix="/v1/wallets", route_class=OnceRoute, tags=["wallets"])


class TopUp(Document):
    """What to charge, in minor units, and by which of the gateway's payment methods."""

    amount: Amount
    currency: Currency
    payment_method: PaymentMethod

    model_config = ConfigDict(
        json_schema_extra={"example": {"amount": 500000, "currency": "EUR", "payment_method": "pm_card_visa"}}
    )


class WalletView(View):
    """A party's money in one currency, in minor units: ``balance`` is what is ``available`` and what is ``locked`` in
    its escrows."""

    party: str
    currency: str
    balance: int
    locked: int
    available: int


class ChargeView(View):
    """A charge for a wallet. ``unknown``: the gateway has not said yet. Its ``reason`` is told to the platform."""

    id: str
    party: str
    amount: int
    currency: str
    status: Literal["succeeded", "declined", "unknown"]
    reason: str | None


@router.get("/{party}")
async def get_wallets(asked: Ask, party: str) -> Page[WalletView]:
    """A party's money, per currency."""
    own_party(asked, known_party(party))
    found = await run_in_threadpool(reads.wallets, asked.engine, asked.tenant, party)
    names = WalletView.model_fields
    return Page(data=[WalletView(**{name: getattr(one, name) for name in names}) for one in found], has_more=False)


@router.post("/{party}/topups", status_code=201, responses=COMMANDED)
async def top_up(asked: Ask, party: str, body: Json[TopUp]) -> ChargeView:
    """Charge a payment method and put the money into the wallet; for the platform, and for buyers their own.

    A declined charge is answered 402 with code `payment_declined` and the `charge`; to the platform with the gateway's
    `reason`.
    """
    return await topped_up(asked, known_party(party), body)


@router.get("/{party}/topups/{charge}")
async def get_top_up(asked: Ask, party: str, charge: str) -> ChargeView:
    """What became of a charge for a wallet."""
    own_party(asked, known_party(party))
    found = await run_in_threadpool(records.charge, asked.engine, party, known_id("chg", charge, "charge"))
    if found is None:
        raise ProblemError(
            404, f"there is no charge {charge}, or it has not begun: the same Idempotency-Key asks again"
        )
    return _seen(asked, dict(found))


async def topped_up(asked: Asked, party: str, what: TopUp) -> ChargeView:
    """Charge for a wallet. Raises 403 for a seller, 404 for another's wallet, 402 where the gateway declines."""
    own_party(asked, party)
    if asked.principal.actor.role == "seller":
        raise ProblemError(403, "a top-up is for buyers, and for the platform: a seller is paid, and pays nothing in")
    # Of no moment, unlike other ids: answers are forgotten after a week, and the same key must not charge again then.
    charge = ids.derive("chg", ids.made_at(asked.tenant), asked.tenant, asked.key)
    order = ChargeOrder(id=charge, tenant=asked.tenant, party=party, **dict(what))
    try:
        after = await asked.sender.top_up(order)
    except OutcomeUnknownError as error:
        return pending(asked, error, f"/v1/wallets/{party}/topups/{charge}", id=charge)  # type: ignore[return-value]
    if after.status == "declined":
        raise _declined(asked, charge, after.reason)
    return _seen(asked, after.model_dump(include=set(ChargeView.model_fields)))


def _declined(asked: Asked, charge: str, reason: str | None) -> ProblemError:
    message = f"the charge was declined: {reason or 'the gateway gives no reason'}; try another payment method"
    refusal = Refusal(code=ErrorCode.PAYMENT_DECLINED.code, message=message, details={"reason": reason})
    told = discreet(asked, RefusedError.of(refusal)).refusal
    return ProblemError(told.kind.status, told.message, told.code, charge=charge, **told.details)


def _seen(asked: Asked, charge: dict[str, Any]) -> ChargeView:
    status = "unknown" if charge["status"] == "pending" else charge["status"]
    reason = None if asked.principal.party is not None else charge["reason"]
    return ChargeView(**{**charge, "status": status, "reason": reason})
