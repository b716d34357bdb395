"""The books against the workflows: whoever is not looked after is found, and why; and nobody else."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import pytest
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities import standing
from activities.standing import Standing, Stray
from ledger import tenants
from models import ids
from models.charges import ChargeResult
from models.commands import ApproveMilestone, RejectMilestone, SubmitMilestone
from models.escrow import Escrow
from models.states import PayoutStatus, State
from starter import openings
from starter.operating import repair
from starter.progress import Progress
from tests.market import GATEWAY, now
from tests.servers import soon
from tests.workflow.idle import FailingPayout, IdleEscrow
from tests.workflow.scene import Sandbox, Scene, seals
from workflows import visibility
from workflows.charge import ChargeWorkflow
from workflows.escrow import EscrowWorkflow
from workflows.timeouts import TASK_QUEUE

pytestmark = pytest.mark.anyio
_OVER: Final = {State.COMPLETED, State.CANCELLED, State.REFUNDED}


def standing_of(scene: Scene, *, thoroughly: bool = False) -> Standing:
    """A look at the scene's namespace."""
    return Standing(scene.client, scene.servers.engine, thoroughly=thoroughly)


async def strays(scene: Scene, *, thoroughly: bool = False) -> list[Stray]:
    """What is found of the scene's tenant."""
    return [one async for one in standing_of(scene, thoroughly=thoroughly).strays(scene.market.tenant)]


@pytest.mark.parametrize("thoroughly", [False, True], ids=["at a glance", "thoroughly"])
async def test_who_is_looked_after_is_no_stray_whatever_the_state(
    scene: Scene, sandbox: Sandbox, thoroughly: bool
) -> None:
    """Also while a payout's own workflow writes versions to the books that its escrow's has not seen yet."""
    for state in State:
        if state not in _OVER and state != State.MILESTONE_APPROVED:
            await scene.at(state)
    sandbox.fault("transfer", "delay", seconds=0.9, times=9, match={"destination": scene.market.destination})
    paying = await scene.at(State.MILESTONE_APPROVED)
    ahead = await scene.until(paying, lambda one: one.payouts[0].status != PayoutStatus.DUE)
    looked = standing_of(scene, thoroughly=thoroughly)
    assert [one async for one in looked.strays(scene.market.tenant)] == []
    assert looked.looked_at == len(State) - len(_OVER)
    assert ahead.version > paying.version


async def _missing(scene: Scene) -> Escrow:
    return scene.market.at(State.FUNDED)


async def _terminated(scene: Scene) -> Escrow:
    escrow = await scene.at(State.FUNDED)
    await scene.handle(escrow).terminate("somebody's mistake")
    return escrow


async def _completed(scene: Scene) -> Escrow:
    """Something that ended at once had its id: here a charge that was made long ago."""
    escrow, order = scene.market.at(State.FUNDED), scene.market.charge(500)
    scene.market.books.begin_charge(order)
    scene.market.books.settle_charge(ChargeResult(id=order.id, status="declined"), GATEWAY)
    sealed = seals(scene.servers).seal_charge(order)
    how = openings.charging(sealed) | {"id": ids.escrow_workflow(escrow.id)}
    await scene.client.execute_workflow(ChargeWorkflow.run, **how)
    return escrow


@pytest.mark.parametrize(
    ("lost", "found"), [(_missing, "missing"), (_terminated, "terminated"), (_completed, "completed")]
)
async def test_an_escrow_that_is_not_over_and_has_no_workflow_is_found(
    scene: Scene, lost: Callable[[Scene], Awaitable[Escrow]], found: str
) -> None:
    """Since its end, or since the books changed; one that is over needs none."""
    await scene.at(State.FUNDED)
    scene.market.at(State.CANCELLED)
    escrow = await lost(scene)
    [stray] = await strays(scene)
    assert (stray.escrow, stray.tenant, stray.state) == (escrow.id, scene.market.tenant, "funded")
    assert (stray.version, stray.cause, stray.workflow) == (escrow.version, "not_running", found)
    assert now() - stray.since < timedelta(minutes=1)
    await scene.client.start_workflow(EscrowWorkflow.run, **openings.from_books(escrow))
    assert await strays(scene) == []


async def test_a_workflow_that_has_not_heard_what_the_books_decided_is_behind_till_it_looks_again(
    scene: Scene,
) -> None:
    """Somebody else decided: its timer, or whom it pays, would be another. The signal ``look_again`` mends it."""
    rejected, approved = await scene.at(State.MILESTONE_PENDING), await scene.at(State.MILESTONE_PENDING)
    now = {
        rejected.id: scene.market.do(RejectMilestone, rejected),
        approved.id: scene.market.do(ApproveMilestone, approved),
    }
    found = await strays(scene)
    assert {one.escrow: (one.cause, one.workflow, one.version) for one in found} == {
        escrow.id: ("behind", "running", escrow.version) for escrow in now.values()
    }
    assert found[0].why == f"it knows version {rejected.version}, the books have {now[found[0].escrow].version}"
    for one in (rejected, approved):
        await scene.handle(one).signal("look_again")
    await scene.until(approved, lambda one: one.payouts[0].status == PayoutStatus.PAID)
    assert await strays(scene) == []


async def test_what_changes_neither_state_nor_deadline_is_seen_by_those_who_ask_thoroughly(scene: Scene) -> None:
    """A workflow that does not know of the second submission has the right timer; asked for all, it is behind."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    scene.market.do(SubmitMilestone, escrow, milestone=2)
    assert await strays(scene) == []
    [stray] = await strays(scene, thoroughly=True)
    assert (stray.escrow, stray.cause) == (escrow.id, "behind")


async def test_a_workflow_that_knows_more_than_the_books_is_stuck_and_not_told_to_forget(scene: Scene) -> None:
    """As when PostgreSQL was put back to an earlier moment: it would ignore the books, and a person decides."""
    escrow = await scene.at(State.IN_PROGRESS)
    with scene.servers.owner() as books:
        books.execute("UPDATE escrow SET version = version - 1 WHERE id = %s", [escrow.id])
    [stray] = await strays(scene, thoroughly=True)
    assert (stray.cause, stray.workflow, stray.version) == ("stuck", "running", escrow.version - 1)
    assert stray.why.endswith("were they put back?")
    with scene.servers.owner() as books:
        books.execute("UPDATE escrow SET version = version + 1 WHERE id = %s", [escrow.id])


async def test_a_deadline_that_came_and_that_nobody_acted_on_is_late(scene: Scene) -> None:
    """The test clock was moved and the escrow was not told: as if its timer had not fired."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    assert await strays(scene) == []
    tenants.move_clock(scene.servers.engine, scene.market.tenant, timedelta(days=15))
    [stray] = await strays(scene)
    assert (stray.cause, stray.why) == ("behind", "its deadline has come and nothing happened")
    assert timedelta(hours=23) < now() - stray.since < timedelta(hours=25)
    await scene.handle(escrow).signal("look_again")
    await scene.until(escrow, lambda one: one.released == 150000)
    assert await standing_of(scene).look(escrow.id) is None


async def test_what_no_worker_can_go_on_with_is_stuck(alone: Scene) -> None:
    """A task that fails for ever, and a payout whose workflow gave up while its escrow's has it no more."""
    failing, unpaid = alone.market.at(State.FUNDED), alone.market.at(State.MILESTONE_APPROVED)
    payout = ids.payout_workflow(unpaid.payouts[0].id, 1)
    workflows, runner = [IdleEscrow, FailingPayout], UnsandboxedWorkflowRunner()
    async with Worker(alone.client, task_queue=TASK_QUEUE, workflows=workflows, workflow_runner=runner):
        ahead = failing.model_copy(update={"clock_offset": 1})
        for one in (ahead, unpaid):
            how = openings.from_books(one) | {"task_timeout": timedelta(seconds=1)}  # a worker tells of a failure once
            await alone.client.start_workflow(EscrowWorkflow.run, **how)
        gave_up = await alone.client.start_workflow("PayoutWorkflow", id=payout, task_queue=TASK_QUEUE)

        async def both() -> dict[str, Stray] | None:
            found = {one.escrow: one for one in await strays(alone)}
            return found if len(found) == 2 else None

        found = await soon(both)
    assert found is not None
    assert {one.cause for one in found.values()} == {"stuck"}
    assert found[failing.id].why.endswith("attempts to go on with it failed: workflow_worker_unhandled_failure")
    assert found[unpaid.id].why == f"the workflow {gave_up.id} failed"


async def test_charges_are_lost_while_nobody_asks_about_them(scene: Scene) -> None:
    """Pending in the books without a workflow; asked about again they end, and one that is definite is nobody's."""
    scene.market.top_up(700)
    order = scene.market.charge(500)
    scene.market.books.begin_charge(order)
    [lost] = [one async for one in standing_of(scene).lost_charges(scene.market.tenant)]
    assert (lost.order, lost.workflow) == (order, "missing")
    await scene.sender.revive_charge(lost.order)
    charged = await scene.sender.top_up(order)
    assert charged.status == "succeeded"
    assert [one async for one in standing_of(scene).lost_charges(scene.market.tenant)] == []


async def test_what_goes_on_again_since_the_walk_saw_it_stuck_is_not_terminated(scene: Scene) -> None:
    """A walk over all escrows takes a while, and fixed code may have been deployed meanwhile."""
    escrow = await scene.at(State.FUNDED)
    run = await scene.run_id(escrow)
    seen = Stray(escrow.id, scene.market.tenant, "funded", escrow.version, "stuck", "running", now(), "it failed")
    wanted, quiet = repair.Wanted(restart_stuck=True), Progress(quiet=True)
    walk = repair._Round(scene.client, scene.sender, scene.servers.engine, quiet, wanted)
    mended = await walk._mend(seen)
    assert (mended.done, mended.mended) == ("goes on by itself meanwhile", True)
    assert await scene.run_id(escrow) == run


def test_it_reads_the_search_attributes_that_workflows_keep() -> None:
    """Activities may not import workflows, so the names stand twice."""
    assert (standing.STATE, standing.NEXT_DEADLINE) == (visibility.STATE, visibility.NEXT_DEADLINE)
