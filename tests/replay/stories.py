"""The deals whose histories are recorded and replayed: each plays to its end through the real sender and worker."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Final

from models import ids
from models.charges import charge_of
from models.commands import (
    ApproveMilestone,
    Cancel,
    Complete,
    Fund,
    RaiseDispute,
    RejectMilestone,
    ResolveDispute,
    RetryPayout,
    ReviewDispute,
    StartWork,
    SubmitMilestone,
)
from models.escrow import Escrow
from models.states import PayoutStatus, State
from tests.builders import order
from tests.servers import soon
from tests.workflow.scene import Sandbox, Scene

# A story answers the ids of its workflows, the escrow's first.
Story = Callable[[Scene, Sandbox], Awaitable[list[str]]]

FORTNIGHT: Final = timedelta(days=14)


async def website(scene: Scene, sandbox: Sandbox) -> list[str]:
    """The specification's deal: approved, rejected and resubmitted, disputed and split, released by silence."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    await scene.do(RejectMilestone, escrow)
    await scene.do(SubmitMilestone, escrow)
    await scene.do(ApproveMilestone, escrow)
    escrow = await _paid(scene, escrow)
    await scene.do(SubmitMilestone, escrow, milestone=2)
    escrow = await scene.do(RaiseDispute, escrow, milestones=(2,))
    escrow = await scene.do(ReviewDispute, escrow)
    await scene.do(ResolveDispute, escrow, resolution="split", seller_share=Decimal("0.7"))
    await _paid(scene, escrow)
    await scene.do(SubmitMilestone, escrow, milestone=3)
    await scene.advance(FORTNIGHT)
    return await _over(scene, escrow)


async def cancelled(scene: Scene, sandbox: Sandbox) -> list[str]:
    """Cancelled by the seller after the first milestone was paid."""
    escrow = await scene.at(State.MILESTONE_APPROVED)
    escrow = await _paid(scene, escrow)
    await scene.do(Cancel, escrow)
    return await _over(scene, escrow)


async def funded_by_card(scene: Scene, sandbox: Sandbox) -> list[str]:
    """Funded straight from the gateway, then completed by the buyer in one go."""
    escrow = await scene.at(State.CREATED)
    command = order(Fund, escrow, source="gateway", payment_method="pm_card_visa")
    await scene.sender.send(command)
    charge = ids.charge_workflow(charge_of(command))
    await scene.do(StartWork, escrow)
    await scene.do(Complete, escrow)
    return [*await _over(scene, escrow), charge]


async def payout_unknown(scene: Scene, sandbox: Sandbox) -> list[str]:
    """The gateway does the work and drops its reply: the payout is unknown until it was asked for."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    sandbox.fault("transfer", "drop_reply_after", match={"destination": scene.market.destination})
    await scene.do(ApproveMilestone, escrow)
    escrow = await _paid(scene, escrow)
    await scene.do(Cancel, escrow)
    return await _over(scene, escrow)


async def payout_retried(scene: Scene, sandbox: Sandbox) -> list[str]:
    """The gateway declines for good; the payout is sent again as a new generation."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    sandbox.fault("transfer", "decline", match={"destination": scene.market.destination})
    await scene.do(ApproveMilestone, escrow)
    escrow = await _seen(scene, escrow, PayoutStatus.FAILED)
    await scene.do(RetryPayout, escrow)
    escrow = await _paid(scene, escrow)
    await scene.do(Cancel, escrow)
    return await _over(scene, escrow)


async def continued(scene: Scene, sandbox: Sandbox) -> list[str]:
    """Rejected until the server suggests a fresh history, which takes up the review that is pending then."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    first = await scene.run_id(escrow)
    while await scene.run_id(escrow) == first:
        await scene.do(RejectMilestone, escrow)
        escrow = await scene.do(SubmitMilestone, escrow)
    await scene.advance(FORTNIGHT)
    await _paid(scene, escrow)
    await scene.do(Cancel, escrow)
    workflows = await _over(scene, escrow)
    return [f"{workflows[0]}@{first}", *workflows]


# Played on a Temporal that suggests a fresh history after a few events.
SHORT_STORIES: Final[dict[str, Story]] = {"continued": continued}

STORIES: Final[dict[str, Story]] = {
    story.__name__: story for story in (website, cancelled, funded_by_card, payout_unknown, payout_retried)
}


async def _paid(scene: Scene, escrow: Escrow) -> Escrow:
    return await _seen(scene, escrow, PayoutStatus.PAID)


async def _seen(scene: Scene, escrow: Escrow, status: PayoutStatus) -> Escrow:
    """Wait until the workflow itself has taken notice of its payouts, so that a story always commands the same."""

    async def look() -> Escrow | None:
        found: Escrow = await scene.handle(escrow).query("snapshot", result_type=Escrow)
        return found if found.payouts and all(one.status == status for one in found.payouts) else None

    found = await soon(look)
    assert found is not None
    return found


async def _over(scene: Scene, escrow: Escrow) -> list[str]:
    await scene.completed(escrow)
    last = await scene.until(escrow, lambda found: found.finished)
    payouts = (
        ids.payout_workflow(payout.id, generation)
        for payout in last.payouts
        for generation in range(1, payout.generation + 1)
    )
    return [ids.escrow_workflow(escrow.id), *payouts]
