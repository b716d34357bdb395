"""The edge cases of money and lifecycle that need nothing but the core. Numbers are those of edge_cases.md."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models import commands
from models.commands import Amend, ApproveMilestone, Cancel, Complete, Refund, ReverseMilestone, SubmitMilestone
from models.decision import Decision, Settlement
from models.errors import Refusal
from models.fee_policies import FeeRule
from models.money import Money
from models.postings import AccountKind
from models.rules.creation import blank
from models.states import MilestoneStatus, State
from tests.builders import NOW, Deal, a_create, order, policies

THIRDS = [Decimal(1)] * 3


def settlements(deal: Deal) -> list[Settlement]:
    """All settlements of the deal, in order."""
    return [decision.settlement for decision in deal.decisions if decision.settlement]


def test_edge_19_last_cent_of_thirds() -> None:
    parts = Money.parse("100.01", "EUR").divide(THIRDS)
    assert [part.amount for part in parts] == [3334, 3334, 3333]


def test_edge_19_last_cent_of_33_33_34_percent() -> None:
    parts = Money.parse("100.01", "EUR").divide([Decimal(33), Decimal(33), Decimal(34)])
    assert [part.amount for part in parts] == [3300, 3300, 3401]


def test_edge_19_yen_have_no_cents_and_dinars_have_a_thousand() -> None:
    assert [part.amount for part in Money.parse("100", "JPY").divide(THIRDS)] == [34, 33, 33]
    assert [part.amount for part in Money.parse("1.000", "KWD").divide(THIRDS)] == [334, 333, 333]


def test_edge_19_one_unit_split_in_two_goes_to_the_seller_and_is_not_lost() -> None:
    deal = Deal.at(State.DISPUTED, policies(split="0"), amount=1, milestones=(), currency="JPY")
    deal.do(commands.ReviewDispute)
    deal.do(commands.ResolveDispute, resolution="split", seller_share="0.5")
    (settlement,) = settlements(deal)
    assert (settlement.division.seller_payout.amount, settlement.division.buyer_refund.amount) == (1, 0)


def test_edge_20_a_fee_never_exceeds_what_it_is_taken_from() -> None:
    deal = Deal.at(State.IN_PROGRESS, policies("0.9999999999"), amount=1, milestones=())
    deal.do(Complete)
    assert settlements(deal)[0].division.platform_fee.amount == 1
    assert settlements(deal)[0].division.seller_payout.amount == 0


@pytest.mark.parametrize("rate", ["1.01", "-0.1", "NaN", "Infinity", "ten", "0.12345678901"])
def test_edge_20_a_rate_above_the_gross_or_below_zero_or_no_decimal_is_refused_when_written(rate: str) -> None:
    with pytest.raises(ValidationError):
        FeeRule.model_validate({"outcome": "release", "rate": rate})


def test_edge_20_a_rate_that_passed_through_a_float_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected a decimal string"):
        FeeRule.model_validate({"outcome": "release", "rate": 0.1})


def test_edge_20_a_zero_fee_writes_no_leg() -> None:
    deal = Deal.at(State.IN_PROGRESS, policies("0"))
    (transaction,) = deal.do(Complete).transactions
    assert [posting.kind for posting in transaction.postings] == [AccountKind.ESCROW_HOLD, AccountKind.PAYABLE]


def test_edge_20_a_100_percent_fee_makes_no_payout_due() -> None:
    deal = Deal.at(State.IN_PROGRESS, policies("1"))
    (transaction,) = deal.do(Complete).transactions
    assert [posting.kind for posting in transaction.postings] == [AccountKind.ESCROW_HOLD, AccountKind.FEE_REVENUE]
    assert deal.escrow.payouts == ()
    assert deal.escrow.finished


def test_edge_20_a_zero_amount_milestone_cannot_be_agreed() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        a_create(milestones=(0,))


CUTS = st.integers(2, 10**6).flatmap(lambda total: st.tuples(st.just(total), st.lists(st.integers(1, total - 1))))


@settings(deadline=None)
@given(CUTS, st.decimals(0, 1, places=4))
def test_edge_21_n_partial_reversals_equal_one_full_one_in_fee_and_payout(
    cuts: tuple[int, list[int]], rate: Decimal
) -> None:
    total, points = cuts
    steps = [after - before for before, after in pairwise(sorted({0, *points, total}))]
    many, one = (
        Deal.at(State.FUNDED, policies(str(rate)), amount=total, milestones=(total,), currency="JPY") for _ in range(2)
    )
    for step in steps:
        many.do(ReverseMilestone, amount=step)
    one.do(ReverseMilestone, amount=total)
    assert summed(many) == summed(one)
    assert many.escrow.refunded == one.escrow.refunded == total
    assert many.escrow.state == one.escrow.state == State.CANCELLED


def summed(deal: Deal) -> tuple[int, int, int]:
    """Fee given up, earnings given up and money returned, over all of a deal's reversals."""
    gone = [one.projection for one in settlements(deal) if one.projection]
    return (
        sum(one.fee_returned.amount for one in gone),
        sum(one.payout_reduced.amount for one in gone),
        sum(one.division.buyer_refund.amount for one in settlements(deal)),
    )


def test_edge_22_reversals_together_above_the_original_are_refused() -> None:
    deal = Deal.at(State.FUNDED)
    deal.do(ReverseMilestone, milestone=1, amount=100000)
    refusal = deal.refused(ReverseMilestone, milestone=1, amount=50001)
    assert (refusal.code, refusal.details["refundable"]) == ("refund_amount_mismatch", 50000)
    deal.do(ReverseMilestone, milestone=1, amount=50000)
    assert deal.escrow.refunded == 150000


@settings(deadline=None)
@given(st.lists(st.integers(1, 100), min_size=2, max_size=12))
def test_edge_22_a_reversal_is_accepted_exactly_while_the_milestone_still_holds_it(amounts: list[int]) -> None:
    deal = Deal.at(State.FUNDED, amount=300, milestones=(100, 200))
    returned = 0
    for amount in amounts:
        accepted = isinstance(deal.respond(order(ReverseMilestone, deal.escrow, amount=amount)), Decision)
        assert accepted == (returned + amount <= 100)
        returned += amount if accepted else 0
        assert deal.escrow.milestones[0].reversed == deal.escrow.refunded == returned


def test_edge_22_fully_reversed_means_no_more() -> None:
    deal = Deal.at(State.FUNDED)
    deal.do(ReverseMilestone, milestone=1, amount=150000)
    assert deal.escrow.milestones[0].status == MilestoneStatus.REFUNDED
    for kind, fields in ((ReverseMilestone, {"amount": 1}), (commands.RaiseDispute, {"milestones": (1,)})):
        assert deal.refused(kind, **fields).code == "invalid_transition"


def test_edge_25_without_a_fee_rule_nothing_moves_and_the_same_command_works_once_there_is_one() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, policies(None))
    approve = order(ApproveMilestone, deal.escrow)
    before = deal.escrow
    refusal = deal.respond(approve)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.kind.retry_may_help) == ("fee_policy_not_found", True)
    assert refusal.details == {"outcome": "release", "category": "general", "rules": ["refund/*", "split/*", "reversal/*"]}  # fmt: skip  # noqa: E501
    assert deal.escrow == before
    deal.policies = policies()
    assert deal.play(approve).escrow.released == 150000


@pytest.mark.parametrize(
    ("missing", "state", "kind"),
    [
        ("rate", State.IN_PROGRESS, Complete),
        ("refund", State.IN_PROGRESS, Cancel),
        ("refund", State.FUNDED, Refund),
        ("reversal", State.FUNDED, ReverseMilestone),
    ],
)
def test_edge_25_every_outcome_needs_its_own_rule(missing: str, state: State, kind: type[commands.Command]) -> None:
    without = policies(None) if missing == "rate" else policies(**{missing: None})  # type: ignore[arg-type]
    extra: dict[str, Any] = {"amount": 1} if kind is ReverseMilestone else {}
    assert Deal.at(state, without).refused(kind, **extra).code == "fee_policy_not_found"


def test_edge_25_an_escrow_that_holds_nothing_is_cancelled_without_any_fee_rule() -> None:
    deal = Deal.at(State.CREATED, policies(None, refund=None))
    decision = deal.do(Cancel)
    assert (decision.settlement, decision.transactions) == (None, ())


def test_edge_28_milestones_below_the_amount_leave_a_rest_that_completion_releases() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, amount=100000, milestones=(60000,))
    assert deal.do(ApproveMilestone).escrow.state == State.MILESTONE_APPROVED
    assert deal.escrow.held == 40000
    assert deal.do(Complete).escrow.state == State.COMPLETED
    assert [payout.amount for payout in deal.escrow.payouts] == [54000, 36000]


@pytest.mark.parametrize("parts", [(100001,), (50000, 50001), (1, 100000)])
def test_edge_28_milestones_above_the_amount_are_refused_at_creation(parts: tuple[int, ...]) -> None:
    create = a_create(100000, parts)
    answer = Deal(blank(create, NOW, policies().release, 0), policies()).respond(create)
    assert isinstance(answer, Refusal)
    assert answer.code == "invalid_command"
    assert answer.details == {"milestones": sum(parts), "amount": 100000}


def test_edge_30_a_refund_greater_than_refundable_is_refused_with_what_is() -> None:
    deal = Deal.at(State.FUNDED)
    deal.do(ReverseMilestone, milestone=1, amount=50000)
    for amount in (450001, 449999):
        refusal = deal.refused(Refund, amount=amount)
        assert (refusal.code, refusal.details["refundable"]) == ("refund_amount_mismatch", 450000)
    assert deal.do(Refund, amount=450000).escrow.refunded == 500000


def test_edge_32_a_fourth_milestone_is_refused_in_the_specified_words() -> None:
    create = a_create(milestones=(1, 1, 1, 1))
    answer = Deal(blank(create, NOW, policies().release, 0), policies()).respond(create)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.message) == ("milestone_limit", "Maximum 3 milestones allowed per project")
    assert answer.details == {"limit": 3, "given": 4}
    amended = Deal.at(State.CREATED).refused(Amend, milestones=create.milestones)
    assert amended.message == "Maximum 3 milestones allowed per project"


@pytest.mark.parametrize("state", [state for state in State if state != State.CREATED])
def test_edge_33_an_amendment_after_funding_is_refused(state: State) -> None:
    refusal = Deal.at(state).refused(Amend, title="Another website")
    assert (refusal.code, refusal.details["event"]) == ("invalid_transition", "amend")


def test_edge_40_the_last_milestone_is_cancelled_after_the_others_were_paid_and_no_unit_is_orphaned() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.do(SubmitMilestone, milestone=2)
    deal.do(ApproveMilestone, milestone=2)
    for payout in deal.escrow.payouts:
        deal.do(commands.SendPayout, payout=payout.id)
        deal.do(commands.RecordPayout, payout=payout.id, outcome="paid")
    decision = deal.do(Cancel)
    assert isinstance(decision, Decision)
    assert [str(milestone.status) for milestone in deal.escrow.milestones] == ["paid", "paid", "cancelled"]
    assert (deal.escrow.released, deal.escrow.refunded, deal.escrow.refundable) == (350000, 150000, 0)
    assert deal.balance(AccountKind.ESCROW_HOLD, deal.escrow.id) == 0
    assert deal.escrow.state == State.CANCELLED
    assert deal.escrow.finished
