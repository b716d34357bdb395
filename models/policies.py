"""The documents a tenant writes: versioned, immutable, validated when written. Source: domain.md, sections 5 to 9."""

from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from models.fee_policies import FeePolicy
from models.fields import Balance, Document, Window
from models.money import MAX_AMOUNT, Money
from models.payout_terms import PayoutTerms
from models.templates import Template


class ReleasePolicy(Document):
    """How a submitted milestone is released: by the system after the review window, or only by the buyer.

    ``reminders`` are durations after the submission, each shorter than the window. After ``max_rejections`` of one
    milestone the seller's dispute about it starts in review. A settlement is refused when the exchange rate it would
    store is older than ``max_rate_age``.
    """

    mode: Literal["auto", "manual"] = "auto"
    review_window: Window = timedelta(days=14)
    reminders: Annotated[tuple[Window, ...], Field(max_length=5)] = ()
    evidence_required: bool = False
    max_milestones: Annotated[int, Field(ge=1, le=20)] = 3
    max_rejections: Annotated[int, Field(ge=1, le=20)] = 3
    payout: PayoutTerms = PayoutTerms()
    max_rate_age: Window = timedelta(days=7)

    @model_validator(mode="after")
    def _reminders_inside_the_window(self) -> Self:
        for reminder in self.reminders:
            if reminder >= self.review_window:
                raise ValueError("every reminder must come before the review window ends")
        return self


class DisputePolicy(Document):
    """How long a dispute may rest before ``default_outcome`` takes effect: anew with each side's first answer, and with
    the review.
    """

    response_window: Window = timedelta(days=30)
    default_outcome: Literal["buyer_favor", "seller_favor", "mediation"] = "mediation"


class SpendPolicy(Document):
    """What a buyer's wallet must keep, in minor units per currency, and whether creating an escrow needs the money."""

    reserve: dict[str, Balance] = Field(default_factory=dict)
    wallet_gate: bool = False


class VerifiedAbove(Document):
    """Amounts in minor units of the escrow's currency above which a party must be verified; None is never."""

    funding: Balance | None = None
    payout: Balance | None = None


class CompliancePolicy(Document):
    """When a party's identity has to be verified."""

    verified_above: VerifiedAbove = VerifiedAbove()


@dataclass(frozen=True)
class Policies:
    """The policies in force for one tenant at one moment; ``fees`` is None until the tenant has written one.

    For an escrow whose fees were pinned at funding, ``fees`` is the version of then.
    """

    fees: FeePolicy | None = None
    fees_version: int | None = None
    release: ReleasePolicy = field(default_factory=ReleasePolicy)
    dispute: DisputePolicy = field(default_factory=DisputePolicy)
    spend: SpendPolicy = field(default_factory=SpendPolicy)
    compliance: CompliancePolicy = field(default_factory=CompliancePolicy)
    reporting_currency: str | None = None
    template: Template | None = None

    def reserve(self, currency: str) -> Money:
        """What must stay in a wallet of that currency after funding."""
        return Money(self.spend.reserve.get(currency, 0), currency)


POLICY_KINDS: Final = MappingProxyType[str, type[Document]](
    {
        "fees": FeePolicy,
        "release": ReleasePolicy,
        "dispute": DisputePolicy,
        "spend": SpendPolicy,
        "compliance": CompliancePolicy,
    }
)


def beyond_amounts(document: Document) -> str | None:
    """Where a document holds a number above any amount that there is, such as ``reserve.EUR``; None: nowhere.

    It is asked when a document is written. The fields alone do not say so: what was written before can still be read.
    """
    return _beyond(document.model_dump(mode="json", by_alias=True))


def _beyond(value: Any) -> str | None:
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in parts:
            if (place := _beyond(part)) is not None:
                return f"{name}.{place}" if place else str(name)
    return "" if isinstance(value, int) and value > MAX_AMOUNT else None
