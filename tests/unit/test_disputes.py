"""Disputes: the freeze, the review, and the five ways out. Source: domain.md, section 8; edge case 37."""

from typing import Any

import pytest

from models import commands
from models.commands import (
    ApproveMilestone,
    Cancel,
    RaiseDispute,
    RejectMilestone,
    ResolveDispute,
    ReverseMilestone,
    ReviewDispute,
    SubmitMilestone,
)
from models.decision import Settlement
from models.postings import AccountKind
from models.states import DisputeStatus, MilestoneStatus, State
from tests.builders import BUYER, SELLER, Deal, new_id, policies


def under_review(deal: Deal, *milestones: int) -> Deal:
    """The deal with a dispute over these milestones (all that is held, when none is named) that an operator took."""
    deal.do(RaiseDispute, milestones=milestones)
    deal.do(ReviewDispute)
    return deal


def settled(deal: Deal, **resolution: Any) -> Settlement:
    """Resolve, and return the settlement."""
    settlement = deal.do(ResolveDispute, **resolution).settlement
    assert settlement is not None
    return settlement


def statuses(deal: Deal) -> list[str]:
    """The milestones' statuses, in order."""
    return [str(milestone.status) for milestone in deal.escrow.milestones]


def test_raising_freezes_the_named_milestone_in_the_same_decision() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    decision = deal.do(RaiseDispute, milestones=(2,))
    assert [transaction.memo for transaction in decision.transactions] == ["freeze"]
    assert (deal.escrow.held, deal.escrow.disputed) == (300000, 200000)
    assert statuses(deal) == ["pending", "disputed", "pending"]
    assert deal.escrow.state == State.DISPUTED
    assert decision.events[0].type == "dispute.opened"


def test_a_dispute_that_names_nothing_covers_all_that_is_held_also_what_no_milestone_claims() -> None:
    deal = Deal.at(State.IN_PROGRESS, amount=500000, milestones=(100000, 100000))
    deal.do(RaiseDispute, by=SELLER)
    assert (deal.escrow.held, deal.escrow.disputed) == (0, 500000)
    assert deal.escrow.open_dispute is not None
    assert deal.escrow.open_dispute.raised_by == "seller"


def test_a_dispute_covers_only_what_a_partial_reversal_left() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(ReverseMilestone, milestone=1, amount=50000)
    deal.do(RaiseDispute, milestones=(1,))
    assert deal.escrow.disputed == 100000


def test_buyer_favor_returns_the_frozen_money_and_the_rest_goes_on() -> None:
    deal = under_review(Deal.at(State.IN_PROGRESS), 2)
    division = settled(deal, resolution="buyer_favor").division
    assert (division.platform_fee.amount, division.seller_payout.amount, division.buyer_refund.amount) == (0, 0, 200000)
    assert statuses(deal) == ["pending", "refunded", "pending"]
    assert deal.escrow.state == State.IN_PROGRESS


def test_buyer_favor_leaves_the_milestone_refunded_even_when_a_refund_fee_is_taken() -> None:
    deal = under_review(Deal.at(State.IN_PROGRESS, policies(refund="0.05")), 2)
    assert settled(deal, resolution="buyer_favor").division.platform_fee.amount == 10000
    assert statuses(deal)[1] == "refunded"


def test_seller_favor_releases_the_frozen_money_less_the_fee_and_makes_a_payout_due() -> None:
    deal = under_review(Deal.at(State.IN_PROGRESS), 2)
    assert settled(deal, resolution="seller_favor").outcome == "release"
    assert statuses(deal) == ["pending", "approved", "pending"]
    assert [payout.amount for payout in deal.escrow.payouts] == [180000]


def test_partial_refund_returns_its_amount_and_releases_the_rest_less_the_fee_on_it() -> None:
    deal = under_review(Deal.at(State.IN_PROGRESS), 2)
    division = settled(deal, resolution="partial_refund", refund_amount=50000).division
    assert (division.platform_fee.amount, division.seller_payout.amount) == (15000, 135000)
    assert (deal.escrow.refunded, deal.escrow.released) == (50000, 150000)


def test_split_of_200000_at_10_percent_and_70_30_is_20000_and_126000_and_54000() -> None:
    deal = under_review(Deal.at(State.IN_PROGRESS), 2)
    division = settled(deal, resolution="split", seller_share="0.7").division
    assert division.platform_fee.amount == 20000
    assert division.seller_payout.amount == 126000
    assert division.buyer_refund.amount == 54000
    assert statuses(deal)[1] == "approved"


def test_a_split_that_leaves_the_seller_nothing_refunds_the_milestone() -> None:
    deal = under_review(Deal.at(State.IN_PROGRESS), 2)
    settled(deal, resolution="split", seller_share="0")
    assert statuses(deal)[1] == "refunded"
    assert deal.escrow.payouts == ()


def test_mediation_unfreezes_without_a_settlement_and_the_seller_may_submit_again() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    under_review(deal, 1, 2)
    decision = deal.do(ResolveDispute, resolution="mediation")
    assert decision.settlement is None
    assert [transaction.memo for transaction in decision.transactions] == ["unfreeze"]
    assert (deal.escrow.held, deal.escrow.disputed) == (500000, 0)
    assert deal.escrow.state == State.IN_PROGRESS
    assert statuses(deal) == ["rejected", "pending", "pending"]
    assert deal.escrow.deadlines == ()
    deal.do(SubmitMilestone, milestone=1)
    assert deal.escrow.milestones[0].generation == 2


@pytest.mark.parametrize("state", [State.FUNDED, State.IN_PROGRESS, State.MILESTONE_APPROVED])
def test_a_resolved_dispute_leads_back_to_the_state_it_came_from(state: State) -> None:
    deal = under_review(Deal.at(state), 2)
    assert deal.do(ResolveDispute, resolution="mediation").escrow.state == state


def test_a_dispute_leads_back_to_review_while_another_milestone_is_under_review() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(RaiseDispute, milestones=(2,))
    deal.do(SubmitMilestone, milestone=1)
    deal.do(ReviewDispute)
    assert deal.do(ResolveDispute, resolution="seller_favor").escrow.state == State.MILESTONE_PENDING


def test_the_resolution_is_recorded_with_who_and_why() -> None:
    deal = under_review(Deal.at(State.IN_PROGRESS), 2)
    deal.do(ResolveDispute, resolution="mediation", details="They will talk.")
    dispute = deal.escrow.disputes[0]
    assert (dispute.status, dispute.resolution, dispute.details, dispute.resolved_by) == (
        DisputeStatus.RESOLVED, "mediation", "They will talk.", "operator:olga",
    )  # fmt: skip


def test_resolving_requires_a_review() -> None:
    deal = Deal.at(State.DISPUTED)
    refusal = deal.refused(ResolveDispute, resolution="mediation")
    assert refusal.code == "invalid_transition"
    assert refusal.details["allowed"] == ["add_evidence", "review_dispute"]
    deal.do(ReviewDispute)
    assert deal.refused(ReviewDispute).details["allowed"] == ["add_evidence", "resolve_dispute"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution": "split"},
        {"resolution": "partial_refund"},
        {"resolution": "buyer_favor", "refund_amount": 1},
        {"resolution": "seller_favor", "seller_share": "0.5"},
        {"resolution": "mediation", "seller_share": "0.5"},
        {"resolution": "split", "seller_share": "0.5", "refund_amount": 1},
    ],
)
def test_a_resolution_takes_exactly_the_argument_it_needs(wrong: dict[str, Any]) -> None:
    assert under_review(Deal.at(State.IN_PROGRESS)).refused(ResolveDispute, **wrong).code == "invalid_command"


def test_a_partial_refund_of_all_or_more_is_refused_with_what_is_in_dispute() -> None:
    deal = under_review(Deal.at(State.IN_PROGRESS), 2)
    for amount in (200000, 200001):
        refusal = deal.refused(ResolveDispute, resolution="partial_refund", refund_amount=amount)
        assert (refusal.code, refusal.details["refundable"]) == ("refund_amount_mismatch", 200000)


def test_an_unknown_dispute_is_not_found_and_the_refusal_lists_those_there_are() -> None:
    deal = Deal.at(State.DISPUTED)
    refusal = deal.refused(ReviewDispute, dispute=new_id("dsp"))
    assert (refusal.code, refusal.details["disputes"]) == ("not_found", [deal.escrow.disputes[0].id])


def test_a_milestone_can_be_named_only_once_and_only_while_it_holds_money() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    assert deal.refused(RaiseDispute, milestones=(2, 2)).code == "invalid_command"
    assert deal.refused(RaiseDispute, milestones=(1,)).code == "invalid_transition"
    assert deal.refused(RaiseDispute, milestones=(new_id("mil"),)).code == "not_found"


def test_edge_37_a_dispute_on_one_of_three_milestones_lets_the_others_go_on() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(RaiseDispute, milestones=(2,))
    deal.do(SubmitMilestone, milestone=1)
    deal.do(RejectMilestone, milestone=1)
    deal.do(SubmitMilestone, milestone=1)
    deal.do(ApproveMilestone, milestone=1)
    deal.do(SubmitMilestone, milestone=3)
    deal.reach()
    assert statuses(deal) == ["approved", "disputed", "approved"]
    assert deal.escrow.state == State.DISPUTED
    assert (deal.escrow.held, deal.escrow.disputed, deal.escrow.released) == (0, 200000, 300000)


def test_edge_37_the_frozen_milestone_cannot_move_by_any_other_path() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(SubmitMilestone, milestone=2)
    running = deal.next_deadline
    deal.do(RaiseDispute, milestones=(2,))
    for kind, fields in (
        (SubmitMilestone, {"milestone": 2}),
        (ApproveMilestone, {"milestone": 2}),
        (RejectMilestone, {"milestone": 2}),
        (ReverseMilestone, {"milestone": 2, "amount": 1}),
        (RaiseDispute, {"milestones": (2,)}),
        (commands.Complete, {}),
        (commands.Cancel, {}),
        (commands.Refund, {}),
        (commands.ReachDeadline, {"deadline": running.id, "generation": running.generation}),
    ):
        assert deal.refused(kind, **fields).code == "invalid_transition", kind.__name__
    assert deal.balance(AccountKind.DISPUTED_FUNDS, deal.escrow.id) == 200000


def test_a_resolution_without_a_fee_rule_moves_nothing_and_works_once_the_rule_is_there() -> None:
    deal = under_review(Deal.at(State.IN_PROGRESS, policies(split=None)), 2)
    refusal = deal.refused(ResolveDispute, resolution="split", seller_share="0.5")
    assert refusal.code == "fee_policy_not_found"
    assert deal.escrow.milestones[1].status == MilestoneStatus.DISPUTED
    deal.policies = policies()
    assert settled(deal, resolution="split", seller_share="0.5").outcome == "split"


def test_a_dispute_before_work_began_returns_to_work_when_something_was_submitted_meanwhile() -> None:
    """Otherwise the buyer could cancel work that was done while the dispute lasted."""
    deal = Deal.at(State.FUNDED)
    deal.do(RaiseDispute, milestones=(1,))
    deal.do(SubmitMilestone, milestone=2)
    deal.do(ApproveMilestone, milestone=2)
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="mediation")
    assert deal.escrow.state is State.IN_PROGRESS
    assert deal.refused(Cancel, by=BUYER).code == "forbidden"
