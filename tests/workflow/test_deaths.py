"""Workers that die by kill -9 at the worst moment: the next one finds what was done, and does the rest once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus

from ledger import reads
from models import ids
from models.charges import charge_of
from models.commands import ApproveMilestone, Cancel, Fund, SubmitMilestone
from models.escrow import Escrow
from models.states import PayoutStatus, State
from starter.sender import Sender
from tests.builders import order
from tests.workers import WorkerProcess, Workers, temporal
from tests.workflow.scene import Sandbox, Scene, seals

pytestmark = pytest.mark.anyio
KILLED = -9


@contextmanager
def doomed(scene: Scene, tmp_path: Path, doom: str) -> Iterator[WorkerProcess]:
    """A worker process in the scene's namespace that will die at that moment."""
    process = WorkerProcess.start(scene.servers, tmp_path / "worker.log", doom)
    try:
        yield process
    finally:
        process.kill()


@pytest.mark.parametrize("doom", ["before the commit", "after the commit"])
async def test_edge_05_a_worker_killed_around_the_commit_leaves_one_settlement_and_the_senders_answer(
    alone: Scene, tmp_path: Path, doom: str
) -> None:
    """Killed before: the next worker applies it. Killed after: it finds the stored outcome. The sender gets it."""
    escrow = alone.market.at(State.MILESTONE_PENDING)
    with doomed(alone, tmp_path, doom) as worker:
        await alone.start(escrow)
        answer = asyncio.create_task(alone.do(ApproveMilestone, escrow))
        assert await asyncio.to_thread(worker.died) == KILLED
        assert alone.market.count("settlement", escrow) == (1 if doom == "after the commit" else 0)
        with Workers(alone.servers):
            approved = await answer
            await alone.until(escrow, paid)
    assert (approved.version, approved.released) == (escrow.version + 1, 150000)
    assert alone.market.count("settlement", escrow) == 1
    assert alone.market.answers(escrow).count(("approve_milestone", "accepted")) == 1


@pytest.mark.parametrize("doom", ["after the gateway", "before recording"])
async def test_edge_06_a_worker_killed_between_the_gateways_success_and_our_record_pays_once(
    alone: Scene, tmp_path: Path, sandbox: Sandbox, doom: str
) -> None:
    """The operation is known by its key: asked again, recorded once, paid once."""
    escrow = alone.market.at(State.MILESTONE_APPROVED)
    with doomed(alone, tmp_path, doom) as worker:
        await alone.start(escrow)
        assert await asyncio.to_thread(worker.died) == KILLED
    (payout,) = alone.market.escrow(escrow).payouts
    assert payout.status == PayoutStatus.IN_TRANSIT
    key = ids.payout_key(payout.id, 1)
    assert len(sandbox.transfers(key)) == 1
    with Workers(alone.servers):
        after = await alone.until(escrow, paid, within=30)
    assert len(sandbox.transfers(key)) == 1
    assert after.payouts[0].reference == sandbox.transfers(key)[0]["id"]
    assert alone.market.balance("gateway_cash", "stripe") == 10**9 - 135000
    assert alone.market.events(escrow).count("payout.paid") == 1


async def test_edge_06_a_worker_killed_after_a_charge_has_charged_once(
    alone: Scene, tmp_path: Path, sandbox: Sandbox
) -> None:
    """The buyer's card was charged and nobody wrote it down: the next worker asks by the key and funds the escrow."""
    escrow = alone.market.create()
    fund = alone.sealed(order(Fund, escrow, source="gateway", payment_method="pm_card_visa"))
    with doomed(alone, tmp_path, "after the charge") as worker:
        await alone.start(escrow)
        await alone.handle(escrow).signal("fund", fund)
        assert await asyncio.to_thread(worker.died) == KILLED
    assert alone.market.escrow(escrow).state == State.CREATED
    with Workers(alone.servers):
        await alone.until(escrow, lambda now: now.state == State.FUNDED, within=30)
    assert [one["amount"] for one in sandbox.charges(charge_of(fund))] == [500000]
    assert alone.market.balance("wallet", "alice") == 10**9


async def test_edge_07_two_workers_on_one_escrow_come_to_what_one_comes_to(alone: Scene) -> None:
    """With two workers and two senders every step happens once, and the deal ends as with one."""
    other = Sender(await temporal(alone.servers.endpoints), alone.servers.engine, seals=seals(alone.servers))
    with Workers(alone.servers), Workers(alone.servers):
        escrow = await alone.at(State.MILESTONE_PENDING, amount=150000, milestones=(150000,))
        approve = order(ApproveMilestone, escrow)
        mine, theirs = await asyncio.gather(alone.sender.send(approve), other.send(approve))
        assert mine == theirs
        assert await alone.completed(escrow) == State.COMPLETED
    assert alone.market.count("settlement", escrow) == 1
    assert alone.market.balance("gateway_cash", "stripe") == 10**9 - 135000


async def test_an_escrow_that_the_engine_was_asked_to_cancel_goes_on_with_the_next_worker(alone: Scene) -> None:
    """The request means nothing to it; the first worker can let go of it all the same, and the second takes it up."""
    with Workers(alone.servers):
        escrow = await alone.at(State.IN_PROGRESS)
        await alone.handle(escrow).cancel()
        await alone.do(SubmitMilestone, escrow)
    with Workers(alone.servers):
        assert (await alone.do(ApproveMilestone, escrow)).released == 150000
        assert await alone.status(escrow) == WorkflowExecutionStatus.RUNNING


async def test_edge_08_a_terminated_workflow_is_rebuilt_from_the_books_and_nothing_moves_twice(alone: Scene) -> None:
    """Its history gone with the money half way out, a new workflow takes the escrow up where the books have it."""
    with Workers(alone.servers):
        escrow = await alone.at(State.MILESTONE_APPROVED)
        await alone.until(escrow, paid)
        await alone.handle(escrow).terminate()
        assert await alone.status(escrow) == WorkflowExecutionStatus.TERMINATED
        await alone.start(alone.market.escrow(escrow))
        assert (await alone.do(Cancel, escrow)).state == State.CANCELLED
        assert await alone.completed(escrow) == State.CANCELLED
    assert len(reads.settlements(alone.servers.engine, escrow.id)) == 2
    assert alone.market.balance("gateway_cash", "stripe") == 10**9 - 135000


def paid(escrow: Escrow) -> bool:
    """Whether the escrow's payout has arrived."""
    return bool(escrow.payouts) and all(payout.status == PayoutStatus.PAID for payout in escrow.payouts)
