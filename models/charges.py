"""Money coming in: a charge of a buyer's payment method, credited to the wallet once it is definite."""

from typing import Literal

from pydantic import AwareDatetime

from models.commands import Command, Fund
from models.errors import Refusal
from models.escrow import Escrow
from models.fields import Amount, ChargeId, Currency, Document, PartyId, PaymentMethod, Seal, TenantId
from models.ids import derive, made_at


class ChargeOrder(Document):
    """What to charge, in minor units. The id is the idempotency key with the gateway, ``seal`` as that of a command."""

    id: ChargeId
    tenant: TenantId
    party: PartyId
    amount: Amount
    currency: Currency
    payment_method: PaymentMethod
    seal: Seal | None = None


class AmountDue(Document):
    """What a funding has to charge, in minor units with what the buyer adds for the fee; or why it may not.

    ``order`` is the charge for it, sealed by the books that know what is due.
    """

    amount: Amount | None = None
    order: ChargeOrder | None = None
    refusal: Refusal | None = None


class ChargeResult(Document):
    """What the gateway said for good."""

    id: ChargeId
    status: Literal["succeeded", "declined"]
    reference: str | None = None
    reason: str | None = None


class Charge(ChargeOrder):
    """A charge as it stands in the books."""

    status: Literal["pending", "succeeded", "declined"]
    reference: str | None = None
    reason: str | None = None
    created_at: AwareDatetime


def charge_order(escrow: Escrow, command: Fund, amount: int) -> ChargeOrder:
    """The charge of the buyer's payment method for what a funding has to charge."""
    return ChargeOrder(
        id=charge_of(command),
        tenant=escrow.tenant,
        party=escrow.buyer,
        amount=amount,
        currency=escrow.currency,
        payment_method=command.payment_method or "",
    )


def charge_of(command: Command) -> str:
    """The id of the charge that belongs to a funding from the gateway; the same on every attempt."""
    return derive("chg", made_at(command.escrow), command.escrow, command.id)
