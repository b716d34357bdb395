"""What comes after the end: an escrow whose workflow has long closed still takes what concerns its money."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from models import commands, ids
from models.commands import SYSTEM, ApproveMilestone, RecordPayout, RetryPayout, ReverseMilestone
from models.escrow import Escrow
from models.states import MilestoneStatus, PayoutStatus, State
from tests.builders import order
from tests.workflow.scene import Scene
from tests.workflow.test_money_out import a_small_deal
from tests.workflow.test_payouts import is_paid

pytestmark = pytest.mark.anyio


async def over(scene: Scene, amount: int = 150000) -> Escrow:
    """A deal that was paid out, and whose workflow has ended."""
    escrow = await a_small_deal(scene, amount)
    await scene.until(escrow, is_paid)
    assert await scene.completed(escrow) == State.COMPLETED
    return scene.market.escrow(escrow)


async def test_a_clawback_reaches_an_escrow_whose_workflow_has_ended(scene: Scene) -> None:
    """Its workflow starts again for that one command and ends again; the seller owes what was paid out."""
    escrow = await over(scene)
    clawed = await scene.do(ReverseMilestone, escrow, amount=50000)
    assert (clawed.state, clawed.released, clawed.refunded) == (State.COMPLETED, 100000, 50000)
    assert scene.market.balance("receivable", "bob") == 45000
    assert scene.market.balance("fee_revenue", "platform") == 10000
    assert await scene.completed(escrow) == State.COMPLETED


async def test_a_repeated_clawback_after_the_end_happens_once(scene: Scene) -> None:
    """The same command again, whether or not a workflow runs, is answered from the books."""
    escrow = await over(scene)
    command = order(ReverseMilestone, escrow, amount=50000)
    first = await scene.sender.send(command)
    assert await scene.sender.send(command) == first
    assert await scene.completed(escrow) == State.COMPLETED
    assert await scene.sender.send(command) == first
    assert scene.market.balance("receivable", "bob") == 45000


async def test_what_a_seller_owes_comes_out_of_the_next_release_before_anything_is_paid(scene: Scene) -> None:
    """45,000 owed: of the next 90,000 only 45,000 go to the gateway."""
    await scene.do(ReverseMilestone, await over(scene), amount=50000)
    following = await a_small_deal(scene, 100000)
    paid = await scene.until(following, is_paid)
    assert (paid.payouts[0].amount, paid.payouts[0].netted) == (45000, 45000)
    assert scene.market.balance("receivable", "bob") == 0


async def test_a_command_that_is_refused_after_the_end_starts_no_workflow(scene: Scene) -> None:
    """What the rules are bound to refuse is refused from the books, and nothing runs for it."""
    escrow = await over(scene)
    run = await scene.run_id(escrow)
    assert (await scene.refused(ApproveMilestone, escrow)).code == "invalid_transition"
    assert (await scene.refused(ReverseMilestone, escrow, amount=150001)).code == "refund_amount_mismatch"
    assert await scene.run_id(escrow) == run


async def test_edge_13_a_payout_that_comes_back_after_the_end_can_be_sent_to_another_account(scene: Scene) -> None:
    """Payable again, the escrow open again for that, the old account not used any more; the new one is paid."""
    escrow = await over(scene)
    (payout,) = escrow.payouts
    returned = RecordPayout(
        id=f"~{ids.payout_key(payout.id, payout.generation)}:returned",
        escrow=escrow.id,
        actor=SYSTEM,
        payout=payout.id,
        generation=payout.generation,
        outcome="returned",
        reason="account closed",
    )
    outcome = scene.market.apply(returned)
    assert outcome.escrow is not None
    assert outcome.escrow.payouts[0].status == PayoutStatus.RETURNED
    assert outcome.escrow.milestones[0].status == MilestoneStatus.APPROVED
    assert scene.market.balance("payable", "bob") == 135000
    await scene.do(RetryPayout, escrow, destination=f"{scene.market.destination}2")
    paid = await scene.until(escrow, is_paid)
    assert paid.milestones[0].status == MilestoneStatus.PAID
    assert paid.payouts[0].destination == f"{scene.market.destination}2"
    assert await scene.completed(escrow) == State.COMPLETED


async def test_a_dispute_that_nobody_acts_in_ends_by_the_policys_outcome(scene: Scene) -> None:
    """Edge 36, end to end: the response window passes on the test clock and the money is held again."""
    escrow = await scene.at(State.DISPUTED)
    assert [one.kind for one in escrow.deadlines] == ["default_dispute"]
    await scene.advance(timedelta(days=30, seconds=5))
    after = await scene.until(escrow, lambda now: now.open_dispute is None)
    assert (after.disputes[0].resolution, after.disputes[0].resolved_by) == ("mediation", "system")
    assert (after.held, after.disputed, after.state) == (500000, 0, State.IN_PROGRESS)
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING


async def test_a_chargeback_stops_every_clock_until_it_is_decided(scene: Scene) -> None:
    """Edge 17: the contested money is out of reach, no silence approves meanwhile; won, a whole new window runs."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    await scene.do(commands.OpenChargeback, escrow, amount=500000)
    assert scene.market.balance("chargeback_hold", escrow.id) == 500000
    await scene.advance(timedelta(days=60))
    assert scene.market.escrow(escrow).released == 0
    assert (await scene.refused(commands.ApproveMilestone, escrow)).code == "chargeback_open"
    won = await scene.do(commands.CloseChargeback, escrow, outcome="won")
    assert (won.held, won.contested) == (500000, 0)
    await scene.advance(timedelta(days=75))
    after = await scene.until(escrow, lambda now: now.released)
    assert after.released == 150000
