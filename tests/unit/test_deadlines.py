"""Deadlines: the review window, its reminders, and generations that were superseded. Source: domain.md, section 9."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from models import deadlines
from models.commands import (
    ApproveMilestone,
    RaiseDispute,
    ReachDeadline,
    RejectMilestone,
    ReleaseOverride,
    ReverseMilestone,
    SubmitMilestone,
)
from models.decision import Case
from models.escrow import Deadline
from models.facts import Funds
from models.fields import Evidence
from models.policies import ReleasePolicy
from models.states import State
from tests.builders import NOW, SYSTEM, Deal, policies

DAY = timedelta(days=1)
REMINDING = policies(release=ReleasePolicy(review_window=14 * DAY, reminders=(7 * DAY, 13 * DAY)))


def gone(deal: Deal, deadline: Deadline) -> bool:
    """Whether the deadline does nothing any more when its timer fires."""
    deal.now = max(deal.now, deadline.due_at)
    refusal = deal.refused(ReachDeadline, deadline=deadline.id, generation=deadline.generation)
    return refusal.code == "invalid_transition"


def test_a_submission_starts_a_window_of_14_days_by_default() -> None:
    deadline = Deal.at(State.MILESTONE_PENDING).next_deadline
    assert (deadline.kind, deadline.generation, deadline.due_at) == ("auto_approve", 1, NOW + 14 * DAY)


def test_edge_36_a_silent_buyer_is_taken_as_approving_when_the_window_ends() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    decision = deal.reach()
    assert decision.settlement is not None
    assert decision.settlement.division.seller_payout.amount == 135000
    assert decision.events[0].type == "milestone.auto_approved"
    assert deal.escrow.deadlines == ()


def test_under_manual_release_no_deadline_is_ever_set() -> None:
    manual = policies(release=ReleasePolicy(mode="manual", reminders=(DAY,)))
    assert Deal.at(State.MILESTONE_PENDING, manual).escrow.deadlines == ()


def test_reminders_come_before_the_window_ends_and_move_no_money() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, REMINDING)
    seen = []
    while deal.escrow.deadlines:
        seen.append((deal.next_deadline.kind, deal.next_deadline.due_at - NOW))
        decision = deal.reach()
        if seen[-1][0] == "remind":
            assert (decision.transactions, decision.escrow.state) == ((), State.MILESTONE_PENDING)
            assert [event.type for event in decision.events] == ["milestone.reminder_due"]
    assert seen == [("remind", 7 * DAY), ("remind", 13 * DAY), ("auto_approve", 14 * DAY)]
    assert deal.escrow.released == 150000


def test_a_rejection_stops_the_clock() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, REMINDING)
    running = deal.escrow.deadlines
    deal.do(RejectMilestone)
    assert deal.escrow.deadlines == ()
    assert all(gone(deal, deadline) for deadline in running)


def test_a_resubmission_starts_a_new_clock_and_the_old_deadline_does_nothing() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    old = deal.next_deadline
    deal.do(RejectMilestone)
    deal.now = NOW + 10 * DAY
    deal.do(SubmitMilestone)
    assert gone(deal, old)
    assert (deal.next_deadline.generation, deal.next_deadline.due_at) == (2, NOW + 24 * DAY)
    assert deal.reach().escrow.released == 150000


def test_a_deadlines_id_with_another_rounds_generation_does_nothing() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    assert deal.refused(ReachDeadline, generation=2).code == "invalid_transition"


def test_edge_3_of_a_deadline_and_a_dispute_whichever_is_first_wins_and_the_other_does_nothing() -> None:
    deadline_late = Deal.at(State.MILESTONE_PENDING)
    deadline = deadline_late.next_deadline
    deadline_late.do(RaiseDispute)
    assert gone(deadline_late, deadline)

    dispute_late = Deal.at(State.MILESTONE_PENDING)
    seen = dispute_late.escrow.version
    dispute_late.reach()
    assert dispute_late.refused(RaiseDispute, milestones=(1,)).code == "invalid_transition"
    assert dispute_late.refused(RaiseDispute, expected_version=seen).code == "conflict"


def test_an_approval_by_hand_leaves_nothing_for_the_deadline() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, REMINDING)
    running = deal.escrow.deadlines
    deal.do(ApproveMilestone)
    assert all(gone(deal, deadline) for deadline in running)


def test_milestones_have_clocks_of_their_own() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    deal.now = NOW + DAY
    deal.do(SubmitMilestone, milestone=2)
    deal.do(RejectMilestone, milestone=1)
    assert [deadline.due_at for deadline in deal.escrow.deadlines] == [NOW + 15 * DAY]


def test_a_partial_reversal_leaves_the_clock_running_and_the_deadline_releases_what_remains() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    deal.do(ReverseMilestone, amount=50000)
    assert deal.reach().escrow.released == 100000


def test_a_milestone_reversed_whole_takes_its_deadline_with_it() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    running = deal.next_deadline
    assert deal.do(ReverseMilestone, amount=150000).escrow.state == State.IN_PROGRESS
    assert gone(deal, running)


def test_edge_38_of_several_deadlines_that_have_passed_the_earliest_is_due_first() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, REMINDING)
    deal.now = NOW + timedelta(hours=1)
    deal.do(SubmitMilestone, milestone=2)
    late, order_ = NOW + 30 * DAY, []
    while deadline := deadlines.due(deal.escrow, late):
        order_.append((deadline.due_at, deadline.kind))
        deal.now = deadline.due_at
        deal.play(deadlines.reach(deal.escrow, deadline))
    assert order_ == sorted(order_)
    assert len(order_) == 6
    assert deadlines.due(Deal.at(State.MILESTONE_PENDING).escrow, NOW + 14 * DAY - timedelta(microseconds=1)) is None


@pytest.mark.parametrize(
    ("submitted", "due"),
    [
        ("2026-03-20T12:00:00+01:00", "2026-04-03T11:00:00+00:00"),  # summer time begins in Europe
        ("2028-02-20T00:00:00+00:00", "2028-03-05T00:00:00+00:00"),  # a leap day
        ("2026-12-25T23:59:59+00:00", "2027-01-08T23:59:59+00:00"),  # a year's end
    ],
)
def test_edge_39_the_window_is_an_exact_span_across_every_change_of_the_calendar(submitted: str, due: str) -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.now = NOW.fromisoformat(submitted)
    deal.do(SubmitMilestone)
    assert deal.next_deadline.due_at == NOW.fromisoformat(due)


def test_a_deadline_that_was_refused_is_put_off_and_says_whom_it_waits_for() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, policies(None))
    deadline = deal.next_deadline
    deal.now = deadline.due_at
    refusal = deal.refused(ReachDeadline)
    case = Case(deal.escrow, deadlines.reach(deal.escrow, deadline), deal.policies, deal.now, Funds())
    asked_at = deadline.due_at + 3 * DAY
    escrow = deadlines.defer(case, deadline, refusal, asked_at).escrow
    assert escrow.attention is not None
    assert escrow.attention.startswith("fee_policy_not_found")
    assert escrow.next_deadline is not None
    assert (escrow.next_deadline.id, escrow.next_deadline.generation) == (deadline.id, deadline.generation)
    assert escrow.next_deadline.due_at == asked_at + deadlines.DEFERRAL
    assert (escrow.held, escrow.state, escrow.version) == (500000, deal.escrow.state, deal.escrow.version + 1)
    again = deadlines.reach(escrow, escrow.next_deadline)
    assert again.id != case.command.id
    assert again.actor == SYSTEM


def test_an_escrow_may_set_its_own_release_policy() -> None:
    own = ReleaseOverride(review_window=3 * DAY)
    assert Deal.at(State.MILESTONE_PENDING, release=own).next_deadline.due_at == NOW + 3 * DAY
    assert Deal.at(State.MILESTONE_PENDING, release=ReleaseOverride(mode="manual")).escrow.deadlines == ()


def test_a_policy_changed_later_does_not_change_an_agreed_escrow() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.policies = policies(release=ReleasePolicy(review_window=DAY))
    deal.do(SubmitMilestone)
    assert deal.next_deadline.due_at == NOW + 14 * DAY


def test_evidence_is_required_where_the_policy_asks_for_it() -> None:
    deal = Deal.at(State.IN_PROGRESS, policies(release=ReleasePolicy(evidence_required=True)))
    assert deal.refused(SubmitMilestone).code == "evidence_required"
    evidence = (Evidence(name="mockups.pdf", url="https://example.com/mockups.pdf"),)
    assert deal.do(SubmitMilestone, evidence=evidence).escrow.milestones[0].evidence == evidence


def test_a_reminder_after_the_window_is_refused_when_the_policy_is_written() -> None:
    with pytest.raises(ValidationError, match="before the review window ends"):
        ReleasePolicy(review_window=DAY, reminders=(DAY,))


@pytest.mark.parametrize("window", [timedelta(0), -DAY, timedelta(days=367)])
def test_a_window_is_above_zero_and_at_most_a_leap_year(window: timedelta) -> None:
    with pytest.raises(ValidationError, match="such as P14D"):
        ReleasePolicy(review_window=window)


def test_a_duration_is_written_as_iso_8601() -> None:
    assert ReleasePolicy.model_validate_json('{"review_window": "P3DT12H"}').review_window == timedelta(
        days=3, hours=12
    )
