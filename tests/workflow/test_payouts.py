"""Money on its way out: sent once, and moved again only on a definite answer of the gateway."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus

from ledger import tenants
from models import ids
from models.commands import ApproveMilestone, Complete, RetryPayout, StartWork, SubmitMilestone
from models.escrow import Escrow, Payout
from models.states import MilestoneStatus, PayoutStatus, State
from tests.builders import SELLER, order
from tests.servers import soon
from tests.workflow.scene import Sandbox, Scene
from workflows.inputs import PayoutInput
from workflows.payout import PayoutWorkflow
from workflows.timeouts import TASK_QUEUE

pytestmark = pytest.mark.anyio

UNREACHABLE: dict[str, Any] = {"fault": "answer", "status": 503, "body": {"error": {"type": "api_error"}}}


def key(payout: Payout) -> str:
    """The payout's key with the gateway."""
    return ids.payout_key(payout.id, payout.generation)


def meant(scene: Scene) -> dict[str, str]:
    """Matches the transfers of this test's seller only."""
    return {"destination": scene.market.destination}


def is_paid(escrow: Escrow) -> bool:
    """Whether there is a payout and all are paid."""
    return bool(escrow.payouts) and all(payout.status == PayoutStatus.PAID for payout in escrow.payouts)


async def test_a_release_is_paid_out_and_only_then_is_the_milestone_paid(scene: Scene, sandbox: Sandbox) -> None:
    """The gateway moved it once, the books have it out of cash, the milestone says ``paid``."""
    escrow = await scene.at(State.MILESTONE_APPROVED)
    paid = await scene.until(escrow, is_paid)
    (payout,) = paid.payouts
    assert (payout.amount, paid.milestones[0].status) == (135000, MilestoneStatus.PAID)
    (transfer,) = sandbox.transfers(key(payout))
    assert (transfer["id"], transfer["amount"], transfer["currency"]) == (payout.reference, 135000, "eur")
    assert scene.market.balance("gateway_cash", "stripe") == 10**9 - 135000
    assert scene.market.balance("payout_in_transit", payout.id) == 0


FAULTS: dict[str, dict[str, Any]] = {
    "5xx after the work": {"fault": "error_after"},
    "dropped reply after the work": {"fault": "drop_reply_after"},
    "answer later than we wait": {"fault": "delay", "seconds": 0.9},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_edge_09_a_lost_answer_is_unknown_and_looked_up_until_it_is_definite(
    scene: Scene, sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    """The money stays in transit, a person can see why, nothing is sent twice, and the look-up settles it."""
    sandbox.fault("transfer", match=meant(scene), **fault)
    sandbox.fault("look_up", times=1000, **UNREACHABLE)
    escrow = await scene.at(State.MILESTONE_APPROVED)
    unknown = await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.UNKNOWN)
    (payout,) = unknown.payouts
    assert scene.market.balance("payout_in_transit", payout.id) == 135000
    assert scene.market.balance("payable", "bob") == 0
    assert unknown.milestones[0].status == MilestoneStatus.APPROVED
    assert unknown.attention is not None
    assert "unknown" in unknown.attention
    sandbox.behave()
    paid = await scene.until(escrow, is_paid)
    assert paid.payouts[0].reference == sandbox.transfers(key(payout))[0]["id"]
    assert len(sandbox.transfers(key(payout))) == 1
    assert scene.market.balance("payout_in_transit", payout.id) == 0


async def test_edge_09_what_never_reached_the_gateway_is_sent_again_under_the_same_key(
    scene: Scene, sandbox: Sandbox
) -> None:
    """Not found does not mean failed: the same operation goes out once more, and moves once."""
    faults: tuple[dict[str, Any], ...] = ({"fault": "error_before"}, {"fault": "drop_before"})
    escrows = []
    for fault in faults:
        escrow = scene.market.at(State.MILESTONE_PENDING)
        sandbox.fault("transfer", match=meant(scene), **fault)
        await scene.start(escrow)
        escrows.append(await scene.do(ApproveMilestone, escrow))
        await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.UNKNOWN)
    for paid in await asyncio.gather(*(scene.until(escrow, is_paid) for escrow in escrows)):
        (payout,) = paid.payouts
        assert payout.generation == 1
        assert len(sandbox.transfers(key(payout))) == 1


async def test_a_provider_that_limits_our_rate_is_left_alone_for_as_long_as_it_says(
    scene: Scene, sandbox: Sandbox
) -> None:
    """The first question comes when that time is over, and not sooner for what we are told meanwhile."""
    sandbox.fault("transfer", "rate_limit", match=meant(scene), retry_after=1)
    escrow = await scene.at(State.MILESTONE_APPROVED)
    unknown = await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.UNKNOWN)
    (payout,) = unknown.payouts
    workflow = scene.client.get_workflow_handle(ids.payout_workflow(payout.id, 1))
    await workflow.signal("look_again")
    question = {"transfer_group": key(payout)}

    async def asked() -> bool:
        return bool(sandbox.look_ups("transfers", **question))

    await soon(asked)
    sent, first_asked = [
        event.event_time.ToDatetime()
        async for event in workflow.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ][:2]
    assert first_asked - sent >= timedelta(seconds=1)


async def test_edge_10_a_decline_makes_the_money_payable_again_with_the_reason(scene: Scene, sandbox: Sandbox) -> None:
    """A definite no: back from transit to payable, never guessed, and a person is asked to look."""
    sandbox.fault("transfer", "decline", match=meant(scene), code="account_closed")
    escrow = await scene.at(State.MILESTONE_APPROVED)
    failed = await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.FAILED)
    (payout,) = failed.payouts
    assert payout.reason is not None
    assert "account_closed" in payout.reason
    assert failed.attention is not None
    assert scene.market.balance("payout_in_transit", payout.id) == 0
    assert scene.market.balance("payable", "bob") == 135000
    assert sandbox.transfers(key(payout)) == []


async def test_edge_10_a_retry_is_a_new_generation_with_a_key_of_its_own(scene: Scene, sandbox: Sandbox) -> None:
    """The second attempt is another operation for the gateway; the workflow waits for it and then ends."""
    sandbox.fault("transfer", "decline", match=meant(scene), code="account_closed")
    escrow = await scene.at(State.IN_PROGRESS)
    await scene.do(Complete, escrow)
    failed = await scene.until(escrow, lambda now: bool(now.payouts) and now.payouts[0].status == PayoutStatus.FAILED)
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING
    retried = await scene.do(RetryPayout, failed)
    assert retried.payouts[0].generation == 2
    assert await scene.completed(escrow) == State.COMPLETED
    (paid,) = scene.market.escrow(escrow).payouts
    assert (paid.status, paid.generation) == (PayoutStatus.PAID, 2)
    assert sandbox.transfers(f"{paid.id}:1") == []
    assert [one["amount"] for one in sandbox.transfers(f"{paid.id}:2")] == [450000]


async def test_a_seller_without_a_destination_is_paid_once_there_is_one(scene: Scene, sandbox: Sandbox) -> None:
    """Without a destination nothing is sent and the payout has failed; a retry uses what was written since."""
    zoe = SELLER.model_copy(update={"party": "zoe"})
    escrow = await scene.at(State.FUNDED, seller="zoe")
    for kind in (StartWork, SubmitMilestone):
        escrow = await scene.sender.send(order(kind, escrow, by=zoe))
    await scene.do(ApproveMilestone, escrow)
    failed = await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.FAILED)
    assert failed.payouts[0].reason == "the seller has no payout destination"
    assert scene.market.balance("payable", "zoe") == 135000
    tenants.put_party(scene.servers.engine, scene.market.tenant, "zoe", payout_destination="acct_zoe")
    await scene.do(RetryPayout, failed, by=zoe)
    paid = await scene.until(escrow, is_paid)
    assert [one["destination"] for one in sandbox.transfers(key(paid.payouts[0]))] == ["acct_zoe"]


async def test_the_workflow_is_over_only_when_every_payout_has_arrived(scene: Scene, sandbox: Sandbox) -> None:
    """The escrow is completed in the books, but its workflow waits while a payout is unknown."""
    sandbox.fault("transfer", "error_after", match=meant(scene))
    sandbox.fault("look_up", times=1000, **UNREACHABLE)
    escrow = await scene.at(State.COMPLETED)
    await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.UNKNOWN)
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING
    sandbox.behave()
    assert await scene.completed(escrow) == State.COMPLETED
    assert is_paid(scene.market.escrow(escrow))


async def test_a_slow_bank_does_not_keep_an_escrow_from_taking_commands(scene: Scene, sandbox: Sandbox) -> None:
    """While the first payout hangs, the next milestone is submitted, approved and released."""
    sandbox.fault("transfer", "delay", seconds=0.5, match=meant(scene))
    escrow = await scene.at(State.MILESTONE_APPROVED)
    await scene.do(SubmitMilestone, escrow, milestone=2)
    released = await scene.do(ApproveMilestone, escrow, milestone=2)
    assert released.released == 350000
    assert released.payouts[0].status != PayoutStatus.PAID
    await scene.until(escrow, is_paid)


async def test_running_a_payout_again_moves_nothing_twice(scene: Scene, sandbox: Sandbox) -> None:
    """Its workflow can be started anew at any time: the books and the gateway know the operation's key."""
    escrow = await scene.until(await scene.at(State.MILESTONE_APPROVED), is_paid)
    (payout,) = escrow.payouts
    again: Escrow = await scene.client.execute_workflow(
        PayoutWorkflow.run,
        PayoutInput(escrow=escrow.id, payout=payout.id, generation=1),
        id=f"again:{payout.id}",
        task_queue=TASK_QUEUE,
    )
    assert is_paid(again)
    assert len(sandbox.transfers(key(payout))) == 1
    assert scene.market.balance("gateway_cash", "stripe") == 10**9 - 135000
