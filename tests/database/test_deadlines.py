"""Time in the books: what was due when a command was received has happened before it, in order, and once."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger import reads, tenants
from models import deadlines
from models.commands import ApproveMilestone, RaiseDispute, RejectMilestone, SubmitMilestone
from models.errors import RefusedError
from models.escrow import Deadline, Escrow
from models.policies import ReleasePolicy
from models.states import MilestoneStatus, State
from tests.builders import SELLER, order
from tests.market import Market
from tests.servers import Servers

SECOND = timedelta(seconds=1)
TWO_WEEKS = timedelta(days=14)


def next_deadline(escrow: Escrow) -> Deadline:
    """The deadline that comes first; there has to be one."""
    assert escrow.next_deadline is not None
    return escrow.next_deadline


def reach(market: Market, escrow: Escrow, deadline: Deadline, at: datetime | None = None) -> Escrow:
    """Tell the books that a deadline has come, as the workflow's timer does."""
    return market.accept(deadlines.reach(escrow, deadline, at or deadline.due_at))


def test_edge_36_a_silent_buyers_milestone_is_approved_when_the_window_ends(market: Market) -> None:
    """The system approves at the deadline's own moment, and the money is released as by the buyer."""
    escrow = market.at(State.MILESTONE_PENDING)
    due = next_deadline(escrow)
    approved = reach(market, escrow, due, due.due_at + timedelta(hours=5))
    assert (approved.released, approved.milestones[0].status) == (150000, MilestoneStatus.APPROVED)
    assert approved.updated_at == due.due_at
    assert "milestone.auto_approved" in market.events(escrow)
    (row,) = reads.settlements(market.engine, escrow.id)
    assert row["platform_fee"] == 15000


def test_edge_03_an_approval_received_after_the_window_finds_it_approved(market: Market) -> None:
    """After a backlog the late command may arrive first: the recorded times decide, not the order of arrival."""
    escrow = market.at(State.MILESTONE_PENDING)
    late = order(ApproveMilestone, escrow, received_at=next_deadline(escrow).due_at + SECOND)
    refusal = market.apply(late).refusal
    assert refusal is not None
    assert refusal.code == "invalid_transition"
    assert market.answers(escrow)[-2:] == [("reach_deadline", "accepted"), ("approve_milestone", "invalid_transition")]
    (row,) = reads.settlements(market.engine, escrow.id)
    assert row["command_id"].startswith("~deadline:")


def test_edge_03_a_dispute_received_at_the_very_deadline_comes_too_late_for_it(market: Market) -> None:
    """At the same instant the deadline is first; what was covered is released, and the dispute is refused."""
    escrow = market.at(State.MILESTONE_PENDING, amount=150000, milestones=(150000,))
    moment = next_deadline(escrow).due_at
    refusal = market.refused(RaiseDispute, escrow, received_at=moment)
    assert refusal.code == "invalid_transition"
    assert market.escrow(escrow).state == State.COMPLETED


def test_edge_03_a_dispute_received_before_the_deadline_stops_its_clock(market: Market) -> None:
    """A dispute that comes one second earlier wins, and the deadline that fires then does nothing."""
    escrow = market.at(State.MILESTONE_PENDING)
    due = next_deadline(escrow)
    disputed = market.do(RaiseDispute, escrow, received_at=due.due_at - SECOND)
    assert reach(market, escrow, due) == disputed
    assert market.count("settlement", escrow) == 0


def test_an_approval_received_in_time_wins_although_it_is_handled_late(market: Market) -> None:
    """An approval received a second before the deadline is the buyer's, however late it is decided."""
    escrow = market.at(State.MILESTONE_PENDING)
    due = next_deadline(escrow)
    approved = market.do(ApproveMilestone, escrow, received_at=due.due_at - SECOND)
    assert reach(market, escrow, due) == approved
    assert "milestone.auto_approved" not in market.events(escrow)
    assert market.count("settlement", escrow) == 1


def test_edge_38_deadlines_that_passed_unseen_are_handled_once_in_their_order(market: Market) -> None:
    """After an outage one command finds them all: each takes effect at its own moment, the earliest first."""
    escrow = market.at(State.MILESTONE_PENDING)
    second = market.do(SubmitMilestone, escrow, milestone=2, received_at=escrow.updated_at + timedelta(days=3))
    third = market.do(SubmitMilestone, second, milestone=3, received_at=escrow.updated_at + timedelta(days=1))
    dues = sorted(one.due_at for one in third.deadlines)
    ended = reach(market, third, next_deadline(third), dues[-1] + timedelta(days=100))
    assert ended.state == State.COMPLETED
    assert ended.deadlines == ()
    settled = reads.settlements(market.engine, escrow.id)
    assert [row["created_at"] for row in settled] == dues
    assert market.answers(escrow)[-3:] == [("reach_deadline", "accepted")] * 3
    assert market.scalar("SELECT count(*) FROM deadline WHERE escrow_id = :id AND pending", id=escrow.id) == 0


def test_a_deadline_reached_again_or_too_early_does_nothing(market: Market) -> None:
    """A timer may fire twice or a moment early: no row is written, and the escrow is answered as it is."""
    escrow = market.at(State.MILESTONE_PENDING)
    due = next_deadline(escrow)
    assert reach(market, escrow, due, due.due_at - timedelta(microseconds=1)) == escrow
    approved = reach(market, escrow, due)
    before = market.answers(escrow)
    assert reach(market, escrow, due) == approved
    assert reach(market, escrow, due, due.due_at + TWO_WEEKS) == approved
    assert market.answers(escrow) == before


def test_a_deadline_of_an_earlier_round_does_nothing(market: Market) -> None:
    """Rejecting stops the clock and resubmitting starts a new one: the first round's deadline has no effect."""
    first = market.at(State.MILESTONE_PENDING)
    rejected = market.do(RejectMilestone, first)
    assert rejected.deadlines == ()
    second = market.do(SubmitMilestone, rejected, received_at=first.updated_at + timedelta(days=7))
    assert reach(market, second, next_deadline(first)) == second
    assert reach(market, second, next_deadline(second)).released == 150000


def test_a_reminder_comes_before_the_window_ends_and_moves_nothing(servers: Servers) -> None:
    """The buyer is reminded at the policy's moment, once, and the milestone still waits."""
    market = Market(servers.engine, release=ReleasePolicy(reminders=(timedelta(days=10),)))
    escrow = market.at(State.MILESTONE_PENDING)
    reminder = next_deadline(escrow)
    assert (reminder.kind, reminder.due_at - escrow.updated_at) == ("remind", timedelta(days=10))
    reminded = reach(market, escrow, reminder)
    assert (reminded.state, reminded.released) == (State.MILESTONE_PENDING, 0)
    assert market.events(escrow)[-1] == "milestone.reminder_due"
    assert reach(market, reminded, next_deadline(reminded)).released == 150000


def test_edge_25_a_deadline_without_a_fee_rule_is_put_off_and_works_once_there_is_one(servers: Servers) -> None:
    """It is refused on the record, asks for a person's attention, comes again an hour later, and then releases."""
    market = Market(servers.engine, fees={"refund": "0"})
    escrow = market.at(State.MILESTONE_PENDING)
    due = next_deadline(escrow)
    deferred = reach(market, escrow, due)
    assert (deferred.released, deferred.state) == (0, State.MILESTONE_PENDING)
    again = next_deadline(deferred)
    assert (again.id, again.due_at) == (due.id, due.due_at + timedelta(hours=1))
    assert deferred.attention is not None
    assert "fee_policy_not_found" in deferred.attention
    assert market.events(escrow)[-2:] == ["command.refused", "deadline.deferred"]
    market.charge_fees({"release": "0.10"})
    released = reach(market, deferred, again)
    assert (released.released, released.attention) == (150000, None)


def test_after_an_outage_a_deadline_without_a_fee_rule_is_put_off_once_and_not_once_an_hour(servers: Servers) -> None:
    """The next chance counts from when the deadline was asked for, and the command behind it is decided at once."""
    market = Market(servers.engine, fees={"refund": "0"})
    escrow = market.at(State.MILESTONE_PENDING)
    first = next_deadline(escrow)
    late = first.due_at + timedelta(days=2)
    submitted = market.do(SubmitMilestone, escrow, milestone=2, received_at=late)
    assert market.events(escrow).count("deadline.deferred") == 1
    assert {one.id: one.due_at for one in submitted.deadlines}[first.id] == late + timedelta(hours=1)


def test_the_tenants_clock_decides_what_is_due(market: Market) -> None:
    """With the test clock two weeks ahead, a command received now comes after the window's end."""
    escrow = market.at(State.MILESTONE_PENDING)
    tenants.move_clock(market.engine, market.tenant, TWO_WEEKS + SECOND)
    assert market.refused(ApproveMilestone, escrow).code == "invalid_transition"
    approved = market.escrow(escrow)
    assert (approved.released, approved.clock_offset) == (150000, int((TWO_WEEKS + SECOND).total_seconds()))
    assert approved.updated_at > datetime.now(UTC) + timedelta(days=13)


def test_edge_38_a_deadline_that_passed_during_an_outage_is_taken_by_the_next_command(market: Market) -> None:
    """Nobody was there when it came; it acts before what comes next, at its own moment."""
    escrow = market.at(State.MILESTONE_PENDING)
    due_at = next_deadline(escrow).due_at
    tenants.move_clock(market.engine, market.tenant, timedelta(days=30))
    rejected = market.refused(RejectMilestone, escrow)
    assert rejected.code == "invalid_transition"
    (row,) = reads.settlements(market.engine, escrow.id)
    assert row["created_at"] == due_at


def test_a_date_of_receipt_in_the_past_shortens_nobodys_time(market: Market) -> None:
    """A seller who says that a submission was received weeks ago does not take the buyer's review away."""
    escrow = market.at(State.IN_PROGRESS)
    backdated = datetime.now(UTC) - timedelta(days=20)
    escrow = market.do(SubmitMilestone, escrow, received_at=backdated)
    assert next_deadline(escrow).due_at > datetime.now(UTC) + TWO_WEEKS - timedelta(minutes=1)


def test_time_never_runs_backwards_in_an_escrow(market: Market) -> None:
    """A command received before the last one was decided is not recorded before it."""
    escrow = market.at(State.IN_PROGRESS)
    early = order(SubmitMilestone, escrow, by=SELLER, received_at=escrow.updated_at - timedelta(days=1))
    assert market.accept(early).updated_at >= escrow.updated_at


def test_a_test_clock_cannot_be_moved_beyond_what_dates_can_say(market: Market) -> None:
    """It never goes back, so a move too far would end the tenant's time for good."""
    with pytest.raises(RefusedError, match="at most 36500 days"):
        tenants.move_clock(market.engine, market.tenant, timedelta(days=36501))
    assert market.at(State.FUNDED).state is State.FUNDED
