"""The whole life of an escrow with three milestones, through the real worker: nine commands, from create to the last
approval, until its workflow has ended. Next to a workflow that takes as many updates and does nothing, in turns.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from benchmarks import marketplace, nothing, processes
from benchmarks.figures import Figure, compare
from ledger import reads, tenants
from ledger.engine import connect
from ledger.keyring import Keyring
from ledger.seals import Seals
from models import ids
from models.commands import ApproveMilestone, Command, Fund, StartWork, SubmitMilestone
from starter.embedded.stack import Endpoints
from starter.payloads import connected
from starter.sender import Sender
from workflows.inputs import EscrowInput

COMMANDS = (
    nothing.UPDATES
)  # create, fund, start_work, then submit_milestone and approve_milestone for each of three milestones
AT_A_TIME = 20
_SAMPLE = 10
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
    keys = Keyring.parse(endpoints.keys)
    temporal = {"target_host": endpoints.temporal_address, "namespace": endpoints.temporal_namespace}
    client = await connected(temporal, keys)
    progress("lives: starting the workers")
    try:
        with (
            processes.running("worker", endpoints, directory / "worker.log"),
            processes.running("benchmarks.nothing_worker", endpoints, directory / "nothing.log"),
        ):
            return await _rounds(engine, client, Seals(keys), size, progress)
    finally:
        engine.dispose()


async def _rounds(
    engine: Engine, client: Client, seals: Seals, size: Size, progress: Callable[[str], None]
) -> list[Figure]:
    sender = Sender(client, engine, seals=seals)
    paying, keeping, empty = (
        _escrow(engine, client, sender, "0.10"),
        _escrow(engine, client, sender, "1"),
        _nothing(client),
    )
    for life in (paying, keeping, empty):
        await _live(life, 1)
    with_payouts: list[tuple[float, float]] = []
    without: list[tuple[float, float]] = []
    for turn in range(size.rounds):
        progress(f"lives: round {turn + 1} of {size.rounds}")
        paid, kept, yardstick = [await _live(life, size.each) for life in (paying, keeping, empty)]
        with_payouts.append((paid.rate, yardstick.rate))
        without.append((kept.rate, yardstick.rate))
    progress("lives: reading histories")
    return [
        *await _histories(engine, client, paid.workflows, kept.workflows, yardstick.workflows),
        compare(f"commands, {AT_A_TIME} escrows at a time, against a workflow that does nothing", "1/s", with_payouts),
        compare("the same where nothing is paid out", "1/s", without),
    ]


@dataclass(frozen=True)
class _Lived:
    """What came of many lives: commands per second until the last workflow had ended, and the workflows' ids."""

    rate: float
    workflows: list[str]


async def _live(life: Life, each: int) -> _Lived:
    """Live ``each`` lives, one after the other, in each of the places."""

    async def place(number: int) -> list[str]:
        return [await life(f"seller{number}") for _ in range(each)]

    started = time.perf_counter()
    lived = await asyncio.gather(*map(place, range(AT_A_TIME)))
    seconds = time.perf_counter() - started
    return _Lived(AT_A_TIME * each * COMMANDS / seconds, [one for several in lived for one in several])


def _escrow(engine: Engine, client: Client, sender: Sender, fee: str) -> Life:
    """Lives of escrows on a platform that takes this fee; at 1 there is nothing to pay out."""
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
class _History:
    events: int
    tasks: int
    size: int


async def _histories(
    engine: Engine, client: Client, paid: Sequence[str], kept: Sequence[str], empty: Sequence[str]
) -> list[Figure]:
    """What the lives of the last round wrote into their histories, under load as they were."""
    ours, theirs = [[await _history(client, one) for one in some[:_SAMPLE]] for some in (paid, empty)]
    without = [await _history(client, one) for one in kept[:_SAMPLE]]
    children = [await _payouts(engine, client, one) for one in paid[:_SAMPLE]]

    def figure(name: str, unit: str, of: Callable[[_History], float], mine: Sequence[_History] = ours) -> Figure:
        return compare(name, unit, [(of(one), of(other)) for one, other in zip(mine, theirs, strict=True)])

    return [
        figure("history events per command", "events", lambda one: one.events / COMMANDS),
        figure("the same where nothing is paid out", "events", lambda one: one.events / COMMANDS, without),
        figure("history events of an escrow's life", "events", lambda one: one.events),
        Figure("history events of its payouts' own workflows", statistics.median(children), "events"),
        figure("workflow tasks of an escrow's life", "tasks", lambda one: one.tasks),
        figure("history bytes of an escrow's life", "bytes", lambda one: one.size),
    ]


async def _history(client: Client, workflow_id: str) -> _History:
    handle = client.get_workflow_handle(workflow_id)
    info = (await handle.describe()).raw_description.workflow_execution_info
    done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    tasks = [event async for event in handle.fetch_history_events() if event.event_type == done]
    return _History(info.history_length, len(tasks), info.history_size_bytes)


async def _payouts(engine: Engine, client: Client, workflow_id: str) -> int:
    escrow = await asyncio.to_thread(reads.escrow, engine, ids.escrow_of(workflow_id))
    payouts = [ids.payout_workflow(one.id, one.generation) for one in escrow.payouts] if escrow else []
    return sum([(await _history(client, one)).events for one in payouts])
