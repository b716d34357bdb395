"""What is asked of a payment gateway and what it answered, as plain data for histories. Source: domain.md §11."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from models.fields import Amount, Currency, Document, PartyId

GatewayOperation = Literal["charge", "refund", "transfer"]
"""The three ways money moves at a gateway."""

OperationKey = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]
"""Names one operation for ever: made from its id and generation, never from an attempt. Stripe takes at most 255."""

ProviderReference = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]
"""An id that the provider made: ``pi_…``, ``tr_…``, ``acct_…``. Opaque to us."""


class _MoneyRequest(Document):
    """What every operation that moves money carries. A retry must repeat every field: providers compare them."""

    key: OperationKey
    amount: Amount
    """Minor units of ``currency`` by ISO 4217; the adapter converts where its provider counts differently."""
    currency: Currency
    first_sent_at: AwareDatetime
    """When the books recorded the operation as sent, at or before its first attempt, by their own clock. Decides
    whether the provider is asked before it is sent (edge case 11)."""
    metadata: dict[str, str] = Field(default_factory=dict, max_length=40)
    """Opaque ids only: it is kept by the provider and in histories."""


class ChargeRequest(_MoneyRequest):
    """Take money from a buyer's payment method, without the buyer being present."""

    party: PartyId
    payment_method: ProviderReference
    customer: ProviderReference | None = None
    """The provider's customer that the payment method is attached to, when it is attached to one."""


class RefundRequest(_MoneyRequest):
    """Give back all or part of a charge."""

    charge_reference: ProviderReference


class TransferRequest(_MoneyRequest):
    """Send money to a connected account of the provider."""

    destination: ProviderReference


class LookUpRequest(Document):
    """Ask what became of an operation, by its own key. Moves nothing."""

    operation: GatewayOperation
    key: OperationKey
    amount: Amount
    currency: Currency
    reference: ProviderReference | None = None
    """The provider's id, when a webhook or an earlier answer named it."""
    charge_reference: ProviderReference | None = None
    """For a refund: the charge it belongs to."""


class GatewayResult(Document):
    """One of four answers. ``unknown`` and ``not_found`` are neither success nor failure: no money moves on them.

    ``succeeded``: done; ``reference`` names it, ``amount`` and ``currency`` are what the provider says, and were
    compared with what was asked. ``declined``: definite, ``code`` says why. ``unknown``: ask again with ``look_up``.
    ``not_found`` (only from ``look_up``): the provider has nothing under this key; the one thing it allows is sending
    the same operation again with the same key.
    """

    status: Literal["succeeded", "declined", "unknown", "not_found"]
    reference: str | None = None
    amount: int | None = None
    currency: str | None = None
    code: str | None = None
    message: str | None = None
    retry_after_seconds: int | None = None
