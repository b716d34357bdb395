"""The deals whose histories are recorded and replayed: each plays to its end through the real sender and worker."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

from temporalio.client import WorkflowQueryFailedError

from ledger import tenants
from models import ids
from models.charges import charge_of
from models.commands import (
    AddEvidence,
    ApproveMilestone,
    Cancel,
    CloseChargeback,
    CloseDispute,
    Complete,
    Fund,
    OpenChargeback,
    RaiseDispute,
    RejectMilestone,
    ResolveDispute,
    RetryPayout,
    ReverseMilestone,
    ReviewDispute,
    StartWork,
    SubmitMilestone,
)
from models.escrow import Escrow
from models.payout_terms import PayoutTerms
from models.policies import CompliancePolicy, ReleasePolicy, VerifiedAbove
from models.screening import ScreenParty, screening_workflow
from models.states import PayoutStatus, State
from tests.builders import order
from tests.servers import soon
from tests.workflow.scene import Sandbox, Scene, history
from workflows.exchange_rates import ExchangeRatesWorkflow
from workflows.timeouts import TASK_QUEUE

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


async def looked_again(scene: Scene, sandbox: Sandbox) -> list[str]:
    """A bank debit takes its time; told of something, its workflow asks anew, and the escrow's reads the books."""
    escrow = await scene.at(State.CREATED)
    command = order(Fund, escrow, source="gateway", payment_method="pm_usBankAccount_processing")
    funding = asyncio.create_task(scene.sender.send(command))
    charge = scene.client.get_workflow_handle(ids.charge_workflow(charge_of(command)))

    async def asks() -> bool:
        charges = sandbox.charges(charge_of(command))
        return bool(charges) and bool(sandbox.look_ups(f"payment_intents/{charges[0]['payment_intent']}"))

    async def asks_anew() -> bool:
        return "ACTIVITY_TASK_CANCEL_REQUESTED" in await history(charge)

    await soon(asks)
    await charge.signal("look_again")
    await soon(asks_anew)
    sandbox.happen("collect", key=charge_of(command))
    await funding
    known = (await scene.history(escrow)).count("MARKER_RECORDED")

    async def has_read() -> bool:
        return (await scene.history(escrow)).count("MARKER_RECORDED") > known

    await scene.handle(escrow).signal("look_again")
    await soon(has_read)
    await scene.do(StartWork, escrow)
    await scene.do(Complete, escrow)
    return [*await _over(scene, escrow), charge.id]


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


async def cleared(scene: Scene, sandbox: Sandbox) -> list[str]:
    """A week's clearance: the payout goes when its deadline has come."""
    _pay_out(scene, trigger="time", clearance=timedelta(days=7))
    escrow = await scene.at(State.MILESTONE_APPROVED)
    await scene.advance(timedelta(days=8))
    escrow = await _paid(scene, escrow)
    await scene.do(Cancel, escrow)
    return await _over(scene, escrow)


async def carried_forward(scene: Scene, sandbox: Sandbox) -> list[str]:
    """Too little to be paid out, until another escrow of the same seller reaches the minimum and tells this one."""
    _pay_out(scene, minimum=150000)
    first = await scene.at(State.MILESTONE_APPROVED)
    second = await scene.at(State.MILESTONE_APPROVED)
    for escrow in (first, second):
        await _paid(scene, escrow)
        await scene.do(Cancel, escrow)
    return [one for escrow in (first, second) for one in await _over(scene, escrow)]


async def clawed_back(scene: Scene, sandbox: Sandbox) -> list[str]:
    """Taken back after the end: the workflow starts again for that one command."""
    escrow = await scene.at(State.MILESTONE_APPROVED)
    escrow = await _paid(scene, escrow)
    await scene.do(Cancel, escrow)
    workflows = await _over(scene, escrow)
    first = await scene.run_id(escrow)
    await scene.do(ReverseMilestone, escrow, amount=50000)
    await scene.completed(escrow)
    return [f"{workflows[0]}@{first}", *workflows]


async def screened(scene: Scene, sandbox: Sandbox) -> list[str]:
    """Held until the seller is verified: the screening that finds it out has the payout looked at again."""
    limit = CompliancePolicy(verified_above=VerifiedAbove(payout=100000))
    tenants.put_policy(scene.servers.engine, scene.market.tenant, "compliance", limit)
    escrow = await scene.at(State.MILESTONE_APPROVED)
    tenants.put_party(scene.servers.engine, scene.market.tenant, "bob", kyc_status="verified")
    await scene.sender.screen_party(scene.market.tenant, "bob")
    escrow = await _paid(scene, escrow)
    await scene.do(Cancel, escrow)
    return [*await _over(scene, escrow), screening_workflow(ScreenParty(tenant=scene.market.tenant, party="bob"))]


async def rates_refreshed(scene: Scene, sandbox: Sandbox) -> list[str]:
    """What the schedule starts every day."""
    workflow = f"rates:{scene.market.tenant}"
    await scene.client.execute_workflow(ExchangeRatesWorkflow.run, id=workflow, task_queue=TASK_QUEUE)
    return [workflow]


async def contested(scene: Scene, sandbox: Sandbox) -> list[str]:
    """A dispute that is answered, mediated and closed; a chargeback that is won, then one that is lost."""
    escrow = await scene.at(State.DISPUTED)
    await scene.do(AddEvidence, escrow)
    escrow = await scene.do(ReviewDispute, escrow)
    escrow = await scene.do(ResolveDispute, escrow, resolution="mediation")
    escrow = await scene.do(CloseDispute, escrow)
    for reference, outcome in (("du_1", "won"), ("du_2", "lost")):
        await scene.do(OpenChargeback, escrow, reference=reference, amount=500000)
        await scene.do(CloseChargeback, escrow, outcome=outcome)
    return await _over(scene, escrow)


async def continued(scene: Scene, sandbox: Sandbox) -> list[str]:
    """Rejected until the server suggests a fresh history, which takes up the review that is pending then."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    first = await scene.run_id(escrow)
    while await scene.run_id(escrow) == first:
        for command in (RejectMilestone, SubmitMilestone):
            escrow = await scene.do(command, escrow)
            await soon(partial(_known, scene, escrow))
    await scene.advance(FORTNIGHT)
    await _paid(scene, escrow)
    await scene.do(Cancel, escrow)
    workflows = await _over(scene, escrow)
    return [f"{workflows[0]}@{first}", *workflows]


# Played on a Temporal that suggests a fresh history after a few events.
SHORT_STORIES: Final[dict[str, Story]] = {"continued": continued}

STORIES: Final[dict[str, Story]] = {
    story.__name__: story
    for story in (
        website, cancelled, funded_by_card, payout_unknown, payout_retried, cleared, carried_forward, clawed_back,
        contested, screened, rates_refreshed, looked_again,
    )
}  # fmt: skip


def _pay_out(scene: Scene, **terms: Any) -> None:
    """Write the tenant's payout terms."""
    policy = ReleasePolicy(payout=PayoutTerms(**terms))
    tenants.put_policy(scene.servers.engine, scene.market.tenant, "release", policy)


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


async def _known(scene: Scene, escrow: Escrow) -> bool:
    """Whether the workflow knows the escrow: a fresh history looks into the books, unless a command is faster."""
    try:
        await scene.handle(escrow).query("snapshot", result_type=Escrow)
    except WorkflowQueryFailedError:
        return False
    return True


async def _over(scene: Scene, escrow: Escrow) -> list[str]:
    await scene.completed(escrow)
    last = await scene.until(escrow, lambda found: found.finished)
    payouts = (
        ids.payout_workflow(payout.id, generation)
        for payout in last.payouts
        for generation in range(1, payout.generation + 1)
    )
    return [ids.escrow_workflow(escrow.id), *payouts]
