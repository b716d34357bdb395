"""The whole life of an escrow with three milestones, through the real worker: nine commands, from create to the last
approval, until its workflow has ended. Next to a workflow that takes as many updates and does nothing, in turns.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter

from benchmarks import marketplace, nothing, processes
from benchmarks.figures import Figure, compare
from ledger import tenants
from ledger.engine import connect
from models import ids
from models.commands import ApproveMilestone, Command, Fund, StartWork, SubmitMilestone
from starter.sender import Sender
from starter.stack import Endpoints
from workflows.inputs import EscrowInput

COMMANDS = 9  # create, fund, start_work, then submit_milestone and approve_milestone for each of three milestones
AT_A_TIME = 20
_UNKNOWN = tuple(f"mil_{number:026}" for number in range(3))

Life = Callable[[str], Awaitable[str]]
"""Lives one life with a seller; answers its workflow's id."""


@dataclass(frozen=True)
class Size:
    """How many rounds, and how many lives each of the 20 places lives one after the other in a round."""

    rounds: int
    each: int


async def measure(endpoints: Endpoints, directory: Path, size: Size, progress: Callable[[str], None]) -> list[Figure]:
    """Run all rounds and compare."""
    engine = connect(endpoints.database_url, 4)
    client = await Client.connect(
        endpoints.temporal_address, namespace=endpoints.temporal_namespace, data_converter=pydantic_data_converter
    )
    progress("lives: starting the workers")
    try:
        with (
            processes.running("worker", endpoints, directory / "worker.log"),
            processes.running("benchmarks.nothing", endpoints, directory / "nothing.log"),
        ):
            return await _rounds(engine, client, size, progress)
    finally:
        engine.dispose()


async def _rounds(engine: Engine, client: Client, size: Size, progress: Callable[[str], None]) -> list[Figure]:
    paying, keeping, empty = _escrow(engine, client, "0.10"), _escrow(engine, client, "1"), _nothing(client)
    for life in (paying, keeping, empty):
        await _live(life, 1)
    with_payouts: list[tuple[float, float]] = []
    without: list[tuple[float, float]] = []
    for turn in range(size.rounds):
        progress(f"lives: round {turn + 1} of {size.rounds}")
        paid = await _live(paying, size.each)
        yardstick = await _live(empty, size.each)
        kept = await _live(keeping, size.each)
        with_payouts.append((paid, yardstick))
        without.append((kept, yardstick))
    progress("lives: reading histories")
    return [
        *await _histories(client, paying, empty),
        compare(f"commands, {AT_A_TIME} escrows at a time, against a workflow that does nothing", "1/s", with_payouts),
        compare("the same where nothing is paid out", "1/s", without),
    ]


async def _live(life: Life, each: int) -> float:
    """Live ``each`` lives in each of the places; answers commands per second, until the last workflow has ended."""

    async def place(number: int) -> None:
        for _ in range(each):
            await life(f"seller{number}")

    started = time.perf_counter()
    await asyncio.gather(*map(place, range(AT_A_TIME)))
    return AT_A_TIME * each * COMMANDS / (time.perf_counter() - started)


def _escrow(engine: Engine, client: Client, fee: str) -> Life:
    """Lives of escrows on a platform that takes this fee; at 1 there is nothing to pay out."""
    sender = Sender(client, engine)
    tenant = marketplace.open_marketplace(engine, fee)
    for number in range(AT_A_TIME):
        tenants.put_party(engine, tenant, f"seller{number}", payout_destination=f"acct_{number}")

    async def life(seller: str) -> str:
        create = marketplace.create(tenant, seller)
        escrow = await sender.send(create)
        for command in _rest(escrow.id, seller, [milestone.id for milestone in escrow.milestones]):
            await sender.send(command)
        workflow_id = ids.escrow_workflow(escrow.id)
        await client.get_workflow_handle(workflow_id).result()
        return workflow_id

    return life


def _nothing(client: Client) -> Life:
    """Lives of the empty workflow: the same commands, taken and forgotten."""

    async def life(seller: str) -> str:
        create = marketplace.create(marketplace.new_id("ten"), seller)
        start = WithStartWorkflowOperation(
            nothing.NothingWorkflow.run,
            EscrowInput(escrow=create.escrow),
            id=f"nothing:{create.escrow}",
            task_queue=nothing.TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        await client.execute_update_with_start_workflow("nothing", create, start_workflow_operation=start, id=create.id)
        handle = client.get_workflow_handle(f"nothing:{create.escrow}")
        for command in _rest(create.escrow, seller, _UNKNOWN):
            await handle.execute_update("nothing", command, id=command.id)
        await handle.result()
        return handle.id

    return life


def _rest(escrow: str, seller: str, milestones: Sequence[str]) -> list[Command]:
    """Everything after ``create``."""
    buyer, actor = marketplace.BUYER, marketplace.seller(seller)
    commands: list[Command] = [
        Fund(id=f"{escrow}:fund", escrow=escrow, actor=buyer),
        StartWork(id=f"{escrow}:start", escrow=escrow, actor=actor),
    ]
    for one in milestones:
        commands.append(SubmitMilestone(id=f"{one}:submit", escrow=escrow, actor=actor, milestone=one))
        commands.append(ApproveMilestone(id=f"{one}:approve", escrow=escrow, actor=buyer, milestone=one))
    return commands


@dataclass(frozen=True)
class _Size:
    events: int
    tasks: int
    size: int


async def _histories(client: Client, paying: Life, empty: Life) -> list[Figure]:
    ours = [await _history(client.get_workflow_handle(await paying(f"seller{number}"))) for number in range(5)]
    theirs = [await _history(client.get_workflow_handle(await empty(f"seller{number}"))) for number in range(5)]

    def figure(name: str, unit: str, of: Callable[[_Size], float]) -> Figure:
        return compare(name, unit, [(of(one), of(other)) for one, other in zip(ours, theirs, strict=True)])

    return [
        figure("history events of an escrow's life", "events", lambda one: one.events),
        figure("history events per command", "events", lambda one: one.events / COMMANDS),
        figure("workflow tasks of an escrow's life", "tasks", lambda one: one.tasks),
        figure("history bytes of an escrow's life", "bytes", lambda one: one.size),
    ]


async def _history(handle: WorkflowHandle[object, object]) -> _Size:
    described = await handle.describe()
    info = described.raw_description.workflow_execution_info
    done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    tasks = [event async for event in handle.fetch_history_events() if event.event_type == done]
    return _Size(info.history_length, len(tasks), info.history_size_bytes)
