"""What an escrow does by itself: at the window's end, on the test clock or the real one, once and in order."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from ledger import reads, tenants
from models.commands import (
    ApproveMilestone,
    Cancel,
    RaiseDispute,
    RejectMilestone,
    ReleaseOverride,
    SubmitMilestone,
)
from models.errors import RefusedError
from models.policies import ReleasePolicy
from models.states import MilestoneStatus, PayoutStatus, State
from tests.servers import soon
from tests.workers import Workers
from tests.workflow.scene import Scene

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
A_MOMENT = ReleaseOverride(review_window=timedelta(milliseconds=700))


async def test_edge_36_a_silent_buyers_milestones_are_released_when_two_weeks_are_over(scene: Scene) -> None:
    """On the test clock two weeks pass at once: approved by the system, paid by the gateway, and it is over."""
    escrow = await scene.at(State.MILESTONE_PENDING, amount=150000, milestones=(150000,))
    await scene.advance(14 * DAY - timedelta(minutes=1))
    assert scene.market.escrow(escrow).state == State.MILESTONE_PENDING
    await scene.advance(14 * DAY)
    ended = scene.market.escrow(escrow)
    assert (ended.state, ended.released) == (State.COMPLETED, 150000)
    assert "milestone.auto_approved" in scene.market.events(escrow)
    assert await scene.completed(escrow) == State.COMPLETED
    assert scene.market.escrow(escrow).payouts[0].status == PayoutStatus.PAID


async def test_edge_36_the_timer_itself_releases_without_anybody_asking(scene: Scene) -> None:
    """In real time: the window ends, the timer fires, and the milestone is approved."""
    escrow = await scene.at(State.MILESTONE_PENDING, release=A_MOMENT)
    due = escrow.next_deadline
    assert due is not None
    approved = await scene.until(escrow, lambda now: now.released == 150000)
    assert approved.milestones[0].status in {MilestoneStatus.APPROVED, MilestoneStatus.PAID}
    (row,) = reads.settlements(scene.servers.engine, escrow.id)
    assert row["created_at"] == due.due_at
    assert (await scene.history(escrow)).count("TIMER_FIRED") == 1


async def test_one_timer_runs_and_a_command_that_changes_no_deadline_leaves_it_alone(scene: Scene) -> None:
    """The timer is set anew only when the next deadline changes."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    await scene.refused(SubmitMilestone, escrow)
    later = await scene.do(SubmitMilestone, escrow, milestone=2)
    await scene.do(RejectMilestone, later, milestone=2)
    events = await scene.history(escrow)
    assert (events.count("TIMER_STARTED"), events.count("TIMER_CANCELED")) == (1, 0)


async def test_the_buyer_is_reminded_before_the_window_ends(scene: Scene) -> None:
    """The reminder comes at its time, once, and the milestone waits on for its own deadline."""
    tenants.put_policy(
        scene.servers.engine, scene.market.tenant, "release", ReleasePolicy(reminders=(7 * DAY, 13 * DAY))
    )
    escrow = await scene.at(State.MILESTONE_PENDING)
    for days, reminders in ((6, 0), (7, 1), (12, 1), (13, 2)):
        await scene.advance(days * DAY)
        assert scene.market.events(escrow).count("milestone.reminder_due") == reminders
    assert scene.market.escrow(escrow).released == 0
    await scene.advance(14 * DAY)
    assert scene.market.escrow(escrow).released == 150000


async def test_a_resubmission_starts_a_new_clock_and_the_old_one_means_nothing(scene: Scene) -> None:
    """Rejected after a week and submitted again, a milestone waits two weeks from then, not one."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    await scene.advance(7 * DAY)
    await scene.do(RejectMilestone, escrow)
    again = await scene.do(SubmitMilestone, escrow)
    assert again.milestones[0].generation == 2
    await scene.advance(20 * DAY)
    assert scene.market.escrow(escrow).state == State.MILESTONE_PENDING
    await scene.advance(21 * DAY + timedelta(minutes=1))
    assert scene.market.escrow(escrow).released == 150000
    assert scene.market.count("settlement", escrow) == 1


async def test_edge_37_a_dispute_on_one_milestone_leaves_the_clock_of_another_running(scene: Scene) -> None:
    """The frozen milestone cannot be released by its old deadline; the others are, at theirs."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    escrow = await scene.do(SubmitMilestone, escrow, milestone=2)
    await scene.do(RaiseDispute, escrow, milestones=(1,))
    await scene.advance(15 * DAY)
    after = scene.market.escrow(escrow)
    assert after.milestones[0].status == MilestoneStatus.DISPUTED
    assert (after.state, after.disputed, after.released) == (State.DISPUTED, 150000, 200000)


async def test_edge_38_deadlines_of_an_outage_are_handled_once_and_in_their_order(alone: Scene) -> None:
    """Two windows end while no worker runs; the next worker releases both, the earlier one first, once each."""
    with Workers(alone.servers):
        window = ReleaseOverride(review_window=timedelta(seconds=2))
        escrow = await alone.at(State.MILESTONE_PENDING, release=window, amount=350000, milestones=(150000, 200000))
        escrow = await alone.do(SubmitMilestone, escrow, milestone=2)
    dues = [one.due_at for one in escrow.deadlines]

    async def passed() -> bool:
        return datetime.now(UTC) > max(dues)

    await soon(passed)
    assert alone.market.escrow(escrow).released == 0
    with Workers(alone.servers):
        assert await alone.completed(escrow, within=30) == State.COMPLETED
    settled = reads.settlements(alone.servers.engine, escrow.id)
    assert [(row["created_at"], row["total"]) for row in settled] == list(zip(dues, (150000, 200000), strict=True))


async def test_edge_38_a_clock_that_moved_during_an_outage_is_followed_afterwards(alone: Scene) -> None:
    """The books' clock is ahead when the worker comes back: the late command finds the deadline before itself."""
    with Workers(alone.servers):
        escrow = await alone.at(State.MILESTONE_PENDING)
    tenants.move_clock(alone.servers.engine, alone.market.tenant, 20 * DAY)
    with Workers(alone.servers):
        refusal = await alone.refused(ApproveMilestone, escrow)
        assert refusal.code == "invalid_transition"
        await alone.until(escrow, lambda now: now.payouts and now.payouts[0].status == PayoutStatus.PAID)
    assert alone.market.count("settlement", escrow) == 1


async def test_edge_38_an_escrow_rebuilt_after_its_deadline_acts_at_once(scene: Scene) -> None:
    """A workflow that starts when the deadline is past takes it as its first step."""
    escrow = scene.market.at(State.MILESTONE_PENDING)
    tenants.move_clock(scene.servers.engine, scene.market.tenant, 30 * DAY)
    await scene.start(escrow)
    released = await scene.until(escrow, lambda now: now.released == 150000)
    assert released.milestones[0].status in {MilestoneStatus.APPROVED, MilestoneStatus.PAID}
    assert "TIMER_FIRED" not in await scene.history(escrow)


async def test_edge_03_a_dispute_and_the_end_of_the_window_never_both_win(scene: Scene) -> None:
    """Fired together again and again: released or frozen, and the loser hears why."""
    outcomes = set()
    for _ in range(5):
        escrow = await scene.at(State.MILESTONE_PENDING, release=A_MOMENT, amount=1000, milestones=(1000,))
        due = escrow.next_deadline
        assert due is not None

        async def close(at: datetime = due.due_at) -> bool:
            return datetime.now(UTC) > at - timedelta(milliseconds=15)

        await soon(close)
        with suppress(RefusedError):
            await scene.do(RaiseDispute, escrow)
        after = await scene.until(escrow, lambda now: now.released + now.disputed > 0)
        assert (after.released, after.disputed) in {(1000, 0), (0, 1000)}
        outcomes.add(after.state)
    assert outcomes <= {State.COMPLETED, State.DISPUTED}


async def test_edge_40_cancelling_after_the_first_milestones_were_paid_ends_the_escrow(scene: Scene) -> None:
    """Two milestones are paid out, the third is cancelled: its money returns, nothing stays held, and it is over."""
    escrow = await scene.at(State.IN_PROGRESS)
    for number in (1, 2):
        await scene.do(SubmitMilestone, escrow, milestone=number)
        await scene.do(ApproveMilestone, escrow, milestone=number)
    await scene.until(escrow, lambda now: [one.status for one in now.payouts] == [PayoutStatus.PAID] * 2)
    ended = await scene.do(Cancel, escrow)
    assert (ended.state, ended.held, ended.released, ended.refunded) == (State.CANCELLED, 0, 350000, 150000)
    assert await scene.completed(escrow) == State.CANCELLED
    assert scene.market.balance("wallet", "alice") == 10**9 - 350000
    assert scene.market.balance("payable", "bob") == 0


async def test_a_manual_policy_sets_no_clock(scene: Scene) -> None:
    """Under mode ``manual`` a submitted milestone waits for its buyer, however long."""
    escrow = await scene.at(State.MILESTONE_PENDING, release=ReleaseOverride(mode="manual"))
    await scene.advance(400 * DAY)
    assert scene.market.escrow(escrow).state == State.MILESTONE_PENDING
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING
