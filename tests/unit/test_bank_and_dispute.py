"""A bank that takes money back while people argue about it: nothing is left behind that could act on nothing."""

from datetime import timedelta

from models.commands import (
    AddEvidence,
    CloseChargeback,
    Complete,
    OpenChargeback,
    RaiseDispute,
    ReachDeadline,
    ResolveDispute,
    ReviewDispute,
    SendPayout,
    SubmitMilestone,
)
from models.decision import Decision
from models.escrow import Payout
from models.payout_terms import PayoutTerms
from models.policies import ReleasePolicy
from models.states import DisputeStatus, MilestoneStatus, PayoutStatus, State
from tests.builders import Deal, order, policies


def the_payout(deal: Deal) -> Payout:
    """The deal's only payout."""
    (payout,) = deal.escrow.payouts
    return payout


def test_a_dispute_that_the_bank_has_emptied_is_over_and_has_no_deadline() -> None:
    """Evidence in between changes nothing: there is nothing that could act by itself any more."""
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.do(RaiseDispute)
    deal.do(OpenChargeback, amount=350000)
    deal.do(AddEvidence)
    assert deal.escrow.deadlines == ()
    deal.do(CloseChargeback, outcome="lost")
    (dispute,) = deal.escrow.disputes
    assert (dispute.status, dispute.resolution, dispute.amount) == (DisputeStatus.RESOLVED, "charged_back", 0)
    assert (deal.escrow.state, deal.escrow.deadlines) == (State.COMPLETED, ())


def test_mediation_brings_back_only_what_still_has_money() -> None:
    """Of two disputed milestones the bank took one: the other can be worked on, the lost one stays lost."""
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(RaiseDispute)
    deal.do(OpenChargeback, amount=400000)
    deal.do(CloseChargeback, outcome="lost")
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="mediation")
    statuses = [(one.status, one.remaining) for one in deal.escrow.milestones]
    assert statuses == [
        (MilestoneStatus.PENDING, 100000),
        (MilestoneStatus.CANCELLED, 0),
        (MilestoneStatus.CANCELLED, 0),
    ]
    assert deal.refused(SubmitMilestone, milestone=2).code == "invalid_transition"
    assert deal.do(Complete).escrow.state == State.COMPLETED


def test_a_payout_waits_for_the_bank_too() -> None:
    """Clearance exists for exactly this: what was released and not sent yet is not sent while the bank decides."""
    terms = ReleasePolicy(payout=PayoutTerms(trigger="time", clearance=timedelta(days=14)))
    deal = Deal.at(State.COMPLETED, policies(release=terms))
    deal.do(OpenChargeback, amount=500000)
    assert the_payout(deal).hold == "chargeback"
    deal.now += timedelta(days=30)
    deal.do(SendPayout)
    assert (the_payout(deal).status, the_payout(deal).hold) == (PayoutStatus.DUE, "chargeback")
    deal.do(CloseChargeback, outcome="won")
    assert the_payout(deal).going


def test_a_lost_chargeback_takes_the_payout_that_waited_and_nobody_owes_anything() -> None:
    """500000 go back to the bank: 450000 that were payable, 50000 of fee."""
    terms = ReleasePolicy(payout=PayoutTerms(trigger="manual"))
    deal = Deal.at(State.COMPLETED, policies(release=terms))
    deal.do(OpenChargeback, amount=500000)
    deal.do(CloseChargeback, outcome="lost")
    assert the_payout(deal).status == PayoutStatus.CANCELLED
    assert deal.escrow.charged_back == 500000
    assert {units for units in deal.books.values() if units} == {-500000}


def test_a_deadline_of_a_dispute_that_is_over_does_nothing() -> None:
    """Should one be left behind all the same, it neither moves money nor brings an escrow back to life."""
    deal = Deal.at(State.DISPUTED)
    left_behind = order(ReachDeadline, deal.escrow)
    deadlines = deal.escrow.deadlines
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="buyer_favor")
    deal.escrow = deal.escrow.model_copy(update={"deadlines": deadlines})
    answer = deal.respond(left_behind)
    assert isinstance(answer, Decision)
    assert (answer.transactions, answer.escrow.state) == ((), State.REFUNDED)
