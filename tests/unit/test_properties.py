"""What holds after every command of every sequence, legal or not: money is conserved, and a refusal changes nothing.

Hypothesis writes the stories. A step says what is tried, by whom and with which numbers; it is turned into a command
on the escrow as it then stands. A wild step tries anything; the others keep to what looks possible, so that stories
get deep into disputes and payouts.
"""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from hypothesis import event, given, settings
from hypothesis import strategies as st

from models import commands
from models.commands import Command
from models.decide import ROWS, decide, refuse_early
from models.decision import Decision
from models.errors import Refusal
from models.escrow import OPEN_MILESTONE, Escrow
from models.payout_terms import PayoutTerms
from models.policies import DisputePolicy, Policies, ReleasePolicy
from models.postings import AccountKind
from models.states import MilestoneStatus, PayoutStatus, State
from tests.builders import BUYER, OPERATOR, PLATFORM, SELLER, SYSTEM, Deal, a_create, new_id, order, policies

KINDS: Final = tuple(row.command for row in ROWS.values())
_PAYOUTS: Final = frozenset({commands.SendPayout, commands.RecordPayout, commands.RetryPayout, commands.RequestPayout})
ENDINGS: Final = frozenset({commands.Complete, commands.Cancel, commands.Refund})
RESOLUTIONS: Final = ("buyer_favor", "seller_favor", "partial_refund", "split", "mediation")


@dataclass(frozen=True)
class Step:
    """One thing somebody tries: a kind of command, or the nearest one that looks possible when the step is not wild."""

    wild: bool
    kind: type[Command]
    by: commands.Actor | None
    milestone: int
    amount: int
    share: Decimal
    resolution: str
    outcome: str
    named: bool
    version: int | None
    wait: timedelta


RATES = st.sampled_from(["0", "0.10", "0.0333", "0.10", "0.5", "0", "1", None])
FEES = st.builds(
    policies,
    rate=RATES,
    refund=RATES,
    split=RATES,
    reversal=RATES,
    payer=st.sampled_from(["seller", "seller", "buyer", "both"]),
    dispute_fee=st.none()
    | st.builds(dict, amount=st.integers(1, 60), payer=st.sampled_from(["buyer", "seller", "loser", "split"])),
    release=st.sampled_from(
        [
            ReleasePolicy(),
            ReleasePolicy(mode="manual", payout=PayoutTerms(trigger="manual", minimum=50)),
            ReleasePolicy(payout=PayoutTerms(trigger="time", clearance=timedelta(days=3), retries=1)),
            ReleasePolicy(review_window=timedelta(days=3), reminders=(timedelta(days=1),), max_rejections=1),
        ]
    ),
    dispute=st.sampled_from(
        [DisputePolicy(default_outcome=outcome) for outcome in ("buyer_favor", "seller_favor", "mediation")]
    ),
)
STEPS = st.lists(
    st.builds(
        Step,
        wild=st.sampled_from([False, False, True]),
        kind=st.sampled_from(KINDS),
        by=st.sampled_from([None] * 12 + [BUYER, SELLER, OPERATOR, PLATFORM, SYSTEM]),
        milestone=st.integers(0, 2),
        amount=st.sampled_from([1, 1, 2, 7, 33, 50, 100]) | st.integers(1, 400),
        share=st.decimals(0, 1, places=2),
        resolution=st.sampled_from(RESOLUTIONS),
        outcome=st.sampled_from(["paid", "paid", "failed", "unknown", "returned"]),
        named=st.booleans(),
        version=st.sampled_from([None] * 10 + [-1, 0, 1]),
        wait=st.sampled_from([timedelta(0), timedelta(hours=1), timedelta(days=4)]),
    ),
    min_size=8,
    max_size=30,
)
STORIES = settings(deadline=None, max_examples=150)


def command_of(step: Step, deal: Deal) -> Command:
    """The step as a command on the escrow as it stands; what a wild one names may be missing, frozen or long over."""
    if step.wild:
        return _spelled_out(step, deal)
    start = KINDS.index(step.kind)
    for kind in KINDS[start:] + KINDS[:start]:
        tame = _spelled_out(replace(step, kind=kind, by=None, version=None, named=kind not in ENDINGS), deal)
        if kind not in ENDINGS and refuse_early(deal.escrow, tame, deal.now) is None:
            return tame
    return _spelled_out(step, deal)


def _spelled_out(step: Step, deal: Deal) -> Command:
    escrow, kind = deal.escrow, step.kind
    extra: dict[str, Any] = {}
    if kind is commands.Create:
        return a_create(escrow=escrow.id)
    fields = kind.model_fields
    milestones = [milestone.id for milestone in escrow.milestones] or [new_id("mil")]
    if "milestone" in fields:
        extra["milestone"] = milestones[step.milestone % len(milestones)]
    extra |= _arguments(step, escrow, milestones)
    if step.version is not None:
        extra["expected_version"] = max(1, escrow.version + step.version)
    return order(kind, escrow, by=step.by, **extra)


def _arguments(step: Step, escrow: Escrow, milestones: list[str]) -> dict[str, Any]:
    """What the step's kind of command needs beside a milestone."""
    if step.kind is commands.RaiseDispute:
        return {"milestones": (milestones[step.milestone % len(milestones)],) if step.named else ()}
    if step.kind is commands.OpenChargeback:
        kind = "chargeback" if step.named else "failed_charge"
        return {"amount": step.amount, "reference": f"du_{len(escrow.chargebacks)}", "kind": kind}
    if step.kind is commands.CloseChargeback:
        return {"outcome": "won" if step.named else "lost"}
    if step.kind in {commands.AddEvidence, commands.ReviewDispute, commands.ResolveDispute, commands.CloseDispute}:
        dispute = {} if escrow.disputes else {"dispute": new_id("dsp")}
        return dispute | (_verdict(step) if step.kind is commands.ResolveDispute else {})
    if step.kind in _PAYOUTS:
        found: dict[str, Any] = {} if escrow.payouts else {"payout": new_id("pay")}
        if "generation" in step.kind.model_fields and not escrow.payouts:
            found["generation"] = 1
        return found | ({"outcome": step.outcome} if step.kind is commands.RecordPayout else {})
    if step.kind is commands.ReachDeadline:
        return {} if escrow.deadlines and step.named else {"deadline": new_id("dln"), "generation": step.milestone}
    if step.kind is commands.ReverseMilestone and not step.wild and escrow.milestones:
        remaining = escrow.milestones[step.milestone % len(milestones)].remaining
        return {"amount": 1 + (step.amount - 1) % max(remaining, 1)}
    if step.kind in {commands.ReverseMilestone, commands.AddMilestone}:
        return {"amount": step.amount}
    if step.kind in {commands.Refund, commands.Amend, commands.ChangeMilestone} and step.named:
        return {"amount": step.amount}
    return {}


def _verdict(step: Step) -> dict[str, Any]:
    argument: dict[str, dict[str, Any]] = {
        "partial_refund": {"refund_amount": step.amount},
        "split": {"seller_share": str(step.share)},
    }
    return {"resolution": step.resolution} | argument.get(step.resolution, {})


@st.composite
def agreements(draw: st.DrawFn, fees: st.SearchStrategy[Policies] = FEES) -> Deal:
    """A funded or barely created escrow with any milestones that fit, and policies that may lack a rule."""
    amount = draw(st.sampled_from([1, 3, 100, 333, 500, 1000]) | st.integers(1, 1000))
    parts, left = [], amount
    for _ in range(draw(st.integers(0, 3))):
        if left:
            parts.append(draw(st.integers(1, left)))
            left -= parts[-1]
    state = draw(st.sampled_from([State.CREATED] + [State.IN_PROGRESS] * 4))
    return Deal.at(
        state, draw(fees), amount=amount, milestones=tuple(parts), currency=draw(st.sampled_from(["EUR", "JPY"]))
    )


def money_is_conserved(deal: Deal) -> None:
    """The counters add up, none is negative, and the postings so far sum to exactly them."""
    escrow = deal.escrow
    parts = [escrow.held, escrow.disputed, escrow.contested, escrow.released, escrow.refunded, escrow.charged_back]
    assert escrow.funded == sum(parts)
    assert min([*parts, escrow.surcharge, escrow.refundable]) >= 0
    assert escrow.surcharge <= escrow.held
    assert escrow.funded == 0 or escrow.funded >= escrow.amount
    assert deal.balance(AccountKind.ESCROW_HOLD, escrow.id) == escrow.held
    assert deal.balance(AccountKind.DISPUTED_FUNDS, escrow.id) == escrow.disputed
    assert deal.balance(AccountKind.CHARGEBACK_HOLD, escrow.id) == escrow.contested
    _the_parties_have_what_left_the_escrow(deal)


def _the_parties_have_what_left_the_escrow(deal: Deal) -> None:
    escrow = deal.escrow
    charged = sum(
        posting.money.amount
        for decision in deal.decisions
        for transaction in decision.transactions
        for posting in transaction.postings
        if transaction.memo == "dispute fee owed" and (posting.kind, posting.owner) == (AccountKind.RECEIVABLE, "alice")
    )
    buyer = deal.balance(AccountKind.WALLET, escrow.buyer) - deal.balance(AccountKind.RECEIVABLE, escrow.buyer)
    assert buyer + charged == escrow.refunded - escrow.funded
    in_transit = [deal.balance(AccountKind.PAYOUT_IN_TRANSIT, payout.id) for payout in escrow.payouts]
    payable = deal.balance(AccountKind.PAYABLE, escrow.seller)
    paid = -deal.balance(AccountKind.GATEWAY_CASH, "stripe") - escrow.charged_back
    owes = deal.balance(AccountKind.RECEIVABLE, escrow.seller) - deal.balance(AccountKind.WALLET, escrow.seller)
    revenue = deal.balance(AccountKind.FEE_REVENUE, "platform") + deal.balance(
        AccountKind.DISPUTE_FEE_REVENUE, "platform"
    )
    revenue -= deal.balance(AccountKind.PLATFORM_LOSS, "platform")
    assert payable - owes + sum(in_transit) + paid + revenue - charged == escrow.released
    assert min([payable, deal.balance(AccountKind.RECEIVABLE, escrow.seller), *in_transit]) >= 0
    unsent = {PayoutStatus.DUE, PayoutStatus.FAILED, PayoutStatus.RETURNED}
    assert payable <= sum(payout.amount for payout in escrow.payouts if payout.status in unsent), "nobody's to send"


def parts_agree_with_the_whole(escrow: Escrow) -> None:
    """Open milestones are covered by what is held, disputes by what is frozen, deadlines by work under review."""
    assert all(one.remaining >= 0 for one in escrow.milestones)
    if escrow.funded:
        promised = sum(one.remaining for one in escrow.milestones if one.status in OPEN_MILESTONE)
        assert promised <= escrow.principal + escrow.contested
    dispute, chargeback = escrow.open_dispute, escrow.open_chargeback
    frozen = dispute.amount + dispute.surcharge if dispute else 0
    assert escrow.disputed == frozen - (chargeback.disputed if chargeback else 0)
    assert escrow.contested == (chargeback.frozen if chargeback else 0)
    assert (escrow.state == State.DISPUTED) == (escrow.open_dispute is not None)
    submitted = {one.id: one.generation for one in escrow.milestones if one.status == MilestoneStatus.SUBMITTED}
    assert all(submitted.get(one.milestone) == one.generation for one in escrow.deadlines if one.milestone)
    assert bool(submitted) == (escrow.state == State.MILESTONE_PENDING) or escrow.state == State.DISPUTED
    if escrow.terminal:
        assert escrow.refundable == 0
        assert all(one.payout for one in escrow.deadlines)


def decision_is_sound(before: Escrow, decision: Decision) -> None:
    """One version further, balanced transactions, and a settlement of no more than there was."""
    assert decision.escrow.version == before.version + 1
    for transaction in decision.transactions:
        sides: Counter[tuple[str, str]] = Counter()
        for posting in transaction.postings:
            assert posting.money.amount > 0
            sides[posting.direction, posting.money.currency] += posting.money.amount
        assert sides["debit", before.currency] == sides["credit", before.currency] == sides.total() // 2
    if decision.settlement and not decision.settlement.taken_back:
        division = decision.settlement.division
        pool = before.disputed + before.surcharge if decision.settlement.dispute else before.held
        assert 0 < division.total.amount <= pool
        moved = (division.platform_fee + division.seller_payout + division.buyer_refund).amount
        assert moved == division.total.amount


@settings(deadline=None, max_examples=300)
@given(agreements(), STEPS)
def test_money_is_conserved_whatever_anyone_tries(deal: Deal, steps: list[Step]) -> None:
    for step in steps:
        deal.now += step.wait
        before, written = deal.escrow, deal.escrow.model_dump_json()
        command = command_of(step, deal)
        answer = deal.respond(command)
        event(f"{command.name}: {answer.code if isinstance(answer, Refusal) else 'accepted'}")
        if isinstance(answer, Decision):
            decision_is_sound(before, answer)
            assert Escrow.model_validate_json(answer.escrow.model_dump_json()) == answer.escrow
        else:
            assert deal.escrow is before
        assert before.model_dump_json() == written
        money_is_conserved(deal)
        parts_agree_with_the_whole(deal.escrow)


@STORIES
@given(agreements(), STEPS)
def test_deciding_is_deterministic_and_an_early_refusal_never_contradicts_it(deal: Deal, steps: list[Step]) -> None:
    for step in steps:
        deal.now += step.wait
        before, command, funds = deal.escrow, command_of(step, deal), deal.funds
        early = refuse_early(before, command, deal.now)
        answer = deal.respond(command)
        assert decide(before, command, deal.policies, deal.now, funds) == answer
        if early:
            assert early == answer


@STORIES
@given(agreements(), STEPS)
def test_a_frozen_milestone_is_moved_only_by_its_disputes_resolution(deal: Deal, steps: list[Step]) -> None:
    for step in steps:
        before, command = deal.escrow, command_of(step, deal)
        answer = deal.respond(command)
        by_the_bank = isinstance(command, commands.OpenChargeback | commands.CloseChargeback)
        if isinstance(answer, Decision) and not by_the_bank and (dispute := before.open_dispute):
            if answer.escrow.open_dispute is None:
                by_default = command.model_dump().get("deadline") in {one.id for one in before.deadlines if one.dispute}
                assert isinstance(command, commands.ResolveDispute) or by_default
                continue
            frozen = dispute.milestones
            assert [answer.escrow.milestone(one) for one in frozen] == [before.milestone(one) for one in frozen]
            assert answer.escrow.disputed == before.disputed


@STORIES
@given(agreements(), st.sampled_from([commands.Complete, commands.Cancel, commands.Refund]), STEPS)
def test_after_the_end_no_command_of_the_state_machine_is_accepted_and_no_held_money_moves(
    deal: Deal, ending: type[Command], steps: list[Step]
) -> None:
    deal.respond(order(ending, deal.escrow))
    for step in steps:
        before, command = deal.escrow, command_of(step, deal)
        answer = deal.respond(command)
        if before.terminal and isinstance(answer, Decision):
            assert ROWS[command.name].event is None
            assert answer.settlement is None or answer.settlement.taken_back
            counters = {"state", "funded", "held", "disputed", "contested"}
            assert answer.escrow.model_dump(include=counters) == before.model_dump(include=counters)


@STORIES
@given(agreements(), STEPS)
def test_no_two_settlements_payouts_or_events_share_an_id_and_no_milestone_is_released_twice(
    deal: Deal, steps: list[Step]
) -> None:
    for step in steps:
        deal.respond(command_of(step, deal))
    settlements = [decision.settlement for decision in deal.decisions if decision.settlement]
    made = [one.id for one in settlements] + [payout.id for payout in deal.escrow.payouts]
    made += [record.id for decision in deal.decisions for record in decision.events]
    assert len(set(made)) == len(made)
    ends = Counter(one for settled in settlements if settled.outcome != "reversal" for one in settled.milestones)
    assert all(times == 1 for times in ends.values())
