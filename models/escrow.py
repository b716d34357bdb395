"""An escrow as it stands: the snapshot that rules read, workflows keep, and senders get back.

Amounts are minor units of the escrow's own currency; times are UTC on the tenant's clock.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from models.exchange import Rate
from models.fields import Amount, Balance, Document, Evidence
from models.money import Money
from models.policies import ReleasePolicy
from models.states import TERMINAL, ChargebackStatus, DisputeStatus, MilestoneStatus, PayoutStatus, State

OPEN_MILESTONE = frozenset({MilestoneStatus.PENDING, MilestoneStatus.SUBMITTED, MilestoneStatus.REJECTED})
RELEASED_MILESTONE = frozenset({MilestoneStatus.APPROVED, MilestoneStatus.PAID})

Hold = Literal["clearance", "manual", "minimum", "kyc", "blocked", "chargeback"]


class Milestone(Document):
    """A part of an escrow. ``amount`` is the original intent; ``reversed`` of it went back before release.

    ``clawed`` went back after it. ``rejections`` counts the rounds that the buyer sent back.
    """

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
    rejections: int = 0
    clawed: Balance = 0

    @property
    def remaining(self) -> int:
        """What is still to be released, in minor units."""
        return self.amount - self.reversed


class Answer(Document):
    """What somebody added to a dispute after it was raised."""

    by: Literal["buyer", "seller", "operator"]
    at: AwareDatetime
    statement: str | None = None
    evidence: tuple[Evidence, ...] = ()


class Dispute(Document):
    """A disagreement over some of the held money. ``amount`` is what it froze of the deal, ``surcharge`` what it froze
    of the money that the buyer added for the fee.
    """

    id: str
    raised_by: Literal["buyer", "seller", "operator"]
    reason: str
    description: str
    evidence: tuple[Evidence, ...] = ()
    answers: tuple[Answer, ...] = ()
    milestones: tuple[str, ...]
    amount: Balance
    surcharge: Balance = 0
    status: DisputeStatus = DisputeStatus.OPEN
    came_from: State
    resolution: str | None = None
    details: str | None = None
    resolved_by: str | None = None


class Deadline(Document):
    """A moment at which the escrow acts by itself, about one milestone, dispute or payout.

    ``generation`` is the round of it that the deadline belongs to.
    """

    id: str
    kind: Literal["auto_approve", "remind", "default_dispute", "pay_out", "retry_payout"]
    milestone: str | None = None
    dispute: str | None = None
    payout: str | None = None
    generation: int
    due_at: AwareDatetime
    deferred_because: str | None = None


class Payout(Document):
    """Money on its way to the seller. A retry after a definite decline is a new generation of the same payout.

    While it has a ``hold`` it is due but is not sent, and ``reason`` says why: it is inside its clearance period (until
    ``ready_at``), waits to be ``requested``, or for the party's money to reach the minimum, or the party may not be
    paid. ``netted`` of the seller's earnings went into what the seller owes.
    """

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
    hold: Hold | None = None
    ready_at: AwareDatetime | None = None
    requested: bool = False
    enough: bool = False
    netted: Balance = 0

    @property
    def unsettled(self) -> bool:
        """Whether the money still has to reach the seller: due, on its way, declined or returned."""
        return self.status not in {PayoutStatus.PAID, PayoutStatus.CANCELLED}

    @property
    def going(self) -> bool:
        """Whether it is to be sent now, or has been sent and its outcome is not known."""
        return self.hold is None and self.status in {PayoutStatus.DUE, PayoutStatus.IN_TRANSIT, PayoutStatus.UNKNOWN}


class Release(Document):
    """What one settlement released, and how much of it was taken back since. ``id`` is the settlement's.

    ``principal`` is the seller's gross part of the deal's amount; ``fee`` what the platform took, ``buyer_fee`` of it
    from what the buyer had added. The rest says how the fee and the exchange rate came about, since a clawback goes by
    the original's.
    """

    id: str
    milestones: tuple[str, ...]
    principal: Amount
    fee: Balance
    buyer_fee: Balance = 0
    clawed: Balance = 0
    policy_version: int
    rule: str
    fee_rate: Decimal | None = None
    rate: Rate

    @property
    def reachable(self) -> int:
        """What a clawback can still take back, in minor units."""
        return self.principal - self.clawed


class Chargeback(Document):
    """A payment that the payer's bank contests or took back.

    ``frozen`` of its amount was still there when it came: ``surcharge`` of that had been added for the fee,
    ``disputed`` was frozen by a dispute, the rest was held.
    """

    id: str
    kind: Literal["chargeback", "failed_charge"]
    reference: str
    reason: str | None = None
    amount: Amount
    frozen: Balance
    surcharge: Balance = 0
    disputed: Balance = 0
    status: ChargebackStatus = ChargebackStatus.OPEN


class Escrow(Document):
    """One agreement between a buyer and a seller, with everything that belongs to it.

    ``surcharge`` of what is held was added by the buyer for the fee; ``contested`` is with a chargeback that is open,
    ``charged_back`` with the payer's bank for good.
    """

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
    surcharge: Balance = 0
    contested: Balance = 0
    charged_back: Balance = 0
    fee_policy_version: int | None = None
    release: ReleasePolicy
    milestones: tuple[Milestone, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    deadlines: tuple[Deadline, ...] = ()
    payouts: tuple[Payout, ...] = ()
    releases: tuple[Release, ...] = ()
    chargebacks: tuple[Chargeback, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=dict)
    clock_offset: int = 0
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @property
    def refundable(self) -> int:
        """Funded less released less already returned, in minor units. Source: domain.md, section 6.

        What a bank contests or has taken back cannot be returned a second time.
        """
        return self.funded - self.released - self.refunded - self.contested - self.charged_back

    @property
    def principal(self) -> int:
        """What is held and releasable of the deal's amount, without the money for the fee, in minor units."""
        return self.held - self.surcharge

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
        """Why a person has to look at this escrow, if so: a dispute, a chargeback, a payout that does not arrive, a
        deadline that was put off.
        """
        if dispute := self.open_dispute:
            return f"dispute {dispute.id} is {dispute.status}"
        if chargeback := self.open_chargeback:
            return f"{chargeback.kind} {chargeback.reference} is open"
        for payout in self.payouts:
            if payout.status in {PayoutStatus.FAILED, PayoutStatus.UNKNOWN, PayoutStatus.RETURNED}:
                return f"payout {payout.id} is {payout.status}: {payout.reason}"
            if payout.status == PayoutStatus.DUE and payout.hold in {"kyc", "blocked"}:
                return f"payout {payout.id} is held: {payout.reason}"
        return next((deadline.deferred_because for deadline in self.deadlines if deadline.deferred_because), None)

    @property
    def open_dispute(self) -> Dispute | None:
        """The dispute that freezes money now."""
        open_states = {DisputeStatus.OPEN, DisputeStatus.UNDER_REVIEW}
        return next((dispute for dispute in self.disputes if dispute.status in open_states), None)

    @property
    def open_chargeback(self) -> Chargeback | None:
        """The chargeback that the payer's bank has not decided."""
        return next((one for one in self.chargebacks if one.status == ChargebackStatus.OPEN), None)

    @property
    def next_deadline(self) -> Deadline | None:
        """The deadline that comes first; of two at the same instant always the same one."""
        return min(self.deadlines, key=lambda deadline: (deadline.due_at, deadline.id), default=None)

    def real_time(self, at: datetime) -> datetime:
        """A moment of the tenant's time on the real clock."""
        return at - timedelta(seconds=self.clock_offset)

    def money(self, amount: int) -> Money:
        """An amount in the escrow's currency."""
        return Money(amount, self.currency)

    def payout(self, identifier: str) -> Payout | None:
        """The payout with that id."""
        return next((payout for payout in self.payouts if payout.id == identifier), None)

    def milestone(self, identifier: str) -> Milestone | None:
        """The milestone with that id."""
        return next((milestone for milestone in self.milestones if milestone.id == identifier), None)
