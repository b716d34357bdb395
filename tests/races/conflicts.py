"""Sets of commands that get in each other's way: what is fired at an escrow in each of its situations.

A menu has everything that somebody could want of an escrow at that moment; a race is a handful drawn from it, some of
them twice, some under another's id. Which may be accepted is the model's to say.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final

from models import commands as c
from models import deadlines
from models.commands import Command
from tests.builders import new_id
from tests.database.books_model import Deal
from tests.races.town import RIVALS, Town

Wish = Callable[[], Command]
Menu = list[Wish]

PEOPLE: Final = ("ann", "ben", "cat")
VERDICTS: Final[tuple[dict[str, Any], ...]] = (
    {"resolution": "buyer_favor"}, {"resolution": "seller_favor"}, {"resolution": "mediation"},
    {"resolution": "split", "seller_share": "0.7"}, {"resolution": "partial_refund", "refund_amount": 7},
)  # fmt: skip


def agree(town: Town, buyer: str, seller: str, amount: int, parts: int) -> Deal:
    """A deal in ``created``, of so many equal milestones."""
    command = a_create(town, buyer, seller, amount, parts)
    town.agree(command, (None,) * parts)
    return town.world.deals[command.escrow]


def a_create(town: Town, buyer: str, seller: str, amount: int, parts: int, escrow: str | None = None) -> c.Create:
    """The command that agrees on a deal."""
    drafts = tuple(c.MilestoneDraft(title="Part", amount=amount // max(1, parts)) for _ in range(parts))
    return c.Create(
        id=new_id("cmd"), escrow=escrow or new_id("esc"), tenant=town.tenant, actor=c.Actor(role="buyer", party=buyer),
        buyer=buyer, seller=seller, amount=amount, currency="EUR", title="Website", milestones=drafts,
    )  # fmt: skip


class Situation:
    """An escrow on its way to where the race begins, and what may be wanted of it there."""

    def __init__(self, town: Town, dice: Random, buyer: str, seller: str) -> None:
        self.town, self.dice = town, dice
        self.deal = agree(town, buyer, seller, dice.randrange(60, 400), dice.randrange(1, 4))

    def do(self, kind: type[Command], **fields: Any) -> None:
        """Bring it one step further."""
        outcome = self.town.play(self.town.ask(kind, self.now, **fields))
        assert outcome.refusal is None, outcome.refusal

    @property
    def now(self) -> Deal:
        """The deal as the model has it."""
        return self.town.world.deals[self.deal.id]

    def wish(self, kind: type[Command], /, **fields: Any) -> Wish:
        """A command by whoever usually sends it, or an operator; on this version, another, or on none."""
        return lambda: self.town.ask(kind, self.now, self.dice.choice((0, 0, 0, 0, 11, 14, 14, 15)), **fields)

    def funded(self) -> None:
        """Paid in from a wallet that has enough."""
        self.town.fill(self.now)
        self.do(c.Fund)

    def submitted(self) -> None:
        """The first milestone is under review."""
        self.funded()
        self.do(c.StartWork)
        self.do(c.SubmitMilestone, milestone=self.first)

    def released(self) -> None:
        """The first milestone is released."""
        self.submitted()
        self.do(c.ApproveMilestone, milestone=self.first)

    @property
    def first(self) -> str:
        """The first milestone."""
        return self.now.parts[0].id

    def part(self) -> int:
        """Some amount, often all of the first milestone."""
        whole = self.now.parts[0].amount
        return self.dice.choice((whole, whole, 1, max(1, whole // 2), whole + 1))

    def contests(self) -> Menu:
        """The payer's bank."""
        amount = self.dice.choice((self.now.amount, 30))
        reference, other = f"du_{self.deal.id}", f"du_{new_id('cmd')}"
        opened = [self.wish(c.OpenChargeback, reference=one, amount=amount, kind=self.dice.choice(
            ("chargeback", "failed_charge"))) for one in (reference, other)]  # fmt: skip
        return [*opened, self.wish(c.CloseChargeback, outcome=self.dice.choice(("won", "lost")))]

    def dispute(self) -> Menu:
        """Freeze all of it, or a part."""
        said = {"reason": "not as agreed", "description": "It does not open."}
        return [self.wish(c.RaiseDispute, **said), self.wish(c.RaiseDispute, **said, milestones=(self.first,))]

    def of_milestone(self, *kinds: type[Command]) -> Menu:
        """Commands about the first milestone."""
        said: dict[type[Command], dict[str, Any]] = {c.RejectMilestone: {"reason": "the logo is missing"}}
        return [self.wish(kind, milestone=self.first, **said.get(kind, {})) for kind in kinds]

    def reverse(self) -> Wish:
        """Give back a part of the first milestone, or claw it back."""
        return self.wish(c.ReverseMilestone, milestone=self.first, amount=self.part(), reason="less work")


def created(at: Situation) -> Menu:
    """Two fundings, a cancellation, and a change of what is funded."""
    at.town.fill(at.now)
    return [
        *[at.wish(c.Fund)] * 3, at.wish(c.Cancel), at.wish(c.Amend, amount=at.now.amount + 1),
        at.wish(c.AddMilestone, title="More", amount=1), at.wish(c.StartWork),
    ]  # fmt: skip


def poor(at: Situation) -> Menu:
    """Fundings by a wallet that may have too little: of several escrows of this buyer it pays for some."""
    return [at.wish(c.Fund)] * 3


def funded(at: Situation) -> Menu:
    """Work, its end before it began, a dispute and the bank."""
    at.funded()
    return [
        *[at.wish(c.StartWork)] * 2, *[at.wish(c.Cancel)] * 2, *[at.wish(c.Refund)] * 2, *at.dispute(), *at.contests(),
        at.reverse(),
    ]  # fmt: skip


def under_review(at: Situation) -> Menu:
    """Everything that can become of a submission."""
    at.submitted()
    kinds = (c.ApproveMilestone, c.ApproveMilestone, c.RejectMilestone, c.WithdrawSubmission)
    return [
        *at.of_milestone(*kinds), *at.dispute(), at.reverse(), at.reverse(), at.wish(c.Cancel), at.wish(c.Refund),
        at.wish(c.Complete), *at.contests(),
    ]  # fmt: skip


def at_its_deadline(at: Situation) -> Menu:
    """The window's end, and everybody who wakes up at the last moment."""
    at.submitted()
    escrow = at.town.seen[at.deal.id]
    due = escrow.next_deadline
    assert due is not None
    reach = deadlines.reach(escrow, due, due.due_at)
    kinds = (c.ApproveMilestone, c.RejectMilestone, c.WithdrawSubmission)
    return [*[lambda: reach] * 4, *at.of_milestone(*kinds), *at.dispute(), at.reverse()]


def in_dispute(at: Situation) -> Menu:
    """Somebody takes the dispute, somebody judges before anybody has."""
    at.funded()
    at.do(c.RaiseDispute, reason="not as agreed", description="It does not open.")
    return [*[_in_file(at, c.ReviewDispute)] * 3, _in_file(at, c.AddEvidence, statement="It opens here."),
            _verdict(at), at.wish(c.Cancel), *at.of_milestone(c.SubmitMilestone), *at.contests()]  # fmt: skip


def before_the_judge(at: Situation) -> Menu:
    """Several verdicts at the same instant."""
    at.funded()
    if at.dice.random() < 0.5:
        at.do(c.StartWork)
        at.do(c.SubmitMilestone, milestone=at.first)
    at.do(c.RaiseDispute, reason="not as agreed", description="It does not open.")
    at.do(c.ReviewDispute, dispute=at.now.quarrels[-1].id)
    return [*[_verdict(at) for _ in range(6)], _in_file(at, c.CloseDispute),
            _in_file(at, c.AddEvidence, statement="It opens here."), *at.contests()[:2]]  # fmt: skip


def _in_file(at: Situation, kind: type[Command], **fields: Any) -> Wish:
    return at.wish(kind, dispute=at.now.quarrels[-1].id, **fields)


def _verdict(at: Situation) -> Wish:
    return _in_file(at, c.ResolveDispute, details="Both were heard.", **at.dice.choice(VERDICTS))


def contested(at: Situation) -> Menu:
    """The bank decides while everybody goes on."""
    getattr(at, at.dice.choice(("funded", "submitted", "released")))()
    at.do(c.OpenChargeback, reference="du_1", amount=at.dice.randrange(1, at.now.amount))
    ends = [at.wish(c.CloseChargeback, outcome=one) for one in ("won", "lost", "won", "lost")]
    return [*ends, *at.contests(), *at.dispute(), at.reverse(), at.wish(c.Complete), *at.of_milestone(
        c.SubmitMilestone, c.ApproveMilestone, c.RejectMilestone)]  # fmt: skip


def payout_due(at: Situation) -> Menu:
    """It is sent, and taken back, at the same instant."""
    at.released()
    return _of_payout(at, c.SendPayout, c.SendPayout, c.RequestPayout, c.RetryPayout)


def in_transit(at: Situation) -> Menu:
    """The gateway says paid and failed and nothing and returned, all at once."""
    at.released()
    if at.now.claims and at.now.claims[0].status == "due" and at.now.claims[0].hold is None:
        _payout(at, c.SendPayout)
        if at.now.claims[0].status == "in_transit" and (said := at.dice.choice((None, "unknown", "paid", "failed"))):
            _payout(at, c.RecordPayout, outcome=said)
    return _of_payout(at, c.SendPayout, c.RetryPayout) + _of_payout(at)[:-1] * 2


def _payout(at: Situation, kind: type[Command], **fields: Any) -> None:
    claim = at.now.claims[0]
    at.do(kind, payout=claim.id, generation=claim.generation, **fields)


def _of_payout(at: Situation, *kinds: type[Command]) -> Menu:
    """These about the latest payout, every answer of the gateway, a clawback, and the bank."""
    if not at.now.claims:  # the fee took all of it
        return [at.reverse(), *at.contests()]
    claim = at.now.claims[0]
    numbered = {"payout": claim.id, "generation": claim.generation}
    menu = [
        at.wish(kind, **(numbered if "generation" in kind.model_fields else {"payout": claim.id})) for kind in kinds
    ]
    menu += [at.wish(c.RecordPayout, **numbered, outcome=one) for one in ("paid", "failed", "unknown", "returned")]
    return [*menu, at.reverse(), at.reverse(), at.contests()[0]]


SITUATIONS: Final[dict[str, Callable[[Situation], Menu]]] = {
    one.__name__: one
    for one in (
        created, funded, under_review, at_its_deadline, in_dispute, before_the_judge, contested, payout_due, in_transit,
    )
}  # fmt: skip


def drawn(dice: Random, menu: Menu, count: int) -> list[Command]:
    """So many commands of a menu. Some come twice, and sometimes two have one id and not one body."""
    picked = [dice.choice(menu)() for _ in range(count)]
    if dice.random() < 0.4:
        picked.append(dice.choice(picked))
    if dice.random() < 0.4:
        first, other = dice.choice(picked), dice.choice(picked)
        if _may_share(first, other):
            picked.append(other.model_copy(update={"id": first.id}))
    return picked[:RIVALS]


def _may_share(first: Command, other: Command) -> bool:
    """Whether two may come under one id. That of a deadline is used up only by what it does, which may be nothing."""
    alike = first.id.startswith("~") == other.id.startswith("~")
    return alike and not isinstance(first, c.ReachDeadline) and not isinstance(other, c.ReachDeadline)


def on_one(town: Town, dice: Random, name: str) -> list[Command]:
    """A race about one escrow in that situation."""
    buyer, seller = dice.sample(PEOPLE, 2)
    return drawn(dice, SITUATIONS[name](Situation(town, dice, buyer, seller)), dice.randrange(3, RIVALS - 1))


def on_creation(town: Town, dice: Random) -> list[Command]:
    """Several agree on an escrow of one id, and one of them twice."""
    escrow, make = new_id("esc"), partial(a_create, town, "ann", "ben")
    rivals: list[Command] = [make(dice.randrange(60, 99), dice.randrange(3), escrow) for _ in range(4)]
    return [*rivals, *rivals[:2], rivals[2].model_copy(update={"title": "Another website"})]


def across(town: Town, dice: Random) -> list[Command]:
    """A race about several escrows of the same few people, who buy of each other: one's payable, another's wallet."""
    people = dice.sample(PEOPLE, 2)
    picked: list[Command] = []
    for number in range(dice.randrange(2, 5)):
        buyer, seller = people if number % 2 else people[::-1]
        at = Situation(town, dice, buyer, seller)
        menu = dice.choice((poor, *SITUATIONS.values()))(at)
        picked += [dice.choice(menu)() for _ in range(dice.randrange(1, 4))]
    if dice.random() < 0.3:  # one id for two escrows
        first, other = picked[0], picked[-1]
        if _may_share(first, other) and first.escrow != other.escrow:
            picked.append(other.model_copy(update={"id": first.id}))
    return picked[:RIVALS]


def short_of_money(town: Town, dice: Random) -> list[Command]:
    """One wallet, several fundings that it cannot pay together, and a refund that fills it meanwhile."""
    buyer, seller = dice.sample(PEOPLE, 2)
    refunded = Situation(town, dice, buyer, seller)
    refunded.funded()
    ones = [Situation(town, dice, buyer, dice.choice([one for one in PEOPLE if one != buyer])) for _ in range(3)]
    town.fill(ones[0].now)
    fundings = [one.wish(c.Fund)() for one in ones for _ in range(2)]
    return [*fundings, refunded.wish(c.Refund)(), refunded.wish(c.Cancel)()]


def _both_ways(town: Town, dice: Random) -> tuple[Situation, Situation]:
    """Two newcomers who buy of each other, under plain fees and a dispute fee of 7 that the buyer pays."""
    town.put_fees(0, 0, 0, 4)
    town.put_terms(0, 0, 0, 0)
    one, other = town.newcomer(), town.newcomer()
    return Situation(town, dice, one, other), Situation(town, dice, other, one)


def verdicts_both_ways(town: Town, dice: Random) -> list[Command]:
    """Each loses as a buyer, who then owes the fee, and wins as a seller, of whose share debts are taken."""
    ways = _both_ways(town, dice)
    for at in ways:
        at.funded()
        at.do(c.RaiseDispute, reason="not as agreed", description="It does not open.")
        at.do(c.ReviewDispute, dispute=at.now.quarrels[-1].id)
    verdict = {"details": "Both were heard.", "resolution": "seller_favor"}
    return [town.ask(c.ResolveDispute, at.now, dispute=at.now.quarrels[-1].id, **verdict) for at in ways]


def clawbacks_both_ways(town: Town, dice: Random) -> list[Command]:
    """Both were paid and have nothing left: what one has to give back is what the other gets back."""
    ways = _both_ways(town, dice)
    for at in ways:
        at.released()
        if at.now.claims:
            _payout(at, c.SendPayout)
    return [
        town.ask(c.ReverseMilestone, at.now, milestone=at.first, amount=at.now.parts[0].amount // 5, reason="too late")
        for _ in range(4)
        for at in ways
    ]


ACROSS: Final[dict[str, Callable[[Town, Random], list[Command]]]] = {
    one.__name__: one for one in (on_creation, across, short_of_money, verdicts_both_ways, clawbacks_both_ways)
}


def next_race(town: Town, dice: Random, number: int) -> tuple[str, list[Command]]:
    """The race of that number: every situation in turn, then those across escrows."""
    names = [*SITUATIONS, *ACROSS, "across"]
    name = names[number % len(names)]
    return name, on_one(town, dice, name) if name in SITUATIONS else ACROSS[name](town, dice)
