"""A new build of the workers comes up beside the old one in the middle of escrows, takes over, and can be sent back."""

import asyncio
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.client import WorkflowHandle
from temporalio.worker import Replayer

from models import ids
from models.commands import ApproveMilestone, RejectMilestone, SubmitMilestone
from models.escrow import Escrow
from models.states import PayoutStatus, State
from starter.deployment import DEPLOYMENT, report
from tests.builds import build, cli, known, make_current, set_current, task_queues, works_on
from tests.log_lines import lines, logged
from tests.servers import Servers, eventually, soon
from tests.workers import own_namespace, temporal
from tests.workflow.next_release import CHANGE, CarelessEscrow, CarelessPayout, PatchedEscrow, PatchedPayout
from tests.workflow.scene import WORKFLOW_TASK_TIMEOUT, Sandbox, Scene
from tests.workflow.test_exchange_rates import worker_process
from tests.workflow.test_payouts import UNREACHABLE, is_paid, key, meant
from worker import WORKFLOWS
from workflows import timeouts
from workflows.inputs import PayoutInput
from workflows.payout import PayoutWorkflow
from workflows.timeouts import TASK_QUEUE

pytestmark = pytest.mark.anyio

FORTNIGHT = timedelta(days=14)


def payout_of(scene: Scene, escrow: Escrow) -> WorkflowHandle[Any, Any]:
    """The workflow of the escrow's only payout."""
    (payout,) = escrow.payouts
    return scene.client.get_workflow_handle(ids.payout_workflow(payout.id, payout.generation))


async def took_the_new_way(handle: WorkflowHandle[Any, Any]) -> bool:
    """Whether a workflow's history says that it does what the next release changed."""
    return any(
        event.marker_recorded_event_attributes.marker_name == "core_patch"
        for event in (await handle.fetch_history()).events
    )


async def under_review(scene: Scene) -> Escrow:
    """An escrow whose workflow waits for the review's end, with a timer."""
    escrow = scene.market.at(State.MILESTONE_PENDING)
    await scene.start(escrow)

    async def waits() -> bool:
        return "TIMER_STARTED" in await scene.history(escrow)

    await soon(waits)
    return escrow


async def unknown_on_the_way(scene: Scene, sandbox: Sandbox) -> tuple[Escrow, WorkflowHandle[Any, Any]]:
    """A payout, of an escrow without a workflow, that the provider has made, could not confirm and cannot be asked."""
    sandbox.fault("transfer", "drop_reply_after", match=meant(scene))
    sandbox.fault("look_up", times=1000, **UNREACHABLE)
    escrow = scene.market.at(State.MILESTONE_APPROVED)
    handle = await scene.client.start_workflow(
        PayoutWorkflow.run,
        PayoutInput(escrow=escrow.id, payout=escrow.payouts[0].id, generation=1),
        id=ids.payout_workflow(escrow.payouts[0].id, 1),
        task_queue=TASK_QUEUE,
        task_timeout=WORKFLOW_TASK_TIMEOUT,
    )
    return await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.UNKNOWN), handle


def paid_once(sandbox: Sandbox, escrow: Escrow) -> bool:
    """Whether the provider was asked once for each payout, and did it once."""
    posts = [one for payout in escrow.payouts for one in sandbox.requests(key(payout)) if one["method"] == "POST"]
    return len(posts) == len(escrow.payouts) == sum(len(sandbox.transfers(key(one))) for one in escrow.payouts)


async def test_a_new_build_takes_over_in_the_middle_of_everything(alone: Scene, sandbox: Sandbox) -> None:
    """What began before the change goes on the old way, what begins after it the new one, and nothing moves twice."""
    async with build(alone, "1"):
        await known(alone, "1")
        await make_current(alone, "1")
        reviewed = await under_review(alone)
        paying, payout = await unknown_on_the_way(alone, sandbox)
        async with build(alone, "2", PatchedEscrow, PatchedPayout):
            await known(alone, "2")
            await alone.do(RejectMilestone, reviewed)  # build 2 is there, and has nothing to say yet
            await alone.do(SubmitMilestone, reviewed)
            assert await works_on(alone.handle(reviewed)) == "1"
            await make_current(alone, "2")
            sandbox.behave()
            await payout.result()
            assert await works_on(payout) == "2"
            assert not await took_the_new_way(payout)
            await alone.advance(FORTNIGHT)
            released = await alone.until(reviewed, is_paid)
            assert await works_on(alone.handle(reviewed)) == "2"
            assert not await took_the_new_way(alone.handle(reviewed))
            assert await took_the_new_way(payout_of(alone, released))
            new = await alone.until(await alone.at(State.MILESTONE_APPROVED), is_paid)
            assert await took_the_new_way(alone.handle(new))
            assert await took_the_new_way(payout_of(alone, new))
        paid = await alone.until(paying, is_paid)
    assert all(paid_once(sandbox, one) for one in (paid, released, new))


async def test_going_back_keeps_what_was_pinned_and_stops_what_was_not(alone: Scene, sandbox: Sandbox) -> None:
    """Back on the old build old escrows go on, and new ones that were pinned before; the rest waits without harm."""
    async with build(alone, "1"), build(alone, "2", PatchedEscrow, PatchedPayout):
        await known(alone, "1")
        await known(alone, "2")
        await make_current(alone, "1")
        old = await under_review(alone)
        await make_current(alone, "2")
        new = await under_review(alone)
        await pin_what_took_the_new_way(alone, new)
        late = await under_review(alone)
        await make_current(alone, "1")
        for escrow, build_id in ((old, "1"), (new, "2")):
            await alone.do(ApproveMilestone, escrow)
            assert await works_on(alone.handle(escrow)) == build_id
        approving = asyncio.create_task(alone.do(ApproveMilestone, late))
        await soon(lambda: makes_no_sense(alone.handle(late)))
        assert (await alone.until(late, lambda _: True)).version == late.version
        await make_current(alone, "2")
        await approving
        paid = [await alone.until(one, is_paid) for one in (old, new, late)]
    assert all(paid_once(sandbox, one) for one in paid)


async def pin_what_took_the_new_way(scene: Scene, escrow: Escrow) -> None:
    """Have workflows with the change stay on build 2, as documented, and wait until this one does."""
    which = f"TemporalChangeVersion = '{CHANGE}' AND ExecutionStatus = 'Running'"
    chosen = ("--versioning-override-deployment-name", DEPLOYMENT, "--versioning-override-build-id", "2")
    pin = ("workflow", "update-options", "--versioning-override-behavior", "pinned", *chosen, "--query", which, "--yes")

    async def found() -> bool:
        # What began just now is found a moment later; Temporal runs one such command at a time.
        return (await scene.client.count_workflows(which)).count > 0

    async def pinned() -> bool:
        described = (await scene.handle(escrow).describe()).raw_description
        return described.workflow_execution_info.versioning_info.HasField("versioning_override")

    await soon(found)
    code, said = await cli(scene, *pin)
    assert code == 0, said
    await soon(pinned)


async def test_a_careless_change_is_caught_by_replay_and_waits_in_production(alone: Scene, sandbox: Sandbox) -> None:
    """Without ``patched`` the tasks fail, nothing is written and nothing moves; the old build heals it."""
    async with build(alone, "1"), build(alone, "2", CarelessEscrow, CarelessPayout):
        await known(alone, "1")
        await known(alone, "2")
        await make_current(alone, "1")
        reviewed = await under_review(alone)
        paying, payout = await unknown_on_the_way(alone, sandbox)
        for handle in (alone.handle(reviewed), payout):
            await replay(alone, handle, *WORKFLOWS)
            with pytest.raises(Exception, match=r"(?i)nondeterminism"):
                await replay(alone, handle, CarelessEscrow, CarelessPayout)
        await make_current(alone, "2")
        sandbox.behave()
        approving = asyncio.create_task(alone.do(ApproveMilestone, reviewed))
        await payout.signal("look_again")
        await soon(lambda: makes_no_sense(alone.handle(reviewed)))
        await soon(lambda: makes_no_sense(payout))
        assert not approving.done()
        assert (await alone.until(reviewed, lambda _: True)).version == reviewed.version
        assert (await alone.until(paying, lambda _: True)).payouts[0].status == PayoutStatus.UNKNOWN
        await make_current(alone, "1")
        await approving
        both = [await alone.until(one, is_paid) for one in (reviewed, paying)]
    assert all(paid_once(sandbox, one) for one in both)


async def replay(scene: Scene, handle: WorkflowHandle[Any, Any], *workflows: type) -> None:
    """Replay what a workflow has done so far, as the gate does."""
    replayer = Replayer(workflows=workflows, data_converter=scene.client.data_converter)
    await replayer.replay_workflow(await handle.fetch_history())


async def makes_no_sense(handle: WorkflowHandle[Any, Any]) -> bool:
    """Whether a worker could not make sense of a workflow's history."""
    return any(
        event.workflow_task_failed_event_attributes.cause
        == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
        for event in (await handle.fetch_history()).events
    )


async def test_unversioned_workers_hand_over_and_take_back(alone: Scene) -> None:
    """The first build goes on with what workers without one began; once it is stopped these go on with it."""
    async with build(alone, None):
        async with build(alone, "1"):
            await known(alone, "1")
            escrow = await under_review(alone)
            assert await works_on(alone.handle(escrow)) == ""
            await make_current(alone, "1")
            await alone.do(RejectMilestone, escrow)
            await alone.do(SubmitMilestone, escrow)
            assert await works_on(alone.handle(escrow)) == "1"
            await make_current(alone, None)
        await alone.do(ApproveMilestone, escrow)
        assert await works_on(alone.handle(escrow)) == ""
        await alone.until(escrow, is_paid)


async def test_a_build_without_all_of_its_workers_is_not_made_current(alone: Scene) -> None:
    """A payout would wait for the gateway's worker for ever: Temporal compares with the build that is current."""
    async with build(alone, "1"), build(alone, "2", gateway_too=False):
        await known(alone, "1")
        await make_current(alone, "1")
        await alone.until(await alone.at(State.MILESTONE_APPROVED), is_paid)

        async def refused() -> bool:
            code, said = await set_current(alone, "--build-id", "2")
            assert code != 0
            return "missing" in said

        await soon(refused)


async def test_every_worker_of_a_process_is_of_its_build_and_says_how_it_stands(
    servers: Servers, tmp_path: Path
) -> None:
    """HOLDFAST_BUILD_ID is all it takes; a build that nobody has made current says so, and how to."""
    apart = await own_namespace(servers, "worker-of-a-build")
    client = await temporal(apart.endpoints)
    log = tmp_path / "worker.log"
    process = worker_process({**apart.endpoints.environment(), "HOLDFAST_BUILD_ID": "2026.11-a1"}, log)
    try:
        queues = {value for name, value in vars(timeouts).items() if name.endswith("TASK_QUEUE")}

        async def all_are() -> bool:
            return await task_queues(client, "2026.11-a1") == queues

        await soon(all_are)
        command = "set-current-version --deployment-name holdfast --build-id 2026.11-a1"
        await asyncio.to_thread(eventually, lambda: command in log.read_text())
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


async def test_a_worker_says_when_its_build_is_made_current_and_when_no_more(alone: Scene) -> None:
    """In turn: nothing is current, this build is, another one is; once each, however often it looks."""
    often = timedelta(milliseconds=300)
    with logged() as stream:
        async with build(alone, "1"), build(alone, "2"):
            await known(alone, "1")
            await known(alone, "2")
            reporting = asyncio.create_task(report(alone.client, "1", often))

            async def told(count: int) -> bool:
                return len(about(stream)) == count

            await soon(lambda: told(1))
            await make_current(alone, "1")
            await soon(lambda: told(2))
            await make_current(alone, "2")
            await soon(lambda: told(3))
            reporting.cancel()
    idle, current, waiting = about(stream)
    assert (idle["level"], idle["build_id"]) == ("warning", "1")
    assert "without HOLDFAST_BUILD_ID" in idle["why"]
    assert (current["level"], current["event"]) == ("info", "this build is current: it takes all work")
    assert (waiting["level"], waiting["why"]) == ("warning", "another build is current")


def about(stream: StringIO) -> list[dict[str, Any]]:
    """What was logged about builds."""
    return [line for line in lines(stream) if line["logger"] == "starter.deployment"]
