"""What a rule answers: everything that must happen, and nothing of it done yet."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

from models import ids, postings
from models.commands import Command
from models.divisions import Division, Projection
from models.errors import ErrorCode, RefusedError
from models.escrow import Deadline, Escrow, Milestone, Payout
from models.fees import Fee
from models.money import Money
from models.policies import Policies
from models.postings import AccountKind, LedgerTransaction
from models.states import MilestoneStatus, State

SettlementOutcome = Literal["release", "refund", "split", "partial_refund", "reversal"]


@dataclass(frozen=True)
class Funds:
    """Facts about money outside the escrow that a rule may need, read under lock in the same transaction.

    ``available`` is the buyer's wallet; ``charge`` what became of the card charge of this very command.
    """

    available: Money | None = None
    charge: Literal["succeeded", "declined"] | None = None
    charge_reason: str | None = None
    seller_destination: str | None = None


@dataclass(frozen=True)
class Settlement:
    """The one row that records how a money-moving transition divided its total."""

    id: str
    outcome: SettlementOutcome
    milestones: tuple[str, ...]
    dispute: str | None
    division: Division
    fee: Fee
    steps: tuple[str, ...]
    projection: Projection | None = None


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


@dataclass
class Case:
    """One command on one escrow: the facts a rule reads, and the decision it builds step by step.

    ``escrow`` is the escrow as it will be; each step replaces it. ``now`` is the tenant's time of the command.
    """

    escrow: Escrow
    command: Command
    policies: Policies
    now: datetime
    funds: Funds
    settlement: Settlement | None = None
    transactions: list[LedgerTransaction] = field(default_factory=list)
    events: list[EventRecord] = field(default_factory=list)

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
        """Add a ledger transaction."""
        self.transactions.append(transaction)
        return self

    def schedule(self, deadlines: list[Deadline]) -> Self:
        """Add deadlines."""
        return self.change(deadlines=(*self.escrow.deadlines, *deadlines))

    def stop_clock(self, milestones: set[str]) -> Self:
        """Drop every deadline of these milestones; a timer already running for one will find nothing."""
        return self.change(
            deadlines=tuple(deadline for deadline in self.escrow.deadlines if deadline.milestone not in milestones)
        )

    def settle(
        self,
        outcome: SettlementOutcome,
        division: Division,
        fee: Fee,
        steps: tuple[str, ...],
        *,
        source: AccountKind = AccountKind.ESCROW_HOLD,
        milestones: tuple[str, ...] = (),
        dispute: str | None = None,
        projection: Projection | None = None,
    ) -> Self:
        """Record the settlement, post it, move the escrow's counters and make the seller's payout due."""
        self._refuse_missing_rate()
        settlement = Settlement(self.id("set"), outcome, milestones, dispute, division, fee, steps, projection)
        self.settlement = settlement
        escrow = self.escrow
        self.post(postings.settle(outcome, source, escrow.id, escrow.buyer, escrow.seller, division))
        total, back = division.total.amount, division.buyer_refund.amount
        pool = "held" if source == AccountKind.ESCROW_HOLD else "disputed"
        self.change(
            **{pool: getattr(escrow, pool) - total},
            released=escrow.released + total - back,
            refunded=escrow.refunded + back,
        )
        self.emit("settlement.posted", settlement=settlement.id, outcome=outcome, total=total)
        return self._make_payout_due(settlement)

    def _refuse_missing_rate(self) -> None:
        """A settlement stores its exchange rate; until rates are kept, both currencies have to be the same."""
        reporting = self.policies.reporting_currency
        if reporting not in {None, self.escrow.currency}:
            raise RefusedError(
                ErrorCode.EXCHANGE_RATE_UNAVAILABLE,
                f"there is no exchange rate from {self.escrow.currency} to the reporting currency {reporting}",
                base=self.escrow.currency,
                quote=reporting,
            )

    def _make_payout_due(self, settlement: Settlement) -> Self:
        amount = settlement.division.seller_payout.amount
        if not amount:
            return self
        payout = Payout(
            id=self.id("pay"),
            settlement=settlement.id,
            milestones=settlement.milestones,
            party=self.escrow.seller,
            destination=self.funds.seller_destination,
            amount=amount,
        )
        self.change(payouts=(*self.escrow.payouts, payout))
        return self.emit("payout.due", payout=payout.id, amount=amount)

    def end_milestones(self, milestones: tuple[Milestone, ...], status: MilestoneStatus) -> Self:
        """Give milestones their final status; their deadlines go with it."""
        for milestone in milestones:
            self.change_milestone(milestone.id, status=status)
        return self.stop_clock({milestone.id for milestone in milestones})

    def decision(self, state: State) -> Decision:
        """Close the case: the escrow takes its next state and version."""
        self.change(state=state, version=self.escrow.version + 1, updated_at=self.now)
        return Decision(self.escrow, self.settlement, tuple(self.transactions), tuple(self.events))
