"""Disputes in time: both sides' word, windows, defaults, the review, the fee. Source: domain.md, sections 5 and 8."""

from datetime import timedelta
from typing import Any

import pytest

from models.commands import (
    SYSTEM,
    Actor,
    AddEvidence,
    ApproveMilestone,
    CloseChargeback,
    CloseDispute,
    Command,
    OpenChargeback,
    RaiseDispute,
    ReachDeadline,
    RejectMilestone,
    ResolveDispute,
    ReviewDispute,
    SubmitMilestone,
    WithdrawSubmission,
)
from models.decision import Settlement
from models.escrow import Dispute
from models.fields import Evidence
from models.policies import DisputePolicy, Policies, ReleasePolicy
from models.postings import PLATFORM, AccountKind
from models.states import DisputeStatus, MilestoneStatus, State
from tests.builders import BUYER, NOW, OPERATOR, SELLER, Deal, policies

DAY = timedelta(days=1)
PHOTO = Evidence(name="photo", url="https://example.com/p.jpg")


def the_dispute(deal: Deal) -> Dispute:
    """The deal's only dispute."""
    (dispute,) = deal.escrow.disputes
    return dispute


def disputed(policies_: Policies | None = None, *milestones: int) -> Deal:
    """The usual deal in dispute over these milestones, or over all that is held."""
    deal = Deal.at(State.IN_PROGRESS, policies_)
    deal.do(RaiseDispute, milestones=milestones)
    return deal


def test_either_side_and_an_operator_add_their_word_with_who_and_when() -> None:
    deal = disputed()
    for days, by in enumerate((SELLER, BUYER, OPERATOR), start=1):
        deal.now = NOW + days * DAY
        decision = deal.do(AddEvidence, by=by, statement=f"{by.role} says so", evidence=(PHOTO,))
        assert [one.type for one in decision.events] == ["dispute.evidence_added"]
        assert decision.transactions == ()
    answers = the_dispute(deal).answers
    assert [(one.by, one.at, one.statement) for one in answers] == [
        ("seller", NOW + DAY, "seller says so"),
        ("buyer", NOW + 2 * DAY, "buyer says so"),
        ("operator", NOW + 3 * DAY, "operator says so"),
    ]
    assert all(one.evidence == (PHOTO,) for one in answers)
    assert the_dispute(deal).evidence == (), "what was raised stays as it was"


def test_evidence_is_taken_under_review_and_not_after_the_resolution() -> None:
    deal = disputed()
    deal.do(ReviewDispute)
    deal.do(AddEvidence, evidence=(PHOTO,), statement=None)
    deal.do(ResolveDispute, resolution="buyer_favor")
    refusal = deal.refused(AddEvidence)
    assert (refusal.code, refusal.details["allowed"]) == ("invalid_transition", ["close_dispute"])


def test_saying_nothing_and_showing_nothing_is_refused() -> None:
    assert disputed().refused(AddEvidence, statement=None).code == "invalid_command"


@pytest.mark.parametrize("stranger", [Actor(role="platform"), SYSTEM, Actor(role="buyer", party="mallory"), Actor(role="seller", party="alice")])  # fmt: skip  # noqa: E501
def test_nobody_else_is_heard(stranger: Actor) -> None:
    assert disputed().refused(AddEvidence, by=stranger).code == "forbidden"


def test_each_sides_first_answer_and_the_review_give_everybody_the_whole_window_again() -> None:
    deal = disputed(policies(dispute=DisputePolicy(response_window=10 * DAY)))
    assert deal.next_deadline.due_at == NOW + 10 * DAY
    for days, kind, by in ((3, AddEvidence, SELLER), (7, ReviewDispute, OPERATOR), (16, AddEvidence, BUYER)):
        replaced = deal.next_deadline
        deal.now = NOW + days * DAY
        deal.do(kind, by=by)
        assert [one.due_at for one in deal.escrow.deadlines] == [deal.now + 10 * DAY]
        late = deal.refused(ReachDeadline, deadline=replaced.id, generation=replaced.generation)
        assert late.code == "invalid_transition"


def test_nobody_keeps_a_dispute_from_its_end_by_adding_a_word_a_day() -> None:
    """A side's later answers are on file, and the window goes on."""
    deal = disputed(policies(dispute=DisputePolicy(response_window=10 * DAY, default_outcome="seller_favor")))
    for days in range(1, 10):
        deal.now = NOW + days * DAY
        deal.do(AddEvidence, by=BUYER)
    assert len(deal.escrow.disputes[0].answers) == 9
    assert deal.next_deadline.due_at == NOW + 11 * DAY
    assert deal.reach().escrow.state == State.COMPLETED


@pytest.mark.parametrize("reviewed", [False, True], ids=["open", "under review"])
@pytest.mark.parametrize(
    ("default", "state", "money"),
    [
        ("buyer_favor", State.REFUNDED, (0, 0, 500000)),
        ("seller_favor", State.COMPLETED, (50000, 450000, 0)),
        ("mediation", State.IN_PROGRESS, None),
    ],
)
def test_edge_36_nobody_acts_in_a_dispute_and_the_policys_default_takes_effect(
    default: Any, state: State, money: tuple[int, int, int] | None, reviewed: bool
) -> None:
    deal = disputed(policies(dispute=DisputePolicy(default_outcome=default)))
    if reviewed:
        deal.now += DAY
        deal.do(ReviewDispute)
    since = deal.now
    decision = deal.reach()
    assert deal.now == since + 30 * DAY
    dispute = the_dispute(deal)
    assert (dispute.status, dispute.resolution, dispute.resolved_by) == (DisputeStatus.RESOLVED, default, "system")
    assert (deal.escrow.state, deal.escrow.disputed) == (state, 0)
    assert [one.type for one in decision.events][:2] == ["dispute.defaulted", "dispute.resolved"]
    assert money == (decision.settlement and shares(decision.settlement))
    assert not [one for one in deal.escrow.deadlines if one.dispute]


def shares(settlement: Settlement) -> tuple[int, int, int]:
    """Fee, seller's and buyer's part."""
    division = settlement.division
    return division.platform_fee.amount, division.seller_payout.amount, division.buyer_refund.amount


def test_edge_36_by_default_nobody_loses_money_by_silence() -> None:
    """The deployment's default is mediation after 30 days: back to work, every unit held."""
    deal = disputed()
    deal.reach()
    assert (deal.escrow.held, deal.escrow.state, deal.now) == (500000, State.IN_PROGRESS, NOW + 30 * DAY)


def test_a_resolution_stops_the_clock() -> None:
    deal = disputed()
    deal.do(ReviewDispute)
    deadline = deal.next_deadline
    deal.do(ResolveDispute, resolution="mediation")
    assert (
        deal.refused(ReachDeadline, deadline=deadline.id, generation=deadline.generation).code == "invalid_transition"
    )


def test_a_default_that_cannot_be_settled_moves_nothing() -> None:
    deal = disputed(policies(refund=None, dispute=DisputePolicy(default_outcome="buyer_favor")))
    deal.now = deal.next_deadline.due_at
    assert deal.refused(ReachDeadline).code == "fee_policy_not_found"
    deal.policies = policies()
    assert the_dispute(deal).status == DisputeStatus.OPEN


@pytest.mark.parametrize("kind", [AddEvidence, ReviewDispute])
def test_a_disputes_clock_stands_still_while_a_chargeback_is_open_whatever_anybody_says(kind: type[Command]) -> None:
    """Every clock stops until the bank has decided (decision 15): silence could decide nothing meanwhile."""
    deal = disputed()
    deal.do(OpenChargeback, amount=1)
    assert [one.kind for one in deal.escrow.deadlines] == []
    deal.do(kind)
    assert [one.kind for one in deal.escrow.deadlines] == []
    deal.now += 60 * DAY
    deal.do(CloseChargeback, outcome="won")
    assert [one.due_at for one in deal.escrow.deadlines] == [deal.now + 30 * DAY]


def test_a_second_dispute_of_one_escrow_has_a_window_of_its_own() -> None:
    deal = disputed(None, 1)
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="mediation")
    deal.now += DAY
    deal.do(RaiseDispute, milestones=(2,))
    assert [one.due_at for one in deal.escrow.deadlines] == [deal.now + 30 * DAY]


def test_a_resolved_dispute_is_closed_by_an_operator_who_is_no_party_of_it() -> None:
    deal = disputed()
    deal.do(ReviewDispute)
    assert deal.refused(CloseDispute).details["allowed"] == ["add_evidence", "resolve_dispute"]
    deal.do(ResolveDispute, resolution="mediation")
    for stranger in (BUYER, SELLER, Actor(role="operator", party="alice")):
        assert deal.refused(CloseDispute, by=stranger).code == "forbidden"
    decision = deal.do(CloseDispute)
    assert (the_dispute(deal).status, decision.transactions) == (DisputeStatus.CLOSED, ())
    assert deal.refused(CloseDispute).code == "invalid_transition"


def test_the_file_of_an_ended_escrow_can_still_be_closed() -> None:
    deal = disputed()
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="buyer_favor")
    assert deal.do(CloseDispute).escrow.state == State.REFUNDED


def rejected(rounds: int, limit: int = 3) -> Deal:
    """A deal whose first milestone the buyer sent back that often."""
    deal = Deal.at(State.IN_PROGRESS, policies(release=ReleasePolicy(max_rejections=limit)))
    for _ in range(rounds):
        deal.do(SubmitMilestone)
        deal.do(RejectMilestone)
    return deal


@pytest.mark.parametrize(("rounds", "limit", "status"), [(2, 3, "open"), (3, 3, "under_review"), (4, 3, "under_review"), (1, 1, "under_review")])  # fmt: skip  # noqa: E501
def test_edge_35_after_the_policys_number_of_rounds_the_sellers_dispute_starts_in_review(
    rounds: int, limit: int, status: str
) -> None:
    deal = rejected(rounds, limit)
    assert deal.escrow.milestones[0].rejections == rounds
    deal.do(RaiseDispute, by=SELLER, milestones=(1,))
    assert the_dispute(deal).status == status
    if status == "under_review":
        assert deal.do(ResolveDispute, resolution="seller_favor").escrow.released == 150000


def test_edge_35_only_the_seller_and_only_about_that_milestone() -> None:
    for by, milestone in ((BUYER, 1), (OPERATOR, 1), (SELLER, 2)):
        deal = rejected(3)
        deal.do(RaiseDispute, by=by, milestones=(milestone,))
        assert the_dispute(deal).status == DisputeStatus.OPEN


def test_edge_35_a_submission_that_the_seller_withdrew_is_no_round() -> None:
    deal = rejected(2)
    deal.do(SubmitMilestone)
    deal.do(WithdrawSubmission)
    assert (deal.escrow.milestones[0].status, deal.escrow.milestones[0].rejections) == (MilestoneStatus.REJECTED, 2)
    deal.do(RaiseDispute, by=SELLER, milestones=(1,))
    assert the_dispute(deal).status == DisputeStatus.OPEN


@pytest.mark.parametrize(
    ("payer", "resolution", "expected", "owed"),
    [
        ("seller", {"resolution": "seller_favor"}, (51500, 448500, 0), (0, 0)),
        ("seller", {"resolution": "buyer_favor"}, (0, 0, 500000), (1500, 0)),
        ("buyer", {"resolution": "buyer_favor"}, (1500, 0, 498500), (0, 0)),
        ("buyer", {"resolution": "seller_favor"}, (50000, 450000, 0), (0, 1500)),
        ("loser", {"resolution": "split", "seller_share": "0.7"}, (51500, 315000, 133500), (0, 0)),
        ("loser", {"resolution": "split", "seller_share": "0.3"}, (51500, 133500, 315000), (0, 0)),
        ("loser", {"resolution": "seller_favor"}, (50000, 450000, 0), (0, 1500)),
        ("split", {"resolution": "split", "seller_share": "0.7"}, (51500, 314250, 134250), (0, 0)),
        ("split", {"resolution": "buyer_favor"}, (750, 0, 499250), (750, 0)),
    ],
)
def test_a_dispute_fee_comes_out_of_its_payers_share_and_what_the_share_cannot_cover_is_owed(
    payer: str, resolution: dict[str, Any], expected: tuple[int, int, int], owed: tuple[int, int]
) -> None:
    """1500 beside the platform's 10 %; the parts still sum to the total, and 1500 are earned in any case."""
    deal = disputed(policies(dispute_fee={"amount": 1500, "payer": payer}))
    deal.do(ReviewDispute)
    settlement = deal.do(ResolveDispute, **resolution).settlement
    assert settlement is not None
    assert shares(settlement) == expected
    assert sum(expected) == settlement.division.total.amount == 500000
    assert (deal.balance(AccountKind.RECEIVABLE, "bob"), deal.balance(AccountKind.RECEIVABLE, "alice")) == owed
    assert deal.balance(AccountKind.DISPUTE_FEE_REVENUE, PLATFORM) == 1500
    assert settlement.dispute_fee == 1500 - sum(owed)
    assert settlement.steps[-1].startswith(f"dispute fee 1500, payer {payer}")


def test_mediation_settles_nothing_and_costs_nothing() -> None:
    deal = disputed(policies(dispute_fee={"amount": 1500, "payer": "loser"}))
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="mediation")
    assert deal.balance(AccountKind.DISPUTE_FEE_REVENUE, PLATFORM) == 0


def test_a_default_costs_the_dispute_fee_as_a_judgement_does() -> None:
    deal = disputed(
        policies(dispute_fee={"amount": 1500, "payer": "loser"}, dispute=DisputePolicy(default_outcome="buyer_favor"))
    )
    deal.reach()
    assert deal.balance(AccountKind.RECEIVABLE, "bob") == 1500


def test_a_seller_who_owes_a_dispute_fee_pays_it_out_of_the_next_release() -> None:
    deal = disputed(policies(dispute_fee={"amount": 1500, "payer": "seller"}), 1)
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="buyer_favor")
    assert deal.balance(AccountKind.RECEIVABLE, "bob") == 1500
    deal.do(SubmitMilestone, milestone=2)
    deal.do(ApproveMilestone, milestone=2)
    assert (deal.escrow.payouts[-1].amount, deal.escrow.payouts[-1].netted) == (178500, 1500)
    assert deal.balance(AccountKind.RECEIVABLE, "bob") == 0
