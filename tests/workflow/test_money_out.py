"""When released money goes: at once, after a clearance period, when somebody asks, or when there is enough of it."""

from datetime import timedelta
from typing import Any

import pytest

from ledger import tenants
from models.commands import ApproveMilestone, Complete, Fund, StartWork, SubmitMilestone
from models.escrow import Escrow
from models.payout_terms import PayoutTerms
from models.policies import ReleasePolicy
from models.states import PayoutStatus, State
from tests.builders import SELLER, new_id
from tests.workflow.scene import Sandbox, Scene
from tests.workflow.test_payouts import UNREACHABLE, is_paid, key, meant

pytestmark = pytest.mark.anyio


def terms(scene: Scene, **fields: object) -> None:
    """Write the tenant's payout terms."""
    policy = ReleasePolicy(payout=PayoutTerms.model_validate(fields))
    tenants.put_policy(scene.servers.engine, scene.market.tenant, "release", policy)


async def a_small_deal(scene: Scene, amount: int) -> Escrow:
    """An escrow of one milestone, approved: 90 % of the amount is due to bob."""
    escrow = await scene.create(amount=amount, milestones=(amount,))
    for kind in (Fund, StartWork, SubmitMilestone, ApproveMilestone):
        await scene.do(kind, escrow)
    return scene.market.escrow(escrow)


async def test_a_payout_waits_out_its_clearance_period_and_then_goes_by_itself(scene: Scene, sandbox: Sandbox) -> None:
    """For seven days the money is payable and nothing is sent; a second more, and the gateway has moved it."""
    terms(scene, trigger="time", clearance=timedelta(days=7))
    escrow = await scene.at(State.MILESTONE_APPROVED)
    (payout,) = escrow.payouts
    assert (payout.status, payout.hold) == (PayoutStatus.DUE, "clearance")
    await scene.advance(timedelta(days=6, hours=23))
    assert sandbox.requests(key(payout)) == []
    assert scene.market.balance("payable", "bob") == 135000
    await scene.advance(timedelta(days=7, seconds=1))
    paid = await scene.until(escrow, is_paid)
    assert [one["amount"] for one in sandbox.transfers(key(paid.payouts[0]))] == [135000]


async def test_under_trigger_manual_money_goes_when_the_seller_asks(scene: Scene) -> None:
    """All of the party's held payouts go by one request, in whichever escrows they are."""
    terms(scene, trigger="manual")
    first, second = [await a_small_deal(scene, amount) for amount in (1000, 2000)]
    assert {one.payouts[0].hold for one in (first, second)} == {"manual"}
    asked = await scene.sender.request_payouts(scene.market.tenant, "bob", SELLER, new_id("cmd"))
    assert {one.id for one in asked} == {first.id, second.id}
    for escrow in (first, second):
        await scene.until(escrow, is_paid)
    assert scene.market.balance("payable", "bob") == 0


async def test_small_amounts_are_carried_forward_until_together_they_reach_the_minimum(scene: Scene) -> None:
    """Two releases of two escrows below the minimum wait; the third takes them along, at once and not a day later."""
    terms(scene, minimum=5000)
    first, second = [await a_small_deal(scene, amount) for amount in (1000, 2000)]
    assert {one.payouts[0].hold for one in (first, second)} == {"minimum"}
    assert "of at least 50.00 EUR" in (first.payouts[0].reason or "")
    third = await a_small_deal(scene, 3000)
    for escrow, amount in ((first, 900), (second, 1800), (third, 2700)):
        paid = await scene.until(escrow, is_paid)
        assert paid.payouts[0].amount == amount
        assert await scene.completed(escrow) == State.COMPLETED
    assert scene.market.balance("payable", "bob") == 0


async def test_a_declined_payout_is_tried_again_after_an_hour_and_then_with_back_off(
    scene: Scene, sandbox: Sandbox
) -> None:
    """By policy, without anybody's doing: the second attempt is declined as well, the third arrives."""
    decline: dict[str, Any] = {
        "fault": "answer",
        "status": 400,
        "body": {"error": {"type": "invalid_request_error", "code": "account_closed", "message": "closed"}},
    }
    sandbox.fault("transfer", match=meant(scene), times=2, **decline)
    escrow = await scene.at(State.IN_PROGRESS)
    await scene.do(Complete, escrow)
    await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.FAILED)
    await scene.advance(timedelta(hours=1, seconds=5))
    again = await scene.until(escrow, lambda now: (now.payouts[0].generation, now.payouts[0].status) == (2, "failed"))
    (deadline,) = again.deadlines
    assert (deadline.kind, deadline.due_at - again.updated_at) == ("retry_payout", timedelta(hours=2))
    await scene.advance(timedelta(hours=4))
    paid = await scene.until(escrow, is_paid)
    assert (paid.payouts[0].generation, len(sandbox.transfers(key(paid.payouts[0])))) == (3, 1)


async def test_nothing_is_tried_again_by_itself_while_the_outcome_is_unknown(scene: Scene, sandbox: Sandbox) -> None:
    """Unknown is not failed: no deadline runs, the gateway is asked."""
    sandbox.fault("transfer", match=meant(scene), fault="error_after")
    sandbox.fault("look_up", times=1000, **UNREACHABLE)
    escrow = await scene.at(State.MILESTONE_APPROVED)
    unknown = await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.UNKNOWN)
    assert unknown.deadlines == ()
    sandbox.behave()
    await scene.until(escrow, is_paid)
