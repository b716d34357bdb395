"""What a rule answers: everything that must happen, and nothing of it done yet."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Self

from models import ids
from models.commands import Command
from models.divisions import Division, Projection
from models.errors import ErrorCode, RefusedError
from models.escrow import Deadline, Escrow, Milestone
from models.exchange import Rate, Translation
from models.facts import Carried, Funds
from models.fee_policies import Outcome
from models.fees import Fee, Standing, find_fee
from models.policies import Policies
from models.postings import LedgerTransaction
from models.states import MilestoneStatus, State

SettlementOutcome = Literal["release", "refund", "split", "partial_refund", "reversal"]


@dataclass(frozen=True)
class FeeRuleRef:
    """Which rule of which version of the fee policy priced a settlement; ``rate`` is None where bands have several."""

    policy_version: int
    name: str
    rate: Decimal | None

    @classmethod
    def of(cls, fee: Fee) -> Self:
        """The reference to a rule that was found."""
        return cls(fee.policy_version, fee.name, fee.rate)


@dataclass(frozen=True)
class InvalidDestination:
    """An account that money came back from: nothing is sent there again."""

    party: str
    destination: str
    because: str


@dataclass(frozen=True)
class TakenBack:
    """Where the money of a clawback came from, in minor units; ``reverses`` is the original settlement."""

    reverses: str
    fee_returned: int
    payable: int
    wallet: int
    receivable: int


@dataclass(frozen=True)
class Settlement:
    """The one row that records how a money-moving transition divided its total.

    ``dispute_fee`` is part of the division's platform fee; ``volume`` counts as released to the seller, in minor units.
    ``translation`` is the division at ``rate``, in the reporting currency.
    """

    id: str
    outcome: SettlementOutcome
    milestones: tuple[str, ...]
    dispute: str | None
    division: Division
    rule: FeeRuleRef
    steps: tuple[str, ...]
    rate: Rate
    translation: Translation
    dispute_fee: int = 0
    volume: int = 0
    projection: Projection | None = None
    taken_back: TakenBack | None = None


@dataclass(frozen=True)
class EventRecord:
    """Something that happened, for the outbox: a dotted name in the past tense and its particulars."""

    id: str
    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Decision:
    """The escrow as it will be and the rows that get it there."""

    escrow: Escrow
    settlement: Settlement | None = None
    transactions: tuple[LedgerTransaction, ...] = ()
    events: tuple[EventRecord, ...] = ()
    funds: Funds = field(default_factory=Funds)
    invalid_destination: InvalidDestination | None = None
    carried_along: tuple[Carried, ...] = ()


@dataclass
class Case:
    """One command on one escrow: the facts a rule reads, and the decision it builds step by step.

    ``escrow`` and ``funds`` are as they will be; each step replaces them. ``now`` is the tenant's time of the command.
    """

    escrow: Escrow
    command: Command
    policies: Policies
    now: datetime
    funds: Funds
    settlement: Settlement | None = None
    transactions: list[LedgerTransaction] = field(default_factory=list)
    events: list[EventRecord] = field(default_factory=list)
    invalid_destination: InvalidDestination | None = None
    carried_along: tuple[Carried, ...] = ()

    @property
    def standing(self) -> Standing:
        """What tiers are looked up by."""
        escrow = self.escrow
        released = sum(one.principal for one in escrow.releases)
        return Standing(escrow.money(escrow.amount), escrow.money(released), escrow.money(self.funds.seller.volume))

    def fee(self, outcome: Outcome) -> Fee:
        """The fee rule for an outcome. Raises ``RefusedError`` (fee_policy_not_found)."""
        return find_fee(self.policies, outcome, self.escrow.category, self.standing)

    def id(self, prefix: str, *parts: str) -> str:
        """The id of something this command creates; the same on every attempt."""
        return ids.derive(prefix, self.now, self.escrow.id, self.command.id, *parts)

    def change(self, **fields: Any) -> Self:
        """Replace fields of the escrow."""
        self.escrow = self.escrow.model_copy(update=fields)
        return self

    def change_milestone(self, identifier: str, **fields: Any) -> Self:
        """Replace fields of one milestone."""
        return self.change(
            milestones=tuple(
                milestone.model_copy(update=fields) if milestone.id == identifier else milestone
                for milestone in self.escrow.milestones
            )
        )

    def change_payout(self, identifier: str, **fields: Any) -> Self:
        """Replace fields of one payout."""
        return self.change(
            payouts=tuple(
                payout.model_copy(update=fields) if payout.id == identifier else payout
                for payout in self.escrow.payouts
            )
        )

    def emit(self, event: str, **data: Any) -> Self:
        """Add an event to the outbox."""
        self.events.append(EventRecord(self.id("evt", str(len(self.events))), event, data))
        return self

    def post(self, transaction: LedgerTransaction) -> Self:
        """Add a ledger transaction. One that moves nothing is refused here, before PostgreSQL refuses all for it."""
        if any(posting.money.amount <= 0 for posting in transaction.postings):
            raise RefusedError(ErrorCode.INVALID_TRANSITION, f"there is nothing to move: {transaction.memo}")
        self.transactions.append(transaction)
        self.funds = self.funds.after(transaction, self.escrow.buyer, self.escrow.seller)
        return self

    def schedule(self, deadlines: list[Deadline]) -> Self:
        """Add deadlines."""
        return self.change(deadlines=(*self.escrow.deadlines, *deadlines))

    def stop_clock(self, milestones: set[str]) -> Self:
        """Drop every deadline of these milestones; a timer already running for one will find nothing."""
        return self.change(
            deadlines=tuple(deadline for deadline in self.escrow.deadlines if deadline.milestone not in milestones)
        )

    def drop_deadlines(self, *, dispute: str | None = None, payout: str | None = None) -> Self:
        """Drop every deadline of a dispute or a payout."""
        about = {dispute, payout} - {None}
        return self.change(
            deadlines=tuple(one for one in self.escrow.deadlines if not about & {one.dispute, one.payout})
        )

    def end_milestones(self, milestones: tuple[Milestone, ...], status: MilestoneStatus) -> Self:
        """Give milestones their final status; their deadlines go with it."""
        for milestone in milestones:
            self.change_milestone(milestone.id, status=status)
        return self.stop_clock({milestone.id for milestone in milestones})

    def decision(self, state: State) -> Decision:
        """Close the case: the escrow takes its next state and version."""
        self.change(state=state, version=self.escrow.version + 1, updated_at=self.now)
        return Decision(
            self.escrow,
            self.settlement,
            tuple(self.transactions),
            tuple(self.events),
            self.funds,
            self.invalid_destination,
            self.carried_along,
        )
