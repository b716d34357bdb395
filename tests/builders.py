"""Readable data for every group of tests: ids, policies, commands, and ``Deal``, which plays them through ``decide``.

The usual deal is the specification's: EUR 5,000 between alice and bob in three milestones, release fee 10 %.
"""

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, Self, TypeVar

from models import commands, ids
from models.commands import Actor, Command, Create, MilestoneDraft, SystemCommand
from models.decide import decide
from models.decision import Decision
from models.errors import Refusal
from models.escrow import Deadline, Escrow
from models.exchange import Rate
from models.facts import Funds, Party
from models.fee_policies import FeePolicy, FeeRule
from models.money import Money
from models.policies import Policies, ReleasePolicy
from models.postings import AccountKind, LedgerTransaction
from models.rules import creation
from models.states import State

C = TypeVar("C", bound=Command)

NOW: Final = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
BUYER: Final = Actor(role="buyer", party="alice")
SELLER: Final = Actor(role="seller", party="bob")
OPERATOR: Final = Actor(role="operator", party="olga")
PLATFORM: Final = Actor(role="platform")
SYSTEM: Final = commands.SYSTEM

DEBIT_NORMAL: Final = frozenset({AccountKind.GATEWAY_CASH, AccountKind.RECEIVABLE, AccountKind.PLATFORM_LOSS})

# Who usually sends a command, and what it says when a test does not care.
_USUAL: Final[dict[type[Command], tuple[Actor, dict[str, Any]]]] = {
    commands.Amend: (BUYER, {}),
    commands.AddMilestone: (BUYER, {"title": "One more"}),
    commands.ChangeMilestone: (BUYER, {"milestone": 1}),
    commands.Fund: (BUYER, {}),
    commands.StartWork: (SELLER, {}),
    commands.SubmitMilestone: (SELLER, {"milestone": 1}),
    commands.WithdrawSubmission: (SELLER, {"milestone": 1}),
    commands.ApproveMilestone: (BUYER, {"milestone": 1}),
    commands.RejectMilestone: (BUYER, {"milestone": 1, "reason": "the logo is missing"}),
    commands.ReverseMilestone: (SELLER, {"milestone": 1, "reason": "less work than agreed"}),
    commands.Complete: (BUYER, {}),
    commands.Cancel: (SELLER, {}),
    commands.Refund: (SELLER, {}),
    commands.RaiseDispute: (BUYER, {"reason": "not as agreed", "description": "It does not open."}),
    commands.AddEvidence: (SELLER, {"statement": "It opens here."}),
    commands.ReviewDispute: (OPERATOR, {}),
    commands.ResolveDispute: (OPERATOR, {"details": "Both sides were heard."}),
    commands.CloseDispute: (OPERATOR, {}),
    commands.RequestPayout: (SELLER, {}),
    commands.RetryPayout: (SELLER, {}),
    commands.OpenChargeback: (OPERATOR, {"reference": "du_1"}),
    commands.CloseChargeback: (OPERATOR, {}),
    commands.ReachDeadline: (SYSTEM, {}),
    commands.SendPayout: (SYSTEM, {}),
    commands.RecordPayout: (SYSTEM, {}),
}

# The shortest way to every state, from ``created``.
PATHS: Final[dict[State, tuple[type[Command], ...]]] = {
    State.CREATED: (),
    State.FUNDED: (commands.Fund,),
    State.IN_PROGRESS: (commands.Fund, commands.StartWork),
    State.MILESTONE_PENDING: (commands.Fund, commands.StartWork, commands.SubmitMilestone),
    State.MILESTONE_APPROVED: (
        commands.Fund, commands.StartWork, commands.SubmitMilestone, commands.ApproveMilestone,
    ),
    State.COMPLETED: (commands.Fund, commands.StartWork, commands.Complete),
    State.DISPUTED: (commands.Fund, commands.StartWork, commands.RaiseDispute),
    State.CANCELLED: (commands.Cancel,),
    State.REFUNDED: (commands.Fund, commands.Refund),
}  # fmt: skip

_PROCESS: Final = os.urandom(5)  # parallel test processes share a database, and must not share ids
_numbers = count(1)


def new_id(prefix: str, at: datetime = NOW) -> str:
    """A fresh id of that kind; ids of one process and moment sort in the order in which they were made."""
    return ids.make(prefix, at, _PROCESS + next(_numbers).to_bytes(5, "big"))


def policies(
    rate: str | None = "0.10",
    *,
    refund: str | None = "0",
    split: str | None = "0.10",
    reversal: str | None = "0",
    version: int = 1,
    payer: str = "seller",
    dispute_fee: dict[str, Any] | None = None,
    release: ReleasePolicy | None = None,
    **others: Any,
) -> Policies:
    """Policies with one fee rule per outcome for every category; a rate of None leaves that outcome without a rule.

    ``payer`` bears the fees of release and split. ``others`` are further fields of ``Policies``.
    """
    rates = {"release": rate, "refund": refund, "split": split, "reversal": reversal}
    payers = {"release": payer, "split": payer if rate else "seller"}
    rules = [
        {"outcome": name, "rate": value, "payer": payers.get(name, "seller")} for name, value in rates.items() if value
    ]
    fees = {"rules": tuple(FeeRule.model_validate(rule) for rule in rules), "dispute_fee": dispute_fee}
    return Policies(
        fees=FeePolicy.model_validate(fees),
        fees_version=version,
        release=release or ReleasePolicy(),
        **others,
    )


def a_create(
    amount: int = 500000, milestones: tuple[int, ...] = (150000, 200000, 150000), *, by: Actor = BUYER, **fields: Any
) -> Create:
    """A command to create an escrow between alice and bob; ``milestones`` are amounts in minor units."""
    drafts = tuple(MilestoneDraft(title=f"Part {n}", amount=part) for n, part in enumerate(milestones, start=1))
    usual = {
        "id": new_id("cmd"), "escrow": new_id("esc"), "tenant": new_id("ten"), "buyer": "alice", "seller": "bob",
        "currency": "EUR", "title": "Website redesign", "milestones": drafts,
    }  # fmt: skip
    return Create(actor=by, amount=amount, **(usual | fields))


def order(kind: type[C], escrow: Escrow, /, *, by: Actor | None = None, **fields: Any) -> C:
    """A command on an escrow by whoever usually sends it, with a fresh command id.

    Milestones are named by position (``milestone=1``); a dispute, payout or deadline that is not named is the open
    dispute, the latest payout or the next deadline.
    """
    actor, usual = _USUAL[kind]
    fields = usual | fields
    if isinstance(fields.get("milestone"), int):
        fields["milestone"] = escrow.milestones[fields["milestone"] - 1].id
    if kind is commands.RaiseDispute and "milestones" in fields:
        fields["milestones"] = tuple(
            escrow.milestones[one - 1].id if isinstance(one, int) else one for one in fields["milestones"]
        )
    if "dispute" in kind.model_fields and escrow.disputes:
        fields.setdefault("dispute", (escrow.open_dispute or escrow.disputes[-1]).id)
    if "payout" in kind.model_fields and escrow.payouts:
        fields.setdefault("payout", escrow.payouts[-1].id)
        if "generation" in kind.model_fields:
            fields.setdefault("generation", escrow.payouts[-1].generation)
    if kind is commands.ReachDeadline and escrow.next_deadline:
        fields = {"deadline": escrow.next_deadline.id, "generation": escrow.next_deadline.generation} | fields
    identifier = f"~{new_id('cmd')}" if issubclass(kind, SystemCommand) else new_id("cmd")
    return kind(**({"id": identifier, "escrow": escrow.id, "actor": by or actor} | fields))


@dataclass
class Deal:
    """One escrow under fixed policies and a clock that only the test moves; its books are the sums of the postings.

    ``wallet`` is what the buyer had before the deal, in minor units; ``buyer`` and ``seller`` say what else is known
    of them from before.
    """

    escrow: Escrow
    policies: Policies
    now: datetime = NOW
    wallet: int = 10**10
    destination: str | None = "acct_bob"
    buyer: Party = field(default_factory=Party)
    seller: Party = field(default_factory=Party)
    rate: Rate | None = None
    decisions: list[Decision] = field(default_factory=list)
    books: Counter[tuple[AccountKind, str]] = field(default_factory=Counter)

    @classmethod
    def agreed(cls, create: Create | None = None, policies_: Policies | None = None, **fields: Any) -> Self:
        """A deal in ``created``. ``fields`` go to ``a_create``: ``Deal.agreed(amount=100, milestones=(100,))``."""
        create, in_force = create or a_create(**fields), policies_ or policies()
        deal = cls(creation.blank(create, NOW, in_force.release, 0), in_force)
        deal.play(create)
        return deal

    @classmethod
    def at(cls, state: State, policies_: Policies | None = None, **fields: Any) -> Self:
        """A deal that legal commands brought to a state: at work nothing is submitted, then milestone 1 is."""
        deal = cls.agreed(policies_=policies_, **fields)
        for kind in PATHS[state]:
            deal.do(kind)
        return deal

    @property
    def funds(self) -> Funds:
        """What is known of money outside the escrow."""
        escrow, seller = self.escrow, self.seller
        return Funds(
            buyer=replace(self.buyer, wallet=self.wallet + self.balance(AccountKind.WALLET, escrow.buyer)),
            seller=replace(
                seller,
                destination=self.destination,
                wallet=seller.wallet + self.balance(AccountKind.WALLET, escrow.seller),
                payable=seller.payable + self.balance(AccountKind.PAYABLE, escrow.seller),
                receivable=seller.receivable + self.balance(AccountKind.RECEIVABLE, escrow.seller),
                volume=seller.volume + sum(one.settlement.volume for one in self.decisions if one.settlement),
            ),
            rate=self.rate,
        )

    def respond(self, command: Command, funds: Funds | None = None) -> Decision | Refusal:
        """Decide on a command; an accepted one changes the deal and its books."""
        answer = decide(self.escrow, command, self.policies, self.now, funds or self.funds)
        if isinstance(answer, Decision):
            self.escrow = answer.escrow
            self.decisions.append(answer)
            for transaction in answer.transactions:
                self._book(transaction)
        return answer

    def play(self, command: Command, funds: Funds | None = None) -> Decision:
        """Decide on a command that has to be accepted."""
        answer = self.respond(command, funds)
        assert isinstance(answer, Decision), f"{command.name} was refused: {answer.message}"
        return answer

    def do(self, kind: type[Command], /, *, by: Actor | None = None, **fields: Any) -> Decision:
        """Send a usual command that has to be accepted: ``deal.do(ApproveMilestone, milestone=2)``."""
        return self.play(order(kind, self.escrow, by=by, **fields))

    def refused(self, kind: type[Command], /, *, by: Actor | None = None, **fields: Any) -> Refusal:
        """Send a usual command that has to be refused, changing nothing."""
        before = self.escrow.model_dump_json()
        answer = self.respond(order(kind, self.escrow, by=by, **fields))
        assert isinstance(answer, Refusal), f"{kind.__name__} should have been refused"
        assert self.escrow.model_dump_json() == before
        return answer

    def reach(self) -> Decision:
        """Wait until the next deadline and let it take effect."""
        deadline = self.next_deadline
        self.now = deadline.due_at
        return self.do(commands.ReachDeadline)

    @property
    def next_deadline(self) -> Deadline:
        """The deadline that comes first; there has to be one."""
        assert self.escrow.next_deadline is not None, "no deadline is set"
        return self.escrow.next_deadline

    def balance(self, kind: AccountKind, owner: str) -> int:
        """The balance of an account on its normal side, in minor units."""
        return self.books[kind, owner]

    def _book(self, transaction: LedgerTransaction) -> None:
        for posting in transaction.postings:
            increases = (posting.direction == "debit") == (posting.kind in DEBIT_NORMAL)
            self.books[posting.kind, posting.owner] += posting.money.amount if increases else -posting.money.amount


def an_escrow(state: State = State.FUNDED, policies_: Policies | None = None, **fields: Any) -> Escrow:
    """The snapshot of an escrow in a state, reached by legal commands. ``fields`` go to ``a_create``."""
    return Deal.at(state, policies_, **fields).escrow


def eur(amount: int) -> Money:
    """Minor units of euro."""
    return Money(amount, "EUR")
