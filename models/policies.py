"""The documents a tenant writes: versioned, immutable, validated when written. Source: domain.md, sections 5, 7, 9."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.fee_policies import FeePolicy
from models.fields import Balance, Document, Window
from models.money import Money


class ReleasePolicy(Document):
    """How a submitted milestone is released: by the system after the review window, or only by the buyer.

    ``reminders`` are durations after the submission, each shorter than the window.
    """

    mode: Literal["auto", "manual"] = "auto"
    review_window: Window = timedelta(days=14)
    reminders: Annotated[tuple[Window, ...], Field(max_length=5)] = ()
    evidence_required: bool = False
    max_milestones: Annotated[int, Field(ge=1, le=20)] = 3

    @model_validator(mode="after")
    def _reminders_inside_the_window(self) -> Self:
        for reminder in self.reminders:
            if reminder >= self.review_window:
                raise ValueError("every reminder must come before the review window ends")
        return self


class SpendPolicy(Document):
    """What a buyer's wallet must keep, in minor units per currency, and whether creating an escrow needs the money."""

    reserve: dict[str, Balance] = Field(default_factory=dict)
    wallet_gate: bool = False


@dataclass(frozen=True)
class Policies:
    """The policies in force for one tenant at one moment; ``fees`` is None until the tenant has written one."""

    fees: FeePolicy | None = None
    fees_version: int | None = None
    release: ReleasePolicy = field(default_factory=ReleasePolicy)
    spend: SpendPolicy = field(default_factory=SpendPolicy)
    reporting_currency: str | None = None

    def reserve(self, currency: str) -> Money:
        """What must stay in a wallet of that currency after funding."""
        return Money(self.spend.reserve.get(currency, 0), currency)


POLICY_KINDS: dict[str, type[Document]] = {"fees": FeePolicy, "release": ReleasePolicy, "spend": SpendPolicy}
