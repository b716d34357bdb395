"""Every request that can change an escrow, as a typed record. ``models.decide`` holds the table that governs them.

Platforms send the first group; the system and the workflows send the second. A command's id is its idempotency key.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from models.fields import (
    Amount,
    Balance,
    Category,
    ChargebackId,
    CommandId,
    Currency,
    DeadlineId,
    DisputeId,
    Document,
    EscrowId,
    EvidenceList,
    Line,
    Metadata,
    MilestoneId,
    PartyId,
    PaymentMethod,
    PayoutId,
    Reference,
    Seal,
    Share,
    SystemCommandId,
    TenantId,
    Text,
    Window,
)

Role = Literal["buyer", "seller", "operator", "platform", "system"]


class Actor(Document):
    """Who acts: a role, and for people the tenant's own id of them."""

    role: Role
    party: PartyId | None = None

    def __str__(self) -> str:
        return f"{self.role}:{self.party}" if self.party else self.role


SYSTEM = Actor(role="system")


class Origin(Document):
    """From where a command reached us, for the audit."""

    ip: Annotated[str, Field(max_length=45)] | None = None
    user_agent: Annotated[str, Field(max_length=200)] | None = None


class Command(Document):
    """What all commands share. ``expected_version`` is the escrow's version the sender has seen, if it matters;
    ``received_at`` the real time at which we received it (the workflow fills it in when it is absent). ``seal`` proves
    that one of our own programs sent it: ``ledger.seals``."""

    name: str
    id: CommandId
    escrow: EscrowId
    actor: Actor
    expected_version: Annotated[int, Field(ge=1)] | None = None
    received_at: AwareDatetime | None = None
    origin: Origin | None = None
    seal: Seal | None = None


class MilestoneDraft(Document):
    """A milestone as the parties agree on it, before funding."""

    title: Line
    description: Text | None = None
    amount: Amount
    due: date | None = None


class PayoutOverride(Document):
    """The parts of the payout terms that the platform may set for one escrow; see ``PayoutTerms``."""

    trigger: Literal["event", "time", "manual"] | None = None
    clearance: Window | None = None
    minimum: Balance | None = None
    retry_after: Window | None = None
    retries: Annotated[int, Field(ge=0, le=20)] | None = None


class ReleaseOverride(Document):
    """The parts of the tenant's release policy that one escrow may set for itself.

    The terms of payout are for the platform and its operators to set, not for a party.
    """

    mode: Literal["auto", "manual"] | None = None
    review_window: Window | None = None
    reminders: Annotated[tuple[Window, ...], Field(max_length=5)] | None = None
    evidence_required: bool | None = None
    max_rejections: Annotated[int, Field(ge=1, le=20)] | None = None
    payout: PayoutOverride | None = None


class Create(Command):
    """Agree on an escrow. Milestones are listed, or come from a template and the date of the event."""

    name: Literal["create"] = "create"
    tenant: TenantId
    buyer: PartyId
    seller: PartyId
    amount: Amount
    currency: Currency
    category: Category = "general"
    title: Line
    milestones: Annotated[tuple[MilestoneDraft, ...], Field(max_length=20)] = ()
    template: Category | None = None
    event_date: date | None = None
    release: ReleaseOverride = ReleaseOverride()
    metadata: Metadata = Field(default_factory=dict)


class Amend(Command):
    """Change the title, the amount or the milestones; only before funding, which is acceptance."""

    name: Literal["amend"] = "amend"
    title: Line | None = None
    amount: Amount | None = None
    milestones: Annotated[tuple[MilestoneDraft, ...], Field(max_length=20)] | None = None


class AddMilestone(Command):
    """Agree on one more milestone, after the others; only before funding. ``amount`` is in minor units."""

    name: Literal["add_milestone"] = "add_milestone"
    title: Line
    description: Text | None = None
    amount: Amount
    due: date | None = None


class ChangeMilestone(Command):
    """Change one milestone in its place; only before funding. What is left out stays, and something has to change."""

    name: Literal["change_milestone"] = "change_milestone"
    milestone: MilestoneId
    title: Line | None = None
    description: Text | None = None
    amount: Amount | None = None
    due: date | None = None


class Fund(Command):
    """Put the whole amount in escrow: from the buyer's wallet, or from the gateway by a payment method."""

    name: Literal["fund"] = "fund"
    source: Literal["wallet", "gateway"] = "wallet"
    payment_method: PaymentMethod | None = None


class StartWork(Command):
    """The seller begins."""

    name: Literal["start_work"] = "start_work"


class SubmitMilestone(Command):
    """The seller says that a milestone is done; under mode ``auto`` the review window begins."""

    name: Literal["submit_milestone"] = "submit_milestone"
    milestone: MilestoneId
    evidence: EvidenceList = ()


class WithdrawSubmission(Command):
    """The seller takes a mistaken submission back before it is reviewed; the clock stops."""

    name: Literal["withdraw_submission"] = "withdraw_submission"
    milestone: MilestoneId


class ApproveMilestone(Command):
    """The buyer accepts a milestone: its money is released."""

    name: Literal["approve_milestone"] = "approve_milestone"
    milestone: MilestoneId


class RejectMilestone(Command):
    """The buyer asks for changes: the milestone returns to the seller and the clock stops."""

    name: Literal["reject_milestone"] = "reject_milestone"
    milestone: MilestoneId
    reason: Text


class ReverseMilestone(Command):
    """Return a part of a milestone to the buyer, in minor units: out of what is held, or after its release out of what
    the seller has or owes.
    """

    name: Literal["reverse_milestone"] = "reverse_milestone"
    milestone: MilestoneId
    amount: Amount
    reason: Text


class Complete(Command):
    """The buyer releases all that is still held."""

    name: Literal["complete"] = "complete"


class Cancel(Command):
    """End the escrow: what is still held returns to the buyer, the seller keeps what was approved."""

    name: Literal["cancel"] = "cancel"
    reason: Text | None = None


class Refund(Command):
    """Return everything before work starts. ``amount``, when given, must be what is refundable."""

    name: Literal["refund"] = "refund"
    amount: Amount | None = None
    reason: Text | None = None


class RaiseDispute(Command):
    """Freeze all that is held, or the named milestones."""

    name: Literal["dispute"] = "dispute"
    reason: Line
    description: Text
    evidence: EvidenceList = ()
    milestones: Annotated[tuple[MilestoneId, ...], Field(max_length=20)] = ()


class AddEvidence(Command):
    """Either side, or an operator, answers in a dispute: a statement, evidence, or both."""

    name: Literal["add_evidence"] = "add_evidence"
    dispute: DisputeId
    statement: Text | None = None
    evidence: EvidenceList = ()


class ReviewDispute(Command):
    """An operator takes the dispute."""

    name: Literal["review_dispute"] = "review_dispute"
    dispute: DisputeId


class ResolveDispute(Command):
    """An operator decides. ``refund_amount`` goes with ``partial_refund``, ``seller_share`` with ``split``."""

    name: Literal["resolve_dispute"] = "resolve_dispute"
    dispute: DisputeId
    resolution: Literal["buyer_favor", "seller_favor", "partial_refund", "split", "mediation"]
    details: Text
    refund_amount: Amount | None = None
    seller_share: Share | None = None


class CloseDispute(Command):
    """An operator closes the file of a resolved dispute."""

    name: Literal["close_dispute"] = "close_dispute"
    dispute: DisputeId


class RequestPayout(Command):
    """Ask for a payout that waits: under trigger ``manual`` to be sent, otherwise to be looked at again."""

    name: Literal["request_payout"] = "request_payout"
    payout: PayoutId


class OpenChargeback(Command):
    """The payer's bank contests a payment (``chargeback``), or a bank debit failed late (``failed_charge``).

    ``reference`` is the provider's, ``amount`` in minor units of the escrow.
    """

    name: Literal["open_chargeback"] = "open_chargeback"
    kind: Literal["chargeback", "failed_charge"] = "chargeback"
    reference: Reference
    amount: Amount
    reason: Text | None = None


class CloseChargeback(Command):
    """The bank has decided: ``won`` restores the money, ``lost`` lets it go. Without an id it is the open one."""

    name: Literal["close_chargeback"] = "close_chargeback"
    chargeback: ChargebackId | None = None
    outcome: Literal["won", "lost"]


class RetryPayout(Command):
    """Send a failed or returned payout again, as a new generation."""

    name: Literal["retry_payout"] = "retry_payout"
    payout: PayoutId
    destination: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,100}$")] | None = None


class SystemCommand(Command):
    """What the system and its workflows send; its ids are out of everyone else's reach."""

    id: SystemCommandId


class ReachDeadline(SystemCommand):
    """A deadline has come. One that was superseded does nothing."""

    name: Literal["reach_deadline"] = "reach_deadline"
    deadline: DeadlineId
    generation: int


class SendPayout(SystemCommand):
    """Book a payout as in transit; only then is the gateway asked to move it."""

    name: Literal["send_payout"] = "send_payout"
    payout: PayoutId
    generation: int


class RecordPayout(SystemCommand):
    """Book what the gateway said of a payout. ``unknown`` moves no money; ``returned`` comes after ``paid``."""

    name: Literal["record_payout"] = "record_payout"
    payout: PayoutId
    generation: int
    outcome: Literal["paid", "failed", "unknown", "returned"]
    reference: Annotated[str, Field(max_length=200)] | None = None
    reason: Annotated[str, Field(max_length=500)] | None = None


AnyCommand = Annotated[
    Create | Amend | AddMilestone | ChangeMilestone | Fund | StartWork | SubmitMilestone | WithdrawSubmission
    | ApproveMilestone | RejectMilestone | ReverseMilestone | Complete | Cancel | Refund
    | RaiseDispute | AddEvidence | ReviewDispute | ResolveDispute | CloseDispute
    | RequestPayout | RetryPayout | OpenChargeback | CloseChargeback
    | ReachDeadline | SendPayout | RecordPayout,
    Field(discriminator="name"),
]  # fmt: skip
