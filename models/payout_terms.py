"""When released money is sent to the seller. Source: domain.md, section 9."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.fields import Balance, Document, Window


class PayoutTerms(Document):
    """When released money is sent to the seller.

    ``event``: at release. ``time``: after ``clearance``, or without one at the milestone's due date. ``manual``: when
    somebody asks for it. Below ``minimum`` (minor units) the party's money is carried forward until there is enough.
    A payout that the gateway declined is tried again ``retries`` times, first after ``retry_after``, then after twice
    as long each time.
    """

    trigger: Literal["event", "time", "manual"] = "event"
    clearance: Window | None = None
    minimum: Balance = 0
    retry_after: Window = timedelta(hours=1)
    retries: Annotated[int, Field(ge=0, le=20)] = 5

    @model_validator(mode="after")
    def _clearance_needs_time(self) -> Self:
        if self.clearance is not None and self.trigger != "time":
            raise ValueError(f"clearance goes with trigger 'time', not with {self.trigger!r}")
        return self
