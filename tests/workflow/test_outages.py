"""PostgreSQL away: commands wait where operators see them, nothing is lost, and all is well when it is back."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
from temporalio.service import RPCError

from models import ids
from models.commands import ApproveMilestone, Fund, StartWork
from models.escrow import Escrow
from models.states import PayoutStatus, State
from tests.builders import a_create, order
from tests.servers import Servers, soon
from tests.workers import Workers, pending
from tests.workflow.scene import Scene, history
from workflows import timeouts
from workflows.escrow import EscrowWorkflow
from workflows.inputs import EscrowInput

pytestmark = pytest.mark.anyio


@contextmanager
def no_database(servers: Servers) -> Iterator[None]:
    """Throw the program out of PostgreSQL and let it in again afterwards."""
    with closing(servers.superuser("postgres")) as connection:
        connection.execute("ALTER ROLE holdfast_app NOLOGIN")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'holdfast_app'")
        try:
            yield
        finally:
            connection.execute("ALTER ROLE holdfast_app LOGIN")
            servers.engine.dispose()


async def test_edge_47_a_command_waits_for_postgresql_as_a_visible_activity_and_then_goes_through(alone: Scene) -> None:
    """After a second of trying briefly it is a pending activity with its last failure; then it is applied once."""
    with Workers(alone.servers):
        escrow = await alone.at(State.FUNDED)
        command = alone.sealed(order(StartWork, escrow))
        with no_database(alone.servers):
            handle = alone.handle(escrow)
            waiting = asyncio.create_task(handle.execute_update("start_work", command, id=command.id))

            async def retried() -> list[tuple[str, str]]:
                return [(name, why) for name, attempt, why in await pending(alone.client, handle) if attempt > 1]

            ((name, why),) = await soon(retried)
            assert name == "apply"
            assert "holdfast_app" in why
            assert not waiting.done()
        assert (await asyncio.wait_for(waiting, 30))["state"] == State.IN_PROGRESS
        assert alone.market.escrow(escrow).state == State.IN_PROGRESS
        assert alone.market.answers(escrow).count(("start_work", "accepted")) == 1
        assert (await alone.history(escrow)).count("ACTIVITY_TASK_SCHEDULED") == 1


async def test_edge_47_money_on_its_way_out_is_recorded_when_postgresql_is_back(alone: Scene) -> None:
    """A payout whose books are away keeps its answer and writes it down later, once."""
    with Workers(alone.servers):
        escrow = alone.market.at(State.MILESTONE_APPROVED)
        with no_database(alone.servers):
            await alone.start(escrow)

            async def stuck() -> bool:
                return "ACTIVITY_TASK_SCHEDULED" in await alone.history(escrow)

            await soon(stuck)
        paid = await alone.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.PAID, within=30)
    assert paid.released == 150000
    assert alone.market.events(escrow).count("payout.paid") == 1


async def test_edge_47_a_charge_is_written_down_before_the_gateway_is_asked(alone: Scene) -> None:
    """Without the books nobody is charged; with them back the top-up goes through."""
    charge = alone.market.charge(700)
    with Workers(alone.servers):
        with no_database(alone.servers):
            topping = asyncio.create_task(alone.sender.top_up(charge))
            handle = alone.client.get_workflow_handle(ids.charge_workflow(charge.id))

            async def tried() -> bool:
                try:
                    described = await handle.describe()
                except RPCError:  # it was not started yet
                    return False
                return any(one.attempt > 1 for one in described.raw_description.pending_activities)

            await soon(tried)
            scheduled = await history(handle)
            assert scheduled.count("ACTIVITY_TASK_SCHEDULED") == 1
            assert not topping.done()
        assert (await asyncio.wait_for(topping, 30)).status == "succeeded"
    assert alone.market.balance("wallet", "alice") == 10**9 + 700


async def test_edge_47_a_sender_without_its_books_answers_when_they_are_back(alone: Scene) -> None:
    """A refusal that the workflow gave is recorded by the sender; while it cannot be, the sender keeps trying."""
    with Workers(alone.servers):
        escrow = await alone.at(State.FUNDED)
        with no_database(alone.servers):
            refused = asyncio.create_task(alone.refused(ApproveMilestone, escrow))
            done, _ = await asyncio.wait({refused}, timeout=1.0)
            assert not done
        assert (await asyncio.wait_for(refused, 30)).code == "invalid_transition"
    assert alone.market.answers(escrow)[-1] == ("approve_milestone", "invalid_transition")


async def test_edge_47_a_create_that_waits_longer_than_its_workflow_is_not_orphaned(
    alone: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workflow gives up waiting for a create only when none is on its way; the escrow then lives on."""
    monkeypatch.setattr(timeouts, "WAIT_FOR_CREATE", timedelta(seconds=1))
    create = alone.sealed(a_create(tenant=alone.market.tenant))
    with Workers(alone.servers):
        handle = await alone.client.start_workflow(
            EscrowWorkflow.run,
            EscrowInput(escrow=create.escrow),
            id=ids.escrow_workflow(create.escrow),
            task_queue=timeouts.TASK_QUEUE,
        )

        async def has_looked() -> bool:
            return "TIMER_STARTED" in await history(handle)

        await soon(has_looked)
        with no_database(alone.servers):
            creating = asyncio.create_task(handle.execute_update("create", create, id=create.id, result_type=Escrow))

            async def gave_up() -> bool:
                events = await history(handle)
                return "TIMER_FIRED" in events and "ACTIVITY_TASK_SCHEDULED" in events

            await soon(gave_up)
        escrow = await asyncio.wait_for(creating, 30)
        assert (await alone.do(Fund, escrow)).state == State.FUNDED
