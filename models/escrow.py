"""An escrow as it stands: the snapshot that rules read, workflows keep, and senders get back.

Amounts are minor units of the escrow's own currency; times are UTC on the tenant's clock.
"""

from datetime import date
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from models.fields import Amount, Balance, Document, Evidence
from models.money import Money
from models.policies import ReleasePolicy
from models.states import TERMINAL, DisputeStatus, MilestoneStatus, PayoutStatus, State

OPEN_MILESTONE = frozenset({MilestoneStatus.PENDING, MilestoneStatus.SUBMITTED, MilestoneStatus.REJECTED})


class Milestone(Document):
    """A part of an escrow. ``amount`` is the original intent; ``reversed`` of it went back before release."""

    id: str
    position: int
    title: str
    description: str | None = None
    amount: Amount
    reversed: Balance = 0
    due: date | None = None
    status: MilestoneStatus = MilestoneStatus.PENDING
    generation: int = 0
    evidence: tuple[Evidence, ...] = ()
    rejection: str | None = None

    @property
    def remaining(self) -> int:
        """What is still to be released, in minor units."""
        return self.amount - self.reversed


class Dispute(Document):
    """A disagreement over some of the held money. ``amount`` is what it froze."""

    id: str
    raised_by: Literal["buyer", "seller", "operator"]
    reason: str
    description: str
    evidence: tuple[Evidence, ...] = ()
    milestones: tuple[str, ...]
    amount: Balance
    status: DisputeStatus = DisputeStatus.OPEN
    came_from: State
    resolution: str | None = None
    details: str | None = None
    resolved_by: str | None = None


class Deadline(Document):
    """A moment at which the escrow acts by itself; ``generation`` is the milestone's round it belongs to."""

    id: str
    kind: Literal["auto_approve", "remind"]
    milestone: str
    generation: int
    due_at: AwareDatetime
    deferred_because: str | None = None


class Payout(Document):
    """Money on its way to the seller. A retry after a definite decline is a new generation of the same payout."""

    id: str
    settlement: str
    milestones: tuple[str, ...]
    party: str
    destination: str | None
    amount: Amount
    status: PayoutStatus = PayoutStatus.DUE
    generation: int = 1
    reference: str | None = None
    reason: str | None = None

    @property
    def unsettled(self) -> bool:
        """Whether the money still has to reach the seller: due, on its way, or declined and waiting for a retry."""
        return self.status not in {PayoutStatus.PAID, PayoutStatus.RETURNED}


class Escrow(Document):
    """One agreement between a buyer and a seller, with everything that belongs to it."""

    id: str
    tenant: str
    buyer: str
    seller: str
    amount: Amount
    currency: str
    category: str
    title: str
    state: State
    version: int
    funded: Balance = 0
    held: Balance = 0
    disputed: Balance = 0
    released: Balance = 0
    refunded: Balance = 0
    release: ReleasePolicy
    milestones: tuple[Milestone, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    deadlines: tuple[Deadline, ...] = ()
    payouts: tuple[Payout, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=dict)
    clock_offset: int = 0
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @property
    def refundable(self) -> int:
        """Funded less released less already returned, in minor units. Source: domain.md, section 6."""
        return self.funded - self.released - self.refunded

    @property
    def terminal(self) -> bool:
        """Whether no event can follow."""
        return self.state in TERMINAL

    @property
    def finished(self) -> bool:
        """Whether the escrow is terminal and all its payouts have arrived: nothing is left to wait for."""
        return self.terminal and not any(payout.unsettled for payout in self.payouts)

    @property
    def attention(self) -> str | None:
        """Why a person has to look at this escrow, if so: a dispute, a failed payout, a deadline that was put off."""
        if dispute := self.open_dispute:
            return f"dispute {dispute.id} is {dispute.status}"
        for payout in self.payouts:
            if payout.status in {PayoutStatus.FAILED, PayoutStatus.UNKNOWN}:
                return f"payout {payout.id} is {payout.status}: {payout.reason}"
        return next((deadline.deferred_because for deadline in self.deadlines if deadline.deferred_because), None)

    @property
    def open_dispute(self) -> Dispute | None:
        """The dispute that freezes money now."""
        open_states = {DisputeStatus.OPEN, DisputeStatus.UNDER_REVIEW}
        return next((dispute for dispute in self.disputes if dispute.status in open_states), None)

    @property
    def next_deadline(self) -> Deadline | None:
        """The deadline that comes first; of two at the same instant always the same one."""
        return min(self.deadlines, key=lambda deadline: (deadline.due_at, deadline.id), default=None)

    def money(self, amount: int) -> Money:
        """An amount in the escrow's currency."""
        return Money(amount, self.currency)

    def payout(self, identifier: str) -> Payout | None:
        """The payout with that id."""
        return next((payout for payout in self.payouts if payout.id == identifier), None)

    def milestone(self, identifier: str) -> Milestone | None:
        """The milestone with that id."""
        return next((milestone for milestone in self.milestones if milestone.id == identifier), None)
