"""What the API answers with. Amounts are minor units of the escrow's currency, times are UTC on the tenant's clock."""

from datetime import date
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from fastapi import Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from models.escrow import Answer, Chargeback, Deadline, Dispute, Escrow, Milestone
from models.fields import Evidence
from models.ids import made_at
from models.policies import ReleasePolicy
from models.rules.admission import allowed_events
from models.states import DisputeStatus, MilestoneStatus, PayoutStatus, State

Item = TypeVar("Item")


class View(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


class Page(View, Generic[Item]):
    """Part of a list, newest first. The next part begins with ``starting_after`` = the last one's id."""

    data: list[Item]
    has_more: bool


class MilestoneView(View):
    """A part of an escrow. ``reversed`` of its amount went back before its release, ``clawed`` after it."""

    id: str
    escrow: str
    position: int
    title: str
    description: str | None
    amount: int
    reversed: int
    clawed: int
    due: date | None
    status: MilestoneStatus
    evidence: list[Evidence]
    rejection: str | None
    rejections: int
    created_at: AwareDatetime

    @classmethod
    def of(cls, escrow: str, milestone: Milestone) -> Self:
        """The view of a milestone."""
        made = {"escrow", "evidence", "created_at"}
        known = {name: getattr(milestone, name) for name in cls.model_fields if name not in made}
        return cls(**known, escrow=escrow, evidence=list(milestone.evidence), created_at=made_at(milestone.id))


class DisputeView(View):
    """A disagreement. ``amount`` is what it froze, ``answers`` what was added to it since."""

    id: str
    escrow: str
    raised_by: str
    reason: str
    description: str
    evidence: list[Evidence]
    answers: list[Answer]
    milestones: list[str]
    amount: int
    status: DisputeStatus
    resolution: str | None
    details: str | None
    resolved_by: str | None
    created_at: AwareDatetime

    @classmethod
    def of(cls, escrow: str, dispute: Dispute) -> Self:
        """The view of a dispute."""
        return cls(
            id=dispute.id,
            escrow=escrow,
            raised_by=dispute.raised_by,
            reason=dispute.reason,
            description=dispute.description,
            evidence=list(dispute.evidence),
            answers=list(dispute.answers),
            milestones=list(dispute.milestones),
            amount=dispute.amount,
            status=dispute.status,
            resolution=dispute.resolution,
            details=dispute.details,
            resolved_by=dispute.resolved_by,
            created_at=made_at(dispute.id),
        )


class PayoutView(View):
    """Money on its way to a seller. ``hold`` and ``reason`` say why it waits, or why it did not arrive."""

    id: str
    escrow: str
    settlement: str
    milestones: list[str]
    party: str
    destination: str | None
    amount: int
    currency: str
    status: PayoutStatus
    generation: int
    reference: str | None
    reason: str | None
    hold: str | None
    ready_at: AwareDatetime | None
    netted: int
    created_at: AwareDatetime


class EscrowView(View):
    """One agreement between a buyer and a seller. ``allowed`` are the events that are legal now."""

    id: str
    buyer: str
    seller: str
    amount: int
    currency: str
    category: str
    title: str
    state: State
    version: int
    allowed: list[str]
    funded: int
    held: int
    disputed: int
    released: int
    refunded: int
    refundable: int
    surcharge: Annotated[int, Field(description="Of what is held: what the buyer added for the fee.")]
    contested: Annotated[int, Field(description="With a chargeback that is open.")]
    charged_back: Annotated[int, Field(description="Gone to the payer's bank for good.")]
    milestones: list[MilestoneView]
    disputes: list[DisputeView]
    deadlines: list[Deadline]
    payouts: list[PayoutView]
    chargebacks: list[Chargeback]
    release: ReleasePolicy
    attention: str | None
    metadata: dict[str, Any]
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def of(cls, escrow: Escrow) -> Self:
        """The view of an escrow."""
        made = {"milestones", "disputes", "payouts", "deadlines", "chargebacks", "allowed", "metadata"}
        known = {name: getattr(escrow, name) for name in cls.model_fields if name not in made}
        return cls(
            **known,
            allowed=allowed_events(escrow),
            milestones=[MilestoneView.of(escrow.id, one) for one in escrow.milestones],
            disputes=[DisputeView.of(escrow.id, one) for one in escrow.disputes],
            payouts=payouts_of(escrow),
            deadlines=list(escrow.deadlines),
            chargebacks=list(escrow.chargebacks),
            metadata=dict(escrow.metadata),
        )


class Unknown(View):
    """The outcome of a command could not be learned in time: ask the status URL, or send it again with its key."""

    status: Literal["unknown"] = "unknown"
    status_url: str


def payouts_of(escrow: Escrow) -> list[PayoutView]:
    """The payouts of an escrow."""
    elsewhere = {"escrow", "currency", "milestones", "created_at"}
    names = [name for name in PayoutView.model_fields if name not in elsewhere]
    return [
        PayoutView(
            **{name: getattr(one, name) for name in names},
            escrow=escrow.id,
            currency=escrow.currency,
            milestones=list(one.milestones),
            created_at=made_at(one.id),
        )
        for one in escrow.payouts
    ]


def tag(response: Response, escrow: Escrow) -> None:
    """Put the escrow's version into the answer's ``ETag``."""
    response.headers["ETag"] = f'"{escrow.version}"'
