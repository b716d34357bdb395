"""Who may pay and be paid: verified parties, blocked parties. Source: domain.md, section 12; edge cases 42 and 43."""

from datetime import timedelta
from typing import Any

import pytest

from models.commands import (
    ApproveMilestone,
    Cancel,
    Command,
    Complete,
    Fund,
    RaiseDispute,
    ReachDeadline,
    RecordPayout,
    Refund,
    RequestPayout,
    ResolveDispute,
    RetryPayout,
    ReverseMilestone,
    ReviewDispute,
    SendPayout,
    StartWork,
    SubmitMilestone,
)
from models.facts import KycStatus, Party
from models.policies import CompliancePolicy, Policies, VerifiedAbove
from models.postings import AccountKind
from models.states import PayoutStatus, State
from tests.builders import NOW, Deal, policies

DAY = timedelta(days=1)
FROZEN = Party(blocked_because="court order 7/26")
UNVERIFIED: tuple[KycStatus, ...] = ("none", "pending", "rejected", "expired")


def above(**limits: int) -> Policies:
    """The usual policies with these limits, in minor units."""
    return policies(compliance=CompliancePolicy(verified_above=VerifiedAbove(**limits)))


@pytest.mark.parametrize("status", UNVERIFIED)
def test_funding_above_the_limit_needs_a_buyer_who_is_verified(status: KycStatus) -> None:
    deal = Deal.at(State.CREATED, above(funding=499999))
    deal.buyer = Party(kyc_status=status)
    refusal = deal.refused(Fund)
    assert (refusal.code, refusal.kind.retry_may_help) == ("kyc_required", True)
    assert refusal.details.items() >= {"party": "alice", "kyc_status": status, "verified_above": 499999}.items()
    deal.buyer = Party(kyc_status="verified")
    assert deal.do(Fund).escrow.state == State.FUNDED


def test_the_limit_itself_needs_no_verification_and_zero_asks_everybody() -> None:
    assert Deal.at(State.FUNDED, above(funding=500000)).escrow.funded == 500000
    assert Deal.at(State.CREATED, above(funding=0)).refused(Fund).code == "kyc_required"


def test_without_a_compliance_policy_nobody_is_asked() -> None:
    assert Deal.at(State.MILESTONE_APPROVED).escrow.payouts[0].going


def test_it_is_the_buyer_who_is_verified_for_funding_and_the_seller_for_payout() -> None:
    deal = Deal.at(State.CREATED, above(funding=0))
    deal.seller = Party(kyc_status="verified")
    assert deal.refused(Fund).code == "kyc_required"


@pytest.mark.parametrize("status", UNVERIFIED)
def test_edge_42_the_release_stays_the_payout_waits_and_the_reason_is_visible(status: KycStatus) -> None:
    deal = Deal.at(State.MILESTONE_PENDING, above(payout=100000))
    deal.seller = Party(kyc_status=status)
    deal.do(ApproveMilestone)
    (payout,) = deal.escrow.payouts
    reason = f"above 1,000.00 EUR the seller has to be verified, and is {status}"
    assert (deal.escrow.released, deal.balance(AccountKind.PAYABLE, "bob")) == (150000, 135000)
    assert (payout.status, payout.hold, payout.reason) == (PayoutStatus.DUE, "kyc", reason)
    assert deal.escrow.attention == f"payout {payout.id} is held: {reason}"


def test_edge_42_papers_that_expire_between_approval_and_payout_hold_it_without_moving_anything() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, above(payout=100000))
    deal.seller = Party(kyc_status="verified")
    deal.do(ApproveMilestone)
    assert deal.escrow.payouts[0].going
    deal.seller = Party(kyc_status="expired")
    decision = deal.do(SendPayout)
    assert decision.transactions == ()
    assert (deal.escrow.payouts[0].hold, deal.escrow.payouts[0].status) == ("kyc", PayoutStatus.DUE)
    assert [one.type for one in decision.events] == ["payout.held"]
    assert deal.balance(AccountKind.PAYABLE, "bob") == 135000


def test_edge_42_it_goes_when_the_papers_are_in_order_by_itself_within_a_day_or_when_somebody_asks() -> None:
    for asked in (False, True):
        deal = Deal.at(State.MILESTONE_APPROVED, above(payout=100000))
        assert deal.next_deadline.due_at == NOW + DAY
        assert deal.refused(RequestPayout).details["hold"] == "kyc"
        deal.reach()
        assert deal.escrow.payouts[0].hold == "kyc"
        deal.seller = Party(kyc_status="verified")
        deal.do(RequestPayout) if asked else deal.reach()
        assert deal.escrow.payouts[0].going
        assert deal.do(SendPayout).escrow.payouts[0].status == PayoutStatus.IN_TRANSIT
        assert deal.escrow.attention is None


def test_edge_42_a_payout_up_to_the_limit_goes_without_papers() -> None:
    assert Deal.at(State.MILESTONE_APPROVED, above(payout=135000)).escrow.payouts[0].going
    assert not Deal.at(State.MILESTONE_APPROVED, above(payout=134999)).escrow.payouts[0].going


MOVES: tuple[tuple[State, type[Command], dict[str, Any]], ...] = (
    (State.CREATED, Fund, {}),
    (State.MILESTONE_PENDING, ApproveMilestone, {}),
    (State.IN_PROGRESS, Complete, {}),
    (State.IN_PROGRESS, Cancel, {}),
    (State.FUNDED, Refund, {}),
    (State.IN_PROGRESS, ReverseMilestone, {"amount": 1}),
    (State.MILESTONE_APPROVED, ReverseMilestone, {"amount": 1}),
)


@pytest.mark.parametrize(("state", "kind", "fields"), MOVES, ids=[f"{kind.__name__} in {state}" for state, kind, _ in MOVES])  # fmt: skip  # noqa: E501
@pytest.mark.parametrize("role", ["buyer", "seller"])
def test_edge_43_a_blocked_partys_money_freezes_and_the_refusal_says_why(
    role: str, state: State, kind: type[Command], fields: dict[str, Any]
) -> None:
    deal = Deal.at(state)
    setattr(deal, role, FROZEN)
    refusal = deal.refused(kind, **fields)
    party = {"buyer": "alice", "seller": "bob"}[role]
    assert refusal.code == "party_blocked"
    assert refusal.details.items() >= {"party": party, "reason": "court order 7/26"}.items()
    assert "court order 7/26" in refusal.message
    assert refusal.kind.retry_may_help
    setattr(deal, role, Party())
    deal.do(kind, **fields)


@pytest.mark.parametrize("role", ["buyer", "seller"])
def test_edge_43_no_resolution_pays_a_blocked_party_and_silence_releases_nothing(role: str) -> None:
    deal = Deal.at(State.DISPUTED)
    deal.do(ReviewDispute)
    setattr(deal, role, FROZEN)
    for resolution in ("buyer_favor", "seller_favor"):
        assert deal.refused(ResolveDispute, resolution=resolution).code == "party_blocked"
    silent = Deal.at(State.MILESTONE_PENDING)
    setattr(silent, role, FROZEN)
    silent.now = silent.next_deadline.due_at
    assert silent.refused(ReachDeadline).code == "party_blocked"


def test_edge_43_what_moves_no_money_is_still_possible() -> None:
    """Work goes on, a dispute can be raised: the freeze is not a default in the other's favour."""
    deal = Deal.at(State.FUNDED)
    deal.buyer = FROZEN
    for kind in (StartWork, SubmitMilestone, RaiseDispute):
        deal.do(kind)
    assert deal.escrow.disputed == 500000


def test_edge_43_a_payout_to_a_blocked_seller_waits_and_says_why() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.seller = FROZEN
    decision = deal.do(SendPayout)
    (payout,) = deal.escrow.payouts
    assert (payout.status, payout.hold, payout.reason) == (PayoutStatus.DUE, "blocked", "the seller is blocked: court order 7/26")  # fmt: skip  # noqa: E501
    assert decision.transactions == ()
    assert deal.balance(AccountKind.PAYABLE, "bob") == 135000
    assert deal.refused(RequestPayout).details.items() >= {"hold": "blocked", "reason": payout.reason}.items()
    deal.seller = Party()
    deal.reach()
    assert deal.escrow.payouts[0].going


def test_edge_43_a_payout_whose_buyer_was_blocked_after_the_release_still_goes() -> None:
    """What was released is the seller's."""
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.buyer = FROZEN
    assert deal.do(SendPayout).escrow.payouts[0].status == PayoutStatus.IN_TRANSIT


def test_edge_43_what_the_gateway_answers_is_recorded_whoever_is_blocked_and_not_sent_again() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.do(SendPayout)
    deal.seller = FROZEN
    deal.do(RecordPayout, outcome="failed", reason="account closed")
    deal.do(RetryPayout)
    assert (deal.escrow.payouts[0].hold, deal.escrow.payouts[0].status) == ("blocked", PayoutStatus.DUE)


def test_a_blocked_party_is_said_before_missing_papers() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, above(payout=1))
    deal.do(ApproveMilestone)
    deal.seller = FROZEN
    deal.reach()
    assert deal.escrow.payouts[0].hold == "blocked"
