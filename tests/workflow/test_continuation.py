"""A long life: the history starts afresh when the server suggests it, and nobody who deals with the escrow notices."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowQueryFailedError

from models.commands import (
    ApproveMilestone,
    Complete,
    Fund,
    RejectMilestone,
    ReleaseOverride,
    RetryPayout,
    ReverseMilestone,
    SubmitMilestone,
)
from models.escrow import Escrow
from models.states import PayoutStatus, State
from tests.builders import order
from tests.market import Market
from tests.servers import Servers, short_histories, soon
from tests.workers import Workers, temporal
from tests.workflow.scene import Sandbox, Scene
from tests.workflow.test_payouts import UNREACHABLE
from workflows import visibility

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def impatient(servers: Servers) -> Iterator[Servers]:
    """The same servers with a Temporal of its own, which suggests a fresh history after forty events."""
    with short_histories(servers) as running:
        yield running


@pytest.fixture
async def aging(impatient: Servers, market: Market) -> AsyncIterator[Scene]:
    """A scene on the impatient Temporal, with a worker."""
    with Workers(impatient):
        yield Scene.of(impatient, market, await temporal(impatient.endpoints))


async def grow(scene: Scene, escrow: Escrow, rounds: int = 4) -> Escrow:
    """Fill the history: milestone 3 is submitted and rejected again and again."""
    for _ in range(rounds):
        await scene.do(SubmitMilestone, escrow, milestone=3)
        escrow = await scene.do(RejectMilestone, escrow, milestone=3)
    return escrow


async def renewed(scene: Scene, escrow: Escrow, first: str) -> None:
    """Wait until the escrow has a fresh history."""

    async def changed() -> bool:
        return await scene.run_id(escrow) != first

    await soon(changed)


async def _snapshot(scene: Scene, escrow: Escrow) -> Escrow | None:
    """What the workflow knows; None in the moment in which a fresh history has not read the books yet."""
    try:
        known: Escrow = await scene.handle(escrow).query("snapshot", result_type=Escrow)
    except WorkflowQueryFailedError:
        return None
    return known


async def test_a_fresh_history_keeps_escrow_deadline_clock_and_what_operators_see(aging: Scene) -> None:
    """The new run knows the snapshot and the pending deadline, follows the clock, and is found by the same searches."""
    escrow = await aging.at(State.MILESTONE_PENDING)
    first = await aging.run_id(escrow)
    await aging.advance(timedelta(days=7))
    escrow = await grow(aging, escrow)
    await renewed(aging, escrow, first)
    await aging.sender.send(order(ReverseMilestone, escrow, milestone=2, amount=1))
    described = await aging.handle(escrow).describe()
    assert described.status == WorkflowExecutionStatus.RUNNING
    assert described.typed_search_attributes.get(visibility.STATE) == "milestone_pending"
    assert described.typed_search_attributes.get(visibility.TENANT) == aging.market.tenant
    snapshot = await soon(lambda: _snapshot(aging, escrow))
    assert snapshot == aging.market.escrow(escrow)
    assert snapshot.clock_offset == 7 * 86400
    await aging.advance(timedelta(days=14, minutes=1))
    released = aging.market.escrow(escrow)
    assert (released.released, released.milestones[0].generation) == (150000, 1)


async def test_the_pending_deadlines_own_timer_fires_in_the_fresh_history(aging: Scene) -> None:
    """A deadline that was set in one run comes in the next, without anybody asking."""
    window = ReleaseOverride(review_window=timedelta(seconds=4))
    escrow = await aging.at(State.MILESTONE_PENDING, release=window)
    first = await aging.run_id(escrow)
    await grow(aging, escrow, rounds=3)
    await renewed(aging, escrow, first)
    await aging.until(escrow, lambda now: now.released >= 150000)
    assert "milestone.auto_approved" in aging.market.events(escrow)


async def test_an_open_payout_is_seen_to_its_end_before_the_history_starts_afresh(
    aging: Scene, sandbox: Sandbox
) -> None:
    """While a payout is unknown its run goes on; once it is paid the next begins, and nothing was sent twice."""
    sandbox.fault("transfer", "error_after", match={"destination": aging.market.destination})
    sandbox.fault("look_up", times=1000, **UNREACHABLE)
    escrow = await aging.at(State.MILESTONE_APPROVED)
    first = await aging.run_id(escrow)
    await aging.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.UNKNOWN)
    await grow(aging, escrow)
    assert await aging.run_id(escrow) == first
    sandbox.behave()
    await aging.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.PAID)
    await renewed(aging, escrow, first)
    (payout,) = aging.market.escrow(escrow).payouts
    assert len(sandbox.transfers(f"{payout.id}:1")) == 1


async def test_a_failed_payout_can_be_retried_in_the_fresh_history(aging: Scene, sandbox: Sandbox) -> None:
    """A payout that waits for a person is no reason to keep a history; its retry works in the next one."""
    sandbox.fault("transfer", "decline", match={"destination": aging.market.destination})
    escrow = await aging.at(State.MILESTONE_APPROVED)
    first = await aging.run_id(escrow)
    failed = await aging.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.FAILED)
    await grow(aging, failed)
    await renewed(aging, escrow, first)
    await aging.do(RetryPayout, failed)
    paid = await aging.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.PAID)
    assert paid.payouts[0].generation == 2
    await aging.do(Complete, paid)
    assert await aging.completed(escrow) == State.COMPLETED


async def test_every_command_sent_while_histories_change_has_one_definite_answer(aging: Scene) -> None:
    """Three senders at once across several runs: each command is applied once, and none is lost at the seam."""
    escrow = await aging.at(State.IN_PROGRESS)
    first = await aging.run_id(escrow)

    async def sends(milestone: int) -> None:
        for _ in range(12):
            await aging.do(ReverseMilestone, escrow, milestone=milestone, amount=1)

    await asyncio.gather(*(sends(milestone) for milestone in (1, 2, 3)))
    after = aging.market.escrow(escrow)
    assert (after.refunded, after.version) == (36, escrow.version + 36)
    assert aging.market.count("settlement", escrow) == 36
    await renewed(aging, escrow, first)


async def test_edge_02_a_command_repeated_in_a_later_run_answers_what_it_answered(aging: Scene) -> None:
    """The engine remembers ids for a run only; the books know them for ever."""
    escrow = await aging.at(State.IN_PROGRESS)
    first = await aging.run_id(escrow)
    submit = order(SubmitMilestone, escrow)
    answered = await aging.sender.send(submit)
    await aging.do(ApproveMilestone, answered)
    fund = order(Fund, escrow)
    refused = await aging.refusal(fund)
    await aging.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.PAID)
    await grow(aging, escrow)
    await renewed(aging, escrow, first)
    assert await aging.sender.send(submit) == answered
    assert await aging.refusal(fund) == refused
    assert aging.market.answers(escrow).count(("submit_milestone", "accepted")) == 5
