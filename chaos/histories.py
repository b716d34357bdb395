"""Replaying every history that Temporal has: today's code has to command what was commanded while everything failed."""

from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

import worker
from ledger.keyring import Keyring
from starter.embedded.stack import Endpoints
from starter.payloads import connected, data_converter

_FETCH_FOR: Final = timedelta(seconds=30)
# Ours end by themselves, whatever is refused.
_BROKEN: Final = frozenset(
    {WorkflowExecutionStatus.FAILED, WorkflowExecutionStatus.TIMED_OUT, WorkflowExecutionStatus.TERMINATED}
)


@dataclass
class Replayed:
    """How many histories were replayed, by kind of workflow, with how many events; and what is wrong."""

    kinds: Counter[str] = field(default_factory=Counter)
    events: int = 0
    wrong: list[str] = field(default_factory=list)


def workflow_classes() -> list[type]:
    """Every workflow that the worker has."""
    return [one for one in vars(worker).values() if hasattr(one, "__temporal_workflow_definition")]


async def client_of(endpoints: Endpoints) -> Client:
    """A client that can read what our workers wrote."""
    address = {"target_host": endpoints.temporal_address, "namespace": endpoints.temporal_namespace}
    return await connected(dict(address), Keyring.parse(endpoints.keys))


async def replay(endpoints: Endpoints, terminated: Collection[str] = ()) -> Replayed:
    """Replay everything, run after run. A history that is still being written is replayed as far as it goes.

    ``terminated`` are the runs that somebody ended on purpose.
    """
    client = await client_of(endpoints)
    # Unsandboxed: what the sandbox keeps apart are modules, which a replay in a process of its own does not share.
    replayer = Replayer(
        workflows=workflow_classes(),
        workflow_runner=UnsandboxedWorkflowRunner(),
        data_converter=data_converter(Keyring.parse(endpoints.keys)),
    )
    found = Replayed()
    async with replayer.workflow_replay_iterator(_histories(client, found, terminated)) as replays:
        async for one in replays:
            if one.replay_failure:
                found.wrong.append(f"{one.history.workflow_id} does not replay: {str(one.replay_failure)[:300]}")
    return found


async def _histories(client: Client, found: Replayed, terminated: Collection[str]) -> AsyncIterator[WorkflowHistory]:
    async for execution in client.list_workflows(page_size=500):
        if execution.status in _BROKEN and execution.run_id not in terminated:
            found.wrong.append(f"{execution.id} ({execution.workflow_type}) ended as {execution.status.name}")
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        history = await handle.fetch_history(rpc_timeout=_FETCH_FOR)
        found.kinds[execution.workflow_type] += 1
        found.events += len(history.events)
        yield history


async def running(endpoints: Endpoints) -> dict[str, set[str]]:
    """The ids of running workflows by their kind."""
    client = await client_of(endpoints)
    found: dict[str, set[str]] = {}
    async for execution in client.list_workflows("ExecutionStatus='Running'", page_size=500):
        found.setdefault(execution.workflow_type, set()).add(execution.id)
    return found
